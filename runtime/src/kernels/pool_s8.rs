//! Contract of the s8 pooling kernels.
//!
//! Maximum: the largest value under the window that lies inside the picture; -128 where none does.
//! Input and output mean the same by a value.
//!
//! Average: `requantize(sum of (x - zero point), (input scale / output scale) / count)` in 32-bit
//! integers that wrap ([`requantize`]), where `count` is the number of taps: all, or those inside the
//! picture. Taps outside count as the zero point. The quotients are rounded to f32 one after the other.
//!
//! `x` and `y` are NHWC; a kernel computes a band of output rows. All kernels give the same bits.

use super::contract::{self, Contract, Kernel, Loops, Operands};
use super::conv_f32::NR;
use super::pool::{self, Pool, Pooling, TapsInside};
use crate::dims::{Dims, Window};
use crate::quant::{bounds, requantize};
use crate::step::Quantization;
use core::ops::Range;

/// One pooling with its input, bounds proved.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    pool: pool::Args<'a, i8>,
    /// Those of input and output.
    zero_points: (i8, i8),
    /// Input scale by output scale.
    ratio: f32,
}

impl<'a> Args<'a> {
    /// Dims and quantization of `input` and of `output`, which [`Pool::Max`] takes for the same.
    ///
    /// `None` when a dimension is zero, the output's do not follow from the input's, or `x` is not
    /// exactly as long as [`Dims::elements`] says.
    pub fn new(
        pool: Pool,
        window: &Window,
        input: (Dims, Quantization),
        output: (Dims, Quantization),
        x: &'a [i8],
    ) -> Option<Self> {
        Some(Self {
            pool: pool::Args::new(pool, window, input.0, output.0, x)?,
            zero_points: (input.1.zero_point, output.1.zero_point),
            ratio: input.1.scale / output.1.scale,
        })
    }

    /// Number of values in one output row.
    pub fn output_row(&self) -> usize {
        self.pool.output_row()
    }
}

impl Operands for Args<'_> {
    fn rows(&self) -> usize {
        self.pool.rows()
    }

    fn values(&self, rows: &Range<usize>) -> Option<usize> {
        self.pool.values(rows)
    }
}

/// The contract.
#[derive(Clone, Copy, Debug)]
pub struct PoolS8;

impl Contract for PoolS8 {
    type Args<'a> = Args<'a>;
    type Value = i8;
    type Scratch = u8;

    const LIST: &'static [Kernel<Self>] = &[
        #[cfg(target_arch = "x86_64")]
        contract::avx512("pool_s8_avx512"),
        #[cfg(target_arch = "x86_64")]
        contract::avx2("pool_s8_avx2"),
        *Self::PORTABLE,
    ];

    const PORTABLE: &'static Kernel<Self> = &contract::portable("pool_s8_portable");
}

impl Loops for PoolS8 {
    #[inline(always)]
    fn compute(args: &Args<'_>, rows: Range<usize>, y: &mut [i8], _: &mut [u8]) {
        args.pool.compute(rows, y, args);
    }
}

impl Pooling<i8> for Args<'_> {
    #[inline(always)]
    fn pixel(&self, at: (usize, usize), taps: TapsInside, pixel: &mut [i8]) {
        let Pool::Average { count_include_pad } = self.pool.pool else {
            return self.pool.largest(at, taps, i8::MIN, pixel);
        };
        let scale = self.ratio / self.pool.divisor(&taps, count_include_pad);
        let (_, zero_point) = self.zero_points;
        let bounds = bounds(zero_point);
        for (block, channels) in pixel.chunks_mut(NR).enumerate() {
            let (sum, mut means) = (sum(self, at, &taps, block), [0; NR]);
            for i in 0..NR {
                means[i] = requantize(sum[i], scale, bounds, zero_point);
            }
            channels.iter_mut().zip(means).for_each(|(to, mean)| *to = mean);
        }
    }
}

/// Distances from the zero point of 16 channels under the window.
#[inline(always)]
fn sum(args: &Args<'_>, at: (usize, usize), taps: &TapsInside, block: usize) -> [i32; NR] {
    let (places, mut sum) = (args.pool.places(at, taps), [0i32; NR]);
    for ky in 0..taps.0.len() {
        for kx in 0..taps.1.len() {
            let x = args.pool.load(places.of(ky, kx) + block * NR);
            for i in 0..NR {
                sum[i] = sum[i].wrapping_add(x[i].into());
            }
        }
    }
    let inside = (taps.0.len() as i32).wrapping_mul(taps.1.len() as i32);
    let zero = inside.wrapping_mul(args.zero_points.0.into());
    for sum in &mut sum {
        *sum = sum.wrapping_sub(zero);
    }
    sum
}
