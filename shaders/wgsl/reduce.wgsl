// All values along some axes of a map: a workgroup takes one value of the result, its lanes those that
// make it in turn.

struct Params {
    grid_width: u32,
    in_h: u32,
    in_w: u32,
    in_c: u32,
    out_h: u32,
    out_w: u32,
    out_c: u32,
    function: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> input: array<f32>;  // (in_h, in_w, in_c)
@group(0) @binding(2) var<storage, read_write> output: array<f32>; // (out_h, out_w, out_c)

const SUM = 0u;
const MEAN = 1u;
const MAX = 2u;
const MIN = 3u;
const PRODUCT = 4u;
// The largest finite f32: WGSL has no literal for infinity.
const LARGEST = 0x1.fffffep+127f;

override LANES: u32 = 64u;

var<workgroup> parts: array<f32, LANES>;

fn start() -> f32 {
    switch params.function {
        case MAX: { return -LARGEST; }
        case MIN: { return LARGEST; }
        case PRODUCT: { return 1.0; }
        default: { return 0.0; }
    }
}

fn combined(a: f32, b: f32) -> f32 {
    switch params.function {
        case MAX: { return max(a, b); }
        case MIN: { return min(a, b); }
        case PRODUCT: { return a * b; }
        default: { return a + b; }
    }
}

@compute @workgroup_size(LANES)
fn reduce(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = workgroup.y * params.grid_width + workgroup.x;
    if index >= params.out_h * params.out_w * params.out_c {
        return;
    }
    // How many rows, columns and channels make a value.
    let h = params.in_h / params.out_h;
    let w = params.in_w / params.out_w;
    let c = params.in_c / params.out_c;
    let count = h * w * c;
    let row = index / (params.out_w * params.out_c);
    let column = index / params.out_c % params.out_w;
    let first = (row * params.in_w + column) * params.in_c + index % params.out_c;

    var part = start();
    for (var k = lane; k < count; k += LANES) {
        let at = (k / (w * c) * params.in_w + k / c % w) * params.in_c + k % c;
        part = combined(part, input[first + at]);
    }
    parts[lane] = part;
    workgroupBarrier();
    if lane > 0u {
        return;
    }
    var all = start();
    for (var i = 0u; i < LANES; i++) {
        all = combined(all, parts[i]);
    }
    if params.function == MEAN {
        all /= f32(count);
    }
    output[index] = all;
}
