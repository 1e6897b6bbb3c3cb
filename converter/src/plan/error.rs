//! [`PlanError`]: everything that keeps a graph from being planned, reported at once.

use crate::graph::{Graph, Node, QuantizationFault, Value};
use std::fmt;
use thiserror::Error;

/// One or more nodes that the runtime's steps cannot express.
#[derive(Clone, Debug, PartialEq, Error)]
pub struct PlanError {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes = if self.problems.len() == 1 { "node" } else { "nodes" };
        write!(f, "{} {nodes} cannot be planned:", self.problems.len())?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

/// Why one node cannot be planned.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("{op} {node:?}: {kind}")]
pub struct Problem {
    /// Name of the node, or of the graph's input or output, or of a value.
    pub node: String,
    /// ONNX operation, or `input` or `output`, or `quantization of`.
    pub op: &'static str,
    /// What was found and what to do.
    pub kind: Kind,
}

impl Problem {
    /// A problem of a node.
    pub(super) fn of(node: &Node, kind: Kind) -> Self {
        Self { node: node.name.clone(), op: node.op.name(), kind }
    }

    /// A value whose quantization is none.
    pub(super) fn of_quantization(value: &Value) -> Option<Self> {
        let fault = value.check_quantization().err()?;
        let kind = Kind::Quantization { fault };
        Some(Self { node: value.name.clone(), op: "quantization of", kind })
    }
}

/// What was found, what was expected, and what to do about it.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum Kind {
    /// Operands that do not broadcast to the result.
    #[error(
        "operands {left:?} and {right:?} do not repeat to {result:?}; re-export the model with \
         shapes that broadcast"
    )]
    Broadcast {
        /// Shape of the first operand.
        left: Vec<usize>,
        /// Shape of the second operand.
        right: Vec<usize>,
        /// Shape of the result.
        result: Vec<usize>,
    },
    /// Elements that no view of six axes reaches.
    #[error(
        "the elements of {shape:?} are moved along more than six axes; reshape before the transpose"
    )]
    Axes {
        /// The shape.
        shape: Vec<usize>,
    },
    /// Weights, bias or statistics that depend on the input.
    #[error(
        "input {input:?} must be a float constant but is computed at run time; export the model \
         in eval mode, with weights as initialisers"
    )]
    NotConstant {
        /// Name of the value.
        input: String,
    },
    /// A constant where data was expected.
    #[error("input {input:?} is a constant where computed data is expected; fold it before export")]
    IsConstant {
        /// Name of the value.
        input: String,
    },
    /// A value that nothing fills.
    #[error("value {input:?} is filled by no earlier node; the graph is not in execution order")]
    Unfilled {
        /// Name of the value.
        input: String,
    },
    /// Wrong number of operands.
    #[error("takes {expected} operands but has {found}")]
    Operands {
        /// How many.
        expected: &'static str,
        /// How many there are.
        found: usize,
    },
    /// A shape with no channels, or too many axes.
    #[error("shape {shape:?} is no picture; supported are [N,C], [N,C,W] and [N,C,H,W]")]
    NotPicture {
        /// The shape.
        shape: Vec<usize>,
    },
    /// Softmax along an axis that there is not.
    #[error("softmax along axis {axis} of {shape:?}, which has fewer axes; re-export the model")]
    SoftmaxAxis {
        /// The axis.
        axis: usize,
        /// Shape of the operand.
        shape: Vec<usize>,
    },
    /// A quantization that no step can have.
    #[error("{fault}")]
    Quantization {
        /// What is wrong with it.
        fault: QuantizationFault,
    },
    /// Shapes that do not belong together.
    #[error("{what} have shape {found:?}, expected {expected:?}; re-export the model")]
    Shape {
        /// What has the wrong shape.
        what: &'static str,
        /// Its shape.
        found: Vec<usize>,
        /// The shape it needs.
        expected: Vec<usize>,
    },
    /// An extent or a number of bytes beyond 32 bits, or zero.
    #[error(
        "size {shape:?} is zero or does not fit 32 bits; lower the resolution or split the model"
    )]
    TooLarge {
        /// The shape.
        shape: Vec<usize>,
    },
}

/// The name a problem with a graph's port is listed under.
pub(super) fn port(
    graph: &Graph,
    id: crate::graph::ValueId,
    op: &'static str,
    kind: Kind,
) -> Problem {
    Problem { node: graph.get(id).name.clone(), op, kind }
}
