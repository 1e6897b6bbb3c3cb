//! [`Warning`]: what gives reason to doubt a quantized network, and what to do about it.

use serde::{Serialize, Serializer};
use thiserror::Error;

/// A reason for doubt.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum Warning {
    /// Neighbouring pixels have nothing to do with each other.
    #[error(
        "the calibration pictures of input \"{input}\" look like noise: the correlation of neighbouring \
         pixels is {correlation:.2}, in photographs it is 0.5 to 1; activations on noise are not those on \
         pictures, so calibrate on 100 to 1000 real ones"
    )]
    Noise {
        /// Name of the input.
        input: String,
        /// The smallest correlation found, over halved sizes.
        correlation: f64,
    },
    /// Too few samples.
    #[error(
        "calibrated on {found} sample(s): ranges that these do not reach are cut off; give 100 to 1000"
    )]
    Few {
        /// How many.
        found: usize,
    },
    /// Samples without any difference in them.
    #[error(
        "{found} of {all} calibration samples of input \"{input}\" hold one value throughout; leave them \
         out, they say nothing about pictures"
    )]
    Flat {
        /// Name of the input.
        input: String,
        /// How many.
        found: usize,
        /// Of how many.
        all: usize,
    },
    /// Samples that were there already.
    #[error(
        "{found} of {all} calibration samples are copies of earlier ones; give different pictures"
    )]
    Copies {
        /// How many.
        found: usize,
        /// Of how many.
        all: usize,
    },
    /// Raw pixels that are none.
    #[error(
        "the calibration data of input \"{input}\" reaches from {lo} to {hi}, but with --mean and --std the \
         network takes raw pixels of 0 to 255: calibrate on what the camera sends, before any \
         normalisation"
    )]
    NotPixels {
        /// Name of the input.
        input: String,
        /// Smallest value.
        lo: f32,
        /// Largest value.
        hi: f32,
    },
    /// Pixels for a network that was not said to take any.
    #[error(
        "the calibration data of input \"{input}\" are whole numbers of 0 to 255, as pixels are: a network \
         that was trained on normalised pictures needs --mean and --std (then it takes pixels), or \
         --input-mean and --input-std; if it takes pixels as they are, say so with --mean 0 --std 1"
    )]
    Pixels {
        /// Name of the input.
        input: String,
    },
    /// A value that is zero on all samples.
    #[error(
        "\"{value}\" is zero on all calibration data, so nothing is known about its range: it stays in \
         float; calibrate on pictures that make the network respond, or leave that part of it out"
    )]
    Empty {
        /// Name of the value.
        value: String,
    },
    /// A value that is the same on all samples.
    #[error(
        "\"{value}\" is {constant} everywhere on all calibration data; what lies outside on other data is cut \
         off: calibrate on pictures that make the network respond"
    )]
    Constant {
        /// Name of the value.
        value: String,
        /// What it is.
        constant: f32,
    },
    /// Biases beyond what a sum can hold.
    #[error(
        "{channels} channel(s) of \"{layer}\" have a bias so large that its integer would not fit 32 bits: \
         their weights are rounded more coarsely for it; leave this layer in float, or look for a dead \
         channel"
    )]
    HugeBias {
        /// Name of the layer.
        layer: String,
        /// How many.
        channels: usize,
    },
    /// Outputs that have little to do with those of the float network.
    #[error(
        "the outputs of the 8-bit network differ from those of the float network by {decibels:.1} dB only \
         (below 20 answers change); look at the layers with `unbraid compare --layers`, or leave some in \
         float"
    )]
    Poor {
        /// Signal to noise.
        decibels: f64,
    },
    /// No layer became integers.
    #[error("no layer of the network could become integers: the file computes in float throughout")]
    NoLayers,
}

impl Serialize for Warning {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
