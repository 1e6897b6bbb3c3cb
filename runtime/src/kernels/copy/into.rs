//! A map into a box of a larger one.

use super::super::axis::nonzero;
use super::copy;
use crate::dims::Dims;
use bytemuck::Pod;
use core::ops::Range;

#[derive(Clone, Copy, Debug)]
pub(super) struct Args<'a, T> {
    /// First output row of the box, and the first one behind it.
    rows: (usize, usize),
    /// First column and channel of the box.
    at: (usize, usize),
    /// Columns and channels of the box.
    input: (usize, usize),
    /// Columns and channels of the output.
    output: (usize, usize),
    x: &'a [T],
}

impl<'a, T: Pod> Args<'a, T> {
    pub(super) fn new(at: [u32; 3], input: Dims, output: Dims, x: &'a [T]) -> Option<Self> {
        let inside = |at: u32, len: u32, room: u32| at.checked_add(len).is_some_and(|e| e <= room);
        let [y, column, channel] = at;
        let fits = inside(y, input.h, output.h)
            && inside(column, input.w, output.w)
            && inside(channel, input.c, output.c)
            && x.len() == input.elements()?;
        let start = usize::try_from(y).ok()?;
        fits.then_some(Self {
            rows: (start, start.checked_add(nonzero(input.h)?)?),
            at: (usize::try_from(column).ok()?, usize::try_from(channel).ok()?),
            input: (nonzero(input.w)?, nonzero(input.c)?),
            output: (nonzero(output.w)?, nonzero(output.c)?),
            x,
        })
    }

    pub(super) fn write(&self, rows: Range<usize>, y: &mut [T]) -> Option<()> {
        let row_len = self.output.0.checked_mul(self.output.1)?;
        let mut rest = y;
        for row in rows {
            let (to, after) = rest.split_at_mut_checked(row_len)?;
            rest = after;
            if (self.rows.0..self.rows.1).contains(&row) {
                self.row(row.checked_sub(self.rows.0)?, to)?;
            }
        }
        Some(())
    }

    /// Input row `row` into a row of the output.
    fn row(&self, row: usize, y: &mut [T]) -> Option<()> {
        let ((w, c), (column, channel)) = (self.input, self.at);
        let len = w.checked_mul(c)?;
        let mut x = self.x.get(row.checked_mul(len)?..)?.get(..len)?;
        let mut rest = y.get_mut(column.checked_mul(self.output.1)?..)?;
        if c == self.output.1 {
            copy(x, rest);
            return Some(());
        }
        while let Some((values, later)) = x.split_at_checked(c) {
            if values.is_empty() {
                break;
            }
            let (pixel, after) = rest.split_at_mut_checked(self.output.1)?;
            copy(values, pixel.get_mut(channel..)?);
            (rest, x) = (after, later);
        }
        Some(())
    }
}
