// Products of matrices: an invocation computes one value. The second factor is computed (matmul) or lies
// in the weights (matmul_weights).

struct Params {
    grid_width: u32,
    in_h: u32,
    in_w: u32,
    in_c: u32,
    out_h: u32,
    out_w: u32,
    out_c: u32,
    other_matrix: u32,
    other_depth: u32,
    other_column: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> input: array<f32>;  // (in_h, in_w, in_c)
@group(0) @binding(2) var<storage, read_write> output: array<f32>; // (in_h, in_w, out_c)
@group(0) @binding(3) var<storage, read_write> other: array<f32>;
@group(0) @binding(4) var<storage, read> weights: array<f32>;

override LANES: u32 = 64u;

fn place(workgroup: vec3<u32>, lane: u32) -> u32 {
    return (workgroup.y * params.grid_width + workgroup.x) * LANES + lane;
}

// Where the second factor's values for an output value begin.
fn factor(index: u32) -> u32 {
    let matrix = index / (params.in_w * params.out_c);
    return matrix * params.other_matrix + index % params.out_c * params.other_column;
}

@compute @workgroup_size(LANES)
fn matmul(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = place(workgroup, lane);
    if index >= params.out_h * params.out_w * params.out_c {
        return;
    }
    let row = index / params.out_c * params.in_c;
    let first = factor(index);
    var sum = 0.0;
    for (var k = 0u; k < params.in_c; k++) {
        sum += input[row + k] * other[first + k * params.other_depth];
    }
    output[index] = sum;
}

@compute @workgroup_size(LANES)
fn matmul_weights(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = place(workgroup, lane);
    if index >= params.out_h * params.out_w * params.out_c {
        return;
    }
    let row = index / params.out_c * params.in_c;
    let first = factor(index);
    var sum = 0.0;
    for (var k = 0u; k < params.in_c; k++) {
        sum += input[row + k] * weights[first + k * params.other_depth];
    }
    output[index] = sum;
}
