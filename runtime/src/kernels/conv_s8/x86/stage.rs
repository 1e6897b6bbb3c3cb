//! Staging: the input rows of a band as `[row][group][column][channel]`, channels filled up to fours,
//! with zero points where the padding is.
//!
//! A tile then needs one pointer, one distance from pixel to pixel, and no test for the border. What
//! fills up a four is arbitrary: its weights are zeros.

use super::super::{Args, Geometry, KR};
use core::ops::Range;

/// Staged input rows, padding included, those of output row `first` first.
#[derive(Clone, Copy)]
pub(super) struct Staged<'a> {
    first: usize,
    rows: &'a [u8],
}

impl<'a> Staged<'a> {
    /// What the first tap of `group` reads at the first pixel of output row `row`, and all behind it.
    #[inline]
    pub(super) fn row(&self, g: &Geometry, row: usize, group: usize) -> Option<&'a [u8]> {
        let slot = g.rows.window(row.checked_sub(self.first)?);
        self.rows.get(slot * g.staged_row() + group * g.staged_columns() * g.pitch()..)
    }
}

/// Stages the input rows of output rows `band`, bytes XOR `flip`; `None` when `scratch` is too short.
#[target_feature(enable = "avx2")]
pub(super) fn stage<'a>(
    args: &Args<'_>,
    band: &Range<usize>,
    flip: u8,
    scratch: &'a mut [u8],
) -> Option<Staged<'a>> {
    let g = &args.geometry;
    let slots = g.rows.window(band.len().saturating_sub(1)) + g.rows.extent;
    let outside = args.outside.cast_unsigned() ^ flip;
    let mut rest = &mut *scratch;
    for slot in 0..slots {
        let (staged, after) = rest.split_at_mut_checked(g.staged_row())?;
        rest = after;
        let row = (g.rows.window(band.start) + slot).checked_sub(g.rows.pad);
        match row.filter(|&row| row < g.input.h) {
            None => staged.fill(outside),
            Some(row) if g.rows.reads(row) => {
                let x = args.tensors.x.get(row * g.input_row()..)?.get(..g.input_row())?;
                stage_row(g, x, staged, outside, flip)?;
            }
            Some(_) => (),
        }
    }
    Some(Staged { first: band.start, rows: scratch.get(..slots * g.staged_row())? })
}

/// One input row `[column][channel]` to `[group][column][channel]`, with `outside` around it.
#[target_feature(enable = "avx2")]
fn stage_row(g: &Geometry, x: &[i8], staged: &mut [u8], outside: u8, flip: u8) -> Option<()> {
    let columns = g.staged_columns();
    let left = g.columns.pad.min(columns);
    let inside = g.input.w.min(columns - left);
    // At least 1 anyway; said here, `chunks_exact_mut` needs no panic path.
    let of_groups = staged.chunks_exact_mut((columns * g.pitch()).max(1));
    for (group, staged) in of_groups.enumerate() {
        let (before, staged) = staged.split_at_mut_checked(left * g.pitch())?;
        let (staged, after) = staged.split_at_mut_checked(inside * g.pitch())?;
        before.fill(outside);
        after.fill(outside);
        let x = x.get(group * g.in_c..inside * g.input.c).unwrap_or(&[]);
        stage_pixels(g, x, staged, flip);
    }
    Some(())
}

/// The channels of one group of each pixel; `x` begins with those of the first.
#[target_feature(enable = "avx2")]
fn stage_pixels(g: &Geometry, x: &[i8], staged: &mut [u8], flip: u8) {
    if g.pitch() == g.input.c {
        copy(x, staged, flip);
    } else if g.input.c == 3 {
        stage_triples(x, staged, flip);
    } else {
        // At least 1 anyway; said here, there is no panic path.
        let pixels = x.chunks(g.input.c.max(1));
        for (staged, pixel) in staged.chunks_exact_mut(g.pitch().max(1)).zip(pixels) {
            copy(pixel.get(..g.in_c).unwrap_or(pixel), staged, flip);
        }
    }
}

#[target_feature(enable = "avx2")]
fn copy(x: &[i8], staged: &mut [u8], flip: u8) {
    for (to, from) in staged.iter_mut().zip(x) {
        *to = from.cast_unsigned() ^ flip;
    }
}

/// Pixels of three channels: four bytes at a time, of which the last belongs to the next pixel.
#[target_feature(enable = "avx2")]
fn stage_triples(x: &[i8], staged: &mut [u8], flip: u8) {
    let fours = x.windows(KR).step_by(3).map(|four| four.first_chunk::<KR>());
    let (staged, _) = staged.as_chunks_mut::<KR>();
    for (to, from) in staged.iter_mut().zip(fours) {
        if let Some(from) = from {
            *to = from.map(|byte| byte.cast_unsigned() ^ flip);
        }
    }
    // The last pixel of a row has no neighbour.
    if let (Some(to), Some(from)) = (staged.last_mut(), x.last_chunk::<3>()) {
        copy(from, to, flip);
    }
}
