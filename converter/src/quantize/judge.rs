//! [`Judge`]: how far a quantized graph's outputs are from the exact ones.

use super::account::Noise;
use super::activations::Activations;
use super::error::QuantizeError;
use super::samples::Samples;
use super::simulate::simulated;
use crate::graph::{Graph, Op, ValueId};

/// The float network's outputs on some samples.
#[derive(Debug)]
pub struct Judge {
    samples: Samples,
    /// What is compared: the outputs, and of a softmax what it is made of.
    watched: Vec<ValueId>,
    /// For each sample the values that are compared.
    exact: Vec<Vec<Vec<f32>>>,
}

impl Judge {
    /// Runs the float graph.
    ///
    /// # Errors
    /// When the graph cannot be run, or answers with what is no finite number.
    pub fn new(graph: &Graph, samples: Samples) -> Result<Self, QuantizeError> {
        let mut watched: Vec<ValueId> = Vec::new();
        for &output in &graph.outputs {
            let id = before_softmax(graph, output);
            if !watched.contains(&id) {
                watched.push(id);
            }
        }
        let exact = Activations::new(graph, &watched)?.all(&samples)?;
        for (sample, values) in exact.iter().enumerate() {
            for (id, values) in watched.iter().zip(values) {
                if let Some(&found) = values.iter().find(|value| !value.is_finite()) {
                    let value = graph.get(*id).name.clone();
                    return Err(QuantizeError::NotFinite { value, sample, found });
                }
            }
        }
        Ok(Self { samples, watched, exact })
    }

    /// The samples that it judges by.
    pub fn samples(&self) -> &Samples {
        &self.samples
    }

    /// Signal to noise of the outputs of a graph with quantization in decibels, of several outputs that
    /// of their mean noise, each relative to its signal.
    ///
    /// # Errors
    /// When the graph cannot be run.
    pub fn decibels(&self, graph: &Graph) -> Result<f64, QuantizeError> {
        let found = Activations::new(&simulated(graph), &self.watched)?.all(&self.samples)?;
        let mut noises = vec![Noise::default(); self.watched.len()];
        for (exact, found) in self.exact.iter().zip(&found) {
            for (noise, (exact, found)) in noises.iter_mut().zip(exact.iter().zip(found)) {
                noise.add(exact, found);
            }
        }
        let share = |noise: &Noise| noise.noise / noise.signal.max(f64::MIN_POSITIVE);
        let mean = noises.iter().map(share).sum::<f64>() / noises.len().max(1) as f64;
        Ok(Noise { signal: 1.0, noise: mean }.decibels())
    }
}

/// What a softmax is computed from: its result hardly shows an error where it is sure.
fn before_softmax(graph: &Graph, output: ValueId) -> ValueId {
    let producer = graph.nodes.iter().find(|node| node.output == output);
    match producer.map(|node| (&node.op, &node.inputs[..])) {
        Some((Op::Softmax { .. }, &[input, ..])) => input,
        _ => output,
    }
}
