//! Contract of the f32 element-wise kernels: one value in, one value out, in place or not.
//!
//! `y = act(op(x))` with the operations of [`Operation`]. Softmax works on the channels of each
//! pixel: `exp(x - max) / sum exp(x - max)`. All kernels give the same bits.
//!
//! Input and output are NHWC and of one shape; per-channel operands are `[c]`, the second operand
//! of a pairing may be repeated along any axis. A kernel computes a band of rows; where there is
//! no `x`, the values are those that `y` holds.

mod binary;
mod function;

use super::activation::activate;
use super::axis::nonzero;
use super::contract::{self, Contract, Kernel, Loops, Operands};
use super::rows::{for_pixels, row_of};
use crate::dims::Dims;
use crate::step::{Activation, Function};
pub use binary::Pairing;
use core::ops::Range;

/// Bands start at multiples of this many rows.
pub const ROW_QUANTUM: usize = 1;

/// What is done before the activation.
#[derive(Clone, Copy, Debug)]
pub enum Operation<'a> {
    /// Nothing.
    Identity,
    /// A function of each value and another one.
    Pair(Pairing<'a>),
    /// `x * scale[c] + shift[c]`.
    ScaleShift {
        /// Factors.
        scale: &'a [f32],
        /// Summands.
        shift: &'a [f32],
    },
    /// A function of each value.
    Apply(Function),
    /// Over the channels of each pixel.
    Softmax,
}

/// One element-wise operation with its operands, bounds proved.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    operation: Operation<'a>,
    activation: Activation,
    slopes: &'a [f32],
    rows: usize,
    row: usize,
    channels: usize,
    x: Option<&'a [f32]>,
}

impl<'a> Args<'a> {
    /// `slopes` is read for [`Activation::PRelu`] only.
    ///
    /// `None` when a dimension is zero, or a slice is not as long as the map or its channels.
    pub fn new(
        operation: Operation<'a>,
        dims: Dims,
        x: Option<&'a [f32]>,
        activation: Activation,
        slopes: &'a [f32],
    ) -> Option<Self> {
        let (elements, channels) = (dims.elements()?, nonzero(dims.c)?);
        let operands_fit = match operation {
            Operation::Pair(pairing) => pairing.fits(dims),
            Operation::ScaleShift { scale, shift } => {
                (scale.len(), shift.len()) == (channels, channels)
            }
            Operation::Identity | Operation::Apply(_) | Operation::Softmax => true,
        };
        let slopes_fit =
            !matches!(activation, Activation::PRelu { .. }) || slopes.len() == channels;
        let fits = operands_fit && slopes_fit && x.is_none_or(|x| x.len() == elements);
        let (rows, row) = (nonzero(dims.h)?, dims.row().filter(|&row| row > 0)?);
        fits.then_some(Self { operation, activation, slopes, rows, row, channels, x })
    }

    /// Number of values in one row.
    pub fn output_row(&self) -> usize {
        self.row
    }
}

impl Operands for Args<'_> {
    fn rows(&self) -> usize {
        self.rows
    }

    fn values(&self, rows: &Range<usize>) -> Option<usize> {
        rows.len().checked_mul(self.row)
    }
}

/// The contract.
#[derive(Clone, Copy, Debug)]
pub struct ElementwiseF32;

impl Contract for ElementwiseF32 {
    type Args<'a> = Args<'a>;
    type Value = f32;
    type Scratch = f32;

    const LIST: &'static [Kernel<Self>] = &[
        #[cfg(target_arch = "x86_64")]
        contract::avx512("elementwise_f32_avx512"),
        #[cfg(target_arch = "x86_64")]
        contract::avx2("elementwise_f32_avx2"),
        *Self::PORTABLE,
    ];

    const PORTABLE: &'static Kernel<Self> = &contract::portable("elementwise_f32_portable");
}

impl Loops for ElementwiseF32 {
    #[inline(always)]
    fn compute(args: &Args<'_>, rows: Range<usize>, y: &mut [f32], _: &mut [f32]) {
        compute_rows(args, rows, y);
    }
}

/// Row by row, so that the passes over a row find it in the first-level cache.
#[inline(always)]
fn compute_rows(args: &Args<'_>, rows: Range<usize>, y: &mut [f32]) {
    let mut rest = y;
    for row in rows {
        let Some((y, after)) = rest.split_at_mut_checked(args.row) else { return };
        rest = after;
        if let Some(x) = args.x {
            y.iter_mut().zip(row_of(x, row, args.row)).for_each(|(y, x)| *y = *x);
        }
        operate(args, row, y);
        match args.activation {
            Activation::PRelu { .. } => {
                for_pixels(y, args.channels, |pixel| activate(pixel, args.activation, args.slopes));
            }
            activation => activate(y, activation, &[]),
        }
    }
}

#[inline(always)]
fn operate(args: &Args<'_>, row: usize, y: &mut [f32]) {
    match args.operation {
        Operation::Identity => {}
        Operation::Pair(pairing) => pairing.combine(row, args.channels, y),
        Operation::ScaleShift { scale, shift } => for_pixels(y, args.channels, |pixel| {
            for ((y, scale), shift) in pixel.iter_mut().zip(scale).zip(shift) {
                *y = *y * scale + shift;
            }
        }),
        Operation::Apply(function) => function::apply(function, y),
        Operation::Softmax => for_pixels(y, args.channels, softmax),
    }
}

fn softmax(pixel: &mut [f32]) {
    let max = pixel.iter().fold(f32::NEG_INFINITY, |max, &x| if x > max { x } else { max });
    let mut sum = 0.0;
    for x in pixel.iter_mut() {
        *x = function::exp(*x - max);
        sum += *x;
    }
    pixel.iter_mut().for_each(|x| *x /= sum);
}
