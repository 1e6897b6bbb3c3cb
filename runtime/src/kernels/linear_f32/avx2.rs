//! AVX2: one panel at a time, four sums of two registers each.

use super::{Args, Kernel, LinearF32, NR};
use crate::cpu::Feature;
use crate::kernels::activation::x86::Finish;
use crate::kernels::arch::x86_64::{Panels, Pixels, dot_avx2, load_panel_avx};
use core::arch::x86_64::*;
use core::ops::Range;

pub(super) const KERNEL: Kernel<LinearF32> =
    Kernel { name: "linear_f32_1x16_avx2", needs: Some(Feature::Avx2), run };

#[target_feature(enable = "avx2,fma")]
fn run(args: &Args<'_>, panels: Range<usize>, y: &mut [f32], _: &mut [f32]) {
    for (panel, y) in panels.zip(y.chunks_mut(NR)) {
        let computed = block(args, panel, y);
        debug_assert!(computed.is_some(), "Args::new and Kernel::run proved all extents");
    }
}

/// One panel, sums in registers to the store.
#[target_feature(enable = "avx2,fma")]
fn block(args: &Args<'_>, panel: usize, y: &mut [f32]) -> Option<()> {
    let pitch = args.x.len() * NR;
    let panels = Panels::<1>::new(args.weights.get(panel * pitch..)?, pitch, args.x.len())?;
    let bias = load_panel_avx(args.bias.as_chunks().0.get(panel)?);
    let [s0, s1, s2, s3] = dot_avx2(args.x, panels);
    let mut y_block = [[_mm256_setzero_ps(); 2]];
    for h in 0..2 {
        let sum = _mm256_add_ps(_mm256_add_ps(s0[h], s1[h]), _mm256_add_ps(s2[h], s3[h]));
        y_block[0][h] = _mm256_add_ps(sum, bias[h]);
    }
    let slopes = args.slopes.as_chunks().0.get(panel..).and_then(|slopes| slopes.first_chunk());
    Finish::new(args.activation, slopes).apply_avx2(&mut y_block);
    let width = y.len();
    Pixels::<1, 1>::new(y, 0, width)?.store_avx2(&y_block);
    Some(())
}
