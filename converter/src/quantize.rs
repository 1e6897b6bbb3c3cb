//! Graph + calibration samples -> the same graph with quantization.
//!
//! ```text
//! float Graph ─equalise→ float Graph ─ranges→ activations ─weights→ scales, integers ─rounding→
//!             ─correct bias→ Graph with quantization
//! ```
//!
//! Every stage has the same value and node numbers as the one before, so that each value of the
//! quantized graph can be held against that of the float graph. What a pass gained is measured on the
//! network's outputs ([`account::PassFacts`]); what makes them worse is not kept.

pub mod account;
pub mod activations;
mod bias;
pub mod equalise;
mod error;
mod homogeneous;
mod least_squares;
mod matrix;
pub mod options;
mod patches;
pub mod rounding;
pub mod samples;
pub mod simulate;
mod walk;

pub use account::Account;
pub use activations::Activations;
pub use error::QuantizeError;
pub use options::{Options, RangeMethod};
pub use samples::{Samples, SamplesError};

use crate::graph::Graph;

/// What became of a graph.
#[derive(Clone, Debug)]
pub struct Quantized {
    /// The graph with quantization.
    pub graph: Graph,
    /// What was done.
    pub account: Account,
}
