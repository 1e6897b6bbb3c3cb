//! Contract of the f32 depthwise convolution kernels ([`Layout::F32Dw16`]).
//!
//! `y[r, c, i] = act(b[class(r, c), i] + sum_{ky, kx} W[i, ky, kx] * x[iy, ix, i])` with `iy`, `ix`
//! as in [`conv_f32`](super::conv_f32); taps outside the picture add nothing. Every kernel adds in
//! the order `ky, kx`, starting from the bias, without fused multiply-add: all kernels give the
//! same bits.
//!
//! Operands: `x` NHWC; `weights` `[block][kh][kw][16]`; `bias` `[border class][block][16]`;
//! `slopes` `[block][16]`.

#[cfg(target_arch = "x86_64")]
mod x86;

use super::activation::activate;
use super::axis::{Axis, nonzero};
use super::contract::{Contract, Kernel, Operands};
use super::conv_f32::NR;
use super::load_block;
use crate::dims::{Dims, Hw, Window};
use crate::step::{Activation, Border, Conv, Layout};
use core::ops::Range;

/// Bands start at multiples of this many output rows.
pub const ROW_QUANTUM: usize = 1;

/// Values of packed weights: `ceil(c / 16) * kh * kw * 16`. `None` when the product overflows.
pub fn weights_len(window: &Window, c: u32) -> Option<usize> {
    let taps = usize::try_from(window.kernel.h.checked_mul(window.kernel.w)?).ok()?;
    filled_up(c)?.checked_mul(taps)
}

/// Values of bias vectors: `border classes * ceil(c / 16) * 16`. What is one vector (slopes, factors):
/// the same without classes.
///
/// `None` when the product overflows.
pub fn bias_len(border: Border, c: u32) -> Option<usize> {
    let (rows, columns) = border.classes();
    filled_up(c)?.checked_mul(usize::try_from(rows.checked_mul(columns)?).ok()?)
}

/// Channels filled up to whole blocks.
fn filled_up(c: u32) -> Option<usize> {
    usize::try_from(c).ok()?.checked_next_multiple_of(NR)
}

/// One depthwise convolution with its operands, bounds proved.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    rows: Axis,
    columns: Axis,
    input: (usize, usize),
    output: (usize, usize),
    channels: usize,
    activation: Activation,
    x: &'a [f32],
    weights: &'a [f32],
    bias: &'a [f32],
    slopes: &'a [f32],
}

impl<'a> Args<'a> {
    /// Checks every extent against the shapes. `slopes` is read for [`Activation::PRelu`] only.
    ///
    /// `None` when the layout is not [`Layout::F32Dw16`], groups and channels differ, a dimension
    /// is zero, `output` does not follow from `input`, border classes overlap, or a slice is not
    /// exactly as long as [`Dims::elements`], [`weights_len`] and [`bias_len`] say.
    pub fn new(
        conv: &Conv,
        input: Dims,
        output: Dims,
        x: &'a [f32],
        weights: &'a [f32],
        bias: &'a [f32],
        slopes: &'a [f32],
    ) -> Option<Self> {
        let Window { kernel, stride, dilation, pad } = conv.window;
        let border = conv.border;
        let slopes_fit = !matches!(conv.activation, Activation::PRelu { .. })
            || slopes.len() == bias_len(Border::default(), output.c)?;
        let fits = matches!(conv.layout, Layout::F32Dw16)
            && (input.c, conv.groups) == (output.c, output.c)
            && conv.window.output(input.h, input.w)? == (Hw { h: output.h, w: output.w })
            && x.len() == input.elements()?
            && weights.len() == weights_len(&conv.window, output.c)?
            && bias.len() == bias_len(border, output.c)?
            && slopes_fit;
        let (h, w) = (nonzero(output.h)?, nonzero(output.w)?);
        let rows = Axis::new(kernel.h, stride.h, dilation.h, pad.top)?;
        let columns = Axis::new(kernel.w, stride.w, dilation.w, pad.left)?;
        fits.then_some(Self {
            rows: rows.with_border(border.top, border.bottom, h)?,
            columns: columns.with_border(border.left, border.right, w)?,
            input: (nonzero(input.h)?, nonzero(input.w)?),
            output: (h, w),
            channels: nonzero(output.c)?,
            activation: conv.activation,
            x,
            weights,
            bias,
            slopes,
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
pub struct DepthwiseF32;

impl Contract for DepthwiseF32 {
    type Args<'a> = Args<'a>;
    type Value = f32;
    type Scratch = f32;

    const LIST: &'static [Kernel<Self>] = &[
        #[cfg(target_arch = "x86_64")]
        x86::AVX512,
        #[cfg(target_arch = "x86_64")]
        x86::AVX2,
        *Self::PORTABLE,
    ];

    const PORTABLE: &'static Kernel<Self> =
        &Kernel { name: "depthwise_f32_portable", needs: None, run };
}

fn run(args: &Args<'_>, rows: Range<usize>, y: &mut [f32], _: &mut [f32]) {
    let mut rest = y;
    for row in rows {
        let taps_y = args.rows.taps_inside(row, args.input.0);
        for column in 0..args.output.1 {
            let Some((pixel, after)) = rest.split_at_mut_checked(args.channels) else { return };
            rest = after;
            let taps_x = args.columns.taps_inside(column, args.input.1);
            for (block, channels) in pixel.chunks_mut(NR).enumerate() {
                let sum = sum_taps(args, (row, column), taps_y.clone(), taps_x.clone(), block);
                channels.iter_mut().zip(sum).for_each(|(to, from)| *to = from);
            }
        }
    }
}

/// One block of channels of output pixel `at`.
fn sum_taps(
    args: &Args<'_>,
    at: (usize, usize),
    taps_y: Range<usize>,
    taps_x: Range<usize>,
    block: usize,
) -> [f32; NR] {
    let class = args.rows.class(at.0) * args.columns.class_count() + args.columns.class(at.1);
    let blocks = args.channels.div_ceil(NR);
    let mut sum = load_block(args.bias, (class * blocks + block) * NR);
    for ky in taps_y {
        let Some(iy) = args.rows.input(at.0, ky, args.input.0) else { continue };
        for kx in taps_x.clone() {
            let Some(ix) = args.columns.input(at.1, kx, args.input.1) else { continue };
            let x = load_block(args.x, (iy * args.input.1 + ix) * args.channels + block * NR);
            let tap = (block * args.rows.taps + ky) * args.columns.taps + kx;
            let weights = load_block(args.weights, tap * NR);
            for i in 0..NR {
                sum[i] += weights[i] * x[i];
            }
        }
    }
    activate(&mut sum, args.activation, &load_block(args.slopes, block * NR));
    sum
}
