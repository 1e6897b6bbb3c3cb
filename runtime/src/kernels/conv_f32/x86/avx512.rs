//! AVX-512: tiles of up to 14 pixels x 32, 9 x 48, 7 x 64 or 14 x 16 channels, 28 sums in registers.

use super::super::{Args, Kernel, NR};
use super::blocking::Tile;
use super::{Row, conv_rows};
use crate::cpu::Feature;
use crate::kernels::arch::x86_64::{add_taps_avx512, load_avx512, store_avx512};
use core::arch::x86_64::*;
use core::ops::Range;

pub(in super::super) const KERNEL: Kernel =
    Kernel { name: "conv_f32_14x32_avx512", needs: Some(Feature::Avx512), run };

/// 28 sums of 32 registers: the others hold weights and a pixel.
const MENU: &[usize] = &[14, 14, 9, 7];

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn run(args: &Args<'_>, rows: Range<usize>, y: &mut [f32], scratch: &mut [f32]) {
    let computed = conv_rows(args, rows, y, scratch, MENU, |row, at, y| tile_of(row, at, y));
    debug_assert!(computed.is_some(), "Args::new and Kernel::run proved all extents");
}

macro_rules! tile_of_pixels {
    ($row:ident, $tile:ident, $y:ident, $panels:literal: $($pixels:literal)+) => {
        match $tile.pixels {
            $($pixels => tile::<$pixels, $panels>($row, $tile.column, $y),)+
            _ => None,
        }
    };
}

/// The tile of the size that `at` names; [`MENU`] names no other.
#[target_feature(enable = "avx512f")]
fn tile_of(row: &Row<'_>, at: Tile, y: &mut [f32]) -> Option<()> {
    match at.panels {
        1 => tile_of_pixels!(row, at, y, 1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        2 => tile_of_pixels!(row, at, y, 2: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        3 => tile_of_pixels!(row, at, y, 3: 1 2 3 4 5 6 7 8 9),
        4 => tile_of_pixels!(row, at, y, 4: 1 2 3 4 5 6 7),
        _ => None,
    }
}

/// `MR` pixels from `column` on by `NB` panels, sums in registers from bias to store.
#[target_feature(enable = "avx512f")]
fn tile<const MR: usize, const NB: usize>(
    row: &Row<'_>,
    column: usize,
    y: &mut [f32],
) -> Option<()> {
    let mut sum = [[_mm512_setzero_ps(); NB]; MR];
    for m in 0..MR {
        for n in 0..NB {
            sum[m][n] = load_avx512(row.bias(column + m, n)?);
        }
    }
    for ky in row.ky() {
        for kx in 0..row.geometry().columns.taps {
            add_taps_avx512(&mut sum, row.taps(column, ky, kx)?, row.panels(ky, kx)?);
        }
    }
    for n in 0..NB {
        finish(row, n, &mut sum);
    }
    for m in 0..MR {
        for n in 0..NB {
            store(row.channels(y, column + m, n)?, sum[m][n]);
        }
    }
    Some(())
}

/// The activation on panel `n` of a tile. `max` and `min` return their second operand when one
/// is NaN: NaN stays NaN.
#[target_feature(enable = "avx512f")]
#[inline]
fn finish<const MR: usize, const NB: usize>(row: &Row<'_>, n: usize, sum: &mut [[__m512; NB]; MR]) {
    if let Some(slopes) = row.slopes(n) {
        let slopes = load_avx512(&slopes);
        for m in 0..MR {
            let negative = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(sum[m][n], _mm512_setzero_ps());
            sum[m][n] = _mm512_mask_mul_ps(sum[m][n], negative, sum[m][n], slopes);
        }
    } else {
        let (lo, hi) = row.bounds();
        for m in 0..MR {
            let above = _mm512_max_ps(_mm512_set1_ps(lo), sum[m][n]);
            sum[m][n] = _mm512_min_ps(_mm512_set1_ps(hi), above);
        }
    }
}

/// Stores as many channels as `y` has, at most 16.
#[target_feature(enable = "avx512f")]
#[inline]
fn store(y: &mut [f32], value: __m512) {
    if let Some(whole) = y.first_chunk_mut() {
        return store_avx512(whole, value);
    }
    let mut channels = [0.0; NR];
    store_avx512(&mut channels, value);
    y.iter_mut().zip(channels).for_each(|(to, from)| *to = from);
}
