//! A node on some of its channels: what the pass evaluates to find constants, and what it writes.

use crate::graph::{Activation, BorderBias, Conv, Graph, Node, Op, ValueId};
use crate::tensor::Tensor;
use std::collections::HashMap;

/// For each value the channels that are left, ascending; values not named keep all.
#[derive(Clone, Debug, Default)]
pub(super) struct Keep(HashMap<ValueId, Vec<usize>>);

impl Keep {
    /// Names the channels that are left of a value.
    pub(super) fn insert(&mut self, id: ValueId, channels: Vec<usize>) {
        self.0.insert(id, channels);
    }

    /// The channels that are left; `None`: all.
    pub(super) fn of(&self, id: ValueId) -> Option<&[usize]> {
        self.0.get(&id).map(Vec::as_slice)
    }

    /// Whether all values keep all channels.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Axis lengths of what is left of a value.
    pub(super) fn shape(&self, graph: &Graph, id: ValueId) -> Vec<usize> {
        let mut shape = graph.shape(id).to_vec();
        if let Some(channels) = self.of(id) {
            shape[1] = channels.len();
        }
        shape
    }

    /// The values named, each with its channels.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ValueId, &[usize])> {
        self.0.iter().map(|(&id, channels)| (id, channels.as_slice()))
    }
}

/// An operand of a restricted node.
#[derive(Clone, Debug)]
pub(super) enum Operand {
    /// As it is.
    Same(ValueId),
    /// What is left of a constant.
    Part(Tensor),
}

/// The node on the channels that `keep` leaves of what it reads and writes. Where groups or blocks
/// join channels, `keep` leaves them whole.
pub(super) fn restricted(graph: &Graph, node: &Node, keep: &Keep) -> (Op, Vec<Operand>) {
    let outputs = keep.of(node.output);
    let op = match &node.op {
        Op::Conv(conv) => Op::Conv(restricted_conv(graph, node, conv, outputs)),
        Op::Linear { activation } => Op::Linear { activation: slopes(activation, outputs) },
        Op::Add { activation } => Op::Add { activation: slopes(activation, outputs) },
        Op::Activation(activation) => Op::Activation(slopes(activation, outputs)),
        other => other.clone(),
    };
    let operand = |(at, &id): (usize, &ValueId)| match &graph.get(id).constant {
        Some(tensor) => restricted_constant(graph, node, keep, at, tensor)
            .map_or(Operand::Same(id), Operand::Part),
        None => Operand::Same(id),
    };
    (op, node.inputs.iter().enumerate().map(operand).collect())
}

fn restricted_conv(graph: &Graph, node: &Node, conv: &Conv, outputs: Option<&[usize]>) -> Conv {
    let Some(outputs) = outputs else { return conv.clone() };
    let per_group = graph.shape(node.inputs[1])[0] / conv.groups;
    let border = conv.border.as_ref().map(|border| BorderBias {
        classes: border.classes,
        bias: taken(&border.bias, 1, Some(outputs)),
    });
    let groups = if conv.groups == 1 { 1 } else { outputs.len() / per_group };
    Conv {
        window: conv.window,
        groups,
        border,
        activation: slopes(&conv.activation, Some(outputs)),
    }
}

/// What is left of constant operand `at`; `None`: all of it.
fn restricted_constant(
    graph: &Graph,
    node: &Node,
    keep: &Keep,
    at: usize,
    tensor: &Tensor,
) -> Option<Tensor> {
    let (inputs, outputs) = (keep.of(node.inputs[0]), keep.of(node.output));
    let dense = !matches!(&node.op, Op::Conv(conv) if conv.groups > 1);
    let (rows, columns) = match (&node.op, at) {
        (Op::Conv(_) | Op::Linear { .. }, 1) => (outputs, inputs.filter(|_| dense)),
        (Op::Conv(_) | Op::Linear { .. } | Op::BatchNorm { .. }, _) => (outputs, None),
        (Op::Add { .. } | Op::Sub | Op::Mul | Op::Div, _) => {
            let rank = graph.shape(node.output).len();
            // Broadcasting aligns the last axes.
            let axis = (tensor.shape().len() + 1).checked_sub(rank)?;
            let repeated = tensor.shape()[axis] == 1;
            return outputs.filter(|_| !repeated).map(|some| taken(tensor, axis, Some(some)));
        }
        _ => (None, None),
    };
    (rows.is_some() || columns.is_some()).then(|| taken(&taken(tensor, 0, rows), 1, columns))
}

fn slopes(activation: &Activation, channels: Option<&[usize]>) -> Activation {
    match activation {
        Activation::PRelu { slope } => Activation::PRelu { slope: taken(slope, 0, channels) },
        other => other.clone(),
    }
}

/// Some places along an axis; `None`: all.
fn taken(tensor: &Tensor, axis: usize, places: Option<&[usize]>) -> Tensor {
    let Some(places) = places else { return tensor.clone() };
    let mut shape = tensor.shape().to_vec();
    let (length, inner) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
    let values = tensor.as_f32().expect("learned constants are floats");
    let blocks = values.chunks_exact((length * inner).max(1));
    let part = blocks.flat_map(|block| {
        places.iter().flat_map(move |&place| &block[place * inner..][..inner]).copied()
    });
    let part = part.collect();
    shape[axis] = places.len();
    Tensor::f32(shape, part).expect("as many values as places")
}
