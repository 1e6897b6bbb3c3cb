//! [`Network`]: a graph as a list of nodes with what each reads, to be read and to be drawn.

use crate::graph::{Activation, Graph, Hw, Node, Op, Pad, PadMode, ValueId, Window};
use crate::plan::facts;
use crate::resize::Resize;
use serde::Serialize;

/// The nodes of a graph. An edge leads from the `output` of a node, or from an input, to each node
/// that lists its name in `reads`, and to the output of that name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Network {
    /// What the caller provides.
    pub inputs: Vec<PortFacts>,
    /// In execution order.
    pub nodes: Vec<NodeFacts>,
    /// What the caller receives.
    pub outputs: Vec<PortFacts>,
}

/// An input or output of the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PortFacts {
    /// Name of the value.
    pub name: String,
    /// Axis lengths in ONNX's order.
    pub shape: Vec<usize>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeFacts {
    /// Its name, unique in the graph.
    pub name: String,
    /// The field's name of the operation.
    pub op: &'static str,
    /// Geometry and what fusion has added, such as `3×3 /2 p1 g4 +Relu`: taps, stride unless 1,
    /// dilation unless 1, padding (top, left, bottom, right where they differ), groups, bias that
    /// depends on the border, activation.
    pub detail: String,
    /// Names of the computed values that it reads; weights are not listed.
    pub reads: Vec<String>,
    /// Name of the value that it gives.
    pub output: String,
    /// Axis lengths of that value in ONNX's order.
    pub shape: Vec<usize>,
    /// Learned numbers.
    pub params: u64,
    /// Multiply-accumulates.
    pub macs: u64,
}

impl Network {
    /// Lists a graph.
    pub fn new(graph: &Graph) -> Self {
        let port = |&id: &ValueId| PortFacts {
            name: graph.get(id).name.clone(),
            shape: graph.shape(id).to_vec(),
        };
        Self {
            inputs: graph.inputs.iter().map(port).collect(),
            nodes: graph.nodes.iter().map(|node| NodeFacts::new(graph, node)).collect(),
            outputs: graph.outputs.iter().map(port).collect(),
        }
    }
}

impl NodeFacts {
    fn new(graph: &Graph, node: &Node) -> Self {
        let operands = node.inputs.iter().map(|&id| graph.get(id));
        let computed = operands.filter(|value| value.constant.is_none());
        Self {
            name: node.name.clone(),
            op: node.op.name(),
            detail: detail(&node.op),
            reads: computed.map(|value| value.name.clone()).collect(),
            output: graph.get(node.output).name.clone(),
            shape: graph.shape(node.output).to_vec(),
            params: facts::node_params(graph, node),
            macs: facts::node_macs(graph, node),
        }
    }
}

/// What tells two nodes of one operation apart.
fn detail(op: &Op) -> String {
    let parts = match op {
        Op::Conv(conv) => {
            let groups = (conv.groups > 1).then(|| format!("g{}", conv.groups));
            let border = conv.border.as_ref().map(|_| "border".to_owned());
            let mut parts = window(&conv.window);
            parts.extend(groups.into_iter().chain(border).chain(added(&conv.activation)));
            parts
        }
        Op::Add { activation } | Op::Linear { activation } => Vec::from_iter(added(activation)),
        Op::MaxPool(geometry) | Op::AveragePool { window: geometry, .. } => window(geometry),
        Op::Pad { pad, mode: PadMode::Constant(value) } => {
            vec![sides(pad), format!("with {value}")]
        }
        Op::Pad { pad, mode } => vec![sides(pad), mode.name().to_owned()],
        Op::Transpose { perm } => vec![format!("{perm:?}")],
        Op::Slice { starts, steps } => vec![format!("from {starts:?} by {steps:?}")],
        Op::DepthToSpace { block, .. } | Op::SpaceToDepth { block } => vec![format!("{block}")],
        Op::Resize(resize) => resized(resize),
        Op::Gather { axis, indices } => vec![format!("{} of axis {axis}", indices.len())],
        Op::TopK { axis, count, .. } => vec![format!("{count} of axis {axis}")],
        Op::Reduce { axes, .. } | Op::Normalise { axes, .. } => vec![format!("axes {axes:?}")],
        Op::Concat { axis } | Op::Softmax { axis } => vec![format!("axis {axis}")],
        Op::BatchNorm { .. }
        | Op::Activation(_)
        | Op::Unary(_)
        | Op::Sub
        | Op::Mul
        | Op::Div
        | Op::Binary(_)
        | Op::GlobalAveragePool
        | Op::MatMul
        | Op::Reshape
        | Op::Expand => vec![],
    };
    parts.join(" ")
}

fn resized(resize: &Resize) -> Vec<String> {
    let axes: Vec<usize> = resize.axes.iter().map(|axis| axis.axis).collect();
    vec![format!("{:?} {:?} of axes {axes:?}", resize.interpolation, resize.coordinates)]
}

fn added(activation: &Activation) -> Option<String> {
    (*activation != Activation::None).then(|| format!("+{}", activation.name()))
}

fn window(window: &Window) -> Vec<String> {
    let pair = |Hw { h, w }| if h == w { format!("{h}") } else { format!("{h},{w}") };
    let one = Hw::square(1);
    let mut parts = vec![format!("{}\u{d7}{}", window.kernel.h, window.kernel.w)];
    parts.extend((window.stride != one).then(|| format!("/{}", pair(window.stride))));
    parts.extend((window.dilation != one).then(|| format!("d{}", pair(window.dilation))));
    parts.extend((window.pad != Pad::default()).then(|| format!("p{}", sides(&window.pad))));
    parts
}

fn sides(pad: &Pad) -> String {
    let Pad { top, left, bottom, right } = *pad;
    if [left, bottom, right] == [top; 3] {
        format!("{top}")
    } else {
        format!("{top},{left},{bottom},{right}")
    }
}
