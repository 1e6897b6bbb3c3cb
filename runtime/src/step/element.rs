//! [`Element`]: what the values of a feature map are, and what they stand for.

use serde::{Deserialize, Serialize};

/// What the values of a feature map are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Element {
    /// 32-bit floating point.
    #[default]
    F32,
    /// 8-bit integers.
    S8(Quantization),
}

impl Element {
    /// Bytes of one value.
    #[inline]
    pub const fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::S8(_) => 1,
        }
    }

    /// What 8-bit values stand for; `None` for f32.
    #[inline]
    pub const fn quantization(self) -> Option<Quantization> {
        match self {
            Self::F32 => None,
            Self::S8(quantization) => Some(quantization),
        }
    }
}

/// The affine map between integers and reals: `q` stands for `(q - zero_point) * scale`.
///
/// One a tensor, for activations (Jacob et al., "Quantization and Training of Neural Networks for
/// Efficient Integer-Arithmetic-Only Inference", 2018, equation 1).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantization {
    /// Distance of neighbouring values: normal and positive.
    pub scale: f32,
    /// The integer that stands for 0.
    pub zero_point: i8,
}
