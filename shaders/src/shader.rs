//! [`SHADERS`]: the one list of compute kernels. A new shader is one file and one row.

use crate::params::{
    ACTIVATION, BINARY, BORDER, ELEMENTS, FACTOR, FUNCTION, GRID, INPUT, MATRIX, OTHER, OUTPUT,
    PAD_MODE, PART, VIEW, WINDOW,
};
use unbraid_runtime::step::{MatMul, Op, Source};

/// What a shader binds, numbered as in every WGSL file (`@group(0)`).
///
/// Activations are bound for reading and writing even where they are only read: all of them are
/// ranges of one buffer, and one buffer cannot be bound both ways in one dispatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Binding {
    /// Uniform block of 32-bit words.
    Params = 0,
    /// Activations that the step reads.
    Input = 1,
    /// Activations that the step writes.
    Output = 2,
    /// Second operand, if it is computed.
    Other = 3,
    /// Packed weights; factors of `scale_shift`; second operand of `binary_weights`; rows of `resample`.
    Weights = 4,
    /// Bias vectors; summands of `scale_shift`; columns of `resample`.
    Bias = 5,
    /// Slopes of PReLU.
    Slopes = 6,
}

impl Binding {
    /// The number in `@binding(..)`.
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// Whether it holds activations: `var<storage, read_write>`.
    pub const fn is_activation(self) -> bool {
        matches!(self, Self::Input | Self::Output | Self::Other)
    }
}

/// One choice of the `override` constants of a shader.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Variant {
    /// Constants that differ from the WGSL file.
    pub overrides: &'static [(&'static str, f64)],
    /// The workgroup size that follows.
    pub workgroup: [u32; 3],
    /// What one workgroup computes, in the rows and columns of the operation's result.
    pub tile: [u32; 2],
}

/// One compute kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shader {
    /// Entry point.
    pub name: &'static str,
    /// File in `wgsl/`.
    pub file: &'static str,
    /// Its text.
    pub source: &'static str,
    /// What it binds.
    pub bindings: &'static [Binding],
    /// Names of the words of its `Params` block, group by group.
    pub params: &'static [&'static [&'static str]],
    /// The variants that are dispatched; never empty.
    pub variants: &'static [Variant],
}

impl Shader {
    /// The row that computes this operation: the one of its name, but for functions and reductions,
    /// which their shaders tell apart by their numbers.
    pub fn of(op: &Op) -> Option<&'static Self> {
        let name = match op {
            Op::Apply(_) => "apply",
            Op::Binary { other: Source::Arena(_), .. } => "binary",
            Op::Binary { other: Source::Weights { .. }, .. } => "binary_weights",
            Op::MatMul(MatMul { other: Source::Arena(_), .. }) => "matmul",
            Op::MatMul(MatMul { other: Source::Weights { .. }, .. }) => "matmul_weights",
            Op::Reduce(_) => "reduce",
            op => op.name(),
        };
        SHADERS.iter().find(|shader| shader.name == name)
    }
}

/// A row. `file` is the name of the file and its text.
const fn row(
    name: &'static str,
    file: (&'static str, &'static str),
    bindings: &'static [Binding],
    params: &'static [&'static [&'static str]],
    variants: &'static [Variant],
) -> Shader {
    Shader { name, file: file.0, source: file.1, bindings, params, variants }
}

/// A file of `wgsl/` and its text.
macro_rules! wgsl {
    ($file:literal) => {
        ($file, include_str!(concat!("../wgsl/", $file)))
    };
}

/// The constants as they stand in the file.
const fn as_written(workgroup: [u32; 3], tile: [u32; 2]) -> Variant {
    Variant { overrides: &[], workgroup, tile }
}

/// One invocation a row.
const LANES: &[Variant] = &[as_written([64, 1, 1], [64, 1])];

/// Rows are output pixels, columns output channels of one group.
const CONV: &[Variant] = &[
    as_written([128, 1, 1], [64, 64]),
    Variant {
        overrides: &[("LANES_QUADS", 2.0), ("LANES_PIXELS", 32.0)],
        workgroup: [64, 1, 1],
        tile: [128, 16],
    },
];

/// The words of both binary shaders.
const BINARY_PARAMS: &[&[&str]] = &[&GRID, &ELEMENTS, &["columns"], &BINARY, &OTHER, &ACTIVATION];

use Binding::{Bias, Input, Other, Output, Params, Slopes, Weights};

/// Every compute kernel.
pub const SHADERS: &[Shader] = &[
    row(
        "conv",
        wgsl!("conv.wgsl"),
        &[Params, Input, Output, Weights, Bias, Slopes],
        &[&GRID, &INPUT, &OUTPUT, &["groups"], &WINDOW, &BORDER, &ACTIVATION],
        CONV,
    ),
    row(
        "depthwise",
        wgsl!("depthwise.wgsl"),
        &[Params, Input, Output, Weights, Bias, Slopes],
        &[&GRID, &INPUT, &OUTPUT, &WINDOW, &BORDER, &ACTIVATION],
        LANES,
    ),
    row(
        "linear",
        wgsl!("linear.wgsl"),
        &[Params, Input, Output, Weights, Bias, Slopes],
        &[&GRID, &["in_len", "out_len"], &ACTIVATION],
        &[as_written([4, 16, 1], [1, 16])],
    ),
    row(
        "max_pool",
        wgsl!("pool.wgsl"),
        &[Params, Input, Output],
        &[&GRID, &INPUT, &OUTPUT, &WINDOW, &["count_include_pad"]],
        LANES,
    ),
    row(
        "average_pool",
        wgsl!("pool.wgsl"),
        &[Params, Input, Output],
        &[&GRID, &INPUT, &OUTPUT, &WINDOW, &["count_include_pad"]],
        LANES,
    ),
    row(
        "global_average_pool",
        wgsl!("global_average_pool.wgsl"),
        &[Params, Input, Output],
        &[&GRID, &MATRIX],
        &[as_written([16, 16, 1], [1, 16])],
    ),
    row(
        "binary",
        wgsl!("binary.wgsl"),
        &[Params, Input, Output, Other, Slopes],
        BINARY_PARAMS,
        LANES,
    ),
    row(
        "binary_weights",
        wgsl!("binary.wgsl"),
        &[Params, Input, Output, Weights, Slopes],
        BINARY_PARAMS,
        LANES,
    ),
    row(
        "scale_shift",
        wgsl!("elementwise.wgsl"),
        &[Params, Input, Output, Weights, Bias, Slopes],
        &[&GRID, &ELEMENTS, &ACTIVATION],
        LANES,
    ),
    row(
        "activate",
        wgsl!("elementwise.wgsl"),
        &[Params, Input, Output, Slopes],
        &[&GRID, &ELEMENTS, &ACTIVATION],
        LANES,
    ),
    row(
        "apply",
        wgsl!("apply.wgsl"),
        &[Params, Input, Output],
        &[&GRID, &["count"], &FUNCTION],
        LANES,
    ),
    row(
        "softmax",
        wgsl!("softmax.wgsl"),
        &[Params, Input, Output],
        &[&GRID, &MATRIX],
        &[as_written([64, 1, 1], [1, 1])],
    ),
    row(
        "copy_into",
        wgsl!("copy_into.wgsl"),
        &[Params, Input, Output],
        &[&GRID, &INPUT, &OUTPUT, &["at_y", "at_x", "at_c"]],
        LANES,
    ),
    row(
        "rearrange",
        wgsl!("rearrange.wgsl"),
        &[Params, Input, Output],
        &[&GRID, &["count"], &VIEW],
        LANES,
    ),
    row(
        "pad",
        wgsl!("pad.wgsl"),
        &[Params, Input, Output],
        &[&GRID, &INPUT, &OUTPUT, &["pad_top", "pad_left"], &PAD_MODE],
        LANES,
    ),
    row(
        "resample",
        wgsl!("resample.wgsl"),
        &[Params, Input, Output, Weights, Bias],
        &[&GRID, &INPUT, &OUTPUT, &["row_taps", "column_taps"]],
        LANES,
    ),
    row(
        "reduce",
        wgsl!("reduce.wgsl"),
        &[Params, Input, Output],
        &[&GRID, &INPUT, &OUTPUT, &["function"]],
        &[as_written([64, 1, 1], [1, 1])],
    ),
    row(
        "normalise",
        wgsl!("normalise.wgsl"),
        &[Params, Input, Output],
        &[&GRID, &INPUT, &PART],
        &[as_written([64, 1, 1], [1, 1])],
    ),
    row(
        "top_k",
        wgsl!("top_k.wgsl"),
        &[Params, Input, Output],
        &[&GRID, &MATRIX, &["count", "largest", "last"]],
        LANES,
    ),
    row(
        "matmul",
        wgsl!("matmul.wgsl"),
        &[Params, Input, Output, Other],
        &[&GRID, &INPUT, &OUTPUT, &FACTOR],
        LANES,
    ),
    row(
        "matmul_weights",
        wgsl!("matmul.wgsl"),
        &[Params, Input, Output, Weights],
        &[&GRID, &INPUT, &OUTPUT, &FACTOR],
        LANES,
    ),
];
