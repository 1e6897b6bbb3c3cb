//! Contract of the f32 pooling kernels.
//!
//! Maximum: the largest value under the window that lies inside the picture; `-inf` where none
//! does. Average: the sum of the values under the window, row sums first, divided by the number of
//! taps (all, or those inside the picture); 0 where that number is 0. The mean over the whole
//! picture is the average under a window of its size. All kernels give the same bits.
//!
//! `x` and `y` are NHWC; a kernel computes a band of output rows.

use super::axis::{Axis, nonzero};
use super::contract::{self, Contract, Kernel, Loops, Operands};
use super::conv_f32::NR;
use super::load_block;
use crate::dims::{Dims, Hw, Window};
use core::ops::Range;

/// Bands start at multiples of this many output rows.
pub const ROW_QUANTUM: usize = 1;

/// What is made of the values under the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// The largest.
    Max,
    /// The mean.
    Average {
        /// Divide by all taps (true) or only by those inside the picture.
        count_include_pad: bool,
    },
}

/// One pooling with its input, bounds proved.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    pool: Pool,
    rows: Axis,
    columns: Axis,
    input: (usize, usize),
    output: (usize, usize),
    channels: usize,
    x: &'a [f32],
}

impl<'a> Args<'a> {
    /// `None` when a dimension is zero, `output` does not follow from `input`, or `x` is not
    /// exactly as long as [`Dims::elements`] says.
    pub fn new(
        pool: Pool,
        window: &Window,
        input: Dims,
        output: Dims,
        x: &'a [f32],
    ) -> Option<Self> {
        let Window { kernel, stride, dilation, pad } = window;
        let fits = input.c == output.c
            && window.output(input.h, input.w)? == (Hw { h: output.h, w: output.w })
            && x.len() == input.elements()?;
        fits.then_some(Self {
            pool,
            rows: Axis::new(kernel.h, stride.h, dilation.h, pad.top)?,
            columns: Axis::new(kernel.w, stride.w, dilation.w, pad.left)?,
            input: (nonzero(input.h)?, nonzero(input.w)?),
            output: (nonzero(output.h)?, nonzero(output.w)?),
            channels: nonzero(output.c)?,
            x,
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
}

/// The contract.
#[derive(Clone, Copy, Debug)]
pub struct PoolF32;

impl Contract for PoolF32 {
    type Args<'a> = Args<'a>;
    type Value = f32;
    type Scratch = f32;

    const LIST: &'static [Kernel<Self>] = &[
        #[cfg(target_arch = "x86_64")]
        contract::avx512("pool_f32_avx512"),
        #[cfg(target_arch = "x86_64")]
        contract::avx2("pool_f32_avx2"),
        *Self::PORTABLE,
    ];

    const PORTABLE: &'static Kernel<Self> = &contract::portable("pool_f32_portable");
}

impl Loops for PoolF32 {
    #[inline(always)]
    fn compute(args: &Args<'_>, rows: Range<usize>, y: &mut [f32], _: &mut [f32]) {
        compute_rows(args, rows, y);
    }
}

/// 16 neighbouring channels.
type Block = [f32; NR];

#[inline(always)]
fn compute_rows(args: &Args<'_>, rows: Range<usize>, y: &mut [f32]) {
    let mut rest = y;
    for row in rows {
        let taps_y = args.rows.taps_inside(row, args.input.0);
        for column in 0..args.output.1 {
            let Some((pixel, after)) = rest.split_at_mut_checked(args.channels) else { return };
            rest = after;
            let taps_x = args.columns.taps_inside(column, args.input.1);
            let taps = (taps_y.clone(), taps_x);
            match args.pool {
                Pool::Max => largest(args, (row, column), &taps, pixel),
                Pool::Average { count_include_pad } => {
                    for (block, channels) in pixel.chunks_mut(NR).enumerate() {
                        let mean = mean(args, (row, column), &taps, block, count_include_pad);
                        channels.iter_mut().zip(mean).for_each(|(to, from)| *to = from);
                    }
                }
            }
        }
    }
}

/// All channels of one output pixel, tap by tap.
#[inline(always)]
fn largest(
    args: &Args<'_>,
    at: (usize, usize),
    taps: &(Range<usize>, Range<usize>),
    pixel: &mut [f32],
) {
    pixel.fill(f32::NEG_INFINITY);
    for ky in taps.0.clone() {
        for kx in taps.1.clone() {
            let x = args.x.get(place(args, at, (ky, kx))..).unwrap_or(&[]);
            for (best, &x) in pixel.iter_mut().zip(x) {
                *best = if x > *best { x } else { *best };
            }
        }
    }
}

#[inline(always)]
fn mean(
    args: &Args<'_>,
    at: (usize, usize),
    taps: &(Range<usize>, Range<usize>),
    block: usize,
    count_include_pad: bool,
) -> Block {
    let mut sum = [0.0; NR];
    for ky in taps.0.clone() {
        let mut row_sum = [0.0; NR];
        for kx in taps.1.clone() {
            let x = load(args, at, (ky, kx), block);
            for i in 0..NR {
                row_sum[i] += x[i];
            }
        }
        for i in 0..NR {
            sum[i] += row_sum[i];
        }
    }
    let inside = taps.0.len() * taps.1.len();
    let count = if count_include_pad { args.rows.taps * args.columns.taps } else { inside };
    let divisor = if count == 0 { 1.0 } else { count as f32 };
    sum.map(|sum| sum / divisor)
}

/// 16 channels of the input pixel under a tap.
#[inline(always)]
fn load(args: &Args<'_>, at: (usize, usize), tap: (usize, usize), block: usize) -> Block {
    load_block(args.x, place(args, at, tap) + block * NR)
}

/// Where the channels of the input pixel under a tap begin.
#[inline(always)]
fn place(args: &Args<'_>, at: (usize, usize), tap: (usize, usize)) -> usize {
    let iy = args.rows.input(at.0, tap.0, args.input.0).unwrap_or(0);
    let ix = args.columns.input(at.1, tap.1, args.input.1).unwrap_or(0);
    (iy * args.input.1 + ix) * args.channels
}
