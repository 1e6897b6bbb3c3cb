//! [`Lowering`]: graph nodes -> steps on numbered buffers.
//!
//! One small function an operation, one exhaustive match. A buffer becomes bytes of the arena only
//! when all lifetimes are known (`super::arena`).

use super::error::{Kind, PlanError, Problem, port};
use super::order::{Order, picture_dims};
use super::parts::Part;
use super::s8::{Grid, PIXELS};
use super::view::view;
use super::weights::Weights;
use super::{Options, Target};
use crate::graph::{Activation, Graph, Node, Op, Pad, ValueId};
use crate::tensor::Tensor;
use std::collections::HashMap;
use unbraid_runtime::dims::Dims;
use unbraid_runtime::step::{self, Binary, Element, Source, View};

/// Index into [`Lowering::buffers`].
pub(super) type Buffer = usize;

/// What a buffer takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    /// Size in bytes.
    pub(super) bytes: u64,
    /// What its values are.
    pub(super) element: Element,
}

impl Memory {
    /// Number of values.
    pub(super) fn values(self) -> u64 {
        self.bytes / self.element.size() as u64
    }
}

/// A value in memory.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    /// Where.
    pub(super) buffer: Buffer,
    /// In which order.
    pub(super) order: Order,
}

/// A value as a step sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Where.
    pub(super) buffer: Buffer,
    /// Under which shape.
    pub(super) dims: Dims,
}

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

    /// Where an operand lies, as whatever element; steps that write it go first if it is a constant.
    pub(super) fn stored(&mut self, id: ValueId) -> Result<Stored, Kind> {
        if self.stored[id.index()].is_none() {
            self.write_constant(id)?;
        }
        let input = || self.graph.get(id).name.clone();
        self.stored[id.index()].clone().ok_or_else(|| Kind::Unfilled { input: input() })
    }

    /// Puts a constant where steps read what others compute: the network's first value, repeated,
    /// clamped to zero, plus the constant.
    fn write_constant(&mut self, id: ValueId) -> Result<(), Kind> {
        let value = self.graph.get(id);
        let Some(constant) = value.constant.as_ref().and_then(Tensor::as_f32) else {
            return Ok(());
        };
        let input = || value.name.clone();
        let port = self.graph.inputs.first().and_then(|port| self.stored[port.index()].clone());
        let port = port.ok_or_else(|| Kind::IsConstant { input: input() })?;
        let repeat = view([(constant.len(), 0)], 0);
        let repeat = repeat.ok_or_else(|| Kind::TooLarge { shape: value.shape.clone() })?;
        let repeated = self.buffer_for(&value.shape, Element::F32)?;
        let zeros = self.buffer_like(repeated);
        let from = self.whole(port.buffer);
        let from = self.real(self.graph.inputs[0], from)?;
        let stored = self.store(id, Order::row_major(&value.shape))?;
        let [repeated, zeros, to] = [repeated, zeros, stored.buffer].map(|b| self.whole(b));
        let clamp = step::Activation::Clamp { lo: 0.0, hi: 0.0 };
        let other = Source::Weights { span: self.weights.add(constant)?, dims: to.dims };
        let (function, activation) = (Binary::Add, step::Activation::None);
        let add = step::Op::Binary { function, other, swapped: false, activation };
        let part = |what: &str| format!("{} ({what})", value.name);
        self.push_named(part("any value"), step::Op::Rearrange(repeat), from, repeated);
        self.push_named(part("zeros"), step::Op::Activate(clamp), repeated, zeros);
        self.push_named(part("constant"), add, zeros, to);
        Ok(())
    }

    /// Gives a value a buffer of its own, of f32.
    pub(super) fn store(&mut self, id: ValueId, order: Order) -> Result<Stored, Kind> {
        self.store_in(id, order, Element::F32)
    }

    /// Gives a value a buffer of its own.
    pub(super) fn store_in(
        &mut self,
        id: ValueId,
        order: Order,
        element: Element,
    ) -> Result<Stored, Kind> {
        let buffer = self.buffer_for(self.graph.shape(id), element)?;
        let stored = Stored { buffer, order };
        self.stored[id.index()] = Some(stored.clone());
        Ok(stored)
    }

    /// The value is these bytes.
    pub(super) fn store_as(&mut self, id: ValueId, stored: Stored) {
        self.stored[id.index()] = Some(stored);
    }

    /// A buffer for a value of this shape.
    pub(super) fn buffer_for(&mut self, shape: &[usize], element: Element) -> Result<Buffer, Kind> {
        let bytes = crate::tensor::elements(shape).and_then(|n| n.checked_mul(element.size()));
        let fits = |&bytes: &usize| bytes > 0 && u32::try_from(bytes).is_ok();
        let bytes = bytes.filter(fits).ok_or_else(|| Kind::TooLarge { shape: shape.to_vec() })?;
        self.buffers.push(Memory { bytes: bytes as u64, element });
        Ok(self.buffers.len() - 1)
    }

    /// A buffer as large as another one.
    pub(super) fn buffer_like(&mut self, like: Buffer) -> Buffer {
        self.buffers.push(self.buffers[like]);
        self.buffers.len() - 1
    }

    /// What an operand lies as; a constant that no step has written yet is f32.
    pub(super) fn kept(&self, id: ValueId) -> Element {
        self.stored[id.index()].as_ref().map_or(Element::F32, |stored| self.element(stored.buffer))
    }

    /// What the values of a buffer are.
    pub(super) fn element(&self, buffer: Buffer) -> Element {
        self.buffers[buffer].element
    }

    /// All elements of a buffer as a vector.
    pub(super) fn whole(&self, buffer: Buffer) -> Place {
        // No buffer has more than 2^32 bytes.
        Place { buffer, dims: Dims::vector(self.buffers[buffer].values() as u32) }
    }

    /// The dims under which a stored value lies.
    pub(super) fn place(&self, id: ValueId, stored: &Stored) -> Result<Place, Kind> {
        Ok(Place { buffer: stored.buffer, dims: stored.order.dims(self.graph.shape(id))? })
    }

    /// A computed operand in a certain order, as the element that it lies as; a step that copies goes
    /// first when it has another order.
    pub(super) fn ordered(&mut self, id: ValueId, order: &Order) -> Result<Place, Kind> {
        let buffer = self.reordered(id, order)?;
        self.place(id, &Stored { buffer, order: order.clone() })
    }

    /// A computed operand whose axis 1 counts channels, as NHWC, as the element that it lies as.
    pub(super) fn picture(&mut self, id: ValueId) -> Result<Place, Kind> {
        let shape = self.graph.shape(id);
        picture_dims(shape)?;
        self.ordered(id, &Order::of_picture(shape))
    }

    /// A buffer of its own for a result whose axis 1 counts channels, as NHWC f32.
    pub(super) fn new_picture(&mut self, id: ValueId) -> Result<Place, Kind> {
        self.new_picture_in(id, Element::F32)
    }

    /// A buffer of its own for a result whose axis 1 counts channels, as NHWC.
    pub(super) fn new_picture_in(&mut self, id: ValueId, element: Element) -> Result<Place, Kind> {
        let shape = self.graph.shape(id);
        picture_dims(shape)?;
        let stored = self.store_in(id, Order::of_picture(shape), element)?;
        self.place(id, &stored)
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

    /// The value of an input or a node, rounded to the grid that the graph wants, if it is not yet.
    fn settle(&mut self, id: ValueId) -> Result<(), Kind> {
        let (element, stored) = (self.wanted(id), self.stored[id.index()].clone());
        let Some(Stored { buffer, order }) = stored else { return Ok(()) };
        // What no quantization asks to be rounded may well lie as integers: they stand for its values.
        if element == Element::F32 || element == self.element(buffer) {
            return Ok(());
        }
        let place = self.place(id, &Stored { buffer, order: order.clone() })?;
        let name = self.name_of(id, place.dims);
        if let Some(last) = self.drafts.last_mut().filter(|last| last.name == name) {
            last.name = format!("{name} (not rounded)");
        }
        let buffer = self.converted(name, place, element)?.buffer;
        self.store_as(id, Stored { buffer, order });
        Ok(())
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

    /// The node's output is its first input's bytes.
    pub(super) fn alias(&mut self, node: &Node) -> Result<(), Kind> {
        let stored = self.stored(Self::operand(node, 0)?)?;
        self.store_as(node.output, stored);
        Ok(())
    }
}
