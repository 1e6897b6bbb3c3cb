//! Staging: the input rows of a band, turned from `[row][column][channel]` to
//! `[row][channel][phase][column]` with zero columns where the padding is.
//!
//! Neighbouring output pixels then read neighbouring floats, whatever the stride, so a tile needs
//! one pointer and no test for the border. Rows outside the picture are not staged: tiles skip
//! their taps.

use super::super::{Args, Geometry};
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
fn stage_row(g: &Geometry, x: &[f32], staged: &mut [f32]) -> Option<()> {
    for phase in 0..g.phases() {
        let inside = g.staged_inside(phase);
        let rows = staged.get_mut(phase * g.staged_columns()..)?;
        for channel in 0..g.input.c {
            let row = rows.get_mut(channel * g.pitch()..)?.get_mut(..g.staged_columns())?;
            row.get_mut(..inside.start)?.fill(0.0);
            row.get_mut(inside.end..)?.fill(0.0);
        }
        if let Some(first) = g.staged_source(phase, inside.start) {
            let x = x.get(first * g.input.c..)?;
            let step = g.columns.stride.get() * g.input.c;
            let to = rows.get_mut(inside.start..)?;
            transpose(x, step, inside.len(), g.input.c, to, g.pitch())?;
        }
    }
    Some(())
}

/// `to[channel * pitch + i] = x[i * step + channel]` for `i < count`, `channel < channels`.
fn transpose(
    x: &[f32],
    step: usize,
    count: usize,
    channels: usize,
    to: &mut [f32],
    pitch: usize,
) -> Option<()> {
    for i in 0..count {
        let pixel = x.get(i * step..)?.get(..channels)?;
        let column = to.get_mut(i..)?.iter_mut().step_by(pitch.max(1));
        column.zip(pixel).for_each(|(to, from)| *to = *from);
    }
    Some(())
}
