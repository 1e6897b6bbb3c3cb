// Scale and shift a channel, and the activation that follows linear operations, alone.

struct Params {
    grid_width: u32,
    count: u32,
    channels: u32,
    activation: u32,
    lo: f32,
    hi: f32,
    slope: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> input: array<f32>;  // (count)
@group(0) @binding(2) var<storage, read_write> output: array<f32>; // (count)
@group(0) @binding(4) var<storage, read> scale: array<f32>;        // (channels)
@group(0) @binding(5) var<storage, read> shift: array<f32>;        // (channels)
@group(0) @binding(6) var<storage, read> slopes: array<f32>;       // (channels)

const CLAMP = 1u;
const LEAKY_RELU = 2u;
const PRELU = 3u;

override LANES: u32 = 64u;

fn place(workgroup: vec3<u32>, lane: u32) -> u32 {
    return (workgroup.y * params.grid_width + workgroup.x) * LANES + lane;
}

fn activated(y: f32, index: u32) -> f32 {
    switch params.activation {
        case CLAMP: { return min(max(y, params.lo), params.hi); }
        case LEAKY_RELU: { return select(y, params.slope * y, y < 0.0); }
        case PRELU: { return select(y, slopes[index % params.channels] * y, y < 0.0); }
        default: { return y; }
    }
}

@compute @workgroup_size(LANES)
fn scale_shift(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = place(workgroup, lane);
    if index < params.count {
        let channel = index % params.channels;
        output[index] = activated(input[index] * scale[channel] + shift[channel], index);
    }
}

@compute @workgroup_size(LANES)
fn activate(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = place(workgroup, lane);
    if index < params.count {
        output[index] = activated(input[index], index);
    }
}
