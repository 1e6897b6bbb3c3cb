//! What quantization did, for the report: values, layers, passes, warnings.

use super::sensitivity::Sensitivity;
use super::warning::Warning;
use serde::Serialize;

/// The account of a quantization.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Account {
    /// Calibration samples.
    pub samples: usize,
    /// One a tensor of activations with a range of its own, in execution order.
    pub activations: Vec<ActivationFacts>,
    /// One a convolution or dense layer with integer weights, in execution order.
    pub layers: Vec<LayerFacts>,
    /// Convolutions and dense layers that stay in float, and why.
    pub float_layers: Vec<FloatLayer>,
    /// The network after each pass, the first being plain quantization.
    pub passes: Vec<PassFacts>,
    /// What each layer's integers do to the outputs, in execution order; empty unless a goal was set.
    pub sensitivity: Vec<Sensitivity>,
    /// What the calibration data or the network gives reason to doubt.
    pub warnings: Vec<Warning>,
}

/// Values that share one quantization.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ActivationFacts {
    /// Names of the values.
    pub values: Vec<String>,
    /// Smallest and largest value on the calibration data.
    pub seen: [f32; 2],
    /// Smallest and largest value that has an integer.
    pub range: [f32; 2],
    /// Distance of neighbouring values.
    pub scale: f32,
    /// The integer that stands for 0.
    pub zero_point: i8,
    /// How the range was found.
    pub method: &'static str,
    /// Share of values on the calibration data that lie outside the range.
    pub saturated: f64,
}

/// A convolution or dense layer with integer weights.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerFacts {
    /// Name of the node.
    pub name: String,
    /// Bits of a weight.
    pub bits: u8,
    /// Signal to noise of its weights in decibels.
    pub weights_db: f64,
}

/// A convolution or dense layer in float.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FloatLayer {
    /// Name of the node.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// The network after a pass.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PassFacts {
    /// Which pass.
    pub pass: Pass,
    /// Signal to noise of the network's outputs on calibration samples, in decibels.
    pub sqnr_db: f64,
    /// Whether its result was kept: what makes the outputs worse is not.
    pub kept: bool,
}

/// The passes, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pass {
    /// Ranges from the smallest to the largest value, everything rounded to the nearest.
    Plain,
    /// Means corrected by biases; so they are after each later pass.
    CorrectBias,
    /// Channels equalised across layers.
    Equalise,
    /// Ranges of activations.
    Ranges,
    /// Rounding of weights by least squares.
    Rounding,
    /// Smaller scales of weights, rounded in the same way.
    ClipWeights,
}

impl Pass {
    /// What the report calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Equalise => "equalise",
            Self::Ranges => "ranges",
            Self::ClipWeights => "clip weights",
            Self::Rounding => "rounding",
            Self::CorrectBias => "correct bias",
        }
    }
}

/// Signal and noise of values that stand for others.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Noise {
    /// Sum of squares of the exact values.
    pub signal: f64,
    /// Sum of squares of the differences.
    pub noise: f64,
}

impl Noise {
    /// Adds values and what stands for them.
    pub fn add(&mut self, exact: &[f32], found: &[f32]) {
        for (&exact, &found) in exact.iter().zip(found) {
            let difference = f64::from(found) - f64::from(exact);
            self.signal += f64::from(exact) * f64::from(exact);
            self.noise += difference * difference;
        }
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { signal: self.signal + other.signal, noise: self.noise + other.noise }
    }

    /// `10 log10(signal / noise)`, at most 200: what does not differ has no ratio.
    pub fn decibels(self) -> f64 {
        if self.noise > 0.0 {
            (10.0 * (self.signal / self.noise).log10()).min(200.0)
        } else {
            200.0
        }
    }
}
