//! Contract of the functions of two s8 values ([`PairS8`](step::PairS8)): sums and products.
//!
//! `clamp((f(a, b) + offset) >> shift, lo, hi)` in 32-bit integers, the shift arithmetic. All kernels
//! give the same bits, where a sum would leave 32 bits too: it wraps.
//!
//! Input and output are NHWC and of one shape, the second operand may be repeated along any axis. A
//! kernel computes a band of rows; where there is no `x`, the values are those that `y` holds.

use super::axis::nonzero;
use super::contract::{self, Contract, Kernel, Loops, Operands};
use super::rows::{Repeated, repeats, row_of};
use crate::dims::Dims;
use crate::step::{self, FunctionS8};
use core::ops::Range;

/// Bands start at multiples of this many rows.
pub const ROW_QUANTUM: usize = 1;

/// One function of two maps with its operands, bounds proved.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    op: step::PairS8,
    other: (&'a [i8], Dims),
    rows: usize,
    row: usize,
    channels: usize,
    x: Option<&'a [i8]>,
}

impl<'a> Args<'a> {
    /// `other` are the values of `op.other`.
    ///
    /// `None` when a dimension is zero, a slice is not as long as its dims say, or the second
    /// operand's cannot be repeated to the map's.
    pub fn new(
        op: &step::PairS8,
        dims: Dims,
        x: Option<&'a [i8]>,
        other: &'a [i8],
    ) -> Option<Self> {
        let (elements, own) = (dims.elements()?, op.other.dims());
        let fits = other.len() == own.elements()?
            && repeats(own, dims)
            && x.is_none_or(|x| x.len() == elements);
        let (rows, row) = (nonzero(dims.h)?, dims.row().filter(|&row| row > 0)?);
        let channels = nonzero(dims.c)?;
        fits.then_some(Self { op: *op, other: (other, own), rows, row, channels, x })
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
pub struct PairS8;

impl Contract for PairS8 {
    type Args<'a> = Args<'a>;
    type Value = i8;
    type Scratch = u8;

    const LIST: &'static [Kernel<Self>] = &[
        #[cfg(target_arch = "x86_64")]
        contract::avx512("pair_s8_avx512"),
        #[cfg(target_arch = "x86_64")]
        contract::avx2("pair_s8_avx2"),
        *Self::PORTABLE,
    ];

    const PORTABLE: &'static Kernel<Self> = &contract::portable("pair_s8_portable");
}

impl Loops for PairS8 {
    #[inline(always)]
    fn compute(args: &Args<'_>, rows: Range<usize>, y: &mut [i8], _: &mut [u8]) {
        let mut rest = y;
        for row in rows {
            let Some((y, after)) = rest.split_at_mut_checked(args.row) else { return };
            rest = after;
            if let Some(x) = args.x {
                y.iter_mut().zip(row_of(x, row, args.row)).for_each(|(y, x)| *y = *x);
            }
            combine(args, row, y);
        }
    }
}

/// Replaces the values of row `row`, which are the first operand.
#[inline(always)]
fn combine(args: &Args<'_>, row: usize, y: &mut [i8]) {
    let other = Repeated::row(args.other.0, args.other.1, row, args.channels);
    let step::PairS8 { function, offset, shift, lo, hi, .. } = args.op;
    let (shift, lo, hi) = (u32::from(shift), i32::from(lo), i32::from(hi));
    let scaled = |sum: i32| sum.wrapping_add(offset).wrapping_shr(shift).max(lo).min(hi) as i8;
    match function {
        FunctionS8::Sum { multipliers: [a, b] } => other.with(y, |x, other| {
            scaled(a.wrapping_mul(x.into()).wrapping_add(b.wrapping_mul(other.into())))
        }),
        FunctionS8::Product { zero_points: [a, b], multiplier } => other.with(y, |x, other| {
            let (x, other) = (i32::from(x) - i32::from(a), i32::from(other) - i32::from(b));
            scaled(multiplier.wrapping_mul(x * other))
        }),
    }
}
