//! Lowering of explicit padding that fusion has left in the graph.

use super::dense::Filters;
use super::error::Kind;
use super::lower::Lowering;
use crate::graph::{Activation, Graph, Node, Op, Pad, PadMode, ValueId, Window};
use std::collections::HashMap;
use unbraid_runtime::step::{Border, Layout};

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
        | Op::MaxPool(_)
        | Op::GlobalAveragePool
        | Op::Linear { .. }
        | Op::Reshape
        | Op::Transpose { .. }
        | Op::Slice { .. }
        | Op::DepthToSpace { .. }
        | Op::SpaceToDepth { .. }
        | Op::Pad { .. }
        | Op::Concat { .. } => false,
    }
}

impl Lowering<'_> {
    /// A depthwise 1x1 convolution with weight 1 whose window is padded: outside the picture it
    /// adds nothing to its bias, and the border's bias is the value to pad with. Exact.
    pub(super) fn pad(&mut self, node: &Node, pad: Pad, value: f32) -> Result<(), Kind> {
        if self.is_absorbed(node.output) {
            return Ok(());
        }
        let input = self.picture(Self::operand(node, 0)?)?;
        let output = self.new_picture(node.output)?;
        let channels = input.dims.c as usize;
        let filters = Filters {
            layout: Layout::F32Dw16,
            groups: channels,
            out_c: channels,
            in_c: 1,
            kh: 1,
            kw: 1,
        };
        let border = Border { top: pad.top, left: pad.left, bottom: pad.bottom, right: pad.right };
        let (rows, columns) = border.classes();
        let inside = |row: u32, column: u32| row == border.top && column == border.left;
        let classes = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
        let bias: Vec<f32> = classes
            .map(|(row, column)| if inside(row, column) { 0.0 } else { value })
            .flat_map(|value| std::iter::repeat_n(value, channels))
            .collect();
        let (ones, window) = (vec![1.0; channels], Window { pad, ..Window::POINT });
        let packed = (&ones[..], &bias[..], border);
        self.push_conv(node, filters, window, packed, &Activation::None, input, output)
    }
}
