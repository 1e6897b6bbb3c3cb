//! Contract of the f32 pooling kernels.
//!
//! Maximum: the largest value under the window that lies inside the picture; `-inf` where none
//! does. Average: the sum of the values under the window, row sums first, divided by the number of
//! taps (all, or those inside the picture); 0 where that number is 0. The mean over the whole
//! picture is the average under a window of its size. All kernels give the same bits.
//!
//! `x` and `y` are NHWC; a kernel computes a band of output rows.

use super::contract::{self, Contract, Kernel, Loops};
use super::conv_f32::NR;
pub use super::pool::Pool;
use super::pool::{self, Pooling, TapsInside};
use core::ops::Range;

/// One pooling with its input, bounds proved.
pub type Args<'a> = pool::Args<'a, f32>;

/// Bands start at multiples of this many output rows.
pub const ROW_QUANTUM: usize = 1;

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
        args.compute(rows, y, args);
    }
}

/// 16 neighbouring channels.
type Block = [f32; NR];

impl Pooling<f32> for Args<'_> {
    #[inline(always)]
    fn pixel(&self, at: (usize, usize), taps: TapsInside, pixel: &mut [f32]) {
        let Pool::Average { count_include_pad } = self.pool else {
            return self.largest(at, taps, f32::NEG_INFINITY, pixel);
        };
        let divisor = self.divisor(&taps, count_include_pad);
        for (block, channels) in pixel.chunks_mut(NR).enumerate() {
            let sum = sum(self, at, &taps, block);
            channels.iter_mut().zip(sum).for_each(|(to, sum)| *to = sum / divisor);
        }
    }
}

/// Of 16 channels under the window.
#[inline(always)]
fn sum(args: &Args<'_>, at: (usize, usize), taps: &TapsInside, block: usize) -> Block {
    let (places, mut sum) = (args.places(at, taps), [0.0; NR]);
    for ky in 0..taps.0.len() {
        let mut row_sum = [0.0; NR];
        for kx in 0..taps.1.len() {
            let x = args.load(places.of(ky, kx) + block * NR);
            for i in 0..NR {
                row_sum[i] += x[i];
            }
        }
        for i in 0..NR {
            sum[i] += row_sum[i];
        }
    }
    sum
}
