// Softmax over the channels of each pixel: a workgroup takes one pixel, its lanes the channels in
// turn. The largest value is subtracted first, so that no exponential overflows.

struct Params {
    grid_width: u32,
    pixels: u32,
    channels: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> input: array<f32>;  // (pixels, channels)
@group(0) @binding(2) var<storage, read_write> output: array<f32>; // (pixels, channels)

// The smallest finite f32: WGSL has no literal for minus infinity.
const LOWEST = -0x1.fffffep+127f;

override LANES: u32 = 64u;

var<workgroup> maxima: array<f32, LANES>;
var<workgroup> sums: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn softmax(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let pixel = workgroup.y * params.grid_width + workgroup.x;
    if pixel >= params.pixels {
        return;
    }
    let first = pixel * params.channels;

    var lane_maximum = LOWEST;
    for (var c = lane; c < params.channels; c += LANES) {
        lane_maximum = max(lane_maximum, input[first + c]);
    }
    maxima[lane] = lane_maximum;
    workgroupBarrier();
    var maximum = LOWEST;
    for (var i = 0u; i < LANES; i++) {
        maximum = max(maximum, maxima[i]);
    }

    var lane_sum = 0.0;
    for (var c = lane; c < params.channels; c += LANES) {
        lane_sum += exp(input[first + c] - maximum);
    }
    sums[lane] = lane_sum;
    workgroupBarrier();
    var sum = 0.0;
    for (var i = 0u; i < LANES; i++) {
        sum += sums[i];
    }

    for (var c = lane; c < params.channels; c += LANES) {
        output[first + c] = exp(input[first + c] - maximum) / sum;
    }
}
