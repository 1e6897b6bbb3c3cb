//! [`Quantization`] of a value: the grid that it lies on, and what is wrong with one.

use super::Value;
use crate::tensor::Tensor;
use thiserror::Error;
use unbraid_runtime::step;

/// The affine map between integers and reals: `q` stands for `(q - zero_point) * scale`.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantization {
    /// Of an activation one; of weights one, or one an output channel (axis 0).
    pub scales: Vec<f32>,
    /// The integer that stands for 0; of weights 0.
    pub zero_point: i8,
    /// Bits of an integer: 8, or 4 for weights. Weights have no smallest integer: they are symmetric.
    pub bits: u8,
}

/// What is wrong with the quantization of a value.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
pub enum QuantizationFault {
    /// Neither one scale nor one a channel, or several for a value that is computed.
    #[error("{found} scales where {expected} are expected; quantize the model again")]
    Scales {
        /// How many there are.
        found: usize,
        /// How many there may be at most.
        expected: usize,
    },
    /// A scale that no kernel can divide by.
    #[error("scale {scale:e} is not normal and positive; calibrate with values that vary")]
    Scale {
        /// The scale.
        scale: f32,
    },
    /// Integers of a width that nothing stores, or of 4 bits for a value that is computed.
    #[error("{bits} bits; weights have 8 or 4, everything else 8")]
    Bits {
        /// How many.
        bits: u8,
    },
    /// A constant that is not one of the values that integers stand for.
    #[error("element {at} is {value:e}, which is no integer times its scale {scale:e}; round it")]
    OffGrid {
        /// Its number in ONNX's order.
        at: usize,
        /// What it is.
        value: f32,
        /// Distance of neighbours on the grid.
        scale: f32,
    },
}

/// How far from an integer the quotient of a constant and its scale may lie: products of integer and scale
/// are rounded to f32, which 127 makes visible in the fifth decimal.
const ROUNDED: f64 = 1e-4;

impl Quantization {
    /// Of a value that is computed.
    pub fn of_activation(scale: f32, zero_point: i8) -> Self {
        Self { scales: vec![scale], zero_point, bits: 8 }
    }

    /// Of weights of 8 bits, with one scale or one an output channel.
    pub fn of_weights(scales: Vec<f32>) -> Self {
        Self { scales, zero_point: 0, bits: 8 }
    }

    /// The one map that all values share, as steps have it; `None` if there are several scales.
    pub fn per_tensor(&self) -> Option<step::Quantization> {
        let &[scale] = &self.scales[..] else { return None };
        Some(step::Quantization { scale, zero_point: self.zero_point })
    }

    /// The integer that stands for a real, by the first scale: `round_half_even(v / scale) + zero_point`,
    /// clamped to -128..=127. What is no number becomes -128.
    pub fn nearest(&self, v: f64) -> i8 {
        let scale = self.scales.first().copied().map_or(f64::NAN, f64::from);
        let q = (v / scale).round_ties_even() + f64::from(self.zero_point);
        if q.is_nan() { i8::MIN } else { q.clamp(-128.0, 127.0) as i8 }
    }

    /// What an integer stands for, by the first scale.
    pub fn real(&self, q: i8) -> f64 {
        let scale = self.scales.first().copied().map_or(f64::NAN, f64::from);
        (f64::from(q) - f64::from(self.zero_point)) * scale
    }

    /// The value of the grid that stands for a real: [`Quantization::nearest`] and back.
    pub fn rounded(&self, v: f64) -> f64 {
        self.real(self.nearest(v))
    }

    /// The integers of a constant on the grid, in ONNX's order.
    ///
    /// # Errors
    /// Names the first element that is no integer times its scale, or needs a larger integer than
    /// -128..=127; of 4 bits, than -7..=7.
    pub fn integers(&self, constant: &Tensor) -> Result<Vec<i8>, QuantizationFault> {
        let values = constant.as_f32().unwrap_or(&[]);
        let run = values.len() / self.scales.len().max(1);
        let range = if self.bits == 4 { -7.0..=7.0 } else { -128.0..=127.0 };
        let integer = |(at, &value): (usize, &f32)| {
            let scale = self.scales[at / run.max(1)];
            let exact = f64::from(value) / f64::from(scale);
            let q = exact.round_ties_even();
            let shifted = q + f64::from(self.zero_point);
            let fits = (exact - q).abs() <= ROUNDED && range.contains(&shifted);
            fits.then_some(shifted as i8).ok_or(QuantizationFault::OffGrid { at, value, scale })
        };
        values.iter().enumerate().map(integer).collect()
    }

    /// Whether a value can have this quantization.
    fn check(&self, value: &Value) -> Result<(), QuantizationFault> {
        let channels = value.shape.first().copied().filter(|_| value.constant.is_some());
        let (found, expected) = (self.scales.len(), channels.unwrap_or(1).max(1));
        if found != 1 && found != expected {
            return Err(QuantizationFault::Scales { found, expected });
        }
        let usable = |scale: &&f32| scale.is_normal() && **scale > 0.0;
        if let Some(&scale) = self.scales.iter().find(|scale| !usable(scale)) {
            return Err(QuantizationFault::Scale { scale });
        }
        match (self.bits, &value.constant) {
            (8, None) => Ok(()),
            (8 | 4, Some(constant)) => self.integers(constant).map(|_| ()),
            (bits, _) => Err(QuantizationFault::Bits { bits }),
        }
    }
}

impl Value {
    /// Whether the quantization, if there is one, fits the value, and a constant lies on its grid.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn check_quantization(&self) -> Result<(), QuantizationFault> {
        self.quantization.as_ref().map_or(Ok(()), |quantization| quantization.check(self))
    }
}
