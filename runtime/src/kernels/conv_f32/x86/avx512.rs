//! AVX-512: tiles of up to 14 pixels x 32, 9 x 48 or 14 x 16 channels.

use super::super::{Args, ConvF32, Kernel};
use super::{Row, conv_rows};
use crate::cpu::Feature;
use crate::kernels::arch::x86_64::{add_taps_avx512, load_avx512};
use crate::kernels::blocking::{Menu, Tile};
use core::arch::x86_64::*;
use core::ops::Range;

pub(in super::super) const KERNEL: Kernel<ConvF32> =
    Kernel { name: "conv_f32_14x32_avx512", needs: Some(Feature::Avx512), run };

/// At most 28 sums of 32 registers: the others hold weights and a pixel.
pub(in crate::kernels) const MENU: &Menu = &[14, 14, 9];

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
    let bias = row.bias::<MR, NB>(column)?;
    for m in 0..MR {
        for n in 0..NB {
            sum[m][n] = load_avx512(&bias[m][n]);
        }
    }
    for ky in row.ky.clone() {
        let taps = row.tap_row(ky)?;
        for tap in row.geometry().staged_taps().enumerate() {
            let (pixels, panels) = taps.tap(column, tap)?;
            add_taps_avx512(&mut sum, pixels, panels);
        }
    }
    row.finish().apply_avx512(&mut sum);
    row.pixels(y, column)?.store_avx512(&sum);
    Some(())
}
