//! AVX2 and FMA: tiles of up to 6 pixels x 16 channels, 12 sums of two registers a pixel.

use super::super::{Args, ConvF32, Kernel};
use super::{Row, conv_rows};
use crate::cpu::Feature;
use crate::kernels::arch::x86_64::{add_taps_avx2, load_panel_avx};
use crate::kernels::blocking::{Menu, Tile};
use core::arch::x86_64::*;
use core::ops::Range;

pub(in super::super) const KERNEL: Kernel<ConvF32> =
    Kernel { name: "conv_f32_6x16_avx2", needs: Some(Feature::Avx2), run };

/// 12 sums of 16 registers: the others hold weights and a pixel.
const MENU: &Menu = &[6];

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
    let bias = row.bias::<MR, 1>(column)?;
    for m in 0..MR {
        sum[m] = load_panel_avx(&bias[m][0]);
    }
    for ky in row.ky.clone() {
        let taps = row.tap_row(ky)?;
        for tap in row.geometry().staged_taps().enumerate() {
            let (pixels, panel) = taps.tap(column, tap)?;
            add_taps_avx2(&mut sum, pixels, panel);
        }
    }
    row.finish().apply_avx2(&mut sum);
    row.pixels(y, column)?.store_avx2(&sum);
    Some(())
}
