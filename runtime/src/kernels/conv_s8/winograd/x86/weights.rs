//! Weights of one panel, transformed along the columns: `[a][pair of input channels][kx][16][2]`.
//!
//! They are made anew in each inference, since a file that held them would be several times as long. The
//! other half of the transform is left to the multiplication, which has time for it: it would double
//! what has to be written here.

use super::super::super::Args;
use super::super::cover::POINTS;
use super::super::{LINE, Winograd};
use super::transform;
use crate::kernels::arch::x86_64::words::{load_bytes_avx512, store_words_avx512};
use core::arch::x86_64::*;
use core::ops::Range;

/// Taps of the kernel along each axis.
const TAPS: usize = 3;

/// Bytes of weights of four input channels: `[16][4]`.
const ROW: usize = 2 * LINE;

/// Transforms the weights of `panel` (counted over all groups) of the input channels in `fours`. `None`
/// when `to` is too short.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn transform_panel(
    args: &Args<'_>,
    plan: &Winograd,
    panel: usize,
    fours: &Range<usize>,
    to: &mut [i16],
) -> Option<()> {
    let g = &plan.geometry;
    let (rows, _) = args.tensors.weights.get(panel * g.panel_rows() * ROW..)?.as_chunks::<ROW>();
    let pitch = plan.weights_pitch();
    let mut rest = to;
    for four in fours.clone() {
        for order in orders() {
            transform_pair(rows.get(four..)?, g.fours(), order, pitch, rest)?;
            rest = rest.get_mut(TAPS * LINE..)?;
        }
    }
    Some(())
}

/// Transforms a pair of input channels of 16 output channels, whose bytes `order` names. `rows` begins at
/// their first tap, `taps` apart.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn transform_pair(
    rows: &[[i8; ROW]],
    taps: usize,
    order: __m512i,
    pitch: usize,
    to: &mut [i16],
) -> Option<()> {
    let words = |ky: usize, kx: usize| {
        let bytes = load_bytes_avx512(rows.get((ky * TAPS + kx) * taps)?);
        Some(_mm512_srai_epi16::<8>(_mm512_shuffle_epi8(bytes, order)))
    };
    for kx in 0..TAPS {
        let column = transform::weights([words(0, kx)?, words(1, kx)?, words(2, kx)?]);
        for a in 0..POINTS {
            store_words_avx512(to.get_mut(a * pitch + kx * LINE..)?.first_chunk_mut()?, column[a]);
        }
    }
    Some(())
}

/// The shuffles that take the first and the last two bytes of each four to the high halves of words;
/// whatever is in the low halves will be shifted out.
#[target_feature(enable = "avx512f")]
#[inline]
fn orders() -> [__m512i; 2] {
    [
        _mm512_set4_epi32(0x0d0d_0c0c, 0x0909_0808, 0x0505_0404, 0x0101_0000),
        _mm512_set4_epi32(0x0f0f_0e0e, 0x0b0b_0a0a, 0x0707_0606, 0x0303_0202),
    ]
}
