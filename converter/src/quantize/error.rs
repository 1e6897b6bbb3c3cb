//! [`QuantizeError`]: why a network cannot be quantized on some data.

use super::samples::SamplesError;
use crate::plan::PlanError;
use crate::write::WriteError;
use thiserror::Error;
use unbraid_runtime::{FormatError, SessionError};

/// Why there is no quantized network.
#[derive(Debug, Error)]
pub enum QuantizeError {
    /// The calibration data is wrong.
    #[error(transparent)]
    Samples(#[from] SamplesError),
    /// The graph cannot be executed.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The graph cannot be executed.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The graph cannot be executed.
    #[error("the network cannot be loaded: {0}; this is a bug of the converter, please report it")]
    Load(#[from] FormatError),
    /// The graph cannot be executed.
    #[error("the network cannot be run: {0}; this is a bug of the converter, please report it")]
    Run(#[from] SessionError),
    /// Watching all values takes too much memory.
    #[error("no memory for the activations of the network ({bytes:?} bytes); use smaller inputs")]
    Memory {
        /// What is needed, if it can be counted.
        bytes: Option<usize>,
    },
    /// The float network computes what is no finite number.
    #[error(
        "\"{value}\" holds {found} when the float network runs on sample {sample} (from 0): its own \
         answer is no number, so none of 8 bits can be right; look at that sample, or at the weights \
         before this value"
    )]
    NotFinite {
        /// Name of the value.
        value: String,
        /// Index of the sample.
        sample: usize,
        /// An infinity, or NaN.
        found: f32,
    },
    /// Names in the options that no node has.
    #[error("no node is called \"{name}\"; the report of a conversion lists all names")]
    NoSuchNode {
        /// The name.
        name: String,
    },
}
