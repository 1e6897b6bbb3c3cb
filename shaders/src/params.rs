//! The words of the shaders' `Params` blocks: names beside values, in the order of the WGSL structs.
//!
//! A block is a list of groups, and each group is here twice, side by side: its names, which the
//! table [`SHADERS`](crate::SHADERS) lists and a test compares with the WGSL, and the function that
//! makes its values. All words have 32 bits; floats travel as their bits.

use unbraid_runtime::dims::{Dims, Window};
use unbraid_runtime::step::{
    Activation, Binary, Border, Function, MatMul, Normalise, PadMode, Reduction, Source, View,
};

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

/// What is computed from two values.
pub(crate) const BINARY: [&str; 2] = ["function", "swapped"];

/// Values of [`BINARY`]; the functions are numbered as in the WGSL file.
pub(crate) fn binary(function: Binary, swapped: bool) -> [u32; 2] {
    let number = match function {
        Binary::Add => 0,
        Binary::Sub => 1,
        Binary::Mul => 2,
        Binary::Div => 3,
        Binary::Min => 4,
        Binary::Max => 5,
        Binary::Pow => 6,
        Binary::Equal => 7,
        Binary::Greater => 8,
        Binary::GreaterOrEqual => 9,
        Binary::Keep => 10,
        Binary::Drop => 11,
    };
    [number, u32::from(swapped)]
}

/// Values between neighbours of the second operand; 0 where it is repeated.
pub(crate) const OTHER: [&str; 3] = ["other_row", "other_column", "other_channel"];

/// Values of [`OTHER`].
pub(crate) fn other(source: &Source) -> [u32; 3] {
    let Dims { h, w, c } = source.dims();
    let stride = |len: u32, stride: u32| if len == 1 { 0 } else { stride };
    [stride(h, w * c), stride(w, c), stride(c, 1)]
}

/// Values between matrices, rows and columns of the second factor of a product.
pub(crate) const FACTOR: [&str; 3] = ["other_matrix", "other_depth", "other_column"];

/// Values of [`FACTOR`].
pub(crate) fn factor(matmul: &MatMul) -> [u32; 3] {
    let Dims { h, w, c } = matmul.other.dims();
    let matrix = if h == 1 { 0 } else { w * c };
    if matmul.transposed { [matrix, 1, c] } else { [matrix, c, 1] }
}

/// A function of one value.
pub(crate) const FUNCTION: [&str; 3] = ["function", "alpha", "beta"];

/// Values of [`FUNCTION`]; the functions are numbered as in the WGSL file.
pub(crate) fn function(function: Function) -> [u32; 3] {
    let plain = |number| [number, 0, 0];
    match function {
        Function::Sigmoid => plain(0),
        Function::Tanh => plain(1),
        Function::Erf => plain(2),
        Function::Gelu => plain(3),
        Function::HardSigmoid { alpha, beta } => [4, alpha.to_bits(), beta.to_bits()],
        Function::HardSwish => plain(5),
        Function::Silu => plain(6),
        Function::Exp => plain(7),
        Function::Sqrt => plain(8),
        Function::Softplus => plain(9),
        Function::Mish => plain(10),
        Function::Elu { alpha } => [11, alpha.to_bits(), 0],
        Function::Abs => plain(12),
        Function::Neg => plain(13),
        Function::Reciprocal => plain(14),
        Function::Log => plain(15),
        Function::Floor => plain(16),
        Function::Ceil => plain(17),
        Function::Round => plain(18),
        Function::Sign => plain(19),
    }
}

/// The loops of a view.
pub(crate) const VIEW: [&str; 13] = [
    "offset", "extent_0", "extent_1", "extent_2", "extent_3", "extent_4", "extent_5", "stride_0",
    "stride_1", "stride_2", "stride_3", "stride_4", "stride_5",
];

/// Values of [`VIEW`].
pub(crate) fn view(view: &View) -> [u32; 13] {
    let [a, b, c, d, e, f] = view.extent;
    let [g, h, i, j, k, l] = view.strides.map(i32::cast_unsigned);
    [view.offset, a, b, c, d, e, f, g, h, i, j, k, l]
}

/// The number of a reduction, as in the WGSL file.
pub(crate) fn reduction(function: Reduction) -> u32 {
    match function {
        Reduction::Sum => 0,
        Reduction::Mean => 1,
        Reduction::Max => 2,
        Reduction::Min => 3,
        Reduction::Product => 4,
    }
}

/// The part of a map that has one mean, and what is done with it.
pub(crate) const PART: [&str; 5] = ["part_h", "part_w", "part_c", "centred", "epsilon"];

/// Values of [`PART`].
pub(crate) fn part(op: &Normalise, input: Dims) -> [u32; 5] {
    let length = |all: bool, length: u32| if all { length } else { 1 };
    let (h, w) = (length(op.rows, input.h), length(op.columns, input.w));
    [h, w, length(op.channels, input.c), u32::from(op.centred), op.epsilon.to_bits()]
}

/// What padding holds.
pub(crate) const PAD_MODE: [&str; 2] = ["mode", "value"];

/// Values of [`PAD_MODE`]; the modes are numbered as by the constants in the WGSL file. Infinities
/// become the largest finite values, as in [`activation`].
pub(crate) fn pad_mode(mode: PadMode) -> [u32; 2] {
    match mode {
        PadMode::Constant(value) => [0, value.clamp(f32::MIN, f32::MAX).to_bits()],
        PadMode::Reflect => [1, 0],
        PadMode::Edge => [2, 0],
        PadMode::Wrap => [3, 0],
    }
}
