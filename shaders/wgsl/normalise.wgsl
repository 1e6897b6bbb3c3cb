// Mean 0 and variance 1 along some axes of a map: a workgroup takes the values of one mean, its lanes
// these values in turn.

struct Params {
    grid_width: u32,
    in_h: u32,
    in_w: u32,
    in_c: u32,
    // Rows, columns and channels that have one mean.
    part_h: u32,
    part_w: u32,
    part_c: u32,
    centred: u32,
    epsilon: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> input: array<f32>;  // (in_h, in_w, in_c)
@group(0) @binding(2) var<storage, read_write> output: array<f32>; // (in_h, in_w, in_c)

override LANES: u32 = 64u;

var<workgroup> sums: array<f32, LANES>;

// The sum over all lanes.
fn total(lane: u32, part: f32) -> f32 {
    workgroupBarrier();
    sums[lane] = part;
    workgroupBarrier();
    var all = 0.0;
    for (var i = 0u; i < LANES; i++) {
        all += sums[i];
    }
    return all;
}

// Where value `k` of the part lies, counted from its first.
fn place(k: u32) -> u32 {
    let c = params.part_c;
    let w = params.part_w;
    return (k / (w * c) * params.in_w + k / c % w) * params.in_c + k % c;
}

@compute @workgroup_size(LANES)
fn normalise(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let columns = params.in_w / params.part_w;
    let channels = params.in_c / params.part_c;
    let index = workgroup.y * params.grid_width + workgroup.x;
    if index >= params.in_h / params.part_h * columns * channels {
        return;
    }
    let row = index / (columns * channels);
    let column = index / channels % columns;
    let first = (row * params.in_w + column) * params.in_c + index % channels;
    let count = params.part_h * params.part_w * params.part_c;

    var mean = 0.0;
    if params.centred != 0u {
        var sum = 0.0;
        for (var k = lane; k < count; k += LANES) {
            sum += input[first + place(k)];
        }
        mean = total(lane, sum) / f32(count);
    }
    var squares = 0.0;
    for (var k = lane; k < count; k += LANES) {
        let difference = input[first + place(k)] - mean;
        squares += difference * difference;
    }
    let variance = total(lane, squares) / f32(count);
    let factor = 1.0 / sqrt(variance + params.epsilon);
    for (var k = lane; k < count; k += LANES) {
        let at = first + place(k);
        output[at] = (input[at] - mean) * factor;
    }
}
