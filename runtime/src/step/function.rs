//! [`Function`]: what a step computes from each value alone, without trained parameters.

use serde::{Deserialize, Serialize};

/// A function of one value, applied element by element. Computed in f32, NaN stays NaN.
///
/// Append variants only: postcard numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Function {
    /// Logistic function `1 / (1 + exp(-x))`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// Error function `2 / sqrt(pi) * integral of exp(-t^2) for t in 0 .. x`.
    Erf,
    /// `x / 2 * (1 + erf(x / sqrt(2)))` (Hendrycks and Gimpel, "Gaussian Error Linear Units",
    /// 2016); not its approximation by tanh.
    Gelu,
    /// `max(0, min(1, alpha * x + beta))`.
    HardSigmoid {
        /// Slope; finite.
        alpha: f32,
        /// Value at 0; finite.
        beta: f32,
    },
    /// `x * max(0, min(1, x / 6 + 1 / 2))` (Howard et al., "Searching for `MobileNetV3`", 2019).
    HardSwish,
    /// `x * sigmoid(x)`, also called Swish.
    Silu,
    /// `e^x`.
    Exp,
    /// Square root; NaN of negative values.
    Sqrt,
    /// `ln(1 + exp(x))`.
    Softplus,
    /// `x * tanh(softplus(x))` (Misra, "Mish", 2019).
    Mish,
    /// `x < 0 ? alpha * (exp(x) - 1) : x`.
    Elu {
        /// Limit at minus infinity, negated; finite.
        alpha: f32,
    },
    /// `|x|`.
    Abs,
    /// `-x`.
    Neg,
    /// `1 / x`.
    Reciprocal,
    /// Natural logarithm; NaN of negative values.
    Log,
    /// The largest whole number that is not larger.
    Floor,
    /// The smallest whole number that is not smaller.
    Ceil,
    /// The nearest whole number, of two the even one.
    Round,
    /// `x > 0 ? 1 : x < 0 ? -1 : x`.
    Sign,
}

impl Function {
    /// Whether plain networks have it, as an activation or a part of one; the kernels of all others need
    /// the feature `full`.
    pub fn is_plain(&self) -> bool {
        !matches!(self, Self::Floor | Self::Ceil | Self::Round | Self::Sign)
    }

    /// Name in reports and profiles.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sigmoid => "sigmoid",
            Self::Tanh => "tanh",
            Self::Erf => "erf",
            Self::Gelu => "gelu",
            Self::HardSigmoid { .. } => "hard_sigmoid",
            Self::HardSwish => "hard_swish",
            Self::Silu => "silu",
            Self::Exp => "exp",
            Self::Sqrt => "sqrt",
            Self::Softplus => "softplus",
            Self::Mish => "mish",
            Self::Elu { .. } => "elu",
            Self::Abs => "abs",
            Self::Neg => "neg",
            Self::Reciprocal => "reciprocal",
            Self::Log => "log",
            Self::Floor => "floor",
            Self::Ceil => "ceil",
            Self::Round => "round",
            Self::Sign => "sign",
        }
    }
}
