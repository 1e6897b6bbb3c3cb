//! [`Requantize`] of tiles whose sums are still in registers.
//!
//! `max` and `min` return their second operand when one is no number or both are zeros: with the bound
//! there they do what [`clamp`](crate::quant::clamp) does.

use super::{NR, Requantize};
use crate::kernels::arch::x86_64::s8::Results;
use crate::kernels::arch::x86_64::s8_columns::{Pixels64, transpose_lanes};
use crate::kernels::arch::x86_64::{load_avx512, load_panel_avx};
use core::arch::x86_64::*;

impl Requantize<'_> {
    /// Stores the results of `MR` pixels by `NB` panels, of which `at` is the first of the factors;
    /// `pitch` values from one pixel to the next, `width` channels. `None` where `y` is too short.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    #[inline]
    pub(in crate::kernels) fn store_avx512<const MR: usize, const NB: usize>(
        &self,
        sums: &[[__m512i; NB]; MR],
        at: usize,
        y: &mut [u8],
        (pitch, width): (usize, usize),
    ) -> Option<()> {
        let (lo, hi) = (_mm512_set1_ps(self.bounds.0), _mm512_set1_ps(self.bounds.1));
        let mut t = self.products_avx512(sums, at)?;
        for m in 0..MR {
            for n in 0..NB {
                t[m][n] = _mm512_min_ps(_mm512_max_ps(t[m][n], lo), hi);
            }
        }
        let Some(zero_point) = self.zero_point else {
            Results::<MR, NB, 4>::new(y, pitch * 4, width)?.store_avx512(&t);
            return Some(());
        };
        let zero_point = _mm512_set1_epi32(zero_point.into());
        let mut q = *sums;
        for m in 0..MR {
            for n in 0..NB {
                q[m][n] = _mm512_add_epi32(_mm512_cvtps_epi32(t[m][n]), zero_point);
            }
        }
        Results::<MR, NB, 1>::new(y, pitch, width)?.store_avx512(&q);
        Some(())
    }

    /// Stores the results of `MR` pixels by 64 channels, of which `at` is the first, in the order of
    /// [`s8_columns`](crate::kernels::arch::x86_64::s8_columns); `pitch` values from one pixel to the
    /// next, `width` channels. `None` where `y` is too short.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    #[inline]
    pub(in crate::kernels) fn store_columns_avx512<const MR: usize>(
        &self,
        sums: &[[__m512i; 4]; MR],
        at: usize,
        y: &mut [u8],
        (pitch, width): (usize, usize),
    ) -> Option<()> {
        let (lo, hi) = (_mm512_set1_ps(self.bounds.0), _mm512_set1_ps(self.bounds.1));
        let scale = column_factors(self.scale, at);
        let negative =
            if self.negative.is_empty() { scale } else { column_factors(self.negative, at) };
        let mut t = [[_mm512_setzero_ps(); 4]; MR];
        for m in 0..MR {
            for i in 0..4 {
                let below = _mm512_cmplt_epi32_mask(sums[m][i], _mm512_setzero_si512());
                let factor = _mm512_mask_blend_ps(below, scale[i], negative[i]);
                let product = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[m][i]), factor);
                t[m][i] = _mm512_min_ps(_mm512_max_ps(product, lo), hi);
            }
        }
        let Some(zero_point) = self.zero_point else {
            let values = t.map(|t| transpose_lanes(t.map(|t| _mm512_castps_si512(t))));
            Pixels64::<MR, 4>::new(y, pitch * 4, width)?.store(&values);
            return Some(());
        };
        let zero_point = _mm512_set1_epi16(zero_point.into());
        let values = t.map(|t| {
            let [a, b, c, d] = t.map(|t| _mm512_cvtps_epi32(t));
            let low = _mm512_add_epi16(_mm512_packs_epi32(a, b), zero_point);
            let high = _mm512_add_epi16(_mm512_packs_epi32(c, d), zero_point);
            _mm512_packs_epi16(low, high)
        });
        Pixels64::<MR, 1>::new(y, pitch, width)?.store(&values);
        Some(())
    }

    /// Sums times factors.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn products_avx512<const MR: usize, const NB: usize>(
        &self,
        sums: &[[__m512i; NB]; MR],
        at: usize,
    ) -> Option<[[__m512; NB]; MR]> {
        let scale = vectors::<NB>(self.scale, at)?;
        let mut t = [[_mm512_setzero_ps(); NB]; MR];
        for n in 0..NB {
            let scale = load_avx512(&scale[n]);
            for m in 0..MR {
                t[m][n] = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[m][n]), scale);
            }
        }
        if !self.negative.is_empty() {
            let negative = vectors::<NB>(self.negative, at)?;
            for n in 0..NB {
                let factor = load_avx512(&negative[n]);
                for m in 0..MR {
                    let below = _mm512_cmplt_epi32_mask(sums[m][n], _mm512_setzero_si512());
                    let sum = _mm512_cvtepi32_ps(sums[m][n]);
                    t[m][n] = _mm512_mask_mul_ps(t[m][n], below, sum, factor);
                }
            }
        }
        Some(t)
    }
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
#[inline]
fn vectors<const NB: usize>(values: &[f32], at: usize) -> Option<&[[f32; NR]; NB]> {
    values.get(at..)?.as_chunks().0.first_chunk()
}
