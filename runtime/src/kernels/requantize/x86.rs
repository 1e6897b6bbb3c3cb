//! [`Requantize`] of tiles whose sums are still in registers.
//!
//! `max` and `min` return their second operand when one is no number or both are zeros: with the bound
//! there they do what [`clamp`](crate::quant::clamp) does.

use super::{NR, Requantize};
use crate::kernels::arch::x86_64::s8::{Results, store_channels, store_floats};
use crate::kernels::arch::x86_64::s8_columns::transpose_lanes;
use crate::kernels::arch::x86_64::{load_avx512, load_panel_avx};
use core::arch::x86_64::*;

impl Requantize<'_> {
    /// Stores the results of neighbouring pixels by `NB` panels, of which `at` is the first of the factors;
    /// `pitch` values from one pixel to the next, `width` channels. `None` where `y` is too short.
    ///
    /// The sums are read from memory: a tile keeps them in registers to its end, and the code of this
    /// is there once for all sizes of tiles.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    #[inline(never)]
    pub(in crate::kernels) fn store_avx512<const NB: usize>(
        &self,
        sums: &[[__m512i; NB]],
        at: usize,
        y: &mut [u8],
        (pitch, width): (usize, usize),
    ) -> Option<()> {
        let size = self.size();
        let scale = factors_avx512(self.scale, at)?;
        let negative = match self.negative {
            [] => None,
            negative => Some(factors_avx512(negative, at)?),
        };
        // At least 1 anyway; said here, `chunks_mut` needs no panic path.
        for (pixel, sums) in y.chunks_mut((pitch * size).max(1)).zip(sums) {
            let channels = pixel.get_mut(..width * size)?;
            let t = self.bounded_avx512(sums, &scale, negative.as_ref());
            match self.zero_point {
                Some(zero_point) => store_channels(channels, narrowed(&t, zero_point)),
                None => {
                    for (to, t) in channels.chunks_mut(NR * 4).zip(t) {
                        store_floats(to, t);
                    }
                }
            }
        }
        Some(())
    }

    /// Sums times factors, inside the bounds.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn bounded_avx512<const NB: usize>(
        &self,
        sums: &[__m512i; NB],
        scale: &[__m512; NB],
        negative: Option<&[__m512; NB]>,
    ) -> [__m512; NB] {
        let (lo, hi) = (_mm512_set1_ps(self.bounds.0), _mm512_set1_ps(self.bounds.1));
        let mut t = [_mm512_setzero_ps(); NB];
        for n in 0..NB {
            let mut factor = scale[n];
            if let Some(negative) = negative {
                let below = _mm512_cmplt_epi32_mask(sums[n], _mm512_setzero_si512());
                factor = _mm512_mask_blend_ps(below, factor, negative[n]);
            }
            let product = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[n]), factor);
            t[n] = _mm512_min_ps(_mm512_max_ps(product, lo), hi);
        }
        t
    }

    /// The factors of 64 channels from `at` on.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(in crate::kernels) fn column_factors(&self, at: usize) -> ColumnFactors {
        let negative = match self.negative {
            [] => None,
            negative => Some(column_factors(negative, at)),
        };
        ColumnFactors { scale: column_factors(self.scale, at), negative }
    }

    /// Stores the results of neighbouring pixels by 64 channels in the order of
    /// [`s8_columns`](crate::kernels::arch::x86_64::s8_columns); `pitch` values from one pixel to the
    /// next, `width` channels. `None` where `y` is too short.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    #[inline]
    pub(in crate::kernels) fn store_columns_avx512(
        &self,
        sums: &[[__m512i; 4]],
        factors: &ColumnFactors,
        y: &mut [u8],
        (pitch, width): (usize, usize),
    ) -> Option<()> {
        let size = self.size();
        // At least 1 anyway; said here, `chunks_mut` needs no panic path.
        for (pixel, sums) in y.chunks_mut((pitch * size).max(1)).zip(sums) {
            let channels = pixel.get_mut(..width * size)?;
            let t = self.bounded_avx512(sums, &factors.scale, factors.negative.as_ref());
            if let Some(zero_point) = self.zero_point {
                store_channels(channels, packed(&t, zero_point));
            } else {
                let ordered = transpose_lanes(t.map(|t| _mm512_castps_si512(t)));
                for (to, t) in channels.chunks_mut(NR * 4).zip(ordered) {
                    store_floats(to, _mm512_castsi512_ps(t));
                }
            }
        }
        Some(())
    }
}

/// Factors in the order of [`s8_columns`](crate::kernels::arch::x86_64::s8_columns).
#[derive(Clone, Copy, Debug)]
pub(in crate::kernels) struct ColumnFactors {
    scale: [__m512; 4],
    negative: Option<[__m512; 4]>,
}

impl Requantize<'_> {
    /// [`Requantize::store_avx512`] for one panel of two registers.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub(in crate::kernels) fn store_avx2<const MR: usize>(
        &self,
        sums: &[[__m256i; 2]; MR],
        at: usize,
        y: &mut [u8],
        (pitch, width): (usize, usize),
    ) -> Option<()> {
        let scale = load_panel_avx(self.scale.get(at..)?.first_chunk()?);
        let negative = match self.negative {
            [] => scale,
            negative => load_panel_avx(negative.get(at..)?.first_chunk()?),
        };
        let (lo, hi) = (_mm256_set1_ps(self.bounds.0), _mm256_set1_ps(self.bounds.1));
        let mut t = [[_mm256_setzero_ps(); 2]; MR];
        for m in 0..MR {
            for h in 0..2 {
                // The sign bit of a sum chooses the factor.
                let sign = _mm256_castsi256_ps(sums[m][h]);
                let factor = _mm256_blendv_ps(scale[h], negative[h], sign);
                let product = _mm256_mul_ps(_mm256_cvtepi32_ps(sums[m][h]), factor);
                t[m][h] = _mm256_min_ps(_mm256_max_ps(product, lo), hi);
            }
        }
        let Some(zero_point) = self.zero_point else {
            Results::<MR, 1, 4>::new(y, pitch * 4, width)?.store_avx2(&t);
            return Some(());
        };
        let zero_point = _mm256_set1_epi16(zero_point.into());
        let values = t.map(|[a, b]| {
            let words = _mm256_packs_epi32(_mm256_cvtps_epi32(a), _mm256_cvtps_epi32(b));
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(words);
            let words = _mm256_add_epi16(words, zero_point);
            let (low, high) = (_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
            _mm_packs_epi16(low, high)
        });
        Results::<MR, 1, 1>::new(y, pitch, width)?.store_avx2(&values);
        Some(())
    }
}

/// 64 factors from `at` on in the order of registers; zeros behind the end.
#[target_feature(enable = "avx512f")]
#[inline]
fn column_factors(values: &[f32], at: usize) -> [__m512; 4] {
    let mut registers = [_mm512_setzero_si512(); 4];
    for (i, register) in registers.iter_mut().enumerate() {
        if let Some(values) = values.get(at + i * NR..).and_then(<[f32]>::first_chunk) {
            *register = _mm512_castps_si512(load_avx512(values));
        }
    }
    transpose_lanes(registers).map(|register| _mm512_castsi512_ps(register))
}

/// `NB` vectors of 16 factors from `at` on.
#[target_feature(enable = "avx512f")]
#[inline]
fn factors_avx512<const NB: usize>(values: &[f32], at: usize) -> Option<[__m512; NB]> {
    let vectors: &[[f32; NR]; NB] = values.get(at..)?.as_chunks().0.first_chunk()?;
    let mut factors = [_mm512_setzero_ps(); NB];
    for n in 0..NB {
        factors[n] = load_avx512(&vectors[n]);
    }
    Some(factors)
}

/// Up to 4 vectors, rounded, as neighbouring bytes.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn narrowed<const NB: usize>(t: &[__m512; NB], zero_point: i8) -> __m512i {
    let mut four = [_mm512_setzero_ps(); 4];
    four.iter_mut().zip(t).for_each(|(to, from)| *to = *from);
    // The packing works in 128-bit lanes: four channels of each vector lie side by side.
    let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    _mm512_permutexvar_epi32(order, packed(&four, zero_point))
}

/// 4 vectors, rounded, as bytes: lane after lane the values of all four.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn packed(t: &[__m512; 4], zero_point: i8) -> __m512i {
    let [a, b, c, d] = t.map(|t| _mm512_cvtps_epi32(t));
    let zero_point = _mm512_set1_epi16(zero_point.into());
    let low = _mm512_add_epi16(_mm512_packs_epi32(a, b), zero_point);
    let high = _mm512_add_epi16(_mm512_packs_epi32(c, d), zero_point);
    _mm512_packs_epi16(low, high)
}
