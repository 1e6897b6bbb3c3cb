// Functions of two values, numbered as step::Binary; the second operand is repeated along axes whose
// stride is 0. It is computed (binary) or lies in the weights (binary_weights).

struct Params {
    grid_width: u32,
    count: u32,
    channels: u32,
    columns: u32,
    function: u32,
    swapped: u32,
    other_row: u32,
    other_column: u32,
    other_channel: u32,
    activation: u32,
    lo: f32,
    hi: f32,
    slope: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> input: array<f32>;  // (count)
@group(0) @binding(2) var<storage, read_write> output: array<f32>; // (count)
@group(0) @binding(3) var<storage, read_write> other: array<f32>;
@group(0) @binding(4) var<storage, read> weights: array<f32>;
@group(0) @binding(6) var<storage, read> slopes: array<f32>;       // (channels)

const CLAMP = 1u;
const LEAKY_RELU = 2u;
const PRELU = 3u;

override LANES: u32 = 64u;

fn place(workgroup: vec3<u32>, lane: u32) -> u32 {
    return (workgroup.y * params.grid_width + workgroup.x) * LANES + lane;
}

// Where the second operand's value lies.
fn other_place(index: u32) -> u32 {
    let pixel = index / params.channels;
    return pixel / params.columns * params.other_row
        + pixel % params.columns * params.other_column
        + index % params.channels * params.other_channel;
}

// WGSL's pow takes no negative base; where the CPU gives NaN, it promises nothing.
fn power(a: f32, b: f32) -> f32 {
    let odd = abs(b - 2.0 * floor(b / 2.0)) == 1.0;
    let magnitude = pow(abs(a), b);
    return select(magnitude, -magnitude, a < 0.0 && odd);
}

fn combined(x: f32, y: f32) -> f32 {
    let a = select(x, y, params.swapped != 0u);
    let b = select(y, x, params.swapped != 0u);
    switch params.function {
        case 0u: { return a + b; }
        case 1u: { return a - b; }
        case 2u: { return a * b; }
        case 3u: { return a / b; }
        case 4u: { return select(a, b, b < a); }
        case 5u: { return select(a, b, b > a); }
        case 7u: { return select(0.0, 1.0, a == b); }
        case 8u: { return select(0.0, 1.0, a > b); }
        case 9u: { return select(0.0, 1.0, a >= b); }
        case 10u: { return select(b, 0.0, a == 0.0); }
        case 11u: { return select(0.0, b, a == 0.0); }
        default: { return power(a, b); }
    }
}

fn activated(y: f32, index: u32) -> f32 {
    switch params.activation {
        case CLAMP: { return min(max(y, params.lo), params.hi); }
        case LEAKY_RELU: { return select(y, params.slope * y, y < 0.0); }
        case PRELU: { return select(y, slopes[index % params.channels] * y, y < 0.0); }
        default: { return y; }
    }
}

@compute @workgroup_size(LANES)
fn binary(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = place(workgroup, lane);
    if index < params.count {
        output[index] = activated(combined(input[index], other[other_place(index)]), index);
    }
}

@compute @workgroup_size(LANES)
fn binary_weights(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = place(workgroup, lane);
    if index < params.count {
        output[index] = activated(combined(input[index], weights[other_place(index)]), index);
    }
}
