// Runs of rows and columns, weighted: an invocation writes one value (in_c = out_c).

struct Params {
    grid_width: u32,
    in_h: u32,
    in_w: u32,
    in_c: u32,
    out_h: u32,
    out_w: u32,
    out_c: u32,
    row_taps: u32,
    column_taps: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> input: array<f32>;  // (in_h, in_w, in_c)
@group(0) @binding(2) var<storage, read_write> output: array<f32>; // (out_h, out_w, out_c)
// For each output row, or column: the first of its run, then a weight for each of it.
@group(0) @binding(4) var<storage, read> weights: array<f32>;      // (out_h, 1 + row_taps)
@group(0) @binding(5) var<storage, read> bias: array<f32>;         // (out_w, 1 + column_taps)

override LANES: u32 = 64u;

@compute @workgroup_size(LANES)
fn resample(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = (workgroup.y * params.grid_width + workgroup.x) * LANES + lane;
    if index >= params.out_h * params.out_w * params.out_c {
        return;
    }
    let pixel = index / params.out_c;
    let channel = index % params.out_c;
    let row = (pixel / params.out_w) * (1u + params.row_taps);
    let column = (pixel % params.out_w) * (1u + params.column_taps);
    let first_y = min(u32(weights[row]), params.in_h - params.row_taps);
    let first_x = min(u32(bias[column]), params.in_w - params.column_taps);

    var sum = 0.0;
    for (var l = 0u; l < params.column_taps; l++) {
        let column_weight = bias[column + 1u + l];
        if column_weight == 0.0 {
            continue;
        }
        var column_sum = 0.0;
        for (var k = 0u; k < params.row_taps; k++) {
            let row_weight = weights[row + 1u + k];
            if row_weight != 0.0 {
                let at = (first_y + k) * params.in_w + first_x + l;
                column_sum += row_weight * input[at * params.in_c + channel];
            }
        }
        sum += column_weight * column_sum;
    }
    output[index] = sum;
}
