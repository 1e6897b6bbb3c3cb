// Largest value or mean under a window (in_c = out_c): an invocation computes one output value.

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
    // Divide by all taps (1) or only by those inside the picture (0); average_pool only.
    count_include_pad: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> input: array<f32>;  // (in_h, in_w, in_c)
@group(0) @binding(2) var<storage, read_write> output: array<f32>; // (out_h, out_w, out_c)

// The smallest finite f32: WGSL need not honour infinities. It is the maximum where no tap lies
// inside the picture; the CPU gives minus infinity there.
const LOWEST = -0x1.fffffep+127f;

override LANES: u32 = 64u;

struct Pooled {
    largest: f32,
    sum: f32,
    inside: u32,
}

fn pool(out_y: u32, out_x: u32, channel: u32) -> Pooled {
    var pooled = Pooled(LOWEST, 0.0, 0u);
    for (var ky = 0u; ky < params.kernel_h; ky++) {
        // Wraps above in_h where the tap lies in the padding.
        let y = out_y * params.stride_h + ky * params.dilation_h - params.pad_top;
        for (var kx = 0u; kx < params.kernel_w; kx++) {
            let x = out_x * params.stride_w + kx * params.dilation_w - params.pad_left;
            if y < params.in_h && x < params.in_w {
                let value = input[(y * params.in_w + x) * params.out_c + channel];
                pooled.largest = max(pooled.largest, value);
                pooled.sum += value;
                pooled.inside += 1u;
            }
        }
    }
    return pooled;
}

fn pool_at(index: u32) -> Pooled {
    let pixel = index / params.out_c;
    return pool(pixel / params.out_w, pixel % params.out_w, index % params.out_c);
}

fn count() -> u32 {
    return params.out_h * params.out_w * params.out_c;
}

@compute @workgroup_size(LANES)
fn max_pool(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = (workgroup.y * params.grid_width + workgroup.x) * LANES + lane;
    if index < count() {
        output[index] = pool_at(index).largest;
    }
}

@compute @workgroup_size(LANES)
fn average_pool(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = (workgroup.y * params.grid_width + workgroup.x) * LANES + lane;
    if index < count() {
        let pooled = pool_at(index);
        let taps = params.kernel_h * params.kernel_w;
        let divisor = select(pooled.inside, taps, params.count_include_pad != 0u);
        output[index] = pooled.sum / f32(max(divisor, 1u));
    }
}
