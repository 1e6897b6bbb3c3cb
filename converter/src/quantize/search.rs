//! For each grid the range that leaves the network's outputs closest to the exact ones.
//!
//! First every method for all grids alike; the best is where the search begins. Then grid by grid, in
//! execution order, every other candidate: what makes the outputs better stays. What is measured is
//! the thing itself, so that clipping which a later layer forgives is told from clipping that it does not.

use super::error::QuantizeError;
use super::judge::Judge;
use super::options::RangeMethod;
use super::ranges::Ranged;
use crate::graph::{Graph, Quantization};

/// Shares of values left outside, of further candidates.
const OUTSIDE: [f64; 3] = [1e-3, 1e-5, 1e-6];
/// Methods that are no search.
const METHODS: [RangeMethod; 4] =
    [RangeMethod::MinMax, RangeMethod::Percentile, RangeMethod::Mse, RangeMethod::Kl];

/// A quantization and how it was found.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Choice {
    pub(super) quantization: Quantization,
    pub(super) method: &'static str,
}

/// What one method says about every grid.
pub(super) fn by_method(ranged: &[Ranged], method: RangeMethod) -> Vec<Choice> {
    ranged.iter().map(|ranged| choice(ranged, method)).collect()
}

fn choice(ranged: &Ranged, method: RangeMethod) -> Choice {
    let method_name = if ranged.fixed.is_some() { "raw pixels" } else { method.name() };
    Choice { quantization: ranged.quantization(method), method: method_name }
}

/// Gives the values of each grid their quantization.
pub(super) fn apply(graph: &mut Graph, ranged: &[Ranged], choices: &[Choice]) {
    for (ranged, choice) in ranged.iter().zip(choices) {
        for id in &ranged.grid.values {
            graph.values[id.index()].quantization = Some(choice.quantization.clone());
        }
    }
}

/// The best choice for each grid; weights of `graph` stay as they are.
pub(super) fn search(
    graph: &Graph,
    ranged: &[Ranged],
    judge: &Judge,
) -> Result<Vec<Choice>, QuantizeError> {
    let mut graph = graph.clone();
    let mut decibels = |choices: &[Choice]| {
        apply(&mut graph, ranged, choices);
        judge.decibels(&graph)
    };
    let mut best = (f64::NEG_INFINITY, Vec::new());
    for method in METHODS {
        let choices = by_method(ranged, method);
        let found = decibels(&choices)?;
        if found > best.0 {
            best = (found, choices);
        }
    }
    for (at, ranged) in ranged.iter().enumerate() {
        for candidate in candidates(ranged) {
            let mut choices = best.1.clone();
            choices[at] = candidate;
            let found = if choices == best.1 { best.0 } else { decibels(&choices)? };
            if found > best.0 {
                best = (found, choices);
            }
        }
    }
    Ok(best.1)
}

/// Different quantizations of a grid.
fn candidates(ranged: &Ranged) -> Vec<Choice> {
    if ranged.fixed.is_some() {
        return Vec::new();
    }
    let percentile = |&outside: &f64| Choice {
        quantization: ranged.without(outside),
        method: RangeMethod::Percentile.name(),
    };
    let mut candidates: Vec<Choice> = Vec::new();
    let methods = METHODS.iter().map(|&method| choice(ranged, method));
    for candidate in methods.chain(OUTSIDE.iter().map(percentile)) {
        if candidates.iter().all(|known| known.quantization != candidate.quantization) {
            candidates.push(candidate);
        }
    }
    candidates
}
