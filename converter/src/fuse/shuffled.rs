//! Normalisations go before pixel shuffles, to the convolution that fills them: so decoders, whose
//! transposed convolutions are convolutions and shuffles, fold theirs too.

use crate::graph::{DepthOrder, Graph, Node, Op, ValueId};
use crate::tensor::Tensor;

/// Each `BatchNorm` behind depth-to-space, and crops of pixels around it, that it alone reads moves
/// before them; its parameters are repeated for the channels that become one square.
pub(super) fn move_norms_before_shuffles(graph: &mut Graph) {
    let (mut producers, consumers) = (graph.producers(), graph.consumers());
    for index in 0..graph.nodes.len() {
        if !matches!(graph.nodes[index].op, Op::BatchNorm { .. }) {
            continue;
        }
        let chain = chain(graph, &producers, &consumers, graph.nodes[index].inputs[0]);
        let Some(repeats) = repeats(graph, &chain) else { continue };
        move_before(graph, index, &chain, &repeats);
        producers.resize(graph.values.len(), None);
        for &slot in chain.iter().chain([&index]) {
            producers[graph.nodes[slot].output.index()] = Some(slot);
        }
    }
}

/// The nodes that lead to a value by moving its pixels only, first to last.
fn chain(
    graph: &Graph,
    producers: &[Option<usize>],
    consumers: &[Vec<usize>],
    mut value: ValueId,
) -> Vec<usize> {
    let mut chain = Vec::new();
    while let Some(before) = producers[value.index()]
        && consumers.get(value.index()).is_some_and(|readers| readers.len() == 1)
        && !graph.outputs.contains(&value)
        && moves_pixels(graph, &graph.nodes[before])
    {
        chain.push(before);
        value = graph.nodes[before].inputs[0];
    }
    chain.reverse();
    chain
}

fn moves_pixels(graph: &Graph, node: &Node) -> bool {
    match &node.op {
        Op::DepthToSpace { .. } => true,
        Op::Slice { starts, steps } => {
            let (from, to) = (graph.shape(node.inputs[0]), graph.shape(node.output));
            from.len() == 4 && from[..2] == to[..2] && starts[..2] == [0; 2] && steps[..2] == [1; 2]
        }
        _ => false,
    }
}

/// The shuffles of a chain, last to first; `None` if there is none.
fn repeats(graph: &Graph, chain: &[usize]) -> Option<Vec<(usize, DepthOrder)>> {
    let shuffle = |&index: &usize| match graph.nodes[index].op {
        Op::DepthToSpace { block, order } => Some((block * block, order)),
        _ => None,
    };
    let found: Vec<_> = chain.iter().rev().filter_map(shuffle).collect();
    (!found.is_empty()).then_some(found)
}

/// Lets the normalisation at `index` read what the chain reads, and the chain what it makes. The
/// nodes trade places, so that they stay in execution order.
fn move_before(graph: &mut Graph, index: usize, chain: &[usize], repeats: &[(usize, DepthOrder)]) {
    let (first, last) = (chain[0], chain[chain.len() - 1]);
    let source = graph.nodes[first].inputs[0];
    let parameters: Vec<ValueId> = graph.nodes[index].inputs[1..].to_vec();
    let parameters = parameters.into_iter().map(|id| repeated(graph, id, repeats)).collect();
    let name = format!("{}.normalised", graph.get(source).name);
    let shape = graph.shape(source).to_vec();
    let normalised = graph.value(name, shape);
    graph.nodes[first].inputs[0] = normalised;
    graph.nodes[last].output = graph.nodes[index].output;
    let norm = &mut graph.nodes[index];
    norm.inputs = [vec![source], parameters].concat();
    norm.output = normalised;
    let mut later = index;
    for &slot in chain.iter().rev() {
        graph.nodes.swap(slot, later);
        later = slot;
    }
}

/// Parameters of channels for the channels that become squares of them.
fn repeated(graph: &mut Graph, id: ValueId, repeats: &[(usize, DepthOrder)]) -> ValueId {
    let Some(values) = graph.constant_f32(id) else { return id };
    let mut values = values.to_vec();
    for &(times, order) in repeats {
        values = match order {
            DepthOrder::SquareFirst => values.repeat(times),
            DepthOrder::ChannelFirst => {
                values.iter().flat_map(|&v| std::iter::repeat_n(v, times)).collect()
            }
        };
    }
    let name = format!("{}.repeated", graph.get(id).name);
    graph.constant(name, Tensor::vector(values))
}
