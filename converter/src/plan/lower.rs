//! [`Lowering`]: graph nodes -> steps on numbered buffers.
//!
//! One small function an operation, one exhaustive match. A buffer becomes bytes of the arena only
//! when all lifetimes are known (`super::arena`).

mod values;

pub(super) use values::{Buffer, Memory, Place, Stored};

use super::error::{Kind, PlanError, Problem, port};
use super::order::Order;
use super::parts::Part;
use super::s8::{Grid, PIXELS};
use super::weights::Weights;
use super::{Options, Target};
use crate::graph::{Activation, Graph, Node, Op, Pad, ValueId};
use std::collections::HashMap;
use unbraid_runtime::dims::Dims;
use unbraid_runtime::step::{self, Binary, Element, View};

/// A step whose operands are buffers.
#[derive(Debug)]
pub(super) struct Draft {
    /// Name of the graph value that is complete after this step, or a name no value has.
    pub(super) name: String,
    /// What is computed; a second operand in the arena is in `other`.
    pub(super) op: step::Op,
    /// What is read.
    pub(super) input: Place,
    /// What else is read.
    pub(super) other: Option<Place>,
    /// What is written.
    pub(super) output: Place,
}

/// What lowering leaves for the arena and the writer.
#[derive(Debug)]
pub(super) struct Lowered {
    /// Steps in execution order.
    pub(super) drafts: Vec<Draft>,
    /// What each buffer takes.
    pub(super) buffers: Vec<Memory>,
    /// One a graph input.
    pub(super) inputs: Vec<Place>,
    /// One a graph output.
    pub(super) outputs: Vec<Place>,
    /// The weights section.
    pub(super) weights: Weights,
    /// Weights of the convolutions in ONNX's order, if the file is to be tunable.
    pub(super) plain: Option<Vec<f32>>,
    /// Buffers that lie inside others.
    pub(super) parts: HashMap<Buffer, Part>,
}

/// Lowers the whole graph.
pub(super) fn lower(graph: &Graph, options: &Options) -> Result<Lowered, PlanError> {
    let problems: Vec<Problem> = graph.values.iter().filter_map(Problem::of_quantization).collect();
    if !problems.is_empty() {
        return Err(PlanError { problems });
    }
    let mut lowering = Lowering::new(graph, options);
    let inputs = lowering.inputs();
    graph.nodes.iter().for_each(|node| lowering.node(node));
    let outputs = lowering.outputs();
    if !lowering.problems.is_empty() {
        return Err(PlanError { problems: lowering.problems });
    }
    let Lowering { drafts, buffers, weights, plain, .. } = lowering;
    let parts = HashMap::new();
    let mut lowered = Lowered { drafts, buffers, inputs, outputs, weights, plain, parts };
    lowered.parts = super::parts::join(&mut lowered);
    Ok(lowered)
}

/// The state of lowering.
#[derive(Debug)]
pub(super) struct Lowering<'g> {
    pub(super) graph: &'g Graph,
    pub(super) target: &'g Target,
    pub(super) weights: Weights,
    /// Where each value is, once a node has filled it.
    stored: Vec<Option<Stored>>,
    /// For each value, the zero padding that its only consumer takes over.
    absorbed: HashMap<ValueId, (ValueId, Pad)>,
    /// Buffers that hold a view of all values of another one.
    pub(super) views: HashMap<(Buffer, View), Buffer>,
    /// Buffers that hold the values of another one as another element.
    pub(super) conversions: HashMap<(Buffer, Grid), Buffer>,
    /// Whether raw pixels enter as the integers that they are.
    pixels: bool,
    buffers: Vec<Memory>,
    drafts: Vec<Draft>,
    plain: Option<Vec<f32>>,
    problems: Vec<Problem>,
}

impl<'g> Lowering<'g> {
    fn new(graph: &'g Graph, options: &'g Options) -> Self {
        Self {
            graph,
            target: &options.target,
            weights: Weights::default(),
            stored: vec![None; graph.values.len()],
            absorbed: super::pad::absorbed(graph),
            views: HashMap::new(),
            conversions: HashMap::new(),
            pixels: options.pixels,
            buffers: Vec::new(),
            drafts: Vec::new(),
            plain: options.tunable.then(Vec::new),
            problems: Vec::new(),
        }
    }

    fn inputs(&mut self) -> Vec<Place> {
        let graph = self.graph;
        let mut places = Vec::with_capacity(graph.inputs.len());
        for &id in &graph.inputs {
            match self.input(id) {
                Ok(place) => places.push(place),
                Err(kind) => self.problems.push(port(graph, id, "input", kind)),
            }
        }
        places
    }

    /// A port: f32, which a step rounds if the value is quantized, or the integers themselves where
    /// they are the pixels of a raw picture.
    fn input(&mut self, id: ValueId) -> Result<Place, Kind> {
        let order = Order::of_port(self.graph.shape(id));
        let element = match self.wanted(id) {
            pixels if self.pixels && pixels == Element::S8(PIXELS) => pixels,
            _ => Element::F32,
        };
        let stored = self.store_in(id, order, element)?;
        self.settle(id)?;
        self.place(id, &stored)
    }

    fn outputs(&mut self) -> Vec<Place> {
        let graph = self.graph;
        let mut places = Vec::with_capacity(graph.outputs.len());
        for &id in &graph.outputs {
            let order = Order::of_port(graph.shape(id));
            match self.ordered(id, &order).and_then(|place| self.real(id, place)) {
                Ok(place) => places.push(place),
                Err(kind) => self.problems.push(port(graph, id, "output", kind)),
            }
        }
        places
    }

    fn node(&mut self, node: &'g Node) {
        let lowered = self.lower(node).and_then(|()| self.settle(node.output));
        let Err(kind) = lowered else { return };
        self.problems.push(Problem::of(node, kind));
        // What follows a bad node is still looked at, so that all problems are listed at once.
        if self.stored[node.output.index()].is_none() {
            self.store(node.output, Order::of_port(self.graph.shape(node.output))).ok();
        }
    }

    fn lower(&mut self, node: &'g Node) -> Result<(), Kind> {
        match &node.op {
            Op::Conv(conv) => self.conv(node, conv),
            Op::BatchNorm { eps } => self.batch_norm(node, *eps),
            Op::Activation(activation) => self.activation(node, activation),
            Op::Unary(function) => self.unary(node, *function),
            Op::Softmax { axis } => self.softmax(node, *axis),
            Op::Add { activation } => self.binary(node, Binary::Add, activation),
            Op::Sub => self.binary(node, Binary::Sub, &Activation::None),
            Op::Mul => self.binary(node, Binary::Mul, &Activation::None),
            Op::Div => self.binary(node, Binary::Div, &Activation::None),
            Op::Binary(function) => self.binary(node, *function, &Activation::None),
            Op::MaxPool(window) => self.max_pool(node, *window),
            Op::AveragePool { window, count_include_pad } => {
                self.average_pool(node, *window, *count_include_pad)
            }
            Op::GlobalAveragePool => self.global_average_pool(node),
            Op::Linear { activation } => self.linear(node, activation),
            Op::MatMul => self.matmul(node),
            Op::Reshape => self.alias(node),
            Op::Expand => self.expand(node),
            Op::Transpose { .. } | Op::DepthToSpace { .. } | Op::SpaceToDepth { .. } => {
                self.exchange(node)
            }
            Op::Slice { starts, steps } => self.slice(node, starts, steps),
            Op::Pad { pad, mode } => self.pad(node, *pad, *mode),
            Op::Resize(resize) => self.resize(node, resize),
            Op::Gather { axis, indices } => self.gather(node, *axis, indices),
            Op::TopK { axis, largest, last, .. } => self.top_k(node, *axis, (*largest, *last)),
            Op::Reduce { function, axes } => self.reduce(node, *function, axes),
            Op::Normalise { axes, centred, eps } => self.normalise(node, axes, *centred, *eps),
            Op::Concat { axis } => self.concat(node, *axis),
        }
    }

    /// The padding that the reader of `id` takes over, and the value without it.
    pub(super) fn unpadded(&self, id: ValueId) -> (ValueId, Pad) {
        self.absorbed.get(&id).copied().unwrap_or((id, Pad::default()))
    }

    /// Whether the reader of this value takes its padding over.
    pub(super) fn is_absorbed(&self, id: ValueId) -> bool {
        self.absorbed.contains_key(&id)
    }

    /// The operand at `position`.
    pub(super) fn operand(node: &Node, position: usize) -> Result<ValueId, Kind> {
        let found = node.inputs.len();
        node.inputs.get(position).copied().ok_or(Kind::Operands { expected: "more", found })
    }

    /// A float constant operand.
    pub(super) fn constant(&self, id: ValueId) -> Result<&'g [f32], Kind> {
        let input = || self.graph.get(id).name.clone();
        self.graph.constant_f32(id).ok_or_else(|| Kind::NotConstant { input: input() })
    }

    /// Appends the step that completes the node's output.
    pub(super) fn push(&mut self, node: &Node, op: step::Op, input: Place, output: Place) {
        let name = self.name(node, output.dims);
        self.push_named(name, op, input, output);
    }

    /// Appends a step with one operand.
    pub(super) fn push_named(&mut self, name: String, op: step::Op, input: Place, output: Place) {
        self.drafts.push(Draft { name, op, input, other: None, output });
    }

    /// What to call the step that completes the node's output, seen under `dims`.
    pub(super) fn name(&self, node: &Node, dims: Dims) -> String {
        self.name_of(node.output, dims)
    }

    /// What to call the step that completes a value, seen under `dims`: by the value's name only if
    /// reading `dims` channel by channel gives ONNX's order.
    fn name_of(&self, id: ValueId, dims: Dims) -> String {
        let name = self.value_name(id);
        let stored = self.stored[id.index()].as_ref();
        match stored {
            Some(stored) if stored.order.is_planar(dims) => name,
            _ => format!("{name} (as stored)"),
        }
    }

    /// ONNX's name of a value.
    pub(super) fn value_name(&self, id: ValueId) -> String {
        self.graph.get(id).name.clone()
    }

    /// Appends any step.
    pub(super) fn push_draft(&mut self, draft: Draft) {
        self.drafts.push(draft);
    }

    /// Keeps the weights of the next convolution as they are, if the file is to be tunable.
    pub(super) fn keep_plain(&mut self, oihw: &[f32]) {
        if let Some(plain) = &mut self.plain {
            plain.extend_from_slice(oihw);
        }
    }
}
