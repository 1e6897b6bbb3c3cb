//! [`Constants`]: which channels do not depend on the input, and what they hold.
//!
//! A channel is constant when everything it is computed from is constant or meets only zero
//! weights: a convolution's row of zeros gives `act(bias)`, and whatever is computed from that alone
//! is constant too, near the border as it may. Values come from the oracle, which executes each node
//! on its constant channels only; so there is no second formula of any operation here.

use super::channels::{Block, Channels, Reach, plane_len};
use super::restrict::{Keep, Operand, restricted};
use crate::graph::{Graph, Node, Op, ValueId};
use crate::reference::{self, Array};
use crate::tensor::Tensor;
use std::collections::BTreeSet;

/// What a constant channel holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Plane {
    /// The same everywhere.
    Uniform(f64),
    /// A value a pixel.
    Pixels(Vec<f64>),
}

impl Plane {
    fn of(pixels: &[f64]) -> Self {
        match pixels {
            [first, rest @ ..] if rest.iter().all(|v| v == first) => Self::Uniform(*first),
            _ => Self::Pixels(pixels.to_vec()),
        }
    }

    /// Whether it holds zeros only.
    pub(super) fn is_zero(&self) -> bool {
        *self == Self::Uniform(0.0)
    }

    fn write(&self, pixels: &mut [f64]) {
        match self {
            Self::Uniform(value) => pixels.fill(*value),
            Self::Pixels(values) => pixels.copy_from_slice(values),
        }
    }
}

/// Which weights of a layer are not zero: `[output, input of its group]`.
#[derive(Debug)]
pub(super) struct Reads {
    columns: usize,
    nonzero: Vec<bool>,
}

impl Reads {
    /// Of a convolution or dense layer.
    pub(super) fn of(graph: &Graph, node: &Node) -> Self {
        let shape = graph.shape(node.inputs[1]);
        let taps = shape[2..].iter().product::<usize>().max(1);
        let weights = graph.constant_f32(node.inputs[1]).expect("learned weights");
        let nonzero = weights.chunks_exact(taps).map(|taps| taps.iter().any(|&w| w != 0.0));
        Self { columns: shape[1], nonzero: nonzero.collect() }
    }

    /// For each input channel whether this output reads it.
    pub(super) fn row(&self, output: usize) -> &[bool] {
        &self.nonzero[output * self.columns..][..self.columns]
    }
}

/// The constant channels of all values.
#[derive(Debug)]
pub(super) struct Constants {
    /// By value and channel; empty for a value without constant channels.
    planes: Vec<Vec<Option<Plane>>>,
}

impl Constants {
    /// Those of a graph.
    pub(super) fn of(graph: &Graph, channels: &Channels) -> Self {
        let mut constants = Self { planes: vec![Vec::new(); graph.values.len()] };
        for (node, reach) in graph.nodes.iter().zip(&channels.reaches) {
            let (keep, known) = match reach {
                Reach::Mixing => constants.mixed(graph, node),
                Reach::Blocks(blocks) => constants.joined(graph, node, blocks),
                Reach::Opaque => continue,
            };
            if !known.is_empty() {
                constants.learn(graph, node, channels, &keep, &known);
            }
        }
        constants
    }

    /// What a channel holds, if it is constant.
    pub(super) fn plane(&self, id: ValueId, channel: usize) -> Option<&Plane> {
        self.planes[id.index()].get(channel)?.as_ref()
    }

    /// The constant outputs of a layer, and what of it has to be executed for them.
    fn mixed(&self, graph: &Graph, node: &Node) -> (Keep, Vec<usize>) {
        let (reads, input) = (Reads::of(graph, node), node.inputs[0]);
        let constant = |(i, read): (usize, &bool)| !read || self.plane(input, i).is_some();
        let fixed = |&o: &usize| reads.row(o).iter().enumerate().all(constant);
        let known: Vec<usize> = (0..graph.shape(node.inputs[1])[0]).filter(fixed).collect();
        let read = |&i: &usize| known.iter().any(|&o| reads.row(o)[i]);
        let mut needed: Vec<usize> = (0..reads.columns).filter(read).collect();
        if needed.is_empty() {
            // No operation has no operand: any channel, which meets zeros.
            needed.push(0);
        }
        let mut keep = Keep::default();
        keep.insert(input, needed);
        keep.insert(node.output, known.clone());
        (keep, known)
    }

    /// The constant outputs of a node that joins blocks of channels.
    fn joined(&self, graph: &Graph, node: &Node, blocks: &[Block]) -> (Keep, Vec<usize>) {
        let reads = matches!(node.op, Op::Conv(_)).then(|| Reads::of(graph, node));
        let fixed = |block: &Block| -> Vec<usize> {
            let fixed = |&o: &usize| self.is_fixed(node, block, reads.as_ref().map(|r| r.row(o)));
            block.outputs.clone().filter(fixed).collect()
        };
        let (mut known, mut outputs, mut inputs) = (Vec::new(), Vec::new(), Vec::new());
        for block in blocks {
            let fixed = fixed(block);
            if !fixed.is_empty() {
                outputs.extend(block.outputs.clone());
                inputs.extend(block.inputs.iter().cloned());
                known.extend(fixed);
            }
        }
        let mut keep = Keep::default();
        for &id in node.inputs.iter().filter(|&&id| graph.get(id).constant.is_none()) {
            let of = inputs.iter().filter(|(input, _)| *input == id);
            let channels: BTreeSet<usize> = of.flat_map(|(_, range)| range.clone()).collect();
            keep.insert(id, channels.into_iter().collect());
        }
        keep.insert(node.output, outputs);
        (keep, known)
    }

    /// Whether an output of a block is constant; `row`: which inputs its weights read.
    fn is_fixed(&self, node: &Node, block: &Block, row: Option<&[bool]>) -> bool {
        let mut inputs =
            block.inputs.iter().flat_map(|(id, range)| range.clone().map(|c| (*id, c)));
        let plane = |(id, c): (ValueId, usize)| self.plane(id, c);
        match (row, &node.op) {
            (Some(row), _) => inputs.zip(row).all(|(input, read)| !read || plane(input).is_some()),
            // Zero times whatever it is: so a gate keeps a dead channel dead.
            (None, Op::Mul) => {
                inputs.clone().all(|input| plane(input).is_some())
                    || inputs.any(|input| plane(input).is_some_and(Plane::is_zero))
            }
            (None, _) => inputs.all(|input| plane(input).is_some()),
        }
    }

    /// Executes the node and books its constant channels. What is not finite is not learned.
    fn learn(
        &mut self,
        graph: &Graph,
        node: &Node,
        channels: &Channels,
        keep: &Keep,
        known: &[usize],
    ) {
        let Some(result) = self.executed(graph, node, keep) else { return };
        let len = plane_len(graph, node.output).max(1);
        let planes = &mut self.planes[node.output.index()];
        planes.resize(channels.classes(node.output).len(), None);
        let kept = keep.of(node.output).unwrap_or_default();
        for (channel, pixels) in kept.iter().zip(result.values.chunks_exact(len)) {
            let finite = pixels.iter().all(|v| v.is_finite());
            if finite && known.binary_search(channel).is_ok() {
                planes[*channel] = Some(Plane::of(pixels));
            }
        }
    }

    /// The result of a node on the channels that `keep` leaves. Operands that are not constant
    /// count as zero: they meet zeros.
    pub(super) fn executed(&self, graph: &Graph, node: &Node, keep: &Keep) -> Option<Array> {
        let mut small = Graph::default();
        let mut operands = Vec::new();
        let (op, parts) = restricted(graph, node, keep);
        let inputs = parts.into_iter().map(|part| match part {
            Operand::Part(tensor) => small.constant("part", tensor),
            Operand::Same(id) => match &graph.get(id).constant {
                Some(tensor) => small.constant("whole", Tensor::clone(tensor)),
                None => {
                    let operand = small.value("operand", keep.shape(graph, id));
                    operands.push((operand, self.picture(graph, id, keep)));
                    operand
                }
            },
        });
        let inputs = inputs.collect();
        let output = small.value("result", keep.shape(graph, node.output));
        small.push(node.name.clone(), op, inputs, output);
        reference::evaluate(&small, &[0], operands, &[output]).ok()?.pop()
    }

    /// What is left of a value, with zeros where it is not constant.
    fn picture(&self, graph: &Graph, id: ValueId, keep: &Keep) -> Array {
        let shape = keep.shape(graph, id);
        let len = plane_len(graph, id);
        let mut values = vec![0.0; shape[1] * len];
        for (at, pixels) in values.chunks_exact_mut(len.max(1)).enumerate() {
            let channel = keep.of(id).map_or(at, |channels| channels[at]);
            if let Some(plane) = self.plane(id, channel) {
                plane.write(pixels);
            }
        }
        Array::new(shape, values).expect("one value each")
    }
}
