//! Contract of the f32 convolution kernels (dense and grouped, [`Layout::F32Nr16`]).
//!
//! `y[r, c, o] = act(b[class(r, c), o] + sum_{ky, kx, i} W[o, i, ky, kx] * x[iy, ix, i])` with
//! `iy = r * stride.h + ky * dilation.h - pad.top` (likewise `ix`); taps outside the picture add
//! nothing. Every kernel adds the taps of one output value in the order `ky, kx, i`, starting from
//! the bias, so that **results never depend on bands, tiles, threads or streaming**. SIMD kernels
//! fuse multiply and add, the portable one does not.
//!
//! A kernel writes a band: output rows `rows`, each `w * c` values, densely into `y`.
//! [`Args::new`] is where all bounds are proved; kernels rely on it.
//!
//! Operands: `x` NHWC; `weights` `[group][panel][kh][kw][i][16]`; `bias`
//! `[border class][group][panel][16]`; `slopes` `[group][panel][16]`. [`pack`] writes the last
//! three from ONNX order.

mod geometry;
mod pack;
mod portable;
#[cfg(target_arch = "x86_64")]
pub(super) mod x86;

use super::contract::{Contract, Kernel, Operands};
use crate::dims::Dims;
use crate::step::{Activation, Border, Conv, Layout};
use core::ops::Range;
use geometry::Geometry;
pub(super) use geometry::{Map, per_group};

pub use geometry::{bias_len, panels, scratch_len, weights_len};
pub use pack::{pack, pack_channels};

/// Output channels in one panel.
pub const NR: usize = 16;

/// Bands start at multiples of this many output rows.
pub const ROW_QUANTUM: u32 = 1;

/// One convolution with its operands, bounds proved.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    geometry: Geometry,
    activation: Activation,
    x: &'a [f32],
    weights: &'a [f32],
    bias: &'a [f32],
    slopes: &'a [f32],
}

impl<'a> Args<'a> {
    /// Checks every extent against the shapes, which are derived again from `conv.window`.
    ///
    /// `slopes` is read for [`Activation::PRelu`] only. `None` when the layout is not
    /// [`Layout::F32Nr16`], a dimension is zero, groups do not divide the channels, `output` does
    /// not follow from `input`, border classes overlap, or a slice is not exactly as long as
    /// [`Dims::elements`], [`weights_len`] and [`bias_len`] say.
    pub fn new(
        conv: &Conv,
        input: Dims,
        output: Dims,
        x: &'a [f32],
        weights: &'a [f32],
        bias: &'a [f32],
        slopes: &'a [f32],
    ) -> Option<Self> {
        let (window, groups, activation) = (&conv.window, conv.groups, conv.activation);
        let geometry = Geometry::new(window, groups, conv.border, input, output)?;
        let slopes_fit = !matches!(activation, Activation::PRelu { .. })
            || slopes.len() == bias_len(Border::default(), groups, output.c)?;
        let fits = matches!(conv.layout, Layout::F32Nr16)
            && x.len() == input.elements()?
            && weights.len() == weights_len(window, groups, input.c, output.c)?
            && bias.len() == bias_len(conv.border, groups, output.c)?
            && slopes_fit;
        fits.then_some(Self { geometry, activation, x, weights, bias, slopes })
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

    fn values(&self, rows: &Range<usize>) -> Option<usize> {
        rows.len().checked_mul(self.output_row())
    }

    /// [`scratch_len`] of one row.
    fn min_scratch(&self) -> usize {
        self.geometry.scratch_len(1)
    }
}

/// The contract.
#[derive(Clone, Copy, Debug)]
pub struct ConvF32;

impl Contract for ConvF32 {
    type Args<'a> = Args<'a>;
    type Value = f32;
    type Scratch = f32;

    const LIST: &'static [Kernel<Self>] = &[
        #[cfg(target_arch = "x86_64")]
        x86::AVX512,
        #[cfg(target_arch = "x86_64")]
        x86::AVX2,
        portable::KERNEL,
    ];

    const PORTABLE: &'static Kernel<Self> = &portable::KERNEL;
}
