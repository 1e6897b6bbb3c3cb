//! [`Step`]: one postcard record of the plan section, and everything a step can say.
//!
//! Append variants only: postcard numbers them. The match on [`Op`] is exhaustive everywhere on
//! purpose, so that the compiler lists what a new operation needs.

mod binary;
mod element;
mod function;
mod matmul;
mod reduce;
mod resample;
mod s8;
mod top_k;
mod view;

use crate::dims::{Dims, Pad, Window};
use crate::span::Span;
pub use binary::{Binary, Source};
pub use element::{Element, Quantization};
pub use function::Function;
pub use matmul::MatMul;
pub use reduce::{Normalise, Reduction};
pub use resample::{Resample, Taps};
pub use s8::{ConvS8, FunctionS8, LayoutS8, PairS8};
use serde::{Deserialize, Serialize};
pub use top_k::TopK;
pub use view::View;

/// A feature map in the arena: NHWC, `span.len == h * w * c * element.size()`, `span.offset` a
/// multiple of 64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Operand {
    /// Bytes of the arena.
    pub span: Span,
    /// Shape.
    pub dims: Dims,
    /// What its values are.
    pub element: Element,
}

/// One step of the plan: `output = op(input)`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// What is read.
    pub input: Operand,
    /// What is written. Overlaps no operand that is read, except that element-wise operations
    /// ([`Op::in_place`]) may have `output.span == input.span`.
    pub output: Operand,
    /// What is computed.
    pub op: Op,
}

/// How the weights of a convolution or dense layer are packed (`FORMAT.md`, "Layouts").
///
/// The file fixes the packing, the CPU fixes the kernel: every kernel that reads a layout may
/// run it, and the portable kernel of the contract reads all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Layout {
    /// f32, panels of 16 output channels: `[group][panel][kh][kw][i][16]`, where `i` runs over the
    /// input channels of the group and the last panel of a group is filled up with zeros.
    /// Bias and slopes are `[group][panel][16]`.
    F32Nr16,
    /// f32 depthwise (groups = input channels = output channels), blocks of 16 channels:
    /// `[block][kh][kw][16]`, the last block filled up with zeros. Bias and slopes `[block][16]`.
    F32Dw16,
}

/// What follows a linear operation, element by element.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Activation {
    /// Nothing.
    None,
    /// `min(max(y, lo), hi)`: ReLU is `lo = 0, hi = inf`.
    Clamp {
        /// Smallest value that passes.
        lo: f32,
        /// Largest value that passes.
        hi: f32,
    },
    /// `y < 0 ? slope * y : y`.
    LeakyRelu {
        /// Factor of negative values.
        slope: f32,
    },
    /// [`Activation::LeakyRelu`] with one slope a channel.
    PRelu {
        /// f32 slopes in the weights section, ordered and padded like the bias of the step.
        slopes: Span,
    },
}

impl Activation {
    /// `max(y, 0)`.
    pub const RELU: Self = Self::Clamp { lo: 0.0, hi: f32::INFINITY };
}

/// Which bias vector an output pixel adds, when zero padding and a bias met during fusion.
///
/// The first `top` and the last `bottom` output rows have a class each, the rows between share
/// one; likewise columns. `(top + 1 + bottom) * (left + 1 + right)` bias vectors are stored,
/// row class by row class. All zeros: one bias vector. `top + bottom <= h`, `left + right <= w`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Border {
    /// Output rows at the top with a class of their own.
    pub top: u32,
    /// Output columns at the left with a class of their own.
    pub left: u32,
    /// Output rows at the bottom with a class of their own.
    pub bottom: u32,
    /// Output columns at the right with a class of their own.
    pub right: u32,
}

impl Border {
    /// Number of row classes and column classes.
    pub fn classes(self) -> (u32, u32) {
        let count = |lo: u32, hi: u32| lo.saturating_add(hi).saturating_add(1);
        (count(self.top, self.bottom), count(self.left, self.right))
    }
}

/// A convolution (cross-correlation) with bias and activation:
/// `y[o] = act(b[o] + sum_{i,ky,kx} W[o,i,ky,kx] * x[i])`, zero outside the picture.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conv {
    /// Geometry.
    pub window: Window,
    /// Groups; divides input and output channels.
    pub groups: u32,
    /// How the weights are packed.
    pub layout: Layout,
    /// Packed weights in the weights section.
    pub weights: Span,
    /// Bias vectors (one, or one a border class), each padded as the layout says.
    pub bias: Span,
    /// Classes of bias vectors.
    pub border: Border,
    /// Applied last.
    pub activation: Activation,
    /// Bytes of scratch a worker gets: at least what the layout demands for one output row.
    pub scratch: u32,
}

/// A dense layer: `y = act(W x + b)`, `x` the whole input in NHWC order.
///
/// Weights as [`Layout::F32Nr16`] with one group and a 1x1 kernel.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Linear {
    /// Packed weights in the weights section.
    pub weights: Span,
    /// One bias vector, padded to whole panels.
    pub bias: Span,
    /// Applied last.
    pub activation: Activation,
}

/// Everything a step can compute.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Op {
    /// Convolution, dense or grouped.
    Conv(Conv),
    /// Dense layer on a whole feature map.
    Linear(Linear),
    /// Largest value under the window; padding never wins.
    MaxPool(Window),
    /// Mean under the window.
    AveragePool {
        /// Geometry.
        window: Window,
        /// Divide by all taps (true) or only by those inside the picture.
        count_include_pad: bool,
    },
    /// Mean of each channel over the whole picture.
    GlobalAveragePool,
    /// `act(function(input, other))`, element by element.
    Binary {
        /// What is computed.
        function: Binary,
        /// Second operand.
        other: Source,
        /// The operands change places: `act(function(other, input))`.
        swapped: bool,
        /// Applied last; PReLU slopes are `[c]`.
        activation: Activation,
    },
    /// `act(input * scale[c] + shift[c])`: BatchNorm or constants that no convolution took up.
    ScaleShift {
        /// f32 factors `[c]` in the weights section.
        scale: Span,
        /// f32 summands `[c]` in the weights section.
        shift: Span,
        /// Applied last; PReLU slopes are `[c]`.
        activation: Activation,
    },
    /// The activation alone; PReLU slopes are `[c]`.
    Activate(Activation),
    /// A function of each value.
    Apply(Function),
    /// Softmax over the channels of each pixel.
    Softmax,
    /// Copies the input to a box of the output and leaves the values around it (concatenation).
    CopyInto {
        /// Output row, column and channel where the box begins.
        at: [u32; 3],
    },
    /// Copies values of the input in the order of the view; the output's dims have as many.
    Rearrange(View),
    /// Rows and columns around the picture.
    Pad {
        /// How many.
        pad: Pad,
        /// What they hold.
        mode: PadMode,
    },
    /// Rows and columns made of neighbouring ones.
    Resample(Resample),
    /// All values along each axis that the output has once, where the input has more.
    Reduce(Reduction),
    /// Mean 0 and variance 1 along some axes.
    Normalise(Normalise),
    /// Products of matrices.
    MatMul(MatMul),
    /// The best channels of each pixel.
    TopK(TopK),
    /// f32 values as the nearest s8 ones that the output's [`Quantization`] has.
    Quantize,
    /// What the s8 values of the input stand for.
    Dequantize,
    /// Convolution or dense layer of an s8 map.
    ConvS8(ConvS8),
    /// Sum or product of two s8 maps.
    PairS8(PairS8),
    /// `table[x + 128]`: a function of each s8 value; the span of 256 values in the weights section.
    TableS8(Span),
}

/// What padding holds. Reflected and wrapped rows and columns are taken from the picture.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum PadMode {
    /// One value, a number.
    Constant(f32),
    /// The picture mirrored at its outermost pixels, which are not repeated; fewer rows and columns
    /// than it has.
    Reflect,
    /// The nearest pixel of the picture.
    Edge,
    /// The picture again; at most as many rows and columns as it has.
    Wrap,
}

impl PadMode {
    /// ONNX's name of the mode.
    pub fn name(self) -> &'static str {
        match self {
            Self::Constant(_) => "constant",
            Self::Reflect => "reflect",
            Self::Edge => "edge",
            Self::Wrap => "wrap",
        }
    }
}

impl Op {
    /// Whether `output.span == input.span` is allowed.
    pub fn in_place(&self) -> bool {
        matches!(
            self,
            Self::Binary { .. }
                | Self::ScaleShift { .. }
                | Self::Activate(_)
                | Self::Apply(_)
                | Self::Softmax
                | Self::Normalise(_)
                | Self::PairS8(_)
                | Self::TableS8(_)
        )
    }

    /// Whether plain networks have it: convolutions, dense layers, pools, arithmetic, activations, softmax
    /// and copies. The kernels of all other operations need the feature `full`.
    pub fn is_plain(&self) -> bool {
        match self {
            Self::Resample(_)
            | Self::Reduce(_)
            | Self::Normalise(_)
            | Self::MatMul(_)
            | Self::TopK(_) => false,
            Self::Binary { function, .. } => function.is_plain(),
            Self::Apply(function) => function.is_plain(),
            _ => true,
        }
    }

    /// Name of the operation in reports and profiles.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Conv(c) if matches!(c.layout, Layout::F32Dw16) => "depthwise",
            Self::Conv(_) => "conv",
            Self::Linear(_) => "linear",
            Self::MaxPool(_) => "max_pool",
            Self::AveragePool { .. } => "average_pool",
            Self::GlobalAveragePool => "global_average_pool",
            Self::Binary { function, .. } => function.name(),
            Self::ScaleShift { .. } => "scale_shift",
            Self::Activate(_) => "activate",
            Self::Apply(function) => function.name(),
            Self::Softmax => "softmax",
            Self::CopyInto { .. } => "copy_into",
            Self::Rearrange(_) => "rearrange",
            Self::Pad { .. } => "pad",
            Self::Resample(_) => "resample",
            Self::Reduce(function) => function.name(),
            Self::Normalise(_) => "normalise",
            Self::MatMul(_) => "matmul",
            Self::TopK(_) => "top_k",
            Self::Quantize => "quantize",
            Self::Dequantize => "dequantize",
            Self::ConvS8(c) if matches!(c.layout, LayoutS8::Dw16) => "depthwise_s8",
            Self::ConvS8(_) => "conv_s8",
            Self::PairS8(PairS8 { function: FunctionS8::Sum { .. }, .. }) => "add_s8",
            Self::PairS8(PairS8 { function: FunctionS8::Product { .. }, .. }) => "mul_s8",
            Self::TableS8(_) => "table_s8",
        }
    }
}
