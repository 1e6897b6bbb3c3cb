//! The words of the shaders' `Params` blocks: names beside values, in the order of the WGSL structs.
//!
//! A block is a list of groups, and each group is here twice, side by side: its names, which the
//! table [`SHADERS`](crate::SHADERS) lists and a test compares with the WGSL, and the function that
//! makes its values. All words have 32 bits; floats travel as their bits.

use unbraid_runtime::dims::{Dims, Window};
use unbraid_runtime::step::{Activation, Border};

/// Workgroups along the first axis of the dispatch grid: the first word of every block.
pub(crate) const GRID: [&str; 1] = ["grid_width"];

/// The input's shape.
pub(crate) const INPUT: [&str; 3] = ["in_h", "in_w", "in_c"];
/// The output's shape.
pub(crate) const OUTPUT: [&str; 3] = ["out_h", "out_w", "out_c"];

/// Values of [`INPUT`] or [`OUTPUT`].
pub(crate) fn dims(dims: Dims) -> [u32; 3] {
    [dims.h, dims.w, dims.c]
}

/// A feature map as a matrix.
pub(crate) const MATRIX: [&str; 2] = ["pixels", "channels"];

/// Values of [`MATRIX`].
pub(crate) fn matrix(dims: Dims) -> [u32; 2] {
    [dims.h * dims.w, dims.c]
}

/// A feature map as a vector.
pub(crate) const ELEMENTS: [&str; 2] = ["count", "channels"];

/// Values of [`ELEMENTS`].
pub(crate) fn elements(dims: Dims) -> [u32; 2] {
    [dims.h * dims.w * dims.c, dims.c]
}

/// The window of a convolution or pool; the lower and right padding follow from the shapes.
pub(crate) const WINDOW: [&str; 8] = [
    "kernel_h",
    "kernel_w",
    "stride_h",
    "stride_w",
    "dilation_h",
    "dilation_w",
    "pad_top",
    "pad_left",
];

/// Values of [`WINDOW`].
pub(crate) fn window(window: &Window) -> [u32; 8] {
    let Window { kernel, stride, dilation, pad } = *window;
    [kernel.h, kernel.w, stride.h, stride.w, dilation.h, dilation.w, pad.top, pad.left]
}

/// The classes of bias vectors.
pub(crate) const BORDER: [&str; 4] = ["border_top", "border_left", "border_bottom", "border_right"];

/// Values of [`BORDER`].
pub(crate) fn border(border: Border) -> [u32; 4] {
    [border.top, border.left, border.bottom, border.right]
}

/// What follows a linear operation.
pub(crate) const ACTIVATION: [&str; 4] = ["activation", "lo", "hi", "slope"];

/// Values of [`ACTIVATION`]; the kinds are numbered as by the constants in the WGSL files.
///
/// WGSL need not honour infinities, so open bounds become the largest finite values.
pub(crate) fn activation(activation: Activation) -> [u32; 4] {
    let finite = |bound: f32| bound.clamp(f32::MIN, f32::MAX).to_bits();
    match activation {
        Activation::None => [0, 0, 0, 0],
        Activation::Clamp { lo, hi } => [1, finite(lo), finite(hi), 0],
        Activation::LeakyRelu { slope } => [2, 0, 0, slope.to_bits()],
        Activation::PRelu { slopes: _ } => [3, 0, 0, 0],
    }
}
