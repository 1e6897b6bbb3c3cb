// Copies the input's channels to channels `at ..` of the output: one part of a concatenation.

struct Params {
    grid_width: u32,
    count: u32,
    in_c: u32,
    out_c: u32,
    at: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> input: array<f32>;  // (pixels, in_c)
@group(0) @binding(2) var<storage, read_write> output: array<f32>; // (pixels, out_c)

override LANES: u32 = 64u;

@compute @workgroup_size(LANES)
fn copy_channels(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = (workgroup.y * params.grid_width + workgroup.x) * LANES + lane;
    if index < params.count {
        let pixel = index / params.in_c;
        output[pixel * params.out_c + params.at + index % params.in_c] = input[index];
    }
}
