//! Contract of the s8 convolution kernels (dense and grouped, [`LayoutS8::Nr16Kr4`] and
//! [`LayoutS8::Nr16Kr4Bits4`]).
//!
//! `sum[r, c, o] = bias[class(r, c), o] + sum_{ky, kx, i} W[o, i, ky, kx] * x[iy, ix, i]` in wrapping i32
//! with `iy = r * stride.h + ky * dilation.h - pad.top` (likewise `ix`); taps outside the picture read
//! the input's zero point. Then [`ConvS8`] says how a sum becomes an s8 or an f32 value. Integer sums
//! have no order, so **all kernels give the same bits**, whatever the bands, tiles and threads.
//!
//! A kernel writes a band: output rows `rows`, each `w * c` values, densely into `y`, which are bytes
//! of s8 or f32 values. [`Args::new`] is where all bounds are proved; kernels rely on it.
//!
//! Operands: `x` NHWC; `weights` `[group][panel][kh][kw][i / 4][16][4]`; `bias`
//! `[border class][group][panel][16]`; `sums`, `scale` and `negative` `[group][panel][16]`.
//! [`pack`], [`pack_bits4`] and [`pack_channels`] write them from ONNX order.

mod geometry;
mod pack;
mod portable;
mod winograd;
#[cfg(target_arch = "x86_64")]
mod x86;

use super::contract::{Contract, Kernel, Operands};
use super::requantize::Requantize;
use crate::step::{Border, ConvS8, LayoutS8, Operand};
use core::ops::Range;
use geometry::Geometry;
use winograd::Winograd;

pub use super::conv_f32::{NR, bias_len, pack_channels, panels};
pub use geometry::{scratch_len, weights_len};
pub use pack::{pack, pack_bits4};
pub use winograd::{prefers_winograd, winograd_pays, winograd_scratch_len};

/// Input channels that lie side by side in the weights: one dot product of four bytes.
pub const KR: usize = 4;

/// Most products that a sum may have: `products * 128 * 127 + 2^30 < 2^31`, where 2^30 bounds the bias.
pub const MAX_DEPTH: usize = (1 << 30) / (128 * 127);

/// What a convolution reads, as the layout has it.
#[derive(Clone, Copy, Debug)]
pub struct Tensors<'a> {
    /// Input, NHWC.
    pub x: &'a [i8],
    /// Packed weights; of [`LayoutS8::Nr16Kr4Bits4`] their bytes.
    pub weights: &'a [i8],
    /// Bias vectors, one a border class.
    pub bias: &'a [i32],
    /// The sum of each output channel's weights.
    pub sums: &'a [i32],
    /// Factor of each output channel.
    pub scale: &'a [f32],
    /// Factors of negative sums; empty if they are the same.
    pub negative: &'a [f32],
}

/// One convolution with its operands, bounds proved.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    geometry: Geometry,
    layout: LayoutS8,
    /// What taps outside the picture read.
    outside: i8,
    tensors: Tensors<'a>,
    requantize: Requantize<'a>,
    prefers_winograd: bool,
}

impl<'a> Args<'a> {
    /// Checks every extent against the shapes, which are derived again from `conv.window`. Spans are
    /// not read.
    ///
    /// `None` when the layout is [`LayoutS8::Dw16`], the input is not s8, a dimension is zero, groups do
    /// not divide the channels, `output` does not follow from `input`, border classes overlap, or a
    /// slice is not exactly as long as [`Dims::elements`](crate::dims::Dims::elements), [`weights_len`]
    /// and [`bias_len`] say (`negative` may be empty).
    pub fn new(
        conv: &ConvS8,
        input: &Operand,
        output: &Operand,
        tensors: Tensors<'a>,
    ) -> Option<Self> {
        let ConvS8 { window, groups, layout, border, .. } = conv;
        let geometry = Geometry::new(window, *groups, *border, input.dims, output.dims)?;
        let (in_c, out_c) = (input.dims.c, output.dims.c);
        let vector = bias_len(Border::default(), *groups, out_c)?;
        let fits = tensors.x.len() == input.dims.elements()?
            && tensors.weights.len() == weights_len(*layout, window, *groups, in_c, out_c)?
            && tensors.bias.len() == bias_len(*border, *groups, out_c)?
            && tensors.sums.len() == vector;
        let outside = input.element.quantization()?.zero_point;
        let requantize = Requantize::new(conv, output.element, &tensors, vector)?;
        let prefers_winograd = Winograd::is_granted(&geometry, conv);
        let layout = *layout;
        fits.then_some(Self { geometry, layout, outside, tensors, requantize, prefers_winograd })
    }

    /// [`prefers_winograd`] of the step.
    pub fn prefers_winograd(&self) -> bool {
        self.prefers_winograd
    }

    /// Bands begin at multiples of this many output rows.
    pub fn row_quantum(&self) -> usize {
        if self.prefers_winograd { winograd::TILE } else { 1 }
    }

    /// Number of values in one output row.
    pub fn output_row(&self) -> usize {
        self.geometry.output_row()
    }
}

impl Operands for Args<'_> {
    fn rows(&self) -> usize {
        self.geometry.output.h
    }

    /// Bytes of the rows.
    fn values(&self, rows: &Range<usize>) -> Option<usize> {
        rows.len().checked_mul(self.output_row())?.checked_mul(self.requantize.size())
    }

    /// [`scratch_len`] of one row.
    fn min_scratch(&self) -> usize {
        self.geometry.scratch_len(self.layout, 1)
    }
}

/// Kernels for convolutions that [`winograd_scratch_len`] knows, best first. Of others, or with less scratch
/// than that, they compute the direct sum.
pub const WINOGRAD: &[Kernel<ConvolutionS8>] = &[
    #[cfg(target_arch = "x86_64")]
    winograd::x86::KERNEL,
];

/// The contract. Values are the bytes of the output.
#[derive(Clone, Copy, Debug)]
pub struct ConvolutionS8;

impl Contract for ConvolutionS8 {
    type Args<'a> = Args<'a>;
    type Value = u8;
    type Scratch = u8;

    const LIST: &'static [Kernel<Self>] = &[
        #[cfg(target_arch = "x86_64")]
        x86::VNNI,
        #[cfg(target_arch = "x86_64")]
        x86::AVX2,
        portable::KERNEL,
    ];

    const PORTABLE: &'static Kernel<Self> = &portable::KERNEL;
}
