//! Contract of the s8 resampling kernels ([`Resample`](crate::step::Resample)).
//!
//! Weights are integers in units of `1 / `[`ONE`]; those of each run sum to [`ONE`], so that the zero point
//! stays what it is. `(sum + 2^21) >> 22` of a value's products of row weight, column weight and input,
//! clamped to s8, in 32-bit integers that wrap: in whatever order they are summed, the bits are the same.
//!
//! `x` and `y` are NHWC; a kernel computes a band of output rows, each from its own rows of the input.
//! Where a run has several rows, their sum is in scratch.

use super::contract::{self, Contract, Kernel, Loops};
use super::conv_f32::NR;
use super::{load_block, runs};
use core::ops::Range;

/// Bands start at multiples of this many output rows.
pub const ROW_QUANTUM: usize = 1;

/// The weight that leaves a value as it is.
pub const ONE: i32 = 1 << 11;

/// Fraction bits of a product of two weights.
const SHIFT: u32 = 22;

/// One resampling with its operands, bounds proved.
pub type Args<'a> = runs::Args<'a, i8, i32>;

/// The contract.
#[derive(Clone, Copy, Debug)]
pub struct ResampleS8;

impl Contract for ResampleS8 {
    type Args<'a> = Args<'a>;
    type Value = i8;
    type Scratch = i32;

    const LIST: &'static [Kernel<Self>] = &[
        #[cfg(target_arch = "x86_64")]
        contract::avx512("resample_s8_avx512"),
        #[cfg(target_arch = "x86_64")]
        contract::avx2("resample_s8_avx2"),
        *Self::PORTABLE,
    ];

    const PORTABLE: &'static Kernel<Self> = &contract::portable("resample_s8_portable");
}

impl Loops for ResampleS8 {
    #[inline(always)]
    fn compute(args: &Args<'_>, rows: Range<usize>, y: &mut [i8], scratch: &mut [i32]) {
        let mut rest = y;
        for row in rows {
            let Some((y, after)) = rest.split_at_mut_checked(args.output_row()) else { return };
            rest = after;
            let _ = compute_row(args, row, y, scratch);
        }
    }
}

/// `None` never: the contract has proved every bound.
#[inline(always)]
fn compute_row(args: &Args<'_>, row: usize, y: &mut [i8], scratch: &mut [i32]) -> Option<()> {
    let len = args.columns.len.checked_mul(args.channels)?;
    let (first, weights) = args.rows.run(row)?;
    let from = args.x.get(first.checked_mul(len)?..)?;
    if let &[weight] = weights {
        return mix_columns(args, from.get(..len)?, weight, y);
    }
    let sums = scratch.get_mut(..len)?;
    mix_rows(weights, from, sums)?;
    mix_columns(args, sums, 1, y)
}

/// `sums[i] = sum_k weights[k] * x[k * len + i]`.
#[inline(always)]
fn mix_rows(weights: &[i32], x: &[i8], sums: &mut [i32]) -> Option<()> {
    let len = sums.len();
    let rows = |k: usize| x.get(k.checked_mul(len)?..)?.get(..len);
    if let &[a, b] = weights {
        for ((sum, &first), &second) in sums.iter_mut().zip(rows(0)?).zip(rows(1)?) {
            *sum = a.wrapping_mul(first.into()).wrapping_add(b.wrapping_mul(second.into()));
        }
        return Some(());
    }
    sums.fill(0);
    for (k, &weight) in weights.iter().enumerate() {
        for (sum, &x) in sums.iter_mut().zip(rows(k)?) {
            *sum = sum.wrapping_add(weight.wrapping_mul(x.into()));
        }
    }
    Some(())
}

/// Output pixels from a row of values, or of sums, each times `weight`.
#[inline(always)]
fn mix_columns<T: Copy + Default + Into<i32>>(
    args: &Args<'_>,
    row: &[T],
    weight: i32,
    y: &mut [i8],
) -> Option<()> {
    let mut rest = y;
    for column in 0..args.output_columns() {
        let (pixel, after) = rest.split_at_mut_checked(args.channels)?;
        rest = after;
        let (first, weights) = args.columns.run(column)?;
        let from = row.get(first.checked_mul(args.channels)?..)?;
        for (block, channels) in pixel.chunks_mut(NR).enumerate() {
            let sum = mix(weights, from.get(block.checked_mul(NR)?..)?, args.channels);
            let mut means = [0; NR];
            for i in 0..NR {
                means[i] = rounded(sum[i].wrapping_mul(weight));
            }
            channels.iter_mut().zip(means).for_each(|(to, mean)| *to = mean);
        }
    }
    Some(())
}

/// `sum_k weights[k] * x[k * pitch ..]` of 16 channels.
#[inline(always)]
fn mix<T: Copy + Default + Into<i32>>(weights: &[i32], x: &[T], pitch: usize) -> [i32; NR] {
    let mut sum = [0i32; NR];
    for (k, &weight) in weights.iter().enumerate() {
        let x = load_block(x, k.wrapping_mul(pitch));
        for i in 0..NR {
            sum[i] = sum[i].wrapping_add(weight.wrapping_mul(x[i].into()));
        }
    }
    sum
}

#[inline(always)]
fn rounded(sum: i32) -> i8 {
    let mean = sum.wrapping_add(1 << (SHIFT - 1)).wrapping_shr(SHIFT);
    mean.max(i8::MIN.into()).min(i8::MAX.into()) as i8
}
