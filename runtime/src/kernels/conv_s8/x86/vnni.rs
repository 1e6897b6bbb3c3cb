//! AVX-512 VNNI: tiles of up to 14 pixels x 32, 9 x 48 or 7 x 64 channels.
//!
//! `vpdpbusd` multiplies unsigned by signed bytes: the input is staged with its sign bit flipped, which
//! adds 128 to each value, and sums begin at `bias - 128 * sums`.

use super::{Args, ConvolutionS8, Kernel, Row, conv_rows};
use crate::cpu::Feature;
use crate::kernels::arch::x86_64::s8::{add_fours_vnni, load_i32_avx512};
use crate::kernels::blocking::{Menu, Tile};
use core::arch::x86_64::*;
use core::ops::Range;

pub(in super::super) const KERNEL: Kernel<ConvolutionS8> =
    Kernel { name: "conv_s8_14x32_vnni", needs: Some(Feature::Avx512Vnni), run };

/// At most 28 sums of 32 registers: the others hold weights and a pixel.
const MENU: &Menu = &[14, 14, 9, 7];

/// The sign bit.
const FLIP: u8 = 0x80;

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
pub(in super::super) fn run(args: &Args<'_>, rows: Range<usize>, y: &mut [u8], scratch: &mut [u8]) {
    let computed =
        conv_rows(args, rows, y, scratch, (MENU, FLIP), |row, at, y| tile_of(row, at, y));
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
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
fn tile_of(row: &Row<'_>, at: Tile, y: &mut [u8]) -> Option<()> {
    match at.panels {
        1 => tile_of_pixels!(row, at, y, 1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        2 => tile_of_pixels!(row, at, y, 2: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        3 => tile_of_pixels!(row, at, y, 3: 1 2 3 4 5 6 7 8 9),
        4 => tile_of_pixels!(row, at, y, 4: 1 2 3 4 5 6 7),
        _ => None,
    }
}

/// `MR` pixels from `column` on by `NB` panels, sums in registers from bias to store.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
fn tile<const MR: usize, const NB: usize>(
    row: &Row<'_>,
    column: usize,
    y: &mut [u8],
) -> Option<()> {
    let mut sum = [[_mm512_setzero_si512(); NB]; MR];
    let (bias, sums) = (row.bias::<MR, NB>(column)?, row.sums::<NB>()?);
    for n in 0..NB {
        let flipped = _mm512_slli_epi32::<7>(load_i32_avx512(&sums[n]));
        for m in 0..MR {
            sum[m][n] = _mm512_sub_epi32(load_i32_avx512(&bias[m][n]), flipped);
        }
    }
    for ky in 0..row.runs.rows {
        for run in 0..row.runs.in_row {
            let (fours, rows) = row.run(column, (ky, run))?;
            add_fours_vnni(&mut sum, fours, rows);
        }
    }
    let pitch = row.geometry().output.c;
    let (y, width) = row.target::<NB>(y, column)?;
    // A copy: what has an address lives in memory all the time.
    let sum = sum;
    row.args.requantize.store_avx512::<NB>(&sum, row.vector(), y, (pitch, width))
}
