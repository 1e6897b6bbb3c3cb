//! Staging: the input rows of a band, turned from `[row][column][channel]` to
//! `[row][channel][phase][column]` with zero columns where the padding is.
//!
//! Neighbouring output pixels then read neighbouring floats, whatever the stride, so a tile needs
//! one pointer and no test for the border. Rows outside the picture are not staged: tiles skip
//! their taps.

use super::super::Args;
use super::super::geometry::{Geometry, STAGED_AT_ONCE as BLOCK};
use crate::kernels::arch::x86_64::{load_avx, store_avx};
use core::arch::x86_64::*;
use core::ops::Range;

/// Staged input rows, from input row `first` on.
#[derive(Clone, Copy)]
pub(super) struct Staged<'a> {
    first: usize,
    rows: &'a [f32],
}

impl<'a> Staged<'a> {
    /// The channels of `group` in the input row that tap `ky` of output row `row` reads.
    #[inline]
    pub(super) fn channels(
        &self,
        g: &Geometry,
        row: usize,
        ky: usize,
        group: usize,
    ) -> Option<&'a [f32]> {
        let slot = g.rows.input(row, ky, g.input.h)?.checked_sub(self.first)?;
        self.rows.get(slot * g.staged_row() + group * g.in_c * g.pitch()..)
    }
}

/// Stages the input rows of output rows `band`; `None` when `scratch` is too short.
#[target_feature(enable = "avx")]
pub(super) fn stage<'a>(
    args: &Args<'_>,
    band: &Range<usize>,
    scratch: &'a mut [f32],
) -> Option<Staged<'a>> {
    let g = &args.geometry;
    let inputs = g.rows.inputs(band, g.input.h);
    let mut rest = &mut *scratch;
    for row in inputs.clone() {
        let (staged, after) = rest.split_at_mut_checked(g.staged_row())?;
        rest = after;
        if g.rows.reads(row) {
            stage_row(g, args.x.get(row * g.input_row()..)?.get(..g.input_row())?, staged)?;
        }
    }
    let rows = scratch.get(..inputs.len() * g.staged_row())?;
    Some(Staged { first: inputs.start, rows })
}

/// One input row `[column][channel]` to `[channel][phase][column]`.
#[target_feature(enable = "avx")]
fn stage_row(g: &Geometry, x: &[f32], staged: &mut [f32]) -> Option<()> {
    let columns = g.staged_columns();
    let last = columns.checked_sub(BLOCK)?;
    for column in (0..columns).step_by(BLOCK) {
        // The last block overlaps the one before rather than end outside.
        let column = column.min(last);
        for phase in 0..g.phases() {
            let mut pixels: [&[f32]; BLOCK] = [&[]; BLOCK];
            for (i, pixel) in pixels.iter_mut().enumerate() {
                if let Some(source) = g.staged_source(phase, column + i) {
                    *pixel = x.get(source * g.input.c..)?.get(..g.input.c)?;
                }
            }
            stage_block(pixels, g.input.c, staged.get_mut(phase * columns + column..)?, g.pitch())?;
        }
    }
    Some(())
}

/// `to[channel * pitch + i] = pixels[i][channel]`; pixels without channels are padding: zero.
#[target_feature(enable = "avx")]
fn stage_block(
    pixels: [&[f32]; BLOCK],
    channels: usize,
    to: &mut [f32],
    pitch: usize,
) -> Option<()> {
    let whole = channels - channels % BLOCK;
    for channel in (0..whole).step_by(BLOCK) {
        let mut rows = [_mm256_setzero_ps(); BLOCK];
        for (row, pixel) in rows.iter_mut().zip(pixels) {
            if let Some(values) = pixel.get(channel..).and_then(<[f32]>::first_chunk) {
                *row = load_avx(values);
            }
        }
        for (i, row) in transpose_8x8(rows).into_iter().enumerate() {
            store_avx(to.get_mut((channel + i) * pitch..)?.first_chunk_mut()?, row);
        }
    }
    for channel in whole..channels {
        let row: &mut [f32; BLOCK] = to.get_mut(channel * pitch..)?.first_chunk_mut()?;
        *row = pixels.map(|pixel| pixel.get(channel).copied().unwrap_or(0.0));
    }
    Some(())
}

/// `out[i][k] = rows[k][i]`.
#[target_feature(enable = "avx")]
#[inline]
fn transpose_8x8(rows: [__m256; BLOCK]) -> [__m256; BLOCK] {
    let [a, b, c, d, e, f, g, h] = rows;
    let [p0, p1, p2, p3] = transpose_4x4_twice([a, b, c, d]);
    let [q0, q1, q2, q3] = transpose_4x4_twice([e, f, g, h]);
    const LOW: i32 = 0x20;
    const HIGH: i32 = 0x31;
    [
        _mm256_permute2f128_ps::<LOW>(p0, q0),
        _mm256_permute2f128_ps::<LOW>(p1, q1),
        _mm256_permute2f128_ps::<LOW>(p2, q2),
        _mm256_permute2f128_ps::<LOW>(p3, q3),
        _mm256_permute2f128_ps::<HIGH>(p0, q0),
        _mm256_permute2f128_ps::<HIGH>(p1, q1),
        _mm256_permute2f128_ps::<HIGH>(p2, q2),
        _mm256_permute2f128_ps::<HIGH>(p3, q3),
    ]
}

/// Transposes the low and the high 4x4 halves of four rows, each in place.
#[target_feature(enable = "avx")]
#[inline]
fn transpose_4x4_twice([a, b, c, d]: [__m256; 4]) -> [__m256; 4] {
    let (ab_low, ab_high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
    let (cd_low, cd_high) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
    [
        _mm256_shuffle_ps::<0b01_00_01_00>(ab_low, cd_low),
        _mm256_shuffle_ps::<0b11_10_11_10>(ab_low, cd_low),
        _mm256_shuffle_ps::<0b01_00_01_00>(ab_high, cd_high),
        _mm256_shuffle_ps::<0b11_10_11_10>(ab_high, cd_high),
    ]
}
