//! Rows and columns around a picture.

use super::super::axis::nonzero;
use super::copy;
use crate::dims::{Dims, Pad};
use crate::step::PadMode;
use bytemuck::Pod;
use core::ops::Range;

#[derive(Clone, Copy, Debug)]
pub(super) struct Args<'a, T> {
    mode: PadMode,
    /// What constant padding holds.
    fill: T,
    /// Rows above, columns to the left.
    before: (usize, usize),
    /// Rows and columns of the input.
    input: (usize, usize),
    /// Columns of the output.
    columns: usize,
    channels: usize,
    x: &'a [T],
}

impl<'a, T: Pod> Args<'a, T> {
    pub(super) fn new(
        pad: &Pad,
        mode: PadMode,
        fill: T,
        (input, output): (Dims, Dims),
        x: &'a [T],
    ) -> Option<Self> {
        let sum = |len: u32, lo: u32, hi: u32| len.checked_add(lo)?.checked_add(hi);
        let padded = Dims {
            h: sum(input.h, pad.top, pad.bottom)?,
            w: sum(input.w, pad.left, pad.right)?,
            c: input.c,
        };
        let args = Self {
            mode,
            fill,
            before: (usize::try_from(pad.top).ok()?, usize::try_from(pad.left).ok()?),
            input: (nonzero(input.h)?, nonzero(input.w)?),
            columns: nonzero(output.w)?,
            channels: nonzero(input.c)?,
            x,
        };
        (padded == output && x.len() == input.elements()?).then_some(args)
    }

    pub(super) fn write(&self, rows: Range<usize>, y: &mut [T]) -> Option<()> {
        let row_len = self.columns.checked_mul(self.channels)?;
        let mut rest = y;
        for row in rows {
            let (to, after) = rest.split_at_mut_checked(row_len)?;
            rest = after;
            match source(self.mode, row, self.before.0, self.input.0) {
                Some(row) => self.row(row, to)?,
                None => self.fill(to),
            }
        }
        Some(())
    }

    /// Input row `row` between its columns of padding.
    fn row(&self, row: usize, y: &mut [T]) -> Option<()> {
        let len = self.input.1.checked_mul(self.channels)?;
        let x = self.x.get(row.checked_mul(len)?..)?.get(..len)?;
        let (left, rest) = y.split_at_mut_checked(self.before.1.checked_mul(self.channels)?)?;
        let (middle, right) = rest.split_at_mut_checked(len)?;
        self.columns(x, 0, left)?;
        copy(x, middle);
        self.columns(x, self.before.1.checked_add(self.input.1)?, right)
    }

    /// Columns of padding, `first` and those behind it, into `y`.
    fn columns(&self, x: &[T], first: usize, y: &mut [T]) -> Option<()> {
        let (mut rest, mut column) = (y, first);
        while let Some((pixel, after)) = rest.split_at_mut_checked(self.channels) {
            match source(self.mode, column, self.before.1, self.input.1) {
                Some(from) => copy(x.get(from.checked_mul(self.channels)?..)?, pixel),
                None => self.fill(pixel),
            }
            (rest, column) = (after, column.checked_add(1)?);
        }
        Some(())
    }

    fn fill(&self, y: &mut [T]) {
        y.iter_mut().for_each(|y| *y = self.fill);
    }
}

/// The row, or column, of an input of `len` that stands at `at` of the output, `before` of which are
/// padding; `None` for a constant.
fn source(mode: PadMode, at: usize, before: usize, len: usize) -> Option<usize> {
    let end = before.checked_add(len)?;
    if (before..end).contains(&at) {
        return at.checked_sub(before);
    }
    let is_before = at < before;
    match mode {
        PadMode::Constant(_) => None,
        PadMode::Edge if is_before => Some(0),
        PadMode::Edge => len.checked_sub(1),
        PadMode::Reflect if is_before => before.checked_sub(at),
        PadMode::Reflect => len.checked_sub(2)?.checked_sub(at.checked_sub(end)?),
        PadMode::Wrap if is_before => len.checked_sub(before.checked_sub(at)?),
        PadMode::Wrap => at.checked_sub(end),
    }
}
