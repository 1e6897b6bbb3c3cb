// Functions of one value, numbered as step::Function.

struct Params {
    grid_width: u32,
    count: u32,
    function: u32,
    alpha: f32,
    beta: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> input: array<f32>;  // (count)
@group(0) @binding(2) var<storage, read_write> output: array<f32>; // (count)

override LANES: u32 = 64u;

// The exponent is never positive, so that nothing overflows.
fn sigmoid(x: f32) -> f32 {
    let e = exp(-abs(x));
    return select(1.0, e, x < 0.0) / (1.0 + e);
}

// 1 - erf(x): Press et al., "Numerical Recipes", section 6.2; as on the CPU.
fn erfc(x: f32) -> f32 {
    let z = abs(x);
    let t = 1.0 / (1.0 + 0.5 * z);
    var p = 0.17087277;
    p = p * t - 0.82215223;
    p = p * t + 1.48851587;
    p = p * t - 1.13520398;
    p = p * t + 0.27886807;
    p = p * t - 0.18628806;
    p = p * t + 0.09678418;
    p = p * t + 0.37409196;
    p = p * t + 1.00002368;
    let tail = t * exp(p * t - 1.26551223 - z * z);
    return select(tail, 2.0 - tail, x < 0.0);
}

// From 20 on the quotient is 1.
fn mish(x: f32) -> f32 {
    let n = exp(min(x, 20.0));
    let square = n * (n + 2.0);
    return x * (square / (square + 2.0));
}

// Where the CPU gives NaN (roots and logarithms of negative values), WGSL promises nothing.
fn evaluate(x: f32) -> f32 {
    switch params.function {
        case 0u: { return sigmoid(x); }
        // Beyond 10 the tangent is 1; some drivers compute it by exponentials that overflow.
        case 1u: { return tanh(clamp(x, -10.0, 10.0)); }
        case 2u: { return 1.0 - erfc(x); }
        case 3u: { return 0.5 * x * erfc(-0.70710678 * x); }
        case 4u: { return clamp(params.alpha * x + params.beta, 0.0, 1.0); }
        case 5u: { return x * clamp(x / 6.0 + 0.5, 0.0, 1.0); }
        case 6u: { return x * sigmoid(x); }
        case 7u: { return exp(x); }
        case 8u: { return sqrt(x); }
        case 9u: { return max(x, 0.0) + log(1.0 + exp(-abs(x))); }
        case 10u: { return mish(x); }
        case 11u: { return select(x, params.alpha * (exp(min(x, 0.0)) - 1.0), x < 0.0); }
        case 12u: { return abs(x); }
        case 13u: { return -x; }
        case 14u: { return 1.0 / x; }
        case 15u: { return log(x); }
        case 16u: { return floor(x); }
        case 17u: { return ceil(x); }
        case 18u: { return round(x); }
        default: { return sign(x); }
    }
}

@compute @workgroup_size(LANES)
fn apply(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = (workgroup.y * params.grid_width + workgroup.x) * LANES + lane;
    if index < params.count {
        output[index] = evaluate(input[index]);
    }
}
