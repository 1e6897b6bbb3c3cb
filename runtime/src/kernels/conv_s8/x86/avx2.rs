//! AVX2 without dot products: tiles of up to 2 pixels x 16 channels.
//!
//! Bytes are widened to 16 bits, and `vpmaddwd` adds the products of two neighbouring input channels: exact,
//! unlike `vpmaddubsw`, which saturates. A channel keeps two sums, of the even and of the odd pairs;
//! they are added in the end.

use super::{Args, ConvolutionS8, Kernel, Row, conv_rows};
use crate::cpu::Feature;
use crate::kernels::arch::x86_64::s8::{add_fours_avx2, load_i32_avx2};
use crate::kernels::blocking::{Menu, Tile};
use core::arch::x86_64::*;
use core::ops::Range;

pub(in super::super) const KERNEL: Kernel<ConvolutionS8> =
    Kernel { name: "conv_s8_2x16_avx2", needs: Some(Feature::Avx2), run };

/// 8 sums of 16 registers: the others hold pixels, weights and products, for which 12 sums would leave
/// one register too few.
const MENU: &Menu = &[2];

#[target_feature(enable = "avx2,fma")]
fn run(args: &Args<'_>, rows: Range<usize>, y: &mut [u8], scratch: &mut [u8]) {
    let computed = conv_rows(args, rows, y, scratch, (MENU, 0), |row, at, y| tile_of(row, at, y));
    debug_assert!(computed.is_some(), "Args::new and Kernel::run proved all extents");
}

/// The tile of the size that `at` names; [`MENU`] names no other.
#[target_feature(enable = "avx2,fma")]
fn tile_of(row: &Row<'_>, at: Tile, y: &mut [u8]) -> Option<()> {
    match at.pixels {
        1 => tile::<1>(row, at.column, y),
        2 => tile::<2>(row, at.column, y),
        _ => None,
    }
}

/// `MR` pixels from `column` on by one panel, sums in registers from bias to store.
#[target_feature(enable = "avx2,fma")]
fn tile<const MR: usize>(row: &Row<'_>, column: usize, y: &mut [u8]) -> Option<()> {
    let mut pairs = [[_mm256_setzero_si256(); 4]; MR];
    for ky in 0..row.runs.rows {
        for run in 0..row.runs.in_row {
            let (fours, rows) = row.run(column, (ky, run))?;
            add_fours_avx2(&mut pairs, fours, rows);
        }
    }
    let bias = row.bias::<MR, 1>(column)?;
    let mut sum = [[_mm256_setzero_si256(); 2]; MR];
    for m in 0..MR {
        let bias = load_i32_avx2(&bias[m][0]);
        for h in 0..2 {
            // `hadd` works in 128-bit halves: the permutation puts the quarters in order.
            let quarters = _mm256_hadd_epi32(pairs[m][2 * h], pairs[m][2 * h + 1]);
            let products = _mm256_permute4x64_epi64::<0b11_01_10_00>(quarters);
            sum[m][h] = _mm256_add_epi32(bias[h], products);
        }
    }
    let pitch = row.geometry().output.c;
    let (y, width) = row.target::<1>(y, column)?;
    row.args.requantize.store_avx2(&sum, row.vector(), y, (pitch, width))
}
