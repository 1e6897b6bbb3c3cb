//! Contract of the steps that only move values: memory-bound, so there is one implementation of each,
//! for values of any type.

mod into;
mod pad;
mod rearrange;

use crate::dims::{Dims, Pad};
use crate::step::{PadMode, View};
use bytemuck::Pod;
use core::ops::Range;

/// Name of the one implementation.
pub const NAME: &str = "copy_portable";

/// What is copied where.
#[derive(Clone, Copy, Debug)]
enum Copy<'a, T> {
    Into(into::Args<'a, T>),
    Rearrange(rearrange::Args<'a, T>),
    Pad(pad::Args<'a, T>),
}

/// One copy with its input, bounds proved.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a, T> {
    copy: Copy<'a, T>,
    /// Rows of the output, or what the copy cuts instead: runs of a view.
    rows: usize,
    /// Values in one of them.
    row: usize,
}

impl<'a, T: Pod> Args<'a, T> {
    /// Writes `x` to the box of the output that begins at row, column and channel `at`, and leaves
    /// the values around it.
    ///
    /// `None` when a dimension is zero, the box ends outside the output, or `x` is not as long as
    /// its dims say.
    pub fn into(at: [u32; 3], input: Dims, output: Dims, x: &'a [T]) -> Option<Self> {
        let copy = Copy::Into(into::Args::new(at, input, output, x)?);
        Self::new(copy, usize::try_from(output.h).ok()?, output.row()?)
    }

    /// Writes the values that `view` shows of `x`, one behind the other.
    ///
    /// `None` when an axis is empty or a value lies outside `x`.
    pub fn rearrange(view: &View, x: &'a [T]) -> Option<Self> {
        let args = rearrange::Args::new(view, x)?;
        let (runs, run) = (args.runs(), args.run());
        Self::new(Copy::Rearrange(args), runs, run)
    }

    /// Writes `x` with rows and columns around it; those of a constant hold `fill`.
    ///
    /// `None` when a dimension is zero, the output is another one, the mode cannot fill the padding,
    /// or `x` is not as long as its dims say.
    pub fn pad(
        pad: &Pad,
        mode: PadMode,
        fill: T,
        (input, output): (Dims, Dims),
        x: &'a [T],
    ) -> Option<Self> {
        let copy = Copy::Pad(pad::Args::new(pad, mode, fill, (input, output), x)?);
        Self::new(copy, usize::try_from(output.h).ok()?, output.row()?)
    }

    fn new(copy: Copy<'a, T>, rows: usize, row: usize) -> Option<Self> {
        (rows > 0 && row > 0).then_some(Self { copy, rows, row })
    }

    /// Number of output rows, or runs.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of values in one of them.
    pub fn output_row(&self) -> usize {
        self.row
    }
}

/// Copies what belongs to output rows `rows` into `y`, which holds all values of these rows.
///
/// `None`, and `y` untouched, when there are fewer rows, or `y` has another length.
pub fn run<T: Pod>(args: &Args<'_, T>, rows: Range<usize>, y: &mut [T]) -> Option<()> {
    if rows.end > args.rows || y.len() != rows.len().checked_mul(args.row)? {
        return None;
    }
    match &args.copy {
        Copy::Into(copy) => copy.write(rows, y),
        Copy::Rearrange(copy) => copy.write(rows, y),
        Copy::Pad(copy) => copy.write(rows, y),
    }
}

/// Copies as many values as both have.
#[inline(always)]
fn copy<T: Pod>(from: &[T], to: &mut [T]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
}
