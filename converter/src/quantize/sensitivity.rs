//! What each layer's integers cost, and which layers are left in float for a bound to be met.

use super::cheapest::{Candidate, cheapest};
use super::error::QuantizeError;
use super::grids::Selection;
use super::judge::Judge;
use super::options::Options;
use crate::graph::{Graph, ValueId};
use crate::plan::facts::node_macs;
use serde::Serialize;

/// What the integers of one layer do to the outputs of the network.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sensitivity {
    /// Name of the node.
    pub name: String,
    /// Multiply-accumulates for one sample.
    pub macs: u64,
    /// Signal to noise of the outputs in decibels when this layer alone has integers.
    pub alone_db: f64,
    /// The same when all but this layer have.
    pub without_db: f64,
}

/// A quantized graph of which any layers can be taken back to float.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mixed<'a> {
    /// The float graph that was quantized: same nodes, same values.
    pub(super) float: &'a Graph,
    pub(super) quantized: &'a Graph,
    /// Nodes with integer weights.
    pub(super) layers: &'a [usize],
    pub(super) options: &'a Options,
}

impl Mixed<'_> {
    /// The quantized graph with some of its layers (numbers in `layers`) in float, and every value that no
    /// other layer wants as integers.
    pub(super) fn with_float(&self, chosen: &[usize]) -> Graph {
        let mut graph = self.quantized.clone();
        let mut options = self.options.clone();
        for &index in chosen.iter().filter_map(|&k| self.layers.get(k)) {
            let node = &self.float.nodes[index];
            options.float_nodes.push(node.name.clone());
            graph.nodes[index] = node.clone();
            for id in node.inputs.iter().filter(|id| self.float.get(**id).constant.is_some()) {
                graph.values[id.index()] = self.float.get(*id).clone();
            }
        }
        let selection = Selection::of(self.float, &options);
        for id in (0..self.float.values.len()).map(|k| ValueId(k as u32)) {
            let value = &mut graph.values[id.index()];
            if value.constant.is_none() && !selection.is_integer(id) {
                value.quantization = None;
            }
        }
        graph
    }

    /// The effect of each layer, in their order.
    ///
    /// # Errors
    /// When a graph cannot be run.
    pub(super) fn sensitivities(&self, judge: &Judge) -> Result<Vec<Sensitivity>, QuantizeError> {
        let all: Vec<usize> = (0..self.layers.len()).collect();
        let sensitivity = |&k: &usize| {
            let others: Vec<usize> = all.iter().copied().filter(|&other| other != k).collect();
            let node = &self.float.nodes[self.layers[k]];
            Ok(Sensitivity {
                name: node.name.clone(),
                macs: node_macs(self.float, node),
                alone_db: judge.decibels(&self.with_float(&others))?,
                without_db: judge.decibels(&self.with_float(&[k]))?,
            })
        };
        all.iter().map(sensitivity).collect()
    }

    /// The cheapest layers to leave in float so that the graph is good enough; none where it cannot be.
    ///
    /// # Errors
    /// Those of `enough`.
    pub(super) fn cheapest(
        &self,
        sensitivities: &[Sensitivity],
        decibels: f64,
        mut enough: impl FnMut(&Graph) -> Result<bool, QuantizeError>,
    ) -> Result<Option<Vec<usize>>, QuantizeError> {
        let noise = |decibels: f64| 10.0_f64.powf(-decibels / 10.0);
        let candidate = |layer: &Sensitivity| {
            // Where leaving out one layer hardly shows, its own noise still tells them apart.
            let gone = (noise(decibels) - noise(layer.without_db)).max(0.0);
            Candidate { cost: layer.macs, gain: gone + noise(layer.alone_db) }
        };
        let candidates: Vec<Candidate> = sensitivities.iter().map(candidate).collect();
        cheapest(&candidates, |chosen| enough(&self.with_float(chosen)))
    }
}
