//! AVX-512: two panels at a time, four sums of one register each.

use super::{Args, Kernel, LinearF32, NR};
use crate::cpu::Feature;
use crate::kernels::activation::x86::Finish;
use crate::kernels::arch::x86_64::{Panels, Pixels, dot_avx512, load_avx512};
use core::arch::x86_64::*;
use core::ops::Range;

pub(super) const KERNEL: Kernel<LinearF32> =
    Kernel { name: "linear_f32_2x16_avx512", needs: Some(Feature::Avx512), run };

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn run(args: &Args<'_>, panels: Range<usize>, y: &mut [f32], _: &mut [f32]) {
    let mut first = panels.start;
    for y in y.chunks_mut(2 * NR) {
        let computed =
            if y.len() > NR { block::<2>(args, first, y) } else { block::<1>(args, first, y) };
        debug_assert!(computed.is_some(), "Args::new and Kernel::run proved all extents");
        first += 2;
    }
}

/// `NB` panels from `first` on, sums in registers to the store.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn block<const NB: usize>(args: &Args<'_>, first: usize, y: &mut [f32]) -> Option<()> {
    let pitch = args.x.len() * NR;
    let panels = Panels::<NB>::new(args.weights.get(first * pitch..)?, pitch, args.x.len())?;
    let bias: &[[f32; NR]; NB] = args.bias.as_chunks().0.get(first..)?.first_chunk()?;
    let sums = dot_avx512(args.x, panels);
    let mut y_block = [[_mm512_setzero_ps(); NB]];
    for n in 0..NB {
        let [s0, s1, s2, s3] = sums[n];
        let sum = _mm512_add_ps(_mm512_add_ps(s0, s1), _mm512_add_ps(s2, s3));
        y_block[0][n] = _mm512_add_ps(sum, load_avx512(&bias[n]));
    }
    let slopes = args.slopes.as_chunks().0.get(first..).and_then(|slopes| slopes.first_chunk());
    Finish::new(args.activation, slopes).apply_avx512(&mut y_block);
    let width = y.len();
    Pixels::<1, NB>::new(y, 0, width)?.store_avx512(&y_block);
    Some(())
}
