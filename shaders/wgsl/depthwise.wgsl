// Depthwise convolution (in_c = out_c), weights in Layout::F32Dw16: an invocation computes one quad
// of channels of one output pixel. Each channel meets its own filter only, so nothing is shared.

struct Params {
    grid_width: u32,
    in_h: u32,
    in_w: u32,
    in_c: u32,
    out_h: u32,
    out_w: u32,
    out_c: u32,
    kernel_h: u32,
    kernel_w: u32,
    stride_h: u32,
    stride_w: u32,
    dilation_h: u32,
    dilation_w: u32,
    pad_top: u32,
    pad_left: u32,
    border_top: u32,
    border_left: u32,
    border_bottom: u32,
    border_right: u32,
    activation: u32,
    lo: f32,
    hi: f32,
    slope: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> input: array<f32>;   // (in_h, in_w, in_c)
@group(0) @binding(2) var<storage, read_write> output: array<f32>;  // (out_h, out_w, out_c)
@group(0) @binding(4) var<storage, read> weights: array<vec4<f32>>; // [block][ky][kx][4]
@group(0) @binding(5) var<storage, read> bias: array<vec4<f32>>;    // [class][block][4]
@group(0) @binding(6) var<storage, read> slopes: array<vec4<f32>>;  // [block][4]

const CLAMP = 1u;
const LEAKY_RELU = 2u;
const PRELU = 3u;

// Quads in a block of 16 channels.
const BLOCK = 4u;

override LANES: u32 = 64u;

// Quads that hold channels.
fn quads() -> u32 {
    return (params.out_c + 3u) / 4u;
}

// Quads stored: whole blocks.
fn stored_quads() -> u32 {
    return (params.out_c + 15u) / 16u * BLOCK;
}

// Class of an output coordinate: the first `before` and the last `after` have one each.
fn border_class(at: u32, len: u32, before: u32, after: u32) -> u32 {
    if at < before {
        return at;
    }
    if at + after >= len {
        return before + 1u + (at + after - len);
    }
    return before;
}

fn first_sum(y: u32, x: u32, quad: u32) -> vec4<f32> {
    let row = border_class(y, params.out_h, params.border_top, params.border_bottom);
    let column = border_class(x, params.out_w, params.border_left, params.border_right);
    let columns = params.border_left + 1u + params.border_right;
    return bias[(row * columns + column) * stored_quads() + quad];
}

// Four channels from `at`; zero beyond the last.
fn gather(at: u32, channel: u32) -> vec4<f32> {
    var values = vec4(0.0);
    for (var j = 0u; j < 4u && channel + j < params.out_c; j++) {
        values[j] = input[at + channel + j];
    }
    return values;
}

fn activate(y: vec4<f32>, quad: u32) -> vec4<f32> {
    switch params.activation {
        case CLAMP: { return min(max(y, vec4(params.lo)), vec4(params.hi)); }
        case LEAKY_RELU: { return select(y, params.slope * y, y < vec4(0.0)); }
        case PRELU: { return select(y, slopes[quad] * y, y < vec4(0.0)); }
        default: { return y; }
    }
}

fn convolve(out_y: u32, out_x: u32, quad: u32) -> vec4<f32> {
    let taps = params.kernel_h * params.kernel_w;
    let first_weight = quad / BLOCK * taps * BLOCK + quad % BLOCK;
    var sum = first_sum(out_y, out_x, quad);
    for (var ky = 0u; ky < params.kernel_h; ky++) {
        // Wraps above in_h where the tap lies in the padding.
        let y = out_y * params.stride_h + ky * params.dilation_h - params.pad_top;
        for (var kx = 0u; kx < params.kernel_w; kx++) {
            let x = out_x * params.stride_w + kx * params.dilation_w - params.pad_left;
            if y < params.in_h && x < params.in_w {
                let w = weights[first_weight + (ky * params.kernel_w + kx) * BLOCK];
                sum += w * gather((y * params.in_w + x) * params.out_c, quad * 4u);
            }
        }
    }
    return sum;
}

@compute @workgroup_size(LANES)
fn depthwise(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = (workgroup.y * params.grid_width + workgroup.x) * LANES + lane;
    let pixel = index / quads();
    let quad = index % quads();
    if pixel >= params.out_h * params.out_w {
        return;
    }
    let sum = convolve(pixel / params.out_w, pixel % params.out_w, quad);
    let y = activate(sum, quad);
    let at = pixel * params.out_c + quad * 4u;
    for (var j = 0u; j < 4u && quad * 4u + j < params.out_c; j++) {
        output[at + j] = y[j];
    }
}
