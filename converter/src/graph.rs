//! [`Graph`]: the one intermediate form, from import to plan.
//!
//! Values have known shapes in ONNX's logical order (NCHW pictures, OIHW weights; N is 1 except where
//! a picture has been cut into patches), so
//! that the oracle and `--emit-onnx` need no second opinion about axes; the plan alone decides
//! how bytes lie in memory (NHWC). Weights are values with a `constant`, so that one rule folds
//! every computed constant. Nodes are stored in execution order: [`Graph::push`] keeps it.
//!
//! A graph of which values have a [`Quantization`] *is* the quantized network: whoever interprets it
//! rounds what nodes compute (and what the caller provides) to those grids. Values without one are f32,
//! so that mixed precision needs no further words.

mod quantization;

use crate::resize::Resize;
use crate::tensor::Tensor;
pub use quantization::{Quantization, QuantizationFault};
pub use unbraid_runtime::dims::{Hw, Pad, Window};
pub use unbraid_runtime::step::{Binary, Border, Function, PadMode, Reduction};

/// Index of a value in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub u32);

impl ValueId {
    /// As an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Something a node reads or writes.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// ONNX name, or one made from the node that fusion produced.
    pub name: String,
    /// Axis lengths, all known.
    pub shape: Vec<usize>,
    /// The values, if they do not depend on the input.
    pub constant: Option<Tensor>,
    /// The integers that stand for the values, if they are stored as such. A constant lies on that
    /// grid already; what a node computes, activation included, or the caller provides is rounded to it:
    /// [`Quantization::rounded`].
    pub quantization: Option<Quantization>,
}

/// Element-wise function after (or instead of) a linear operation.
#[derive(Clone, Debug, PartialEq)]
pub enum Activation {
    /// Nothing.
    None,
    /// `min(max(x, lo), hi)`: Relu, Clip.
    Clamp {
        /// Lower bound.
        lo: f32,
        /// Upper bound.
        hi: f32,
    },
    /// `x < 0 ? slope * x : x`.
    LeakyRelu {
        /// Slope of negative values.
        slope: f32,
    },
    /// One slope a channel, `[C]`.
    PRelu {
        /// f32 `[C]`.
        slope: Tensor,
    },
}

impl Activation {
    /// The field's name of the function.
    pub fn name(&self) -> &'static str {
        match self {
            Self::None => "Identity",
            Self::Clamp { lo: 0.0, hi: f32::INFINITY } => "Relu",
            Self::Clamp { .. } => "Clip",
            Self::LeakyRelu { .. } => "LeakyRelu",
            Self::PRelu { .. } => "PRelu",
        }
    }
}

/// Bias vectors that depend on how near the border an output pixel is.
#[derive(Clone, Debug, PartialEq)]
pub struct BorderBias {
    /// Which output rows and columns have classes of their own.
    pub classes: Border,
    /// f32 `[row classes * column classes, O]`; replaces the bias input of the convolution.
    pub bias: Tensor,
}

/// A convolution. Inputs: `x [N,I,H,W]`, constant `weight [O,I/g,Kh,Kw]`, optional constant `bias [O]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv {
    /// Geometry (zero padding).
    pub window: Window,
    /// Groups.
    pub groups: usize,
    /// Set by fusion where a zero border and a bias met; then there is no bias input.
    pub border: Option<BorderBias>,
    /// Set by fusion.
    pub activation: Activation,
}

/// Which input channels [`Op::DepthToSpace`] makes a square of; ONNX's `mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DepthOrder {
    /// `DCR`: the channel number is `position in the square * channels + output channel`.
    SquareFirst,
    /// `CRD`: it is `output channel * block^2 + position in the square`; PyTorch's `PixelShuffle`.
    ChannelFirst,
}

/// What a node computes. Axis numbers are non-negative. Every op has one output.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Convolution.
    Conv(Conv),
    /// `(x - mean) / sqrt(var + eps) * gamma + beta` on axis 1; inputs x, gamma, beta, mean, var.
    BatchNorm {
        /// Added to the variance.
        eps: f32,
    },
    /// Activation on axis 1 as channels.
    Activation(Activation),
    /// Element-wise function without operands of its own.
    Unary(Function),
    /// Softmax along one axis.
    Softmax {
        /// The axis.
        axis: usize,
    },
    /// Sum of two inputs, ONNX broadcasting.
    Add {
        /// Set by fusion.
        activation: Activation,
    },
    /// Difference of two inputs, ONNX broadcasting.
    Sub,
    /// Product of two inputs, ONNX broadcasting.
    Mul,
    /// Quotient of two inputs, ONNX broadcasting.
    Div,
    /// Another function of two inputs, ONNX broadcasting; truth is 1 or 0.
    Binary(Binary),
    /// Max pooling; padding never wins. Ceil mode is already in the pads.
    MaxPool(Window),
    /// Average pooling.
    AveragePool {
        /// Geometry.
        window: Window,
        /// Divide by all taps, or by those inside the picture.
        count_include_pad: bool,
    },
    /// Mean over H and W, `[N,C,1,1]`.
    GlobalAveragePool,
    /// Elements of one axis, in any order and number.
    Gather {
        /// The axis.
        axis: usize,
        /// Where they are found, one for each element of the result's axis.
        indices: Vec<usize>,
    },
    /// The best elements along one axis, the best first, and behind them where they were found: twice as
    /// many in all.
    TopK {
        /// The axis.
        axis: usize,
        /// How many.
        count: usize,
        /// The largest, or the smallest.
        largest: bool,
        /// Of equal elements the last one is the best, or the first; `count` is 1 then.
        last: bool,
    },
    /// All elements along some axes, which have length 1 in the result.
    Reduce {
        /// What is made of them.
        function: Reduction,
        /// Each once.
        axes: Vec<usize>,
    },
    /// `(x - mean) / sqrt(variance + eps)` with mean and variance over all elements along some axes.
    Normalise {
        /// Each once.
        axes: Vec<usize>,
        /// Whether the mean is subtracted; if not, it is 0 in the variance too.
        centred: bool,
        /// Added to the variance.
        eps: f32,
    },
    /// `x [N,K]`, constant `weight [O,K]`, optional constant `bias [O]` -> `[N,O]`.
    Linear {
        /// Set by fusion.
        activation: Activation,
    },
    /// `[A,M,K]` and `[B,K,N]` to `[max(A,B),M,N]`: as many products of matrices; A and B are equal, or one
    /// of them is 1 and its matrix a factor of all.
    MatMul,
    /// Same values, row-major, under the output's shape (Reshape, Flatten, Squeeze, Unsqueeze).
    Reshape,
    /// Axes of length 1 repeated until they have the output's lengths; both have as many axes.
    Expand,
    /// The axes in another order: axis `k` of the output is axis `perm[k]` of the input.
    Transpose {
        /// Each axis once.
        perm: Vec<usize>,
    },
    /// A part of each axis; the output's shape says how many elements of it.
    Slice {
        /// First element taken of each axis.
        starts: Vec<usize>,
        /// Distance to the next one, not 0; negative ones run backwards.
        steps: Vec<i64>,
    },
    /// `[N, C, H, W]` to `[N, C / block^2, H * block, W * block]`: pixel shuffle.
    DepthToSpace {
        /// Side of the square that one input pixel becomes.
        block: usize,
        /// Which channels make one square.
        order: DepthOrder,
    },
    /// `[N, C, H, W]` to `[N, C * block^2, H / block, W / block]`, the position in the square first:
    /// the inverse of [`DepthOrder::SquareFirst`].
    SpaceToDepth {
        /// Side of the square that becomes one output pixel.
        block: usize,
    },
    /// Rows and columns around a picture.
    Pad {
        /// Rows and columns added.
        pad: Pad,
        /// What they hold.
        mode: PadMode,
    },
    /// Interpolation along axes.
    Resize(Resize),
    /// Concatenation of all inputs along one axis.
    Concat {
        /// The axis.
        axis: usize,
    },
}

impl Op {
    /// The field's name of the operation.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Conv(_) => "Conv",
            Self::BatchNorm { .. } => "BatchNormalization",
            Self::Activation(activation) => activation.name(),
            Self::Unary(function) => function_name(*function),
            Self::Softmax { .. } => "Softmax",
            Self::Add { .. } => "Add",
            Self::Sub => "Sub",
            Self::Mul => "Mul",
            Self::Div => "Div",
            Self::Binary(function) => binary_name(*function),
            Self::MaxPool(_) => "MaxPool",
            Self::AveragePool { .. } => "AveragePool",
            Self::GlobalAveragePool => "GlobalAveragePool",
            Self::Linear { .. } => "Gemm",
            Self::MatMul => "MatMul",
            Self::Reshape => "Reshape",
            Self::Expand => "Expand",
            Self::Transpose { .. } => "Transpose",
            Self::Slice { .. } => "Slice",
            Self::DepthToSpace { .. } => "DepthToSpace",
            Self::SpaceToDepth { .. } => "SpaceToDepth",
            Self::Pad { .. } => "Pad",
            Self::Resize(_) => "Resize",
            Self::Gather { .. } => "Gather",
            Self::TopK { .. } => "TopK",
            Self::Reduce { function, .. } => reduction_name(*function),
            Self::Normalise { centred: true, .. } => "LayerNormalization",
            Self::Normalise { centred: false, .. } => "RMSNormalization",
            Self::Concat { .. } => "Concat",
        }
    }
}

/// ONNX's name of a reduction.
fn reduction_name(function: Reduction) -> &'static str {
    match function {
        Reduction::Sum => "ReduceSum",
        Reduction::Mean => "ReduceMean",
        Reduction::Max => "ReduceMax",
        Reduction::Min => "ReduceMin",
        Reduction::Product => "ReduceProd",
    }
}

/// ONNX's name of a function of two values; of a mask, that of the operator that it is a part of.
fn binary_name(function: Binary) -> &'static str {
    match function {
        Binary::Add => "Add",
        Binary::Sub => "Sub",
        Binary::Mul => "Mul",
        Binary::Div => "Div",
        Binary::Min => "Min",
        Binary::Max => "Max",
        Binary::Pow => "Pow",
        Binary::Equal => "Equal",
        Binary::Greater => "Greater",
        Binary::GreaterOrEqual => "GreaterOrEqual",
        Binary::Keep | Binary::Drop => "Where",
    }
}

/// ONNX's name of a function.
fn function_name(function: Function) -> &'static str {
    match function {
        Function::Sigmoid => "Sigmoid",
        Function::Tanh => "Tanh",
        Function::Erf => "Erf",
        Function::Gelu => "Gelu",
        Function::HardSigmoid { .. } => "HardSigmoid",
        Function::HardSwish => "HardSwish",
        Function::Silu => "Swish",
        Function::Exp => "Exp",
        Function::Sqrt => "Sqrt",
        Function::Softplus => "Softplus",
        Function::Mish => "Mish",
        Function::Elu { .. } => "Elu",
        Function::Abs => "Abs",
        Function::Neg => "Neg",
        Function::Reciprocal => "Reciprocal",
        Function::Log => "Log",
        Function::Floor => "Floor",
        Function::Ceil => "Ceil",
        Function::Round => "Round",
        Function::Sign => "Sign",
    }
}

/// One operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// ONNX name (made unique at import).
    pub name: String,
    /// What is computed.
    pub op: Op,
    /// Operands in ONNX's order.
    pub inputs: Vec<ValueId>,
    /// Result.
    pub output: ValueId,
}

/// A network: values, nodes in execution order, and which values go in and out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// Name of the model.
    pub name: String,
    /// Everything that nodes read and write.
    pub values: Vec<Value>,
    /// Operations; a node comes after those whose results it reads.
    pub nodes: Vec<Node>,
    /// What the caller provides.
    pub inputs: Vec<ValueId>,
    /// What the caller receives.
    pub outputs: Vec<ValueId>,
}

impl Graph {
    /// Adds a value that a node or the caller will fill.
    pub fn value(&mut self, name: impl Into<String>, shape: impl Into<Vec<usize>>) -> ValueId {
        self.insert(Value {
            name: name.into(),
            shape: shape.into(),
            constant: None,
            quantization: None,
        })
    }

    /// Adds a constant.
    pub fn constant(&mut self, name: impl Into<String>, tensor: Tensor) -> ValueId {
        let shape = tensor.shape().to_vec();
        let constant = Some(tensor);
        self.insert(Value { name: name.into(), shape, constant, quantization: None })
    }

    fn insert(&mut self, value: Value) -> ValueId {
        let id = ValueId(u32::try_from(self.values.len()).expect("fewer than 2^32 values"));
        self.values.push(value);
        id
    }

    /// Appends a node; its inputs must be filled by earlier nodes, constants or the caller.
    pub fn push(&mut self, name: impl Into<String>, op: Op, inputs: Vec<ValueId>, output: ValueId) {
        self.nodes.push(Node { name: name.into(), op, inputs, output });
    }

    /// The value with this index.
    pub fn get(&self, id: ValueId) -> &Value {
        &self.values[id.index()]
    }

    /// Axis lengths of a value.
    pub fn shape(&self, id: ValueId) -> &[usize] {
        &self.get(id).shape
    }

    /// Float values of a constant.
    pub fn constant_f32(&self, id: ValueId) -> Option<&[f32]> {
        self.get(id).constant.as_ref()?.as_f32()
    }

    /// Whether values are stored as integers.
    pub fn is_quantized(&self) -> bool {
        self.values.iter().any(|value| value.quantization.is_some())
    }

    /// For each value the index of the node that fills it.
    pub fn producers(&self) -> Vec<Option<usize>> {
        let mut producers = vec![None; self.values.len()];
        for (index, node) in self.nodes.iter().enumerate() {
            producers[node.output.index()] = Some(index);
        }
        producers
    }

    /// For each value the indices of the nodes that read it (a node twice if it reads it twice).
    pub fn consumers(&self) -> Vec<Vec<usize>> {
        let mut consumers = vec![Vec::new(); self.values.len()];
        for (index, node) in self.nodes.iter().enumerate() {
            for input in &node.inputs {
                consumers[input.index()].push(index);
            }
        }
        consumers
    }
}
