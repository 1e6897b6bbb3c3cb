// The best channels of each pixel: an invocation takes one pixel, and finds one value after the other,
// each the best that comes behind the one before.

struct Params {
    grid_width: u32,
    pixels: u32,
    channels: u32,
    count: u32,
    largest: u32,
    last: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> input: array<f32>;  // (pixels, channels)
@group(0) @binding(2) var<storage, read_write> output: array<f32>; // (pixels, 2 * count)

override LANES: u32 = 64u;

// Whether channel `i` with value `a` comes before channel `j` with value `b`.
fn beats(a: f32, i: u32, b: f32, j: u32) -> bool {
    if a != b {
        return select((a < b), (a > b), params.largest != 0u);
    }
    return select((i < j), (i > j), params.last != 0u);
}

@compute @workgroup_size(LANES)
fn top_k(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let pixel = (workgroup.y * params.grid_width + workgroup.x) * LANES + lane;
    if pixel >= params.pixels {
        return;
    }
    let first = pixel * params.channels;
    let to = pixel * 2u * params.count;
    var before = 0u;
    for (var k = 0u; k < params.count; k++) {
        var best = params.channels;
        for (var i = 0u; i < params.channels; i++) {
            let value = input[first + i];
            let follows = k == 0u || beats(input[first + before], before, value, i);
            if follows && (best == params.channels || beats(value, i, input[first + best], best)) {
                best = i;
            }
        }
        best = min(best, params.channels - 1u);
        output[to + k] = input[first + best];
        output[to + params.count + k] = f32(best);
        before = best;
    }
}
