//! Lowering of explicit padding that fusion has left in the graph.

use super::error::Kind;
use super::lower::Lowering;
use crate::graph::{Graph, Node, Op, Pad, PadMode, Quantization, ValueId};
use std::collections::HashMap;
use unbraid_runtime::step::{self, Element};

/// For each value padded with zeros that one windowed operation alone reads, and that is not rounded again:
/// the value without its padding, and the padding, which the window takes over.
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
        let (own, padded) = (graph.get(source), graph.get(node.output));
        let same = padded.quantization.is_none() || padded.quantization == own.quantization;
        let takes = takes_zeros(&graph.nodes[reader].op) && as_picture && same;
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
        let mut input = self.picture(id)?;
        if !self.holds(node, self.element(input.buffer), mode) {
            input = self.real(id, input)?;
        }
        let output = self.new_picture_in(node.output, self.element(input.buffer))?;
        self.push_each(node, step::Op::Pad { pad, mode }, (input, output), pictures)
    }

    /// Whether what surrounds a value of this element can be of it too.
    fn holds(&self, node: &Node, element: Element, mode: PadMode) -> bool {
        let (Element::S8(own), PadMode::Constant(outside)) = (element, mode) else { return true };
        let grid = Quantization::of_activation(own.scale, own.zero_point);
        let outside = f64::from(outside);
        grid.rounded(outside) == outside || self.wanted(node.output) == element
    }
}
