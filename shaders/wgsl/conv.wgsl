// Convolution, dense and grouped, weights in Layout::F32Nr16: an implicit matrix product.
//
//   rows     output pixels, in row-major order
//   columns  output channels of one group, in quads of four
//   depth    (ky, kx, i), the order in which the weights of a panel lie in memory
//
// A workgroup computes TILE_PIXELS x TILE_QUADS quads, an invocation four pixels of two quads.
// Slices of DEPTH go through workgroup memory. No matrix of gathered inputs is ever stored.

struct Params {
    grid_width: u32,
    in_h: u32,
    in_w: u32,
    in_c: u32,
    out_h: u32,
    out_w: u32,
    out_c: u32,
    groups: u32,
    kernel_h: u32,
    kernel_w: u32,
    stride_h: u32,
    stride_w: u32,
    dilation_h: u32,
    dilation_w: u32,
    pad_top: u32,
    pad_left: u32,
    border_top: u32,
    border_left: u32,
    border_bottom: u32,
    border_right: u32,
    activation: u32,
    lo: f32,
    hi: f32,
    slope: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> input: array<f32>;   // (in_h, in_w, in_c)
@group(0) @binding(2) var<storage, read_write> output: array<f32>;  // (out_h, out_w, out_c)
@group(0) @binding(4) var<storage, read> weights: array<vec4<f32>>; // [group][panel][ky][kx][i][4]
@group(0) @binding(5) var<storage, read> bias: array<vec4<f32>>;    // [class][group][panel][4]
@group(0) @binding(6) var<storage, read> slopes: array<vec4<f32>>;  // [group][panel][4]

const CLAMP = 1u;
const LEAKY_RELU = 2u;
const PRELU = 3u;

// Quads in a panel of 16 output channels.
const PANEL = 4u;
// Depth of one slice; divides LANES.
const DEPTH = 16u;
// Distance of two rows of the input tile: odd, so that rows start in different memory banks.
const PITCH = 17u;
// Origin of a pixel beyond the last: its taps lie outside every picture.
const OUTSIDE = 0x80000000u;

override LANES_QUADS: u32 = 8u;
override LANES_PIXELS: u32 = 16u;
override LANES: u32 = LANES_QUADS * LANES_PIXELS;
override TILE_QUADS: u32 = LANES_QUADS * 2u;
override TILE_PIXELS: u32 = LANES_PIXELS * 4u;

// A place along the depth: row and column of the filter, input channel of the group.
struct Tap {
    y: u32,
    x: u32,
    channel: u32,
}

// Input pixel of the first tap of each output pixel; wraps below zero where padding begins.
var<workgroup> origins: array<vec2<u32>, TILE_PIXELS>;
// [pixel / 4][depth], four neighbouring pixels in a vector.
var<workgroup> input_tile: array<vec4<f32>, LANES_PIXELS * PITCH>;
// [depth][quad].
var<workgroup> weight_tile: array<vec4<f32>, TILE_QUADS * DEPTH>;

fn group_inputs() -> u32 {
    return params.in_c / params.groups;
}

fn group_outputs() -> u32 {
    return params.out_c / params.groups;
}

// Quads stored for each group: whole panels.
fn group_quads() -> u32 {
    return (group_outputs() + 15u) / 16u * PANEL;
}

fn depth() -> u32 {
    return params.kernel_h * params.kernel_w * group_inputs();
}

fn origin(pixel: u32) -> vec2<u32> {
    if pixel >= params.out_h * params.out_w {
        return vec2(OUTSIDE, OUTSIDE);
    }
    let y = pixel / params.out_w;
    let x = pixel % params.out_w;
    return vec2(y * params.stride_h - params.pad_top, x * params.stride_w - params.pad_left);
}

// Class of an output coordinate: the first `before` and the last `after` have one each.
fn border_class(at: u32, len: u32, before: u32, after: u32) -> u32 {
    if at < before {
        return at;
    }
    if at + after >= len {
        return before + 1u + (at + after - len);
    }
    return before;
}

fn first_sum(pixel: u32, quad: u32) -> vec4<f32> {
    if pixel >= params.out_h * params.out_w || quad >= params.groups * group_quads() {
        return vec4(0.0);
    }
    let y = pixel / params.out_w;
    let x = pixel % params.out_w;
    let row = border_class(y, params.out_h, params.border_top, params.border_bottom);
    let column = border_class(x, params.out_w, params.border_left, params.border_right);
    let columns = params.border_left + 1u + params.border_right;
    return bias[(row * columns + column) * params.groups * group_quads() + quad];
}

fn gather(at: vec2<u32>, offset: vec2<u32>, channel: u32) -> f32 {
    let y = at.x + offset.x;
    let x = at.y + offset.y;
    if y >= params.in_h || x >= params.in_w {
        return 0.0;
    }
    return input[(y * params.in_w + x) * params.in_c + channel];
}

// The tap `by` places further in the order of the depth. Without division, which is slow on GPUs.
fn advance(start: Tap, by: u32) -> Tap {
    var tap = start;
    tap.channel += by;
    while tap.channel >= group_inputs() {
        tap.channel -= group_inputs();
        tap.x += 1u;
        if tap.x == params.kernel_w {
            tap.x = 0u;
            tap.y += 1u;
        }
    }
    return tap;
}

// Each lane loads one tap of every `LANES / DEPTH`-th four pixels.
fn load_inputs(tap: Tap, group: u32, lane: u32) {
    let offset = vec2(tap.y * params.dilation_h, tap.x * params.dilation_w);
    let channel = group * group_inputs() + tap.channel;
    for (var four = lane / DEPTH; four < LANES_PIXELS; four += LANES / DEPTH) {
        var values = vec4(0.0);
        if tap.y < params.kernel_h {
            values = vec4(
                gather(origins[four * 4u], offset, channel),
                gather(origins[four * 4u + 1u], offset, channel),
                gather(origins[four * 4u + 2u], offset, channel),
                gather(origins[four * 4u + 3u], offset, channel),
            );
        }
        input_tile[four * PITCH + lane % DEPTH] = values;
    }
}

fn load_weights(from_depth: u32, group: u32, first_quad: u32, lane: u32) {
    let panels = group_quads() / PANEL;
    for (var at = lane; at < TILE_QUADS * DEPTH; at += LANES) {
        let k = from_depth + at / TILE_QUADS;
        let quad = first_quad + at % TILE_QUADS;
        var value = vec4(0.0);
        if k < depth() && quad < group_quads() {
            let panel = group * panels + quad / PANEL;
            value = weights[(panel * depth() + k) * PANEL + quad % PANEL];
        }
        weight_tile[at] = value;
    }
}

// Columns are pixels, rows are the channels of a quad.
fn outer(x: vec4<f32>, w: vec4<f32>) -> mat4x4<f32> {
    return mat4x4(x.x * w, x.y * w, x.z * w, x.w * w);
}

fn activate(y: vec4<f32>, quad: u32) -> vec4<f32> {
    switch params.activation {
        case CLAMP: { return min(max(y, vec4(params.lo)), vec4(params.hi)); }
        case LEAKY_RELU: { return select(y, params.slope * y, y < vec4(0.0)); }
        case PRELU: { return select(y, slopes[quad] * y, y < vec4(0.0)); }
        default: { return y; }
    }
}

fn store(pixel: u32, group: u32, quad: u32, sum: vec4<f32>) {
    if pixel >= params.out_h * params.out_w || quad >= group_quads() {
        return;
    }
    let y = activate(sum, group * group_quads() + quad);
    let at = pixel * params.out_c + group * group_outputs() + quad * 4u;
    for (var j = 0u; j < 4u && quad * 4u + j < group_outputs(); j++) {
        output[at + j] = y[j];
    }
}

@compute @workgroup_size(LANES)
fn conv(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let pixel_tiles = (params.out_h * params.out_w + TILE_PIXELS - 1u) / TILE_PIXELS;
    let quad_tiles = (group_quads() + TILE_QUADS - 1u) / TILE_QUADS;
    let tile = workgroup.y * params.grid_width + workgroup.x;
    if tile >= pixel_tiles * quad_tiles * params.groups {
        return;
    }
    let first_pixel = tile % pixel_tiles * TILE_PIXELS;
    let first_quad = tile / pixel_tiles % quad_tiles * TILE_QUADS;
    let group = tile / pixel_tiles / quad_tiles;

    for (var at = lane; at < TILE_PIXELS; at += LANES) {
        origins[at] = origin(first_pixel + at);
    }

    let lane_quad = lane % LANES_QUADS;
    let lane_pixels = lane / LANES_QUADS;
    let pixel = first_pixel + lane_pixels * 4u;
    let quad_a = first_quad + lane_quad;
    let quad_b = quad_a + LANES_QUADS;
    let bias_a = group * group_quads() + quad_a;
    let bias_b = group * group_quads() + quad_b;
    var a = mat4x4(
        first_sum(pixel, bias_a),
        first_sum(pixel + 1u, bias_a),
        first_sum(pixel + 2u, bias_a),
        first_sum(pixel + 3u, bias_a),
    );
    var b = mat4x4(
        first_sum(pixel, bias_b),
        first_sum(pixel + 1u, bias_b),
        first_sum(pixel + 2u, bias_b),
        first_sum(pixel + 3u, bias_b),
    );

    var tap = advance(Tap(0u, 0u, 0u), lane % DEPTH);
    for (var from_depth = 0u; from_depth < depth(); from_depth += DEPTH) {
        // Orders the origins before their first use, and the products before the next slice.
        workgroupBarrier();
        load_inputs(tap, group, lane);
        tap = advance(tap, DEPTH);
        load_weights(from_depth, group, first_quad, lane);
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k++) {
            let x = input_tile[lane_pixels * PITCH + k];
            a += outer(x, weight_tile[k * TILE_QUADS + lane_quad]);
            b += outer(x, weight_tile[k * TILE_QUADS + lane_quad + LANES_QUADS]);
        }
    }

    for (var p = 0u; p < 4u; p++) {
        store(pixel + p, group, quad_a, a[p]);
        store(pixel + p, group, quad_b, b[p]);
    }
}
