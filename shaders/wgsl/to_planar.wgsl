// Copies NHWC to channel-major order, so that a flattened view has ONNX's order.

struct Params {
    grid_width: u32,
    pixels: u32,
    channels: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> input: array<f32>;  // (pixels, channels)
@group(0) @binding(2) var<storage, read_write> output: array<f32>; // (channels, pixels)

override LANES: u32 = 64u;

@compute @workgroup_size(LANES)
fn to_planar(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = (workgroup.y * params.grid_width + workgroup.x) * LANES + lane;
    if index < params.pixels * params.channels {
        let channel = index / params.pixels;
        let pixel = index % params.pixels;
        output[index] = input[pixel * params.channels + channel];
    }
}
