//! Contract of the f32 normalisation kernels ([`Normalise`]).
//!
//! Mean and variance are computed one after the other, each in the order that `area.rs` fixes; values
//! are multiplied by the reciprocal of the root. All kernels give the same bits.
//!
//! Input and output are NHWC and of one shape; where there is no `x`, the values are those that `y`
//! holds. A kernel computes a band of *parts*: rows, or the whole map if it is normalised over rows.

use super::area::{Area, Block};
use super::axis::nonzero;
use super::contract::{self, Contract, Kernel, Loops, Operands};
use super::conv_f32::NR;
use crate::dims::Dims;
use crate::step::Normalise;
use core::ops::Range;

/// One normalisation with its input, bounds proved.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    op: Normalise,
    /// Rows, columns and channels of a part.
    part: [usize; 3],
    parts: usize,
    x: Option<&'a [f32]>,
}

impl<'a> Args<'a> {
    /// `None` when a dimension is zero or `x` is not as long as [`Dims::elements`] says.
    pub fn new(op: Normalise, dims: Dims, x: Option<&'a [f32]>) -> Option<Self> {
        let elements = dims.elements()?;
        let (rows, columns, channels) = (nonzero(dims.h)?, nonzero(dims.w)?, nonzero(dims.c)?);
        let (parts, rows) = if op.rows { (1, rows) } else { (rows, 1) };
        let fits = x.is_none_or(|x| x.len() == elements);
        fits.then_some(Self { op, part: [rows, columns, channels], parts, x })
    }

    /// Number of parts.
    pub fn parts(&self) -> usize {
        self.parts
    }

    /// Number of values in one of them.
    pub fn part_len(&self) -> usize {
        let [h, w, c] = self.part;
        h.saturating_mul(w).saturating_mul(c)
    }
}

impl Operands for Args<'_> {
    fn rows(&self) -> usize {
        self.parts
    }

    fn values(&self, parts: &Range<usize>) -> Option<usize> {
        parts.len().checked_mul(self.part_len())
    }
}

/// The contract.
#[derive(Clone, Copy, Debug)]
pub struct NormaliseF32;

impl Contract for NormaliseF32 {
    type Args<'a> = Args<'a>;
    type Value = f32;
    type Scratch = f32;

    const LIST: &'static [Kernel<Self>] = &[
        #[cfg(target_arch = "x86_64")]
        contract::avx512("normalise_f32_avx512"),
        #[cfg(target_arch = "x86_64")]
        contract::avx2("normalise_f32_avx2"),
        *Self::PORTABLE,
    ];

    const PORTABLE: &'static Kernel<Self> = &contract::portable("normalise_f32_portable");
}

impl Loops for NormaliseF32 {
    #[inline(always)]
    fn compute(args: &Args<'_>, parts: Range<usize>, y: &mut [f32], _: &mut [f32]) {
        let len = args.part_len();
        let mut rest = y;
        for part in parts {
            let Some((y, after)) = rest.split_at_mut_checked(len) else { return };
            rest = after;
            if let Some(x) = args.x.and_then(|x| x.get(part.saturating_mul(len)..)) {
                y.iter_mut().zip(x).for_each(|(y, x)| *y = *x);
            }
            normalise(args, y);
        }
    }
}

/// One part, in place: column by column, or all columns at once.
#[inline(always)]
fn normalise(args: &Args<'_>, y: &mut [f32]) {
    let [rows, width, channels] = args.part;
    let step = if args.op.columns { width } else { 1 };
    let mut column = 0;
    while column < width {
        let area = Area { rows: 0..rows, columns: column..column + step, width, channels };
        let count = rows.saturating_mul(step);
        if args.op.channels {
            all_channels(args.op, &area, count.saturating_mul(channels) as f32, y);
        } else {
            for block in 0..channels.div_ceil(NR) {
                one_block(args.op, &area, block, count as f32, y);
            }
        }
        column += step;
    }
}

/// Mean and variance of all values.
#[inline(always)]
fn all_channels(op: Normalise, area: &Area, count: f32, y: &mut [f32]) {
    let join = |a: f32, b: f32| a + b;
    let mean = if op.centred { area.whole(y, 0.0, join, join) / count } else { 0.0 };
    let square = |sum: f32, value: f32| sum + (value - mean) * (value - mean);
    let factor = factor(op, area.whole(y, 0.0, square, join) / count);
    for row in area.rows.clone() {
        let start = area.pixel(row, area.columns.start);
        let len = area.columns.len().saturating_mul(area.channels);
        let values = y.get_mut(start..).and_then(|rest| rest.get_mut(..len));
        values.into_iter().flatten().for_each(|y| *y = (*y - mean) * factor);
    }
}

/// Mean and variance of each of 16 channels.
#[inline(always)]
fn one_block(op: Normalise, area: &Area, block: usize, count: f32, y: &mut [f32]) {
    let join = |a: f32, b: f32| a + b;
    let mut mean: Block = [0.0; NR];
    if op.centred {
        let sum = |sum: f32, value: f32, _| sum + value;
        mean = area.per_channel(y, block, 0.0, sum, join).map(|sum| sum / count);
    }
    let square = |sum: f32, value: f32, i: usize| {
        let difference = value - mean[i];
        sum + difference * difference
    };
    let factors = area.per_channel(y, block, 0.0, square, join).map(|sum| factor(op, sum / count));
    let len = area.channels.saturating_sub(block * NR).min(NR);
    for row in area.rows.clone() {
        for column in area.columns.clone() {
            let at = area.pixel(row, column) + block * NR;
            let Some(values) = y.get_mut(at..).and_then(|rest| rest.get_mut(..len)) else { return };
            for ((y, mean), factor) in values.iter_mut().zip(&mean).zip(&factors) {
                *y = (*y - mean) * factor;
            }
        }
    }
}

#[inline(always)]
fn factor(op: Normalise, variance: f32) -> f32 {
    1.0 / libm::sqrtf(variance + op.epsilon)
}
