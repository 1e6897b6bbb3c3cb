// Dense layer, weights in Layout::F32Nr16 with one group and a 1x1 kernel: a workgroup computes
// one panel of 16 outputs. Its lanes take the inputs in turn, so that reads of the weights, which
// bound the time, are contiguous; then the lanes' sums are added.

struct Params {
    grid_width: u32,
    in_len: u32,
    out_len: u32,
    activation: u32,
    lo: f32,
    hi: f32,
    slope: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> input: array<f32>;   // (in_len)
@group(0) @binding(2) var<storage, read_write> output: array<f32>;  // (out_len)
@group(0) @binding(4) var<storage, read> weights: array<vec4<f32>>; // [panel][i][4]
@group(0) @binding(5) var<storage, read> bias: array<vec4<f32>>;    // [panel][4]
@group(0) @binding(6) var<storage, read> slopes: array<vec4<f32>>;  // [panel][4]

const CLAMP = 1u;
const LEAKY_RELU = 2u;
const PRELU = 3u;

// Quads in a panel of 16 outputs.
const PANEL = 4u;

override LANES: u32 = 16u;

// [lane][quad].
var<workgroup> sums: array<vec4<f32>, LANES * PANEL>;

fn activate(y: vec4<f32>, quad: u32) -> vec4<f32> {
    switch params.activation {
        case CLAMP: { return min(max(y, vec4(params.lo)), vec4(params.hi)); }
        case LEAKY_RELU: { return select(y, params.slope * y, y < vec4(0.0)); }
        case PRELU: { return select(y, slopes[quad] * y, y < vec4(0.0)); }
        default: { return y; }
    }
}

@compute @workgroup_size(PANEL, LANES)
fn linear(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let panel = workgroup.y * params.grid_width + workgroup.x;
    if panel * 16u >= params.out_len {
        return;
    }
    var sum = vec4(0.0);
    for (var i = local.y; i < params.in_len; i += LANES) {
        sum += input[i] * weights[(panel * params.in_len + i) * PANEL + local.x];
    }
    sums[local.y * PANEL + local.x] = sum;
    workgroupBarrier();
    if local.y > 0u {
        return;
    }
    let quad = panel * PANEL + local.x;
    var total = bias[quad];
    for (var lane = 0u; lane < LANES; lane++) {
        total += sums[lane * PANEL + local.x];
    }
    let y = activate(total, quad);
    for (var j = 0u; j < 4u && quad * 4u + j < params.out_len; j++) {
        output[quad * 4u + j] = y[j];
    }
}
