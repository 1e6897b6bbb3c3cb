//! [`Graph`] → ONNX file, for other runtimes: `--emit-onnx`.
//!
//! What fusion put into a node comes out as nodes again: an activation follows its operation, bias
//! vectors that depend on the border become an addition of a constant map. Same graph, same bytes.

mod details;
mod pick;
mod reduce;
mod resize;

use crate::graph::{
    Activation, Binary, BorderBias, Conv, Function, Graph, Node, Op, PadMode, ValueId, Window,
};
use crate::onnx::{
    AttributeProto, DataType, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto,
};
use crate::tensor::{Data, Tensor};
use prost::Message;
use std::collections::HashSet;

/// Version of the file format: what opset 13 came with is 7, every reader of 13 takes 8.
const IR_VERSION: i64 = 8;
/// Operators as of opset 13 mean what the graph means, but for those that [`since`] lists.
const OPSET: i64 = 13;
/// `AveragePool` has dilations from this opset on.
const DILATED_POOL_OPSET: i64 = 19;

/// The graph as an ONNX model, opset 13, weights inside.
pub fn to_onnx(graph: &Graph) -> Vec<u8> {
    let mut writer = Writer::new(graph);
    for node in &graph.nodes {
        writer.node(node);
    }
    let port = |&id: &ValueId| ValueInfoProto::floats(writer.name(id), graph.shape(id));
    let file = GraphProto {
        name: if graph.name.is_empty() { "graph".to_owned() } else { graph.name.clone() },
        input: graph.inputs.iter().map(port).collect(),
        output: graph.outputs.iter().map(port).collect(),
        node: writer.nodes,
        initializer: writer.weights,
        ..GraphProto::default()
    };
    ModelProto::new(file, IR_VERSION, opset(graph)).encode_to_vec()
}

fn opset(graph: &Graph) -> i64 {
    graph.nodes.iter().map(|node| since(graph, node)).max().unwrap_or(OPSET).max(OPSET)
}

/// First opset that has the operation. The operators in use did not change between these opsets.
fn since(graph: &Graph, node: &Node) -> i64 {
    let dilated = |window: &Window| window.dilation.h > 1 || window.dilation.w > 1;
    match &node.op {
        Op::AveragePool { window, .. } if dilated(window) => DILATED_POOL_OPSET,
        Op::Unary(Function::HardSwish) => 14,
        Op::Unary(Function::Mish) => 18,
        Op::Pad { mode: PadMode::Wrap, .. } => 19,
        Op::Resize(resize) => resize::since(graph, node, resize),
        Op::Unary(Function::Gelu) => 20,
        _ => OPSET,
    }
}

struct Writer<'a> {
    graph: &'a Graph,
    /// ONNX name of each value: its own, made unique.
    names: Vec<String>,
    taken: HashSet<String>,
    nodes: Vec<NodeProto>,
    weights: Vec<TensorProto>,
}

impl<'a> Writer<'a> {
    fn new(graph: &'a Graph) -> Self {
        let (mut taken, mut names) = (HashSet::new(), Vec::new());
        for value in &graph.values {
            names.push(unique(&mut taken, &value.name));
        }
        let mut writer = Self { graph, names, taken, nodes: vec![], weights: vec![] };
        writer.operands();
        writer
    }

    /// Writes the constants that nodes read, in the order of the values.
    fn operands(&mut self) {
        let read: HashSet<ValueId> =
            self.graph.nodes.iter().flat_map(|n| n.inputs.clone()).collect();
        for (value, (index, name)) in self.graph.values.iter().zip((0..).zip(&self.names)) {
            if let Some(tensor) = value.constant.as_ref().filter(|_| read.contains(&ValueId(index)))
            {
                self.weights.push(initialiser(name, tensor));
            }
        }
    }

    fn name(&self, id: ValueId) -> &str {
        &self.names[id.index()]
    }

    /// Adds a constant that no value of the graph stands for.
    fn constant(&mut self, wanted: &str, tensor: &Tensor) -> String {
        let name = unique(&mut self.taken, wanted);
        self.weights.push(initialiser(&name, tensor));
        name
    }

    fn node(&mut self, node: &Node) {
        match &node.op {
            Op::Conv(conv) => self.conv(node, conv),
            Op::Linear { activation } => {
                let attributes = vec![AttributeProto::int("transB", 1)];
                self.activated(node, "Gemm", attributes, activation);
            }
            Op::Add { activation } => self.activated(node, "Add", vec![], activation),
            Op::Activation(activation) => {
                let input = self.name(node.inputs[0]).to_owned();
                let output = self.name(node.output).to_owned();
                self.activation(&node.name, activation, &input, &output, node.output);
            }
            Op::Unary(Function::Silu) => self.silu(node),
            Op::Binary(function) => self.binary(node, *function),
            Op::TopK { axis, count, largest, last } => {
                self.top_k(node, *axis, *count, *largest, *last);
            }
            Op::Reduce { axes, .. } => {
                let input = self.name(node.inputs[0]).to_owned();
                let output = self.name(node.output).to_owned();
                self.reduce(node.op.name(), &node.name, (&input, axes), &output);
            }
            Op::Normalise { axes, centred, eps } => self.normalise(node, axes, *centred, *eps),
            _ => self.plain(node),
        }
    }

    /// Operations that are one ONNX node.
    fn plain(&mut self, node: &Node) {
        let (operands, attributes) = self.details(node);
        let name = self.name(node.output).to_owned();
        self.push(node, node.op.name(), &operands, &name, attributes);
    }

    /// A node that reads the operands of `node` and then `more`.
    fn push(
        &mut self,
        node: &Node,
        op: &str,
        more: &[String],
        output: &str,
        attributes: Vec<AttributeProto>,
    ) {
        let own = node.inputs.iter().map(|&id| self.name(id));
        let inputs: Vec<&str> = own.chain(more.iter().map(String::as_str)).collect();
        let mut proto = NodeProto::new(op, &node.name, &inputs, output);
        proto.attribute = attributes;
        self.nodes.push(proto);
    }

    /// Adds a vector of integers.
    fn integers(&mut self, wanted: &str, values: Vec<i64>) -> String {
        let tensor = Tensor::i64([values.len()], values).expect("a vector has its own length");
        self.constant(wanted, &tensor)
    }

    /// `x * sigmoid(x)` in two nodes: one node has it only since opset 24.
    fn silu(&mut self, node: &Node) {
        let input = self.name(node.inputs[0]).to_owned();
        let output = self.name(node.output).to_owned();
        let gate = unique(&mut self.taken, &format!("{output}_gate"));
        let sigmoid = format!("{}_gate", node.name);
        self.nodes.push(NodeProto::new("Sigmoid", &sigmoid, &[&input], &gate));
        self.nodes.push(NodeProto::new("Mul", &node.name, &[&input, &gate], &output));
    }

    /// ONNX's comparisons give truth values, and its selection takes them; here both are floats.
    fn binary(&mut self, node: &Node, function: Binary) {
        let output = self.name(node.output).to_owned();
        let truth = unique(&mut self.taken, &format!("{output}_truth"));
        let cast = format!("{}_cast", node.name);
        let kind = |kind: DataType| AttributeProto::int("to", i32::from(kind).into());
        match function {
            Binary::Equal | Binary::Greater | Binary::GreaterOrEqual => {
                self.push(node, node.op.name(), &[], &truth, vec![]);
                let floats = NodeProto::new("Cast", &cast, &[&truth], &output);
                self.nodes.push(floats.with(kind(DataType::Float)));
            }
            Binary::Keep | Binary::Drop => {
                let [condition, value] = [0, 1].map(|k| self.name(node.inputs[k]).to_owned());
                let truths = NodeProto::new("Cast", &cast, &[&condition], &truth);
                self.nodes.push(truths.with(kind(DataType::Bool)));
                let zero = self.constant(&format!("{}_zero", node.name), &scalar(0.0));
                let (yes, no) = match function {
                    Binary::Keep => (value, zero),
                    _ => (zero, value),
                };
                let inputs = [truth.as_str(), &yes, &no];
                self.nodes.push(NodeProto::new("Where", &node.name, &inputs, &output));
            }
            _ => self.plain(node),
        }
    }

    fn conv(&mut self, node: &Node, conv: &Conv) {
        let mut attributes = window_attributes(&conv.window, true);
        attributes.push(AttributeProto::int("group", conv.groups as i64));
        let Some(border) = &conv.border else {
            return self.activated(node, "Conv", attributes, &conv.activation);
        };
        let output = self.name(node.output).to_owned();
        let product = unique(&mut self.taken, &format!("{output}_product"));
        self.push(node, "Conv", &[], &product, attributes);
        let map = border_map(border, self.graph.shape(node.output));
        let map = self.constant(&format!("{}_border_bias", node.name), &map);
        let sum = self.before(&conv.activation, &output);
        let add = format!("{}_add_border_bias", node.name);
        self.nodes.push(NodeProto::new("Add", &add, &[&product, &map], &sum));
        self.follow(node, &conv.activation, &sum, &output);
    }

    /// One ONNX node, then its activation.
    fn activated(
        &mut self,
        node: &Node,
        op: &str,
        attributes: Vec<AttributeProto>,
        activation: &Activation,
    ) {
        let output = self.name(node.output).to_owned();
        let linear = self.before(activation, &output);
        self.push(node, op, &[], &linear, attributes);
        self.follow(node, activation, &linear, &output);
    }

    /// Name of the value that the activation reads: the output itself if there is none.
    fn before(&mut self, activation: &Activation, output: &str) -> String {
        match activation {
            Activation::None => output.to_owned(),
            _ => unique(&mut self.taken, &format!("{output}_linear")),
        }
    }

    fn follow(&mut self, node: &Node, activation: &Activation, input: &str, output: &str) {
        if *activation != Activation::None {
            let name = format!("{}_activation", node.name);
            self.activation(&name, activation, input, output, node.output);
        }
    }

    fn activation(
        &mut self,
        name: &str,
        activation: &Activation,
        input: &str,
        output: &str,
        id: ValueId,
    ) {
        let one = |op| NodeProto::new(op, name, &[input], output);
        let node = match activation {
            Activation::None => one("Identity"),
            Activation::Clamp { lo: 0.0, hi: f32::INFINITY } => one("Relu"),
            Activation::Clamp { lo, hi } => {
                let bounds = [("min", *lo), ("max", *hi)];
                let bounds = bounds.map(|(bound, value)| self.bound(name, bound, value));
                NodeProto::new("Clip", name, &[input, &bounds[0], &bounds[1]], output)
            }
            Activation::LeakyRelu { slope } => {
                one("LeakyRelu").with(AttributeProto::float("alpha", *slope))
            }
            Activation::PRelu { slope } => {
                let spatial = self.graph.shape(id).len().saturating_sub(2);
                let shape: Vec<usize> =
                    [slope.len()].into_iter().chain(std::iter::repeat_n(1, spatial)).collect();
                let slope = slope.reshaped(shape).expect("axes of length 1 add no elements");
                let slope = self.constant(&format!("{name}_slope"), &slope);
                NodeProto::new("PRelu", name, &[input, &slope], output)
            }
        };
        self.nodes.push(node);
    }

    /// A bound of Clip; an infinite one is an omitted operand.
    fn bound(&mut self, node: &str, bound: &str, value: f32) -> String {
        if value.is_infinite() {
            return String::new();
        }
        self.constant(&format!("{node}_{bound}"), &scalar(value))
    }
}

fn scalar(value: f32) -> Tensor {
    Tensor::f32([], vec![value]).expect("a scalar has one element")
}

fn initialiser(name: &str, tensor: &Tensor) -> TensorProto {
    match tensor.data() {
        Data::F32(values) => TensorProto::floats(name, tensor.shape(), values),
        Data::I64(values) => TensorProto::ints(name, tensor.shape(), values),
    }
}

fn window_attributes(window: &Window, dilations: bool) -> Vec<AttributeProto> {
    let Window { kernel, stride, dilation, pad } = *window;
    let numbers = |n: &[u32]| n.iter().map(|&n| i64::from(n)).collect::<Vec<_>>();
    let mut attributes = vec![
        AttributeProto::ints("kernel_shape", numbers(&[kernel.h, kernel.w])),
        AttributeProto::ints("strides", numbers(&[stride.h, stride.w])),
        AttributeProto::ints("pads", numbers(&[pad.top, pad.left, pad.bottom, pad.right])),
    ];
    if dilations {
        attributes.push(AttributeProto::ints("dilations", numbers(&[dilation.h, dilation.w])));
    }
    attributes
}

/// The bias of every output pixel, `[1, O, H, W]`.
fn border_map(border: &BorderBias, shape: &[usize]) -> Tensor {
    let (out, height, width) = (shape[1], shape[2], shape[3]);
    let bias = border.bias.as_f32().expect("a bias is float");
    let classes = border.classes;
    let columns = classes.classes().1 as usize;
    let mut map = Vec::with_capacity(out * height * width);
    for o in 0..out {
        for y in 0..height {
            let row = class(y, height, classes.top as usize, classes.bottom as usize);
            for x in 0..width {
                let column = class(x, width, classes.left as usize, classes.right as usize);
                map.push(bias[(row * columns + column) * out + o]);
            }
        }
    }
    Tensor::f32(shape, map).expect("one bias an output element")
}

/// Class of a row or column: the first `lo` and the last `hi` have their own, the others share one.
fn class(at: usize, len: usize, lo: usize, hi: usize) -> usize {
    if at + hi >= len { lo + 1 + (at + hi - len) } else { at.min(lo) }
}

/// `wanted`, or `wanted_2`, `wanted_3`, … if it is taken.
fn unique(taken: &mut HashSet<String>, wanted: &str) -> String {
    let wanted = if wanted.is_empty() { "value" } else { wanted };
    let mut name = wanted.to_owned();
    let mut count = 1;
    while !taken.insert(name.clone()) {
        count += 1;
        name = format!("{wanted}_{count}");
    }
    name
}
