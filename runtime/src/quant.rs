//! The arithmetic of 8-bit networks: one scalar definition for every kernel on every machine.
//!
//! A value `q` stands for `(q - zero_point) * scale`. Sums are 32-bit and wrap; a sum becomes an 8-bit
//! value by [`requantize`]: one multiplication in f32, a clamp, rounding to the nearest integer (of
//! two, to the even one). Each is one IEEE operation, none is fused with another, so that any machine
//! gives the same bits. (Jacob et al., 2018, equation 4, with a float in place of the fixed-point
//! multiplier.)

use crate::step::Quantization;

/// `1.5 * 2^23`: added to an f32 of magnitude at most `2^22` it leaves no room for a fraction.
const MAGIC: f32 = 12_582_912.0;

/// The nearest integer, of two the even one, for `|t| <= 2^22`.
#[inline(always)]
pub fn round_half_even(t: f32) -> f32 {
    (t + MAGIC) - MAGIC
}

/// `t` inside `lo..=hi`; what is no number becomes `lo`.
#[inline(always)]
pub fn clamp(t: f32, lo: f32, hi: f32) -> f32 {
    let t = if t > lo { t } else { lo };
    if t < hi { t } else { hi }
}

/// `round(clamp(sum * scale, lo, hi)) + zero_point`.
///
/// `lo` and `hi` are relative to the zero point: `lo + zero_point >= -128`, `hi + zero_point <= 127`.
#[inline(always)]
pub fn requantize(sum: i32, scale: f32, (lo, hi): (f32, f32), zero_point: i8) -> i8 {
    // A sum above 2^24 is rounded to the nearest f32, of two to the even one.
    to_s8(sum as f32 * scale, (lo, hi), zero_point)
}

/// `round(clamp(t, lo, hi)) + zero_point`.
#[inline(always)]
pub fn to_s8(t: f32, (lo, hi): (f32, f32), zero_point: i8) -> i8 {
    // The integer is in the low bits of the sum: no saturating conversion, which compilers do not vectorise.
    let rounded = clamp(t, lo, hi) + MAGIC;
    let integer = rounded.to_bits().wrapping_sub(MAGIC.to_bits()).cast_signed();
    integer.wrapping_add(zero_point.into()) as i8
}

/// The bounds of s8 relative to a zero point.
#[inline(always)]
pub const fn bounds(zero_point: i8) -> (f32, f32) {
    let zero = zero_point as f32;
    (-128.0 - zero, 127.0 - zero)
}

/// The value that stands for a real: `round(clamp(x * (1 / scale))) + zero_point`. What is no number
/// becomes -128.
#[inline(always)]
pub fn quantize(x: f32, Quantization { scale, zero_point }: Quantization) -> i8 {
    to_s8(x * scale.recip(), bounds(zero_point), zero_point)
}

/// What a value stands for.
#[inline(always)]
pub fn dequantize(q: i8, Quantization { scale, zero_point }: Quantization) -> f32 {
    f32::from(i16::from(q) - i16::from(zero_point)) * scale
}

#[cfg(test)]
mod tests {
    use super::{dequantize, quantize, requantize, round_half_even};
    use crate::step::Quantization;

    #[test]
    fn halves_are_rounded_to_the_even_neighbour() {
        for (t, rounded) in [(0.5, 0.0), (1.5, 2.0), (2.5, 2.0), (-0.5, 0.0), (-1.5, -2.0)] {
            assert_eq!(round_half_even(t), rounded);
        }
        assert_eq!(round_half_even(-255.4), -255.0);
    }

    #[test]
    fn every_value_survives_the_way_to_a_real_and_back() {
        for (scale, zero_point) in [(0.1, 3), (1.0, -128), (1e-3, 127), (7.3, 0)] {
            let quantization = Quantization { scale, zero_point };
            for q in i8::MIN..=i8::MAX {
                assert_eq!(quantize(dequantize(q, quantization), quantization), q);
            }
        }
    }

    #[test]
    fn what_is_too_large_or_no_number_ends_at_a_bound() {
        let quantization = Quantization { scale: 0.5, zero_point: 10 };
        let ends = [(f32::INFINITY, 127), (f32::NEG_INFINITY, -128), (f32::NAN, -128), (1e9, 127)];
        for (x, q) in ends {
            assert_eq!(quantize(x, quantization), q);
        }
        assert_eq!(requantize(i32::MAX, 1.0, (-10.0, 100.0), 10), 110);
        assert_eq!(requantize(i32::MIN, 1.0, (-10.0, 100.0), 10), 0);
    }
}
