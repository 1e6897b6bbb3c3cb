//! [`Walk`]: a graph executed on all samples, a few nodes at a time.
//!
//! Passes that treat one layer after the other need what the layers before it, as they have become,
//! really hand on. Running the whole network again for each layer would take the square of the time; a
//! walk keeps the values that are still to be read and goes on from there.

use super::activations::Activations;
use super::error::QuantizeError;
use super::samples::Samples;
use super::simulate::simulated;
use crate::graph::{Graph, Node, Op, ValueId};
use std::collections::HashMap;
use std::ops::Range;
use unbraid_runtime::model::port::MAX_RANK;
use unbraid_runtime::quant::{dequantize, quantize};
use unbraid_runtime::step;

/// Values that are still to be read, on all samples.
#[derive(Debug)]
pub(super) struct Walk {
    /// Each sample behind the other, row-major in ONNX's order.
    known: HashMap<ValueId, Vec<f32>>,
    /// By value: the index of the last node that reads it; that of none for outputs of the graph.
    last_read: Vec<usize>,
    /// The first node that has not been executed.
    next: usize,
}

impl Walk {
    /// Before the first node. Quantized inputs are rounded.
    pub(super) fn new(graph: &Graph, samples: &Samples) -> Self {
        let mut last_read = vec![0; graph.values.len()];
        for (index, node) in graph.nodes.iter().enumerate() {
            node.inputs.iter().for_each(|id| last_read[id.index()] = index);
        }
        graph.outputs.iter().for_each(|id| last_read[id.index()] = usize::MAX);
        let input = |(index, &id): (usize, &ValueId)| {
            let mut values: Vec<f32> = samples.of_input(index).flatten().copied().collect();
            if let Some(quantization) = &graph.get(id).quantization {
                let (scale, zero_point) = (quantization.scales[0], quantization.zero_point);
                let grid = step::Quantization { scale, zero_point };
                values.iter_mut().for_each(|v| *v = dequantize(quantize(*v, grid), grid));
            }
            (id, values)
        };
        let known = graph.inputs.iter().enumerate().map(input).collect();
        Self { known, last_read, next: 0 }
    }

    /// Executes all nodes before node `to`, and forgets what neither it nor later ones read.
    ///
    /// # Errors
    /// When the nodes cannot be planned, or there is not enough memory.
    pub(super) fn advance(&mut self, graph: &Graph, to: usize) -> Result<(), QuantizeError> {
        let nodes = self.next..to;
        if !nodes.is_empty() {
            let found = self.execute(graph, nodes)?;
            self.known.extend(found);
            self.next = to;
        }
        self.known.retain(|id, _| self.last_read[id.index()] >= to);
        Ok(())
    }

    /// A value that a node after those executed reads, or an output.
    pub(super) fn value(&self, id: ValueId) -> Option<&[f32]> {
        self.known.get(&id).map(Vec::as_slice)
    }

    fn execute(
        &self,
        graph: &Graph,
        nodes: Range<usize>,
    ) -> Result<Vec<(ValueId, Vec<f32>)>, QuantizeError> {
        let (part, values) = self.part(graph, nodes.clone());
        let kept = |id: &ValueId| self.last_read[id.index()] >= nodes.end;
        let computed = graph.nodes[nodes.clone()].iter().map(|node| node.output);
        let wanted: Vec<ValueId> = computed.filter(kept).collect();
        let part = simulated(&part);
        let samples = Samples::new(&part, values)?;
        let watched = Activations::new(&part, &wanted)?;
        let start = || vec![Vec::new(); wanted.len()];
        let add = |all: &mut Vec<Vec<f32>>, values: &[Vec<f32>]| {
            all.iter_mut().zip(values).for_each(|(all, one)| all.extend_from_slice(one));
        };
        let merge = |mut all: Vec<Vec<f32>>, more: Vec<Vec<f32>>| {
            all.iter_mut().zip(more).for_each(|(all, mut more)| all.append(&mut more));
            all
        };
        let found = watched.each(&samples, start, add, merge)?;
        Ok(wanted.into_iter().zip(found).collect())
    }

    /// These nodes as a graph of their own, and the values of its inputs.
    fn part(&self, graph: &Graph, nodes: Range<usize>) -> (Graph, Vec<Vec<f32>>) {
        let nodes = &graph.nodes[nodes];
        let reads = |id: &&ValueId| nodes.iter().any(|node| node.inputs.contains(id));
        let mut inputs: Vec<ValueId> = self.known.keys().filter(reads).copied().collect();
        inputs.sort_unstable();
        let mut part = Graph { nodes: nodes.to_vec(), ..graph.clone() };
        // What is known has been rounded.
        inputs.iter().for_each(|id| part.values[id.index()].quantization = None);
        let values = inputs.iter().map(|id| self.known[id].clone()).collect();
        part.inputs = inputs.iter().map(|&id| as_input(&mut part, id)).collect();
        part.outputs.clear();
        (part, values)
    }
}

/// The input that provides a value: the value itself, or where no input can have its shape, a row of
/// numbers that is reshaped.
fn as_input(graph: &mut Graph, id: ValueId) -> ValueId {
    let shape = graph.shape(id).to_vec();
    let several_pictures = shape.len() == MAX_RANK && shape[0] != 1;
    if shape.len() <= MAX_RANK && !several_pictures {
        return id;
    }
    let name = format!("{} (handed on)", graph.get(id).name);
    let flat = graph.value(name.clone(), [shape.iter().product()]);
    let node = Node { name, op: Op::Reshape, inputs: vec![flat], output: id };
    graph.nodes.insert(0, node);
    flat
}
