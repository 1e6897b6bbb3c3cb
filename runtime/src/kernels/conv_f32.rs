//! Contract of the f32 convolution kernels (dense and grouped, [`Layout::F32Nr16`]).
//!
//! `y[r, c, o] = act(b[class(r, c), o] + sum_{ky, kx, i} W[o, i, ky, kx] * x[iy, ix, i])` with
//! `iy = r * stride.h + ky * dilation.h - pad.top` (likewise `ix`); taps outside the picture add
//! nothing. Every kernel adds the taps of one output value in the order `ky, kx, i`, starting from
//! the bias, so that **results never depend on bands, tiles, threads or streaming**.
//!
//! A kernel writes a band: output rows `rows`, each `w * c` values, densely into `y`.
//! [`Args::new`] is where all bounds are proved; kernels rely on it.

mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use crate::cpu::{Cpu, Feature};
use crate::dims::Dims;
use crate::step::{Activation, Conv, Layout};
use core::ops::Range;

/// Output channels in one panel.
pub const NR: usize = 16;

/// One convolution with its operands, bounds proved.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    conv: &'a Conv,
    input: Dims,
    output: Dims,
    x: &'a [f32],
    weights: &'a [f32],
    bias: &'a [f32],
    slopes: &'a [f32],
}
