//! A graph with quantization -> a float graph that rounds where it rounds.
//!
//! For passes that ask "what if" hundreds of times: any choice of ranges and weights can be run by the
//! float kernels. A sum in 8-bit arithmetic is exact, one in f32 is not, so a value may now and then fall
//! on the other side of a half; apart from that both compute the same.

use crate::graph::{Activation, Graph, Op, Quantization, ValueId};
use crate::tensor::Tensor;
use unbraid_runtime::quant::bounds;
use unbraid_runtime::step::Function;

/// The float graph that computes what `graph` stands for. Values keep their numbers, and hold what they
/// are rounded to; nodes do not keep theirs, and inputs of the network get new ones.
pub fn simulated(graph: &Graph) -> Graph {
    let mut simulated = Graph { nodes: Vec::new(), ..graph.clone() };
    simulated.values.iter_mut().for_each(|value| value.quantization = None);
    for (index, &id) in graph.inputs.iter().enumerate() {
        if let Some(quantization) = &graph.get(id).quantization {
            let exact = before_rounding(&mut simulated, id);
            simulated.inputs[index] = exact;
            round(&mut simulated, exact, quantization, id);
        }
    }
    for node in &graph.nodes {
        let mut node = node.clone();
        let Some(quantization) = &graph.get(node.output).quantization else {
            simulated.nodes.push(node);
            continue;
        };
        let output = node.output;
        node.output = before_rounding(&mut simulated, output);
        let exact = node.output;
        simulated.nodes.push(node);
        round(&mut simulated, exact, quantization, output);
    }
    simulated
}

/// A value for what `id` is before it is rounded.
fn before_rounding(graph: &mut Graph, id: ValueId) -> ValueId {
    let value = graph.get(id);
    let (name, shape) = (format!("{} (exact)", value.name), value.shape.clone());
    graph.value(name, shape)
}

/// Nodes that compute `to = round(clamp(from / scale)) * scale`: bounds are whole numbers, so it does not
/// matter whether rounding or clamping comes first.
fn round(graph: &mut Graph, from: ValueId, quantization: &Quantization, to: ValueId) {
    let scale = quantization.scales[0];
    let (lo, hi) = bounds(quantization.zero_point);
    let ops = [
        (Op::Mul, Some(scale.recip())),
        (Op::Activation(Activation::Clamp { lo, hi }), None),
        (Op::Unary(Function::Round), None),
        (Op::Mul, Some(scale)),
    ];
    let last = ops.len() - 1;
    let (name, shape) = (graph.get(to).name.clone(), graph.shape(to).to_vec());
    let mut from = from;
    for (at, (op, factor)) in ops.into_iter().enumerate() {
        let name = format!("{name} (rounding {at})");
        let factor =
            factor.map(|factor| graph.constant(name.clone(), Tensor::vector(vec![factor])));
        let result = if at == last { to } else { graph.value(name.clone(), shape.clone()) };
        graph.push(name, op, [Some(from), factor].into_iter().flatten().collect(), result);
        from = result;
    }
}
