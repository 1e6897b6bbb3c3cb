// Mean of each channel over the whole picture: a workgroup takes CHANNELS channels, its lanes take
// the pixels in turn, then the lanes' sums are added.

struct Params {
    grid_width: u32,
    pixels: u32,
    channels: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> input: array<f32>;  // (pixels, channels)
@group(0) @binding(2) var<storage, read_write> output: array<f32>; // (channels)

override CHANNELS: u32 = 16u;
override LANES: u32 = 16u;

// [lane][channel].
var<workgroup> sums: array<f32, LANES * CHANNELS>;

@compute @workgroup_size(CHANNELS, LANES)
fn global_average_pool(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let block = workgroup.y * params.grid_width + workgroup.x;
    let channel = block * CHANNELS + local.x;
    var sum = 0.0;
    if channel < params.channels {
        for (var pixel = local.y; pixel < params.pixels; pixel += LANES) {
            sum += input[pixel * params.channels + channel];
        }
    }
    sums[local.y * CHANNELS + local.x] = sum;
    workgroupBarrier();
    if local.y > 0u || channel >= params.channels {
        return;
    }
    var total = 0.0;
    for (var lane = 0u; lane < LANES; lane++) {
        total += sums[lane * CHANNELS + local.x];
    }
    output[channel] = total / f32(params.pixels);
}
