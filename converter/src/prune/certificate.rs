//! [`Certificate`]: the whole graph executed before and after pruning, in f64, on a random input.

use crate::fuse::certificate::{ROUNDED, noise};
use crate::graph::Graph;
use crate::reference;
use serde::Serialize;

/// Proof by execution that a graph and what pruning leaves of it are the same function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Certificate {
    /// Largest difference of an output, relative to its largest value: pushed constants are rounded
    /// to f32 once, and near-zero rows are gone.
    pub error: f64,
    /// The part of it that near-zero rows have: largest difference when they are zero and nothing
    /// is removed.
    pub near_zero_effect: f64,
}

/// Why a graph was not pruned.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refused {
    /// The oracle could not run the graph.
    #[error("the graph could not be executed for its certificate: {error}")]
    NotExecutable {
        /// What the oracle said.
        error: String,
    },
    /// The certificate failed.
    #[error("before and after differ by {error:.1e} of the largest output, more than {ROUNDED:e}")]
    Differs {
        /// Largest relative difference.
        error: f64,
    },
}

/// Runs the graph as it was, with near-zero rows set to zero (if there are any), and as it is.
pub(super) fn certify(
    before: &Graph,
    zeroed: Option<&Graph>,
    after: &Graph,
) -> Result<Certificate, Refused> {
    let truth = outputs(before)?;
    let difference = |graph| Ok(worst(&truth, &outputs(graph)?));
    let error = difference(after)?;
    let near_zero_effect = zeroed.map_or(Ok(0.0), difference)?;
    // Written so that a difference that is not a number fails.
    if error <= ROUNDED {
        Ok(Certificate { error, near_zero_effect })
    } else {
        Err(Refused::Differs { error })
    }
}

fn outputs(graph: &Graph) -> Result<Vec<Vec<f64>>, Refused> {
    let random = |(at, &id)| {
        let len: usize = graph.shape(id).iter().product();
        let seed = (at as u64 + 1) << 40;
        (0..len as u64).map(|k| noise(k ^ seed)).collect()
    };
    let inputs: Vec<Vec<f64>> = graph.inputs.iter().enumerate().map(random).collect();
    reference::run(graph, &inputs)
        .map_err(|error| Refused::NotExecutable { error: error.to_string() })
}

fn worst(truth: &[Vec<f64>], found: &[Vec<f64>]) -> f64 {
    let of_output = |(y, x): (&Vec<f64>, &Vec<f64>)| {
        let largest = y.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
        let unit = if largest > 0.0 { largest } else { 1.0 };
        let differences = y.iter().zip(x).map(|(y, x)| (y - x).abs() / unit);
        differences.fold(0.0, |m: f64, d| if d.is_nan() { f64::INFINITY } else { m.max(d) })
    };
    truth.iter().zip(found).map(of_output).fold(0.0, f64::max)
}
