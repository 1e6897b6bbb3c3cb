//! Lowering of explicit padding that fusion has left in the graph.

use super::error::Kind;
use super::lower::Lowering;
use crate::graph::{Graph, Node, Op, Pad, PadMode, ValueId};
use std::collections::HashMap;
use unbraid_runtime::step;

/// For each value padded with zeros that one windowed operation alone reads: the value without its
/// padding, and the padding, which the window takes over.
pub(super) fn absorbed(graph: &Graph) -> HashMap<ValueId, (ValueId, Pad)> {
    let consumers = graph.consumers();
    let mut absorbed = HashMap::new();
    for node in &graph.nodes {
        let (Op::Pad { pad, mode: PadMode::Constant(0.0) }, Some(&source)) =
            (&node.op, node.inputs.first())
        else {
            continue;
        };
        let &[reader] = &consumers[node.output.index()][..] else { continue };
        let as_picture = graph.nodes[reader].inputs.first() == Some(&node.output);
        let takes = takes_zeros(&graph.nodes[reader].op) && as_picture;
        if takes && !graph.outputs.contains(&node.output) {
            absorbed.insert(node.output, (source, *pad));
        }
    }
    absorbed
}

/// Whether zeros around the input are the same as padding of the window.
fn takes_zeros(op: &Op) -> bool {
    match op {
        Op::Conv(_) => true,
        Op::AveragePool { window, count_include_pad } => {
            *count_include_pad || window.pad == Pad::default()
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
        | Op::GlobalAveragePool
        | Op::Linear { .. }
        | Op::MatMul
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
        | Op::Concat { .. } => false,
    }
}

impl Lowering<'_> {
    pub(super) fn pad(&mut self, node: &Node, pad: Pad, mode: PadMode) -> Result<(), Kind> {
        if self.is_absorbed(node.output) {
            return Ok(());
        }
        let id = Self::operand(node, 0)?;
        let pictures = self.graph.shape(id).first().copied().unwrap_or(1);
        let places = (self.picture(id)?, self.new_picture(node.output)?);
        self.push_each(node, step::Op::Pad { pad, mode }, places, pictures)
    }
}
