//! What a graph costs, as the field counts it.

use super::arena::{Lifetime, lower_bound};
use crate::graph::{Activation, Graph, Node, Op, ValueId};
use crate::tensor::elements;

/// Multiply-accumulates: a convolution `N * O * I/g * Kh * Kw * oh * ow`, a dense layer `N * O * K`,
/// everything else nothing.
pub fn macs(graph: &Graph) -> u64 {
    graph.nodes.iter().map(|node| node_macs(graph, node)).sum()
}

/// [`macs`] of one node.
pub fn node_macs(graph: &Graph, node: &Node) -> u64 {
    let weights = || node.inputs.get(1).map_or(0, |&id| count(graph, id));
    match &node.op {
        Op::Conv(_) => {
            let shape = graph.shape(node.output);
            let pixels: usize = shape.iter().skip(2).product();
            weights() * (shape[0] * pixels) as u64
        }
        Op::Linear { .. } => weights() * graph.shape(node.output)[0] as u64,
        Op::MatMul => {
            let depth = graph.shape(node.inputs[0]).last().copied().unwrap_or(0);
            (elements(graph.shape(node.output)).unwrap_or(0) * depth) as u64
        }
        Op::BatchNorm { .. }
        | Op::Activation(_)
        | Op::Unary(_)
        | Op::Softmax { .. }
        | Op::Add { .. }
        | Op::Sub
        | Op::Mul
        | Op::Div
        | Op::Binary(_)
        | Op::MaxPool(_)
        | Op::AveragePool { .. }
        | Op::GlobalAveragePool
        | Op::Reshape
        | Op::Expand
        | Op::Transpose { .. }
        | Op::Slice { .. }
        | Op::DepthToSpace { .. }
        | Op::SpaceToDepth { .. }
        | Op::Pad { .. }
        | Op::Resize(_)
        | Op::Gather { .. }
        | Op::TopK { .. }
        | Op::Reduce { .. }
        | Op::Normalise { .. }
        | Op::Concat { .. } => 0,
    }
}

/// Trained numbers: weights, a bias a channel (border classes repeat it), BatchNorm's gamma and beta
/// (its statistics are not trained), PReLU slopes, constant operands.
pub fn params(graph: &Graph) -> u64 {
    graph.nodes.iter().map(|node| node_params(graph, node)).sum()
}

/// [`params`] of one node.
pub fn node_params(graph: &Graph, node: &Node) -> u64 {
    let operands = |taken: std::ops::Range<usize>| -> u64 {
        let ids = node.inputs.iter().enumerate().filter(|(at, _)| taken.contains(at));
        ids.map(|(_, &id)| count(graph, id)).sum()
    };
    match &node.op {
        Op::Conv(conv) => {
            let border = conv.border.as_ref().map_or(0, |_| graph.shape(node.output)[1] as u64);
            operands(1..3) + border + slopes(&conv.activation)
        }
        Op::Linear { activation } => operands(1..3) + slopes(activation),
        Op::BatchNorm { .. } => operands(1..3),
        Op::Activation(activation) => slopes(activation),
        Op::Add { activation } => operands(0..2) + slopes(activation),
        Op::Sub | Op::Mul | Op::Div | Op::Binary(_) | Op::MatMul => operands(0..2),
        Op::Unary(_)
        | Op::Softmax { .. }
        | Op::MaxPool(_)
        | Op::AveragePool { .. }
        | Op::GlobalAveragePool
        | Op::Reshape
        | Op::Expand
        | Op::Transpose { .. }
        | Op::Slice { .. }
        | Op::DepthToSpace { .. }
        | Op::SpaceToDepth { .. }
        | Op::Pad { .. }
        | Op::Resize(_)
        | Op::Gather { .. }
        | Op::TopK { .. }
        | Op::Reduce { .. }
        | Op::Normalise { .. }
        | Op::Concat { .. } => 0,
    }
}

fn slopes(activation: &Activation) -> u64 {
    match activation {
        Activation::PRelu { slope } => slope.len() as u64,
        Activation::None | Activation::Clamp { .. } | Activation::LeakyRelu { .. } => 0,
    }
}

/// Numbers in a constant; 0 for a computed value.
fn count(graph: &Graph, id: ValueId) -> u64 {
    graph.get(id).constant.as_ref().map_or(0, |tensor| tensor.len() as u64)
}

/// Bytes of a value: one for each integer if it is quantized, otherwise those of f32.
pub fn value_bytes(graph: &Graph, id: ValueId) -> u64 {
    let size = if graph.get(id).quantization.is_some() { 1 } else { size_of::<f32>() };
    elements(graph.shape(id)).unwrap_or(0) as u64 * size as u64
}

/// The most bytes of feature maps that any node needs at once: operands, result, and what later nodes
/// still read. Reshapes are views.
pub fn peak_activation_bytes(graph: &Graph) -> u64 {
    let views = views(graph);
    let mut lifetimes: Vec<Option<Lifetime>> = vec![None; graph.values.len()];
    let mut touch = |id: ValueId, step: usize| {
        let bytes = value_bytes(graph, id);
        let fresh = Lifetime { bytes, first: step, last: step };
        lifetimes[views[id.index()].index()].get_or_insert(fresh).last = step;
    };
    graph.inputs.iter().for_each(|&id| touch(id, 0));
    for (step, node) in graph.nodes.iter().enumerate() {
        let computed = node.inputs.iter().filter(|&&id| graph.get(id).constant.is_none());
        computed.chain([&node.output]).for_each(|&id| touch(id, step));
    }
    graph.outputs.iter().for_each(|&id| touch(id, graph.nodes.len()));
    lower_bound(&lifetimes.into_iter().flatten().collect::<Vec<_>>())
}

/// For each value the one whose bytes it shows.
fn views(graph: &Graph) -> Vec<ValueId> {
    let mut views: Vec<ValueId> = (0..graph.values.len()).map(|k| ValueId(k as u32)).collect();
    for node in &graph.nodes {
        let is_view = matches!(node.op, Op::Reshape | Op::Activation(Activation::None));
        if let (true, Some(source)) = (is_view, node.inputs.first()) {
            views[node.output.index()] = views[source.index()];
        }
    }
    views
}
