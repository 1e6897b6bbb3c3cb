//! What 8-bit steps say: integers and factors that the converter has worked out. `quant.rs` is the
//! arithmetic.

use super::{Border, Source};
use crate::dims::Window;
use crate::span::Span;
use serde::{Deserialize, Serialize};

/// How the integer weights of a convolution are packed (`FORMAT.md`, "Layouts").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LayoutS8 {
    /// Panels of 16 output channels by 4 input channels: `[group][panel][kh][kw][i / 4][16][4]`, where `i`
    /// runs over the input channels of the group; channels that fill up a panel or a four are zeros.
    /// Bias vectors, sums and factors are `[group][panel][16]`.
    Nr16Kr4,
    /// Depthwise (groups = input channels = output channels), blocks of 16 channels:
    /// `[block][kh][kw][16]`, the last block filled up with zeros. Bias vectors, sums and factors are
    /// `[block][16]`.
    Dw16,
    /// 4-bit integers in the order of [`LayoutS8::Nr16Kr4`], two a byte, the first in the low half.
    Nr16Kr4Bits4,
}

/// A convolution of an s8 map, with bias, clamp and an s8 or f32 result.
///
/// `sum[o] = bias[o] + Σ w[o] * x`, wrapping; taps outside the picture read the input's zero point, whose
/// share `-zero_point * Σ w` the bias has taken up. Then `t = sum * scale[o]` (`negative[o]` in its
/// place where `sum < 0` and there is one), and `round(clamp(t, lo, hi)) + zero_point` of the output, or
/// `clamp(t, lo, hi)` itself where the output is f32.
///
/// A dense layer is a 1x1 convolution of a map of one pixel.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConvS8 {
    /// Geometry.
    pub window: Window,
    /// Groups; divides input and output channels.
    pub groups: u32,
    /// How the weights are packed.
    pub layout: LayoutS8,
    /// Packed weights in the weights section, in -127..=127; 4-bit ones in -7..=7.
    pub weights: Span,
    /// i32 bias vectors (one, or one a border class), each padded as the layout says.
    pub bias: Span,
    /// i32 `Σ w` of each output channel, padded like a bias vector: kernels that flip the sign bit of the
    /// input to make it unsigned subtract 128 times this.
    pub sums: Span,
    /// f32 factors of each output channel, padded like a bias vector:
    /// `input scale * weight scale / output scale`, without the output's if that is f32.
    pub scale: Span,
    /// As `scale`, for negative sums (LeakyReLU, PReLU); empty if they are the same.
    pub negative: Span,
    /// Classes of bias vectors.
    pub border: Border,
    /// Smallest result, relative to the output's zero point where it is s8.
    pub lo: f32,
    /// Largest result, likewise.
    pub hi: f32,
    /// Bytes of scratch a worker gets: at least what the layout demands for one output row.
    pub scratch: u32,
}

/// A function of two s8 values: `clamp((f + offset) >> shift, lo, hi)`, the shift arithmetic. Zero points and
/// the half that rounds are in the offset.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairS8 {
    /// `f`.
    pub function: FunctionS8,
    /// Second operand, repeated along axes where it has length 1; s8 values.
    pub other: Source,
    /// Added before the shift.
    pub offset: i32,
    /// At most 31.
    pub shift: u8,
    /// Smallest result.
    pub lo: i8,
    /// Largest result.
    pub hi: i8,
}

/// A function of two s8 values that does not leave i32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FunctionS8 {
    /// `a * multipliers[0] + b * multipliers[1]`.
    Sum {
        /// Not both 0.
        multipliers: [i32; 2],
    },
    /// `(a - zero_points[0]) * (b - zero_points[1]) * multiplier`.
    Product {
        /// Those of input and second operand.
        zero_points: [i8; 2],
        /// Not 0.
        multiplier: i32,
    },
}
