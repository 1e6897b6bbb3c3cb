// Rows and columns around a picture (in_c = out_c): an invocation writes one value.

struct Params {
    grid_width: u32,
    in_h: u32,
    in_w: u32,
    in_c: u32,
    out_h: u32,
    out_w: u32,
    out_c: u32,
    pad_top: u32,
    pad_left: u32,
    mode: u32,
    value: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> input: array<f32>;  // (in_h, in_w, in_c)
@group(0) @binding(2) var<storage, read_write> output: array<f32>; // (out_h, out_w, out_c)

const CONSTANT = 0u;
const REFLECT = 1u;
const EDGE = 2u;

override LANES: u32 = 64u;

// The row, or column, of an input of `len` that stands at `at`, counted from its first.
fn source(at: i32, len: i32) -> i32 {
    if at >= 0 && at < len {
        return at;
    }
    switch params.mode {
        case REFLECT: { return select(2 * (len - 1) - at, -at, at < 0); }
        case EDGE: { return clamp(at, 0, len - 1); }
        default: { return select(at - len, at + len, at < 0); }
    }
}

@compute @workgroup_size(LANES)
fn pad(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = (workgroup.y * params.grid_width + workgroup.x) * LANES + lane;
    if index >= params.out_h * params.out_w * params.out_c {
        return;
    }
    let pixel = index / params.out_c;
    let y = i32(pixel / params.out_w) - i32(params.pad_top);
    let x = i32(pixel % params.out_w) - i32(params.pad_left);
    let h = i32(params.in_h);
    let w = i32(params.in_w);
    let inside = y >= 0 && y < h && x >= 0 && x < w;
    if params.mode == CONSTANT && !inside {
        output[index] = params.value;
    } else {
        let shown = u32(source(y, h) * w + source(x, w));
        output[index] = input[shown * params.in_c + index % params.out_c];
    }
}
