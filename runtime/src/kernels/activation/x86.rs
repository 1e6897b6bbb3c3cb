//! The activation of a tile whose sums are still in registers.
//!
//! `max` and `min` return their second operand when one is NaN: NaN stays NaN.

use crate::kernels::arch::x86_64::{load_avx512, load_panel_avx};
use crate::step::Activation;
use core::arch::x86_64::*;

/// What happens to the sums of `NB` panels of 16 channels.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Finish<const NB: usize> {
    /// `y < 0 ? slope * y : y`.
    Slopes([[f32; 16]; NB]),
    /// `min(max(y, lo), hi)`.
    Bounds(f32, f32),
}

impl<const NB: usize> Finish<NB> {
    /// `slopes` are those of the panels, for PReLU.
    #[inline]
    pub(crate) fn new(activation: Activation, slopes: Option<&[[f32; 16]; NB]>) -> Self {
        match (activation, slopes) {
            (Activation::LeakyRelu { slope }, _) => Self::Slopes([[slope; 16]; NB]),
            (Activation::PRelu { .. }, Some(slopes)) => Self::Slopes(*slopes),
            (Activation::Clamp { lo, hi }, _) => Self::Bounds(lo, hi),
            (Activation::None | Activation::PRelu { .. }, _) => {
                Self::Bounds(f32::NEG_INFINITY, f32::INFINITY)
            }
        }
    }

    /// Applies it to a register a panel.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn apply_avx512<const MR: usize>(&self, sum: &mut [[__m512; NB]; MR]) {
        match self {
            Self::Slopes(slopes) => {
                for n in 0..NB {
                    let slope = load_avx512(&slopes[n]);
                    for m in 0..MR {
                        let y = sum[m][n];
                        let negative = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(y, _mm512_setzero_ps());
                        sum[m][n] = _mm512_mask_mul_ps(y, negative, y, slope);
                    }
                }
            }
            Self::Bounds(lo, hi) => {
                let (lo, hi) = (_mm512_set1_ps(*lo), _mm512_set1_ps(*hi));
                for m in 0..MR {
                    for n in 0..NB {
                        sum[m][n] = _mm512_min_ps(hi, _mm512_max_ps(lo, sum[m][n]));
                    }
                }
            }
        }
    }
}

impl Finish<1> {
    /// Applies it to two registers a panel.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(crate) fn apply_avx2<const MR: usize>(&self, sum: &mut [[__m256; 2]; MR]) {
        match self {
            Self::Slopes([slopes]) => {
                let slopes = load_panel_avx(slopes);
                for m in 0..MR {
                    for h in 0..2 {
                        let y = sum[m][h];
                        let negative = _mm256_cmp_ps::<_CMP_LT_OQ>(y, _mm256_setzero_ps());
                        let scaled = _mm256_mul_ps(y, slopes[h]);
                        sum[m][h] = _mm256_blendv_ps(y, scaled, negative);
                    }
                }
            }
            Self::Bounds(lo, hi) => {
                let (lo, hi) = (_mm256_set1_ps(*lo), _mm256_set1_ps(*hi));
                for m in 0..MR {
                    for h in 0..2 {
                        sum[m][h] = _mm256_min_ps(hi, _mm256_max_ps(lo, sum[m][h]));
                    }
                }
            }
        }
    }
}
