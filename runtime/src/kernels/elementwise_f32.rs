//! Contract of the f32 element-wise kernels: one value in, one value out, in place or not.
//!
//! `y = act(op(x))` with the operations of [`Operation`]. Softmax works on the channels of each
//! pixel: `exp(x - max) / sum exp(x - max)`, with `exp` of the `libm` crate (so has the sigmoid), so
//! that results do not depend on the platform. All kernels give the same bits.
//!
//! All maps are NHWC and of one shape; per-channel operands are `[c]`. A kernel computes a band of
//! rows; where there is no `x`, the values are those that `y` holds.

use super::activation::activate;
use super::axis::nonzero;
use super::contract::{self, Contract, Kernel, Loops, Operands};
use crate::dims::Dims;
use crate::step::Activation;
use core::ops::Range;

/// Bands start at multiples of this many rows.
pub const ROW_QUANTUM: usize = 1;

/// What is done before the activation.
#[derive(Clone, Copy, Debug)]
pub enum Operation<'a> {
    /// Nothing.
    Identity,
    /// `x + other`.
    Add {
        /// Second summand, a whole map.
        other: &'a [f32],
    },
    /// `x * scale[c] + shift[c]`.
    ScaleShift {
        /// Factors.
        scale: &'a [f32],
        /// Summands.
        shift: &'a [f32],
    },
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
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
            Operation::Add { other } => other.len() == elements,
            Operation::ScaleShift { scale, shift } => {
                (scale.len(), shift.len()) == (channels, channels)
            }
            Operation::Identity | Operation::Sigmoid | Operation::Softmax => true,
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
    fn compute(args: &Args<'_>, rows: Range<usize>, y: &mut [f32]) {
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
        Operation::Add { other } => {
            y.iter_mut().zip(row_of(other, row, args.row)).for_each(|(y, other)| *y += other);
        }
        Operation::ScaleShift { scale, shift } => for_pixels(y, args.channels, |pixel| {
            for ((y, scale), shift) in pixel.iter_mut().zip(scale).zip(shift) {
                *y = *y * scale + shift;
            }
        }),
        Operation::Sigmoid => y.iter_mut().for_each(|y| *y = 1.0 / (1.0 + libm::expf(-*y))),
        Operation::Softmax => for_pixels(y, args.channels, softmax),
    }
}

fn softmax(pixel: &mut [f32]) {
    let max = pixel.iter().fold(f32::NEG_INFINITY, |max, &x| if x > max { x } else { max });
    let mut sum = 0.0;
    for x in pixel.iter_mut() {
        *x = libm::expf(*x - max);
        sum += *x;
    }
    pixel.iter_mut().for_each(|x| *x /= sum);
}

/// Row `row` of a map; empty where there is none.
#[inline(always)]
fn row_of(map: &[f32], row: usize, len: usize) -> &[f32] {
    map.get(row.saturating_mul(len)..).and_then(|rest| rest.get(..len)).unwrap_or(&[])
}

#[inline(always)]
fn for_pixels(row: &mut [f32], channels: usize, f: impl Fn(&mut [f32])) {
    let mut rest = row;
    while let Some((pixel, after)) = rest.split_at_mut_checked(channels) {
        if pixel.is_empty() {
            return;
        }
        f(pixel);
        rest = after;
    }
}
