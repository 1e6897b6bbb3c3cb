//! [`Form`]: what each operation makes of 8-bit operands.

use crate::graph::{Activation, Graph, Node, Op, ValueId};

/// What an operation makes of 8-bit operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Sums of products with integer weights.
    Layer,
    /// The operand's integers moved, chosen or mixed: the result has its quantization.
    Same,
    /// All operands' integers side by side: the result has the quantization of those that share it.
    Joined,
    /// Other values, with a quantization of their own.
    Own,
    /// There is none: the operation is computed in float.
    Float,
}

impl Form {
    /// The form of a node.
    pub(super) fn of(graph: &Graph, node: &Node) -> Self {
        match &node.op {
            Op::Conv(_) | Op::Linear { .. } => layer(graph, node),
            Op::Activation(Activation::None)
            | Op::MaxPool(_)
            | Op::Reshape
            | Op::Expand
            | Op::Transpose { .. }
            | Op::Slice { .. }
            | Op::DepthToSpace { .. }
            | Op::SpaceToDepth { .. }
            | Op::Pad { .. }
            | Op::Resize(_)
            | Op::Gather { .. } => Self::Same,
            Op::Concat { .. } => Self::Joined,
            Op::Activation(Activation::PRelu { .. }) => Self::Float,
            Op::Activation(Activation::Clamp { .. } | Activation::LeakyRelu { .. })
            | Op::Unary(_)
            | Op::Add { .. }
            | Op::Sub
            | Op::Mul
            | Op::AveragePool { .. }
            | Op::GlobalAveragePool => Self::Own,
            Op::BatchNorm { .. }
            | Op::Softmax { .. }
            | Op::Div
            | Op::Binary(_)
            | Op::MatMul
            | Op::TopK { .. }
            | Op::Reduce { .. }
            | Op::Normalise { .. } => Self::Float,
        }
    }
}

/// A convolution or dense layer of constant weights that reads one picture or vector.
fn layer(graph: &Graph, node: &Node) -> Form {
    let operands = &node.inputs[1..];
    let constant = |id: &ValueId| graph.constant_f32(*id).is_some();
    let rows = graph.shape(node.inputs[0]).first();
    match operands.iter().all(constant) && rows == Some(&1) {
        true => Form::Layer,
        false => Form::Float,
    }
}
