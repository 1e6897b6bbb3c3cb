//! [`Function`] in f32, without branches where networks use it most, so that the loops vectorise.
//!
//! Errors are below `1e-6` relative or `1e-7` absolute, whichever is larger. Nothing here depends on the
//! platform: no fused multiply-add, and `libm` in place of the system's library.

use crate::step::Function;
use core::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, LOG2_E};

/// Replaces each value by the function of it.
#[inline(always)]
pub(super) fn apply(function: Function, values: &mut [f32]) {
    match function {
        Function::Sigmoid => map(values, sigmoid),
        Function::Tanh => map(values, tanh),
        Function::Erf => map(values, erf),
        Function::Gelu => map(values, |x| 0.5 * x * erfc(-x * FRAC_1_SQRT_2)),
        Function::HardSigmoid { alpha, beta } => map(values, |x| unit(alpha * x + beta)),
        Function::HardSwish => map(values, |x| x * unit(x * (1.0 / 6.0) + 0.5)),
        Function::Silu => map(values, |x| x / (1.0 + exp(-x))),
        Function::Exp => map(values, exp),
        Function::Sqrt => map(values, libm::sqrtf),
        Function::Softplus => map(values, |x| above_zero(x) + libm::log1pf(exp(-x.abs()))),
        Function::Mish => map(values, mish),
        Function::Elu { alpha } => map(values, |x| {
            let below = alpha * exp_m1_below_zero(x);
            if x < 0.0 { below } else { x }
        }),
        Function::Abs => map(values, f32::abs),
        Function::Neg => map(values, |x| -x),
        Function::Reciprocal => map(values, |x| 1.0 / x),
        Function::Log => map(values, libm::logf),
        Function::Floor | Function::Ceil | Function::Round | Function::Sign => {
            beyond_plain(function, values);
        }
    }
}

/// Functions that [`Function::is_plain`] leaves.
#[cfg(feature = "full")]
#[inline(always)]
fn beyond_plain(function: Function, values: &mut [f32]) {
    match function {
        Function::Floor => map(values, libm::floorf),
        Function::Ceil => map(values, libm::ceilf),
        Function::Round => map(values, libm::rintf),
        Function::Sign => map(values, sign),
        _ => {}
    }
}

/// Without the feature, no session has a step with these.
#[cfg(not(feature = "full"))]
fn beyond_plain(_: Function, _: &mut [f32]) {}

#[inline(always)]
fn map(values: &mut [f32], f: impl Fn(f32) -> f32) {
    values.iter_mut().for_each(|value| *value = f(*value));
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `max(0, min(1, x))`; NaN stays.
#[inline(always)]
fn unit(x: f32) -> f32 {
    let x = if x < 0.0 { 0.0 } else { x };
    if x > 1.0 { 1.0 } else { x }
}

/// `max(0, x)`; NaN stays.
#[inline(always)]
fn above_zero(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

/// -1, 1, or zero and NaN themselves.
#[cfg(feature = "full")]
#[inline(always)]
fn sign(x: f32) -> f32 {
    let above = if x > 0.0 { 1.0 } else { x };
    if x < 0.0 { -1.0 } else { above }
}

/// With `n = e^x`: `tanh(ln(1 + n)) = ((1 + n)^2 - 1) / ((1 + n)^2 + 1)`.
#[inline(always)]
fn mish(x: f32) -> f32 {
    let n = exp(x);
    let square = n * (n + 2.0);
    // From here on the quotient is 1 in f32; later the square overflows.
    if x > 20.0 { x } else { x * (square / (square + 2.0)) }
}

/// With `m = e^(-2|x|) - 1`: `tanh(|x|) = -m / (2 + m)`.
#[inline(always)]
fn tanh(x: f32) -> f32 {
    let m = exp_m1_below_zero(-2.0 * x.abs());
    let size = -m / (2.0 + m);
    if x < 0.0 { -size } else { size }
}

/// `e^x = 2^n * (1 + s)` with whole `n`.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    /// Beyond these the result is 0 or infinite.
    const RANGE: (f32, f32) = (-104.0, 89.0);
    let x = if x < RANGE.0 { RANGE.0 } else { x };
    let x = if x > RANGE.1 { RANGE.1 } else { x };
    let (n, s) = exponent(x);
    // In two factors, because 2^n may lie beyond what f32 can say.
    (1.0 + s) * power_of_two(n >> 1) * power_of_two(n.wrapping_sub(n >> 1))
}

/// `e^x - 1` for `x <= 0` without cancellation; of other numbers, any number; NaN stays.
#[inline(always)]
fn exp_m1_below_zero(x: f32) -> f32 {
    /// Below it the result is -1.
    const LOWEST: f32 = -20.0;
    let x = if x < LOWEST { LOWEST } else { x };
    let x = if x > 0.0 { 0.0 } else { x };
    let (n, s) = exponent(x);
    let power = power_of_two(n);
    power * s + (power - 1.0)
}

/// `(n, s)` such that `e^x = 2^n * (1 + s)`: with `r = x - n ln(2)`, `|r| <= ln(2) / 2`, seven terms of
/// the series of `e^r - 1` suffice.
#[inline(always)]
fn exponent(x: f32) -> (i32, f32) {
    /// Adding it rounds to a whole number: the spacing of f32 is 1 there.
    const ROUND: f32 = 12_582_912.0;
    /// The upper bits of ln(2): its products with whole numbers below 2^15 are exact.
    const LN_2_HIGH: f32 = 355.0 / 512.0;
    const LN_2_LOW: f32 = (core::f64::consts::LN_2 - LN_2_HIGH as f64) as f32;
    let rounded = x * LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    let series = 1.0 / 720.0 + r * (1.0 / 5040.0);
    let series = 1.0 / 24.0 + r * (1.0 / 120.0 + r * series);
    let series = r + r * r * (0.5 + r * (1.0 / 6.0 + r * series));
    (rounded.to_bits().wrapping_sub(ROUND.to_bits()) as i32, series)
}

/// `2^n` for `-126 <= n <= 127`.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// Near 0 seven terms of the series, elsewhere the complement.
#[inline(always)]
fn erf(x: f32) -> f32 {
    const TERMS: [f32; 7] =
        [1.0 / 9360.0, -1.0 / 1320.0, 1.0 / 216.0, -1.0 / 42.0, 1.0 / 10.0, -1.0 / 3.0, 1.0];
    let square = x * x;
    let near = FRAC_2_SQRT_PI * x * TERMS.iter().fold(0.0, |sum, term| sum * square + term);
    let size = 1.0 - erfc(x.abs());
    let far = if x < 0.0 { -size } else { size };
    if x.abs() < 0.5 { near } else { far }
}

/// `1 - erf(x)`: Chebyshev approximation of Press et al., "Numerical Recipes", section 6.2, with an
/// error below 1.2e-7 times the value.
#[inline(always)]
fn erfc(x: f32) -> f32 {
    const TERMS: [f32; 9] = [
        0.170_872_77,
        -0.822_152_23,
        1.488_515_9,
        -1.135_204,
        0.278_868_07,
        -0.186_288_06,
        0.096_784_18,
        0.374_091_96,
        1.000_023_7,
    ];
    let z = x.abs();
    let t = 1.0 / (1.0 + 0.5 * z);
    let polynomial = TERMS.iter().fold(0.0, |sum, term| sum * t + term);
    let tail = t * exp((polynomial * t - 1.265_512_2) - z * z);
    if x < 0.0 { 2.0 - tail } else { tail }
}

#[cfg(test)]
mod tests {
    use super::exp;

    #[test]
    fn exp_is_correct_to_two_units_in_the_last_place() {
        for k in -870_000..=880_000i32 {
            let x = k as f32 * 1e-4;
            let (found, expected) = (f64::from(exp(x)), libm::exp(f64::from(x)));
            assert!((found - expected).abs() <= 2.4e-7 * expected, "{x}: {found} {expected}");
        }
    }

    #[test]
    fn exp_of_extremes_is_what_ieee_says() {
        let cases = [(f32::NEG_INFINITY, 0.0), (f32::INFINITY, f32::INFINITY), (0.0, 1.0)];
        for (x, y) in cases {
            assert_eq!(exp(x), y);
        }
        assert!(exp(f32::NAN).is_nan() && exp(-f32::NAN).is_nan());
        assert!(exp(-100.0) > 0.0 && exp(-110.0) == 0.0 && exp(88.8) == f32::INFINITY);
    }
}
