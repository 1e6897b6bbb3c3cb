//! Contract of the f32 resampling kernels ([`Resample`](crate::step::Resample)).
//!
//! First the rows of a run are summed, tap by tap, then the columns; taps of weight 0 are left out. No
//! fused multiply-add: all kernels give the same bits.
//!
//! `x` and `y` are NHWC; a kernel computes a band of output rows, each from its own rows of the input,
//! so that results do not depend on bands. Where a run has several rows, their sum is in scratch.

use super::axis::nonzero;
use super::contract::{self, Contract, Kernel, Loops, Operands};
use crate::dims::Dims;
use crate::step;
use core::ops::Range;

/// Bands start at multiples of this many output rows.
pub const ROW_QUANTUM: usize = 1;

/// Values of the table of one axis with `output` rows or columns: `output * (1 + count)`. `None` when
/// there are none, or the product overflows.
pub fn table_len(taps: &step::Taps, output: u32) -> Option<usize> {
    nonzero(output)?.checked_mul(nonzero(taps.count)?.checked_add(1)?)
}

/// Floats of scratch: one input row, where a run has several. `None` when the product overflows.
pub fn scratch_len(op: &step::Resample, input: Dims) -> Option<usize> {
    if op.rows.count > 1 { input.row() } else { Some(0) }
}

/// One axis: the runs of an input of `len` rows or columns.
#[derive(Clone, Copy, Debug)]
struct Taps<'a> {
    table: &'a [f32],
    count: usize,
    len: usize,
}

impl<'a> Taps<'a> {
    fn new(taps: &step::Taps, table: &'a [f32], input: u32, output: u32) -> Option<Self> {
        let (count, len) = (nonzero(taps.count)?, nonzero(input)?);
        let fits = count <= len && table.len() == table_len(taps, output)?;
        fits.then_some(Self { table, count, len })
    }

    /// The run of output row or column `at`, moved inside the input, and its weights.
    #[inline(always)]
    fn run(&self, at: usize) -> Option<(usize, &'a [f32])> {
        let width = self.count.wrapping_add(1);
        let entry = self.table.get(at.wrapping_mul(width)..)?.get(..width)?;
        let (first, weights) = entry.split_first()?;
        Some(((*first as usize).min(self.len.saturating_sub(self.count)), weights))
    }
}

/// One resampling with its operands, bounds proved.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    rows: Taps<'a>,
    columns: Taps<'a>,
    output: (usize, usize),
    channels: usize,
    x: &'a [f32],
    scratch: usize,
}

impl<'a> Args<'a> {
    /// `tables` are those of rows and of columns.
    ///
    /// `None` when a dimension is zero, runs are longer than the input, or a slice is not as long as
    /// [`Dims::elements`] and [`table_len`] say.
    pub fn new(
        op: &step::Resample,
        input: Dims,
        output: Dims,
        x: &'a [f32],
        tables: (&'a [f32], &'a [f32]),
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

    /// Number of values in one output row.
    pub fn output_row(&self) -> usize {
        self.output.1.saturating_mul(self.channels)
    }
}

impl Operands for Args<'_> {
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
    for column in 0..args.output.1 {
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
