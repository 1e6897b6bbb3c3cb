//! AVX2 and FMA: tiles of up to 6 pixels x 16 channels, 12 sums of two registers a pixel.

use super::super::{Args, Kernel, NR};
use super::blocking::Tile;
use super::{Row, conv_rows};
use crate::cpu::Feature;
use crate::kernels::arch::x86_64::{add_taps_avx2, load_avx, store_avx};
use core::arch::x86_64::*;
use core::ops::Range;

pub(in super::super) const KERNEL: Kernel =
    Kernel { name: "conv_f32_6x16_avx2", needs: Some(Feature::Avx2), run };

/// 12 sums of 16 registers: the others hold weights and a pixel.
const MENU: &[usize] = &[6];

#[target_feature(enable = "avx2,fma")]
fn run(args: &Args<'_>, rows: Range<usize>, y: &mut [f32], scratch: &mut [f32]) {
    let computed = conv_rows(args, rows, y, scratch, MENU, |row, at, y| tile_of(row, at, y));
    debug_assert!(computed.is_some(), "Args::new and Kernel::run proved all extents");
}

/// The tile of the size that `at` names; [`MENU`] names no other.
#[target_feature(enable = "avx2,fma")]
fn tile_of(row: &Row<'_>, at: Tile, y: &mut [f32]) -> Option<()> {
    match at.pixels {
        1 => tile::<1>(row, at.column, y),
        2 => tile::<2>(row, at.column, y),
        3 => tile::<3>(row, at.column, y),
        4 => tile::<4>(row, at.column, y),
        5 => tile::<5>(row, at.column, y),
        6 => tile::<6>(row, at.column, y),
        _ => None,
    }
}

/// `MR` pixels from `column` on by one panel, sums in registers from bias to store.
#[target_feature(enable = "avx2,fma")]
fn tile<const MR: usize>(row: &Row<'_>, column: usize, y: &mut [f32]) -> Option<()> {
    let mut sum = [[_mm256_setzero_ps(); 2]; MR];
    for m in 0..MR {
        sum[m] = load_avx(row.bias(column + m, 0)?);
    }
    for ky in row.ky() {
        for kx in 0..row.geometry().columns.taps {
            add_taps_avx2(&mut sum, row.taps(column, ky, kx)?, row.panels(ky, kx)?);
        }
    }
    finish(row, &mut sum);
    for m in 0..MR {
        store(row.channels(y, column + m, 0)?, sum[m]);
    }
    Some(())
}

/// The activation. `max` and `min` return their second operand when one is NaN: NaN stays NaN.
#[target_feature(enable = "avx2,fma")]
#[inline]
fn finish<const MR: usize>(row: &Row<'_>, sum: &mut [[__m256; 2]; MR]) {
    if let Some(slopes) = row.slopes(0) {
        let slopes = load_avx(&slopes);
        for m in 0..MR {
            for h in 0..2 {
                let negative = _mm256_cmp_ps::<_CMP_LT_OQ>(sum[m][h], _mm256_setzero_ps());
                let scaled = _mm256_mul_ps(sum[m][h], slopes[h]);
                sum[m][h] = _mm256_blendv_ps(sum[m][h], scaled, negative);
            }
        }
    } else {
        let (lo, hi) = row.bounds();
        for m in 0..MR {
            for h in 0..2 {
                let above = _mm256_max_ps(_mm256_set1_ps(lo), sum[m][h]);
                sum[m][h] = _mm256_min_ps(_mm256_set1_ps(hi), above);
            }
        }
    }
}

/// Stores as many channels as `y` has, at most 16.
#[target_feature(enable = "avx2,fma")]
#[inline]
fn store(y: &mut [f32], value: [__m256; 2]) {
    if let Some(whole) = y.first_chunk_mut() {
        return store_avx(whole, value);
    }
    let mut channels = [0.0; NR];
    store_avx(&mut channels, value);
    y.iter_mut().zip(channels).for_each(|(to, from)| *to = from);
}
