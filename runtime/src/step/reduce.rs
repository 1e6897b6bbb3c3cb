//! [`Reduction`] and [`Normalise`]: what is made of many values of a map at once.

use serde::{Deserialize, Serialize};

/// What is made of all values along the axes that a step reduces.
///
/// Append variants only: postcard numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reduction {
    /// Their sum.
    Sum,
    /// Their mean.
    Mean,
    /// The largest of them.
    Max,
    /// The smallest of them.
    Min,
    /// Their product.
    Product,
}

impl Reduction {
    /// Name in reports and profiles.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sum => "reduce_sum",
            Self::Mean => "reduce_mean",
            Self::Max => "reduce_max",
            Self::Min => "reduce_min",
            Self::Product => "reduce_product",
        }
    }
}

/// `(x - mean) / sqrt(variance + epsilon)`, both over all values along the chosen axes; the variance is
/// the mean of the squared differences to the mean.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Normalise {
    /// Over all rows.
    pub rows: bool,
    /// Over all columns.
    pub columns: bool,
    /// Over all channels.
    pub channels: bool,
    /// Whether the mean is subtracted; if not, 0 stands for it in both places (Zhang and Sennrich, "Root
    /// mean square layer normalization", 2019).
    pub centred: bool,
    /// Added to the variance; finite and at least 0.
    pub epsilon: f32,
}
