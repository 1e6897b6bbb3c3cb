//! Contract of the f32 resampling kernels ([`Resample`](crate::step::Resample)).
//!
//! First the rows of a run are summed, tap by tap, then the columns; taps of weight 0 are left out. No
//! fused multiply-add: all kernels give the same bits.
//!
//! `x` and `y` are NHWC; a kernel computes a band of output rows, each from its own rows of the input,
//! so that results do not depend on bands. Where a run has several rows, their sum is in scratch.

use super::contract::{self, Contract, Kernel, Loops};
use super::runs;
pub use super::runs::{scratch_len, table_len};
use core::ops::Range;

/// One resampling with its operands, bounds proved.
pub type Args<'a> = runs::Args<'a, f32, f32>;

/// Bands start at multiples of this many output rows.
pub const ROW_QUANTUM: usize = 1;

/// The contract.
#[derive(Clone, Copy, Debug)]
pub struct ResampleF32;

impl Contract for ResampleF32 {
    type Args<'a> = Args<'a>;
    type Value = f32;
    type Scratch = f32;

    const LIST: &'static [Kernel<Self>] = &[
        #[cfg(target_arch = "x86_64")]
        contract::avx512("resample_f32_avx512"),
        #[cfg(target_arch = "x86_64")]
        contract::avx2("resample_f32_avx2"),
        *Self::PORTABLE,
    ];

    const PORTABLE: &'static Kernel<Self> = &contract::portable("resample_f32_portable");
}

impl Loops for ResampleF32 {
    #[inline(always)]
    fn compute(args: &Args<'_>, rows: Range<usize>, y: &mut [f32], scratch: &mut [f32]) {
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
fn compute_row(args: &Args<'_>, row: usize, y: &mut [f32], scratch: &mut [f32]) -> Option<()> {
    let len = args.columns.len.checked_mul(args.channels)?;
    let (first, weights) = args.rows.run(row)?;
    let from = args.x.get(first.checked_mul(len)?..)?;
    match weights {
        [weight] if *weight == 0.0 => y.fill(0.0),
        [weight] => {
            mix_columns(args, from.get(..len)?, y)?;
            if *weight != 1.0 {
                y.iter_mut().for_each(|y| *y *= weight);
            }
        }
        weights => {
            let sums = scratch.get_mut(..len)?;
            mix(weights, from, len, sums)?;
            mix_columns(args, sums, y)?;
        }
    }
    Some(())
}

#[inline(always)]
fn mix_columns(args: &Args<'_>, row: &[f32], y: &mut [f32]) -> Option<()> {
    let mut rest = y;
    for column in 0..args.output_columns() {
        let (pixel, after) = rest.split_at_mut_checked(args.channels)?;
        rest = after;
        let (first, weights) = args.columns.run(column)?;
        mix(weights, row.get(first.checked_mul(args.channels)?..)?, args.channels, pixel)?;
    }
    Some(())
}

/// `y[i] = sum_k weights[k] * x[k * pitch + i]`, without taps of weight 0.
#[inline(always)]
fn mix(weights: &[f32], x: &[f32], pitch: usize, y: &mut [f32]) -> Option<()> {
    let len = y.len();
    let taps = |k: usize| x.get(k.checked_mul(pitch)?..)?.get(..len);
    match *weights {
        [a] if a != 0.0 => y.iter_mut().zip(taps(0)?).for_each(|(y, x)| *y = a * x),
        [a, b] if a != 0.0 && b != 0.0 => {
            for ((y, first), second) in y.iter_mut().zip(taps(0)?).zip(taps(1)?) {
                *y = a * first + b * second;
            }
        }
        _ => {
            y.fill(0.0);
            for (k, &weight) in weights.iter().enumerate().filter(|(_, weight)| **weight != 0.0) {
                y.iter_mut().zip(taps(k)?).for_each(|(y, x)| *y += weight * x);
            }
        }
    }
    Some(())
}
