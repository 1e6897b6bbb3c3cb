//! AVX-512: tiles of up to 8 pixels x 16 channels, one register a pixel.

use super::super::{Args, DepthwiseF32, Kernel};
use super::{Tile, depthwise_rows};
use crate::cpu::Feature;
use crate::kernels::arch::x86_64::{add_blocks_avx512, load_avx512};
use core::arch::x86_64::*;
use core::ops::Range;

pub(in super::super) const KERNEL: Kernel<DepthwiseF32> =
    Kernel { name: "depthwise_f32_8x16_avx512", needs: Some(Feature::Avx512), run };

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn run(args: &Args<'_>, rows: Range<usize>, y: &mut [f32], _: &mut [f32]) {
    let computed = depthwise_rows(args, rows, y, &[8, 4, 2, 1], |at, y| match at.pixels {
        8 => tile::<8>(at, y),
        4 => tile::<4>(at, y),
        2 => tile::<2>(at, y),
        _ => tile::<1>(at, y),
    });
    debug_assert!(computed.is_some(), "Args::new and Kernel::run proved all extents");
}

/// One block of channels of `MR` pixels, sums in registers from bias to store.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn tile<const MR: usize>(at: &Tile<'_>, y: &mut [f32]) -> Option<()> {
    let mut sum = [[_mm512_setzero_ps(); 1]; MR];
    let bias = at.bias::<MR>()?;
    for m in 0..MR {
        sum[m] = [load_avx512(bias[m])];
    }
    for ky in at.taps.0.clone() {
        let (blocks, weights) = at.tap_row::<MR>(ky)?;
        add_blocks_avx512(&mut sum, blocks, weights);
    }
    at.finish().apply_avx512(&mut sum);
    at.pixels(y)?.store_avx512(&sum);
    Some(())
}
