//! Transposes go behind what works element by element, and meet their inverse there: in graphs that
//! keep pictures as NHWC, biases, activations and sums are then beside the convolutions, which ONNX
//! has for NCHW alone.

use super::renaming::Renaming;
use crate::graph::{Activation, Graph, Node, Op, ValueId};
use crate::rearrange::Rearrange;
use crate::tensor::Tensor;
use std::collections::HashMap;

/// What values are transposed from, and how.
type Sources = HashMap<ValueId, (ValueId, Vec<usize>)>;

/// `f(transpose(x), transpose(y), c)` becomes `transpose(f(x, y, c'))`; of transposes in a row the
/// last one remains, or none.
pub(super) fn sink_transposes(graph: &mut Graph) {
    let mut sources = Sources::new();
    let mut same: Vec<(ValueId, ValueId)> = Vec::new();
    for mut node in std::mem::take(&mut graph.nodes) {
        if let Op::Transpose { perm } = &mut node.op {
            if let Some((source, first)) = sources.get(&node.inputs[0]) {
                *perm = perm.iter().map(|&axis| first[axis]).collect();
                node.inputs[0] = *source;
            }
            if perm.is_sorted() && !graph.outputs.contains(&node.output) {
                same.push((node.output, node.inputs[0]));
            } else {
                sources.insert(node.output, (node.inputs[0], perm.clone()));
            }
            graph.nodes.push(node);
            continue;
        }
        match meets(graph, &node, &sources) {
            Some(meeting) => sink(graph, node, meeting, &mut sources),
            None => graph.nodes.push(node),
        }
    }
    let mut renaming = Renaming::new(graph);
    same.into_iter().for_each(|(old, new)| renaming.rename(old, new));
    renaming.apply(graph);
    super::simplify::drop_unread(graph);
}

/// An operation before a transpose instead of behind it.
struct Meeting {
    op: Op,
    inputs: Vec<Input>,
    perm: Vec<usize>,
}

/// An operand of it.
enum Input {
    /// As it is.
    Value(ValueId),
    /// A constant with its axes in the other order.
    Moved(Tensor),
}

/// The operation on what its operands are transposed from, if all are transposed alike.
fn meets(graph: &Graph, node: &Node, sources: &Sources) -> Option<Meeting> {
    let perm = node.inputs.iter().find_map(|id| sources.get(id)).map(|(_, perm)| perm.clone())?;
    let op = match &node.op {
        Op::Unary(_) | Op::Sub | Op::Mul | Op::Div | Op::Binary(_) => node.op.clone(),
        Op::Activation(activation) | Op::Add { activation } => {
            let per_channel = matches!(activation, Activation::PRelu { .. });
            (!per_channel).then(|| node.op.clone())?
        }
        Op::Softmax { axis } => Op::Softmax { axis: perm[*axis] },
        Op::Concat { axis } => Op::Concat { axis: perm[*axis] },
        _ => return None,
    };
    let joins = matches!(op, Op::Concat { .. });
    let input = |&id: &ValueId| match sources.get(&id) {
        Some((source, own)) => {
            let whole = joins || graph.shape(id) == graph.shape(node.output);
            (whole && *own == perm).then_some(Input::Value(*source))
        }
        None if joins => None,
        None => moved(graph, id, &perm),
    };
    let inputs = node.inputs.iter().map(input).collect::<Option<_>>()?;
    Some(Meeting { op, inputs, perm })
}

/// A constant for the axes before the transpose.
fn moved(graph: &Graph, id: ValueId, perm: &[usize]) -> Option<Input> {
    let constant = graph.get(id).constant.as_ref()?;
    if constant.len() == 1 && constant.shape().len() <= perm.len() {
        return Some(Input::Value(id));
    }
    let missing = perm.len().checked_sub(constant.shape().len())?;
    let shape = [vec![1; missing], constant.shape().to_vec()].concat();
    let mut inverse = vec![0; perm.len()];
    perm.iter().enumerate().for_each(|(to, &from)| inverse[from] = to);
    let before: Vec<usize> = inverse.iter().map(|&axis| shape[axis]).collect();
    let order = Rearrange::of(&Op::Transpose { perm: inverse }, &shape, &before)?;
    let values = constant.as_f32()?;
    let values = order.indices().map(|index| values.get(index).copied()).collect::<Option<_>>()?;
    Tensor::f32(before, values).map(Input::Moved)
}

/// Appends the operation and the transpose behind it, which gives what the operation gave.
fn sink(graph: &mut Graph, mut node: Node, meeting: Meeting, sources: &mut Sources) {
    let Meeting { op, inputs, perm } = meeting;
    let after = graph.shape(node.output);
    let mut shape = vec![0; perm.len()];
    perm.iter().zip(after).for_each(|(&from, &length)| shape[from] = length);
    let name = graph.get(node.output).name.clone();
    let inner = graph.value(format!("{name}.before"), shape);
    let operand = |(index, input)| match input {
        Input::Value(id) => id,
        Input::Moved(tensor) => graph.constant(format!("{name}.operand{index}"), tensor),
    };
    node.inputs = inputs.into_iter().enumerate().map(operand).collect();
    let output = std::mem::replace(&mut node.output, inner);
    node.op = op;
    let behind = format!("{}.transpose", node.name);
    graph.nodes.push(node);
    graph.push(behind, Op::Transpose { perm: perm.clone() }, vec![inner], output);
    sources.insert(output, (inner, perm));
}
