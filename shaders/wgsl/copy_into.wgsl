// Copies the input to the box of the output that begins at row, column and channel at_y, at_x, at_c:
// one part of a concatenation.

struct Params {
    grid_width: u32,
    in_h: u32,
    in_w: u32,
    in_c: u32,
    out_h: u32,
    out_w: u32,
    out_c: u32,
    at_y: u32,
    at_x: u32,
    at_c: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> input: array<f32>;  // (in_h, in_w, in_c)
@group(0) @binding(2) var<storage, read_write> output: array<f32>; // (out_h, out_w, out_c)

override LANES: u32 = 64u;

@compute @workgroup_size(LANES)
fn copy_into(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = (workgroup.y * params.grid_width + workgroup.x) * LANES + lane;
    if index < params.in_h * params.in_w * params.in_c {
        let pixel = index / params.in_c;
        let y = pixel / params.in_w + params.at_y;
        let x = pixel % params.in_w + params.at_x;
        let c = index % params.in_c + params.at_c;
        output[(y * params.out_w + x) * params.out_c + c] = input[index];
    }
}
