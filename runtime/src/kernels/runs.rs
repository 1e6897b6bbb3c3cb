//! What the resamplings of f32 and of s8 share: operands, and the tables of their runs.

use super::axis::nonzero;
use super::contract::Operands;
use crate::dims::Dims;
use crate::step;
use core::ops::Range;

/// Values of the table of one axis with `output` rows or columns: `output * (1 + count)`. `None` when
/// there are none, or the product overflows.
pub fn table_len(taps: &step::Taps, output: u32) -> Option<usize> {
    nonzero(output)?.checked_mul(nonzero(taps.count)?.checked_add(1)?)
}

/// 32-bit values of scratch: one input row, where a run has several. `None` when the product overflows.
pub fn scratch_len(op: &step::Resample, input: Dims) -> Option<usize> {
    if op.rows.count > 1 { input.row() } else { Some(0) }
}

/// A weight of a table, or the first of a run.
pub trait Weight: Copy {
    /// The whole number that it is, as far as it can be an index.
    fn index(self) -> usize;
}

impl Weight for f32 {
    fn index(self) -> usize {
        self as usize
    }
}

impl Weight for i32 {
    fn index(self) -> usize {
        usize::try_from(self).unwrap_or(0)
    }
}

/// One axis: the runs of an input of `len` rows or columns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taps<'a, W> {
    table: &'a [W],
    count: usize,
    pub(super) len: usize,
}

impl<'a, W: Weight> Taps<'a, W> {
    fn new(taps: &step::Taps, table: &'a [W], input: u32, output: u32) -> Option<Self> {
        let (count, len) = (nonzero(taps.count)?, nonzero(input)?);
        let fits = count <= len && table.len() == table_len(taps, output)?;
        fits.then_some(Self { table, count, len })
    }

    /// The run of output row or column `at`, moved inside the input, and its weights.
    #[inline(always)]
    pub(super) fn run(&self, at: usize) -> Option<(usize, &'a [W])> {
        let width = self.count.wrapping_add(1);
        let entry = self.table.get(at.wrapping_mul(width)..)?.get(..width)?;
        let (first, weights) = entry.split_first()?;
        Some((first.index().min(self.len.saturating_sub(self.count)), weights))
    }
}

/// One resampling of values `T` by weights `W` with its operands, bounds proved.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a, T, W> {
    pub(super) rows: Taps<'a, W>,
    pub(super) columns: Taps<'a, W>,
    output: (usize, usize),
    pub(super) channels: usize,
    pub(super) x: &'a [T],
    scratch: usize,
}

impl<'a, T, W: Weight> Args<'a, T, W> {
    /// `tables` are those of rows and of columns.
    ///
    /// `None` when a dimension is zero, runs are longer than the input, or a slice is not as long as
    /// [`Dims::elements`] and [`table_len`] say.
    pub fn new(
        op: &step::Resample,
        input: Dims,
        output: Dims,
        x: &'a [T],
        tables: (&'a [W], &'a [W]),
    ) -> Option<Self> {
        let fits = input.c == output.c && x.len() == input.elements()?;
        output.elements()?;
        fits.then_some(Self {
            rows: Taps::new(&op.rows, tables.0, input.h, output.h)?,
            columns: Taps::new(&op.columns, tables.1, input.w, output.w)?,
            output: (nonzero(output.h)?, nonzero(output.w)?),
            channels: nonzero(output.c)?,
            x,
            scratch: scratch_len(op, input)?,
        })
    }

    /// Number of output columns.
    pub(super) fn output_columns(&self) -> usize {
        self.output.1
    }

    /// Number of values in one output row.
    pub fn output_row(&self) -> usize {
        self.output.1.saturating_mul(self.channels)
    }
}

impl<T, W: Weight> Operands for Args<'_, T, W> {
    fn rows(&self) -> usize {
        self.output.0
    }

    fn values(&self, rows: &Range<usize>) -> Option<usize> {
        rows.len().checked_mul(self.output_row())
    }

    fn min_scratch(&self) -> usize {
        self.scratch
    }
}
