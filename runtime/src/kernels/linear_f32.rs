//! Contract of the f32 dense layer kernels ([`Linear`]).
//!
//! `y[o] = act(b[o] + sum_k W[o, k] * x[k])`. Every kernel keeps four sums, of the `k` with the same
//! remainder by 4, and adds them as `b + ((s0 + s1) + (s2 + s3))` without fused multiply-add: all
//! kernels give the same bits, and rounding errors grow four times slower.
//!
//! Operands: `x` the input in NHWC order; `weights` `[panel][k][16]`; `bias` and `slopes`
//! `[panel][16]`. A kernel computes a band of panels: 16 output channels each, the last fewer.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

use super::activation::activate;
use super::axis::nonzero;
use super::contract::{Contract, Kernel, Operands};
use super::conv_f32::{self, NR};
use crate::dims::{Dims, Window};
use crate::step::{Activation, Border, Linear};
use core::ops::Range;

/// Floats of packed weights: `ceil(outputs / 16) * inputs * 16`; a 1x1 convolution whose input
/// channels are all values of the input. `None` when there are none, or the product overflows.
pub fn weights_len(input: Dims, output: Dims) -> Option<usize> {
    let inputs = u32::try_from(input.elements()?).ok()?;
    conv_f32::weights_len(&Window::POINT, 1, inputs, output.c)
}

/// Floats of the bias vector, and of slopes: `ceil(outputs / 16) * 16`. `None` when there are none.
pub fn bias_len(output: Dims) -> Option<usize> {
    conv_f32::bias_len(Border::default(), 1, output.c)
}

/// One dense layer with its operands, bounds proved.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    outputs: usize,
    activation: Activation,
    x: &'a [f32],
    weights: &'a [f32],
    bias: &'a [f32],
    slopes: &'a [f32],
}

impl<'a> Args<'a> {
    /// Checks every extent against the shapes. `slopes` is read for [`Activation::PRelu`] only.
    ///
    /// `None` when `output` is no vector, or a slice is not exactly as long as [`Dims::elements`],
    /// [`weights_len`] and [`bias_len`] say.
    pub fn new(
        linear: &Linear,
        input: Dims,
        output: Dims,
        x: &'a [f32],
        weights: &'a [f32],
        bias: &'a [f32],
        slopes: &'a [f32],
    ) -> Option<Self> {
        let activation = linear.activation;
        let padded = bias_len(output)?;
        let slopes_fit = !matches!(activation, Activation::PRelu { .. }) || slopes.len() == padded;
        let fits = output == Dims::vector(output.c)
            && x.len() == input.elements()?
            && weights.len() == weights_len(input, output)?
            && bias.len() == padded
            && slopes_fit;
        let outputs = nonzero(output.c)?;
        fits.then_some(Self { outputs, activation, x, weights, bias, slopes })
    }

    /// Number of panels.
    pub fn panels(&self) -> usize {
        self.outputs.div_ceil(NR)
    }
}

impl Operands for Args<'_> {
    /// Panels: 16 output channels each, fewer in the last.
    fn rows(&self) -> usize {
        self.panels()
    }

    fn values(&self, panels: &Range<usize>) -> Option<usize> {
        let end = panels.end.checked_mul(NR)?.min(self.outputs);
        end.checked_sub(panels.start.checked_mul(NR)?)
    }
}

/// The contract.
#[derive(Clone, Copy, Debug)]
pub struct LinearF32;

impl Contract for LinearF32 {
    type Args<'a> = Args<'a>;
    type Value = f32;
    type Scratch = f32;

    const LIST: &'static [Kernel<Self>] = &[
        #[cfg(target_arch = "x86_64")]
        avx512::KERNEL,
        #[cfg(target_arch = "x86_64")]
        avx2::KERNEL,
        *Self::PORTABLE,
    ];

    const PORTABLE: &'static Kernel<Self> =
        &Kernel { name: "linear_f32_portable", needs: None, run };
}

/// One value for each output channel of a panel.
type Panel = [f32; NR];

fn run(args: &Args<'_>, panels: Range<usize>, y: &mut [f32], _: &mut [f32]) {
    let (bias, _) = args.bias.as_chunks::<NR>();
    let (weights, _) = args.weights.as_chunks::<NR>();
    for (panel, outputs) in panels.zip(y.chunks_mut(NR)) {
        let start = panel.saturating_mul(args.x.len());
        let Some(weights) = weights.get(start..).and_then(|rest| rest.get(..args.x.len())) else {
            return;
        };
        let Some(bias) = bias.get(panel) else { return };
        let mut sum = dot(args.x, weights);
        for i in 0..NR {
            sum[i] += bias[i];
        }
        let slopes = args.slopes.get(panel * NR..).unwrap_or(&[]);
        activate(&mut sum, args.activation, slopes);
        outputs.iter_mut().zip(sum).for_each(|(to, from)| *to = from);
    }
}

/// `sum_k weights[k] * x[k]` in the order that the contract fixes.
fn dot(x: &[f32], weights: &[Panel]) -> Panel {
    let (x_fours, x_rest) = x.as_chunks::<4>();
    let (weight_fours, weight_rest) = weights.as_chunks::<4>();
    let mut sums = [[0.0; NR]; 4];
    for (x, weights) in x_fours.iter().zip(weight_fours) {
        for k in 0..4 {
            for i in 0..NR {
                sums[k][i] += weights[k][i] * x[k];
            }
        }
    }
    for ((sum, x), weights) in sums.iter_mut().zip(x_rest).zip(weight_rest) {
        for i in 0..NR {
            sum[i] += weights[i] * x;
        }
    }
    let [s0, s1, s2, s3] = sums;
    core::array::from_fn(|i| (s0[i] + s1[i]) + (s2[i] + s3[i]))
}
