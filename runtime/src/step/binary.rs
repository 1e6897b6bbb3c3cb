//! [`Binary`] and [`Source`]: functions of two values, and where the second one comes from.

use super::Operand;
use crate::dims::Dims;
use crate::span::Span;
use serde::{Deserialize, Serialize};

/// A function of two values, applied element by element. Computed in f32.
///
/// Append variants only: postcard numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Binary {
    /// `a + b`.
    Add,
    /// `a - b`.
    Sub,
    /// `a * b`.
    Mul,
    /// `a / b`.
    Div,
    /// `b < a ? b : a`.
    Min,
    /// `b > a ? b : a`.
    Max,
    /// `a` to the power `b`; NaN for negative `a` unless `b` is a whole number.
    Pow,
    /// `a == b ? 1 : 0`.
    Equal,
    /// `a > b ? 1 : 0`.
    Greater,
    /// `a >= b ? 1 : 0`.
    GreaterOrEqual,
    /// `a == 0 ? 0 : b`: the values of `b` where `a` is true.
    Keep,
    /// `a == 0 ? b : 0`: the values of `b` where `a` is false.
    Drop,
}

impl Binary {
    /// Whether plain networks have it; the kernels of all others need the feature `full`.
    pub fn is_plain(self) -> bool {
        matches!(self, Self::Add | Self::Sub | Self::Mul | Self::Div | Self::Min | Self::Max)
    }

    /// Name in reports and profiles.
    pub fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Sub => "sub",
            Self::Mul => "mul",
            Self::Div => "div",
            Self::Min => "min",
            Self::Max => "max",
            Self::Pow => "pow",
            Self::Equal => "equal",
            Self::Greater => "greater",
            Self::GreaterOrEqual => "greater_or_equal",
            Self::Keep => "keep",
            Self::Drop => "drop",
        }
    }
}

/// The second operand of a step: of each axis it has the input's length, or 1 and is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Source {
    /// Computed by an earlier step.
    Arena(Operand),
    /// Constant, NHWC.
    Weights {
        /// In the weights section, values of the input's type: `span.len == h * w * c * 4`, or without the 4
        /// for s8.
        span: Span,
        /// Shape.
        dims: Dims,
    },
}

impl Source {
    /// Shape.
    pub fn dims(&self) -> Dims {
        match self {
            Self::Arena(operand) => operand.dims,
            Self::Weights { dims, .. } => *dims,
        }
    }

    /// The feature map, if it is one.
    pub fn map(&self) -> Option<Operand> {
        match self {
            Self::Arena(operand) => Some(*operand),
            Self::Weights { .. } => None,
        }
    }
}
