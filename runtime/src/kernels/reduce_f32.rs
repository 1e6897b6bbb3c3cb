//! Contract of the f32 reduction kernels ([`Reduction`]).
//!
//! Of each axis the output has the input's length, or 1: then all values along it are combined, in the
//! order that `area.rs` fixes. The mean is the sum divided by the number of values. Maximum and minimum
//! pass over NaN. All kernels give the same bits.
//!
//! `x` and `y` are NHWC; a kernel computes a band of output rows.

use super::area::{Area, Block};
use super::axis::nonzero;
use super::contract::{self, Contract, Kernel, Loops, Operands};
use super::conv_f32::NR;
use crate::dims::Dims;
use crate::step::Reduction;
use core::ops::Range;

/// Bands start at multiples of this many output rows.
pub const ROW_QUANTUM: usize = 1;

/// One reduction with its input, bounds proved.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    function: Reduction,
    /// Rows, columns and channels.
    input: [usize; 3],
    output: [usize; 3],
    x: &'a [f32],
}

impl<'a> Args<'a> {
    /// `None` when a dimension is zero, an axis of the output has neither the input's length nor 1, or
    /// `x` is not as long as [`Dims::elements`] says.
    pub fn new(function: Reduction, input: Dims, output: Dims, x: &'a [f32]) -> Option<Self> {
        let lengths = |dims: Dims| Some([nonzero(dims.h)?, nonzero(dims.w)?, nonzero(dims.c)?]);
        let (from, to) = (lengths(input)?, lengths(output)?);
        let reduces = from.iter().zip(&to).all(|(from, to)| to == from || *to == 1);
        let fits = reduces && x.len() == input.elements()?;
        fits.then_some(Self { function, input: from, output: to, x })
    }

    /// Number of values in one output row.
    pub fn output_row(&self) -> usize {
        let [_, w, c] = self.output;
        w.saturating_mul(c)
    }

    /// What is combined for a row and column of the output.
    #[inline(always)]
    fn area(&self, row: usize, column: usize) -> Area {
        let [h, w, channels] = self.input;
        let part =
            |at: usize, from: usize, to: usize| if to == from { at..at + 1 } else { 0..from };
        let (rows, columns) = (part(row, h, self.output[0]), part(column, w, self.output[1]));
        Area { rows, columns, width: w, channels }
    }

    /// How many values make one of the output.
    fn count(&self) -> f32 {
        let ratio = |k: usize| if self.input[k] == self.output[k] { 1 } else { self.input[k] };
        ratio(0).saturating_mul(ratio(1)).saturating_mul(ratio(2)) as f32
    }
}

impl Operands for Args<'_> {
    fn rows(&self) -> usize {
        self.output[0]
    }

    fn values(&self, rows: &Range<usize>) -> Option<usize> {
        rows.len().checked_mul(self.output_row())
    }
}

/// The contract.
#[derive(Clone, Copy, Debug)]
pub struct ReduceF32;

impl Contract for ReduceF32 {
    type Args<'a> = Args<'a>;
    type Value = f32;
    type Scratch = f32;

    const LIST: &'static [Kernel<Self>] = &[
        #[cfg(target_arch = "x86_64")]
        contract::avx512("reduce_f32_avx512"),
        #[cfg(target_arch = "x86_64")]
        contract::avx2("reduce_f32_avx2"),
        *Self::PORTABLE,
    ];

    const PORTABLE: &'static Kernel<Self> = &contract::portable("reduce_f32_portable");
}

impl Loops for ReduceF32 {
    #[inline(always)]
    fn compute(args: &Args<'_>, rows: Range<usize>, y: &mut [f32], _: &mut [f32]) {
        let infinity = f32::INFINITY;
        match args.function {
            Reduction::Sum => reduce(args, rows, y, 0.0, |a, b| a + b),
            Reduction::Mean => {
                reduce(args, rows, y, 0.0, |a, b| a + b);
                let count = args.count();
                y.iter_mut().for_each(|y| *y /= count);
            }
            Reduction::Max => reduce(args, rows, y, -infinity, |a, b| if b > a { b } else { a }),
            Reduction::Min => reduce(args, rows, y, infinity, |a, b| if b < a { b } else { a }),
            Reduction::Product => reduce(args, rows, y, 1.0, |a, b| a * b),
        }
    }
}

#[inline(always)]
fn reduce(
    args: &Args<'_>,
    rows: Range<usize>,
    y: &mut [f32],
    start: f32,
    combine: impl Fn(f32, f32) -> f32,
) {
    let [_, columns, channels] = args.output;
    let per_channel = channels == args.input[2];
    let mut rest = y;
    for row in rows {
        for column in 0..columns {
            let Some((pixel, after)) = rest.split_at_mut_checked(channels) else { return };
            rest = after;
            let area = args.area(row, column);
            if per_channel {
                for (block, channels) in pixel.chunks_mut(NR).enumerate() {
                    let add = |all, value, _| combine(all, value);
                    let values: Block = area.per_channel(args.x, block, start, add, &combine);
                    channels.iter_mut().zip(values).for_each(|(to, from)| *to = from);
                }
            } else {
                let value = area.whole(args.x, start, &combine, &combine);
                pixel.iter_mut().for_each(|to| *to = value);
            }
        }
    }
}
