//! [`Sets`]: channels that can be scaled, and which of them only together.
//!
//! A channel is a place on axis 1 of a computed value. Dividing a channel by a positive number and multiplying
//! what reads it by that number changes nothing, if everything between is positively homogeneous:
//! `f(a x) = a f(x)` for `a > 0`. What such an operation reads and gives is tied into one set; a layer
//! with weights ties nothing, for its rows and columns can be scaled apart; everything else is pinned.

use crate::graph::{Activation, Binary, Graph, Node, Op, PadMode, Reduction, ValueId};
use crate::rearrange::Rearrange;
use unbraid_runtime::step::Function;

/// The channels of all computed values, in sets that are scaled as one.
#[derive(Clone, Debug)]
pub(super) struct Sets {
    /// By value: number of its first channel; one entry more than values.
    first: Vec<usize>,
    /// By channel: one that stands for its set.
    root: Vec<usize>,
    /// By channel that stands for a set: it must stay as it is.
    pinned: Vec<bool>,
}

/// Channels of a value and values of one channel in a row.
fn axes(graph: &Graph, id: ValueId) -> (usize, usize) {
    match graph.shape(id) {
        [_, channels, inner @ ..] => (*channels, inner.iter().product()),
        _ => (1, usize::MAX),
    }
}

impl Sets {
    /// The sets of a graph. Its inputs and outputs are pinned.
    pub(super) fn of(graph: &Graph) -> Self {
        let mut first = vec![0];
        for id in (0..graph.values.len()).map(|k| ValueId(k as u32)) {
            let constant = graph.get(id).constant.is_some();
            first.push(first[id.index()] + if constant { 0 } else { axes(graph, id).0 });
        }
        let total = first[graph.values.len()];
        let mut sets = Self { first, root: (0..total).collect(), pinned: vec![false; total] };
        graph.inputs.iter().chain(&graph.outputs).for_each(|&id| sets.pin(id));
        for node in &graph.nodes {
            if sets.tie_node(graph, node).is_none() {
                node.inputs.iter().chain([&node.output]).for_each(|&id| sets.pin(id));
            }
        }
        sets
    }

    /// The set of each channel of a value, in order; `None` where it is pinned.
    pub(super) fn of_value(&self, id: ValueId) -> impl Iterator<Item = Option<usize>> {
        let channels = self.first[id.index()]..self.first[id.index() + 1];
        channels.map(|channel| {
            let set = self.find(channel);
            (!self.pinned[set]).then_some(set)
        })
    }

    /// Numbers of sets are smaller.
    pub(super) fn len(&self) -> usize {
        self.root.len()
    }

    /// Ties or pins what a node touches; `None` if all of it is to be pinned.
    fn tie_node(&mut self, graph: &Graph, node: &Node) -> Option<()> {
        let computed = |&&id: &&ValueId| graph.get(id).constant.is_none();
        let operands: Vec<ValueId> = node.inputs.iter().filter(computed).copied().collect();
        match &node.op {
            Op::Conv(_) | Op::Linear { .. } => {
                let learned = node.inputs[1..].iter().all(|&id| graph.constant_f32(id).is_some());
                learned.then_some(())?;
                if !is_homogeneous(activation_of(&node.op)) {
                    self.pin(node.output);
                }
                Some(())
            }
            Op::Add { activation } if !is_homogeneous(activation) => None,
            Op::Add { .. } | Op::Sub | Op::Binary(Binary::Min | Binary::Max)
                if operands.len() == 2 =>
            {
                let whole = |&id: &ValueId| graph.shape(id) == graph.shape(node.output);
                operands.iter().all(whole).then_some(())?;
                operands.iter().try_for_each(|&id| self.tie_channels(graph, id, node.output))
            }
            Op::Mul if operands.len() == 2 => self.tie_gated(graph, &operands, node.output),
            Op::Mul => self.tie_channels(graph, *operands.first()?, node.output),
            Op::Div if graph.get(node.inputs[1]).constant.is_some() => {
                self.tie_channels(graph, node.inputs[0], node.output)
            }
            Op::Concat { axis: 1 } => self.tie_stacked(graph, node),
            op if keeps_channels(op) => self.tie_channels(graph, node.inputs[0], node.output),
            op => self.tie_elements(graph, op, node.inputs[0], node.output),
        }
    }

    /// Channel by channel, where both have as many.
    fn tie_channels(&mut self, graph: &Graph, a: ValueId, b: ValueId) -> Option<()> {
        let (channels, _) = axes(graph, a);
        let whole = graph.shape(a).len() == graph.shape(b).len() && axes(graph, b).0 == channels;
        whole.then(|| (0..channels).for_each(|channel| self.tie((a, channel), (b, channel))))
    }

    /// A product: what is as large as the result is scaled with it, the other factor not at all.
    fn tie_gated(&mut self, graph: &Graph, factors: &[ValueId], output: ValueId) -> Option<()> {
        let whole = |&&id: &&ValueId| graph.shape(id) == graph.shape(output);
        let (scaled, gate) = match (factors.iter().find(whole), factors) {
            (Some(&scaled), &[a, b]) if a != b => (scaled, if scaled == a { b } else { a }),
            _ => return None,
        };
        self.pin(gate);
        self.tie_channels(graph, scaled, output)
    }

    fn tie_stacked(&mut self, graph: &Graph, node: &Node) -> Option<()> {
        let mut first = 0;
        for &part in &node.inputs {
            let (channels, _) = axes(graph, part);
            if graph.get(part).constant.is_some() {
                self.pin_some(node.output, first..first + channels);
            } else {
                (0..channels).for_each(|c| self.tie((part, c), (node.output, first + c)));
            }
            first += channels;
        }
        Some(())
    }

    /// An operation that moves elements, each with its channel.
    fn tie_elements(&mut self, graph: &Graph, op: &Op, x: ValueId, y: ValueId) -> Option<()> {
        let (input, output) = (graph.shape(x), graph.shape(y));
        let (from, to) = (axes(graph, x), axes(graph, y));
        let channel =
            |element: usize, (channels, inner): (usize, usize)| element / inner % channels;
        let mut last = (usize::MAX, usize::MAX);
        let mut tie = |element: usize, source: usize| {
            let pair = (channel(source, from), channel(element, to));
            if pair != last {
                self.tie((x, pair.0), (y, pair.1));
                last = pair;
            }
        };
        match op {
            Op::Reshape => (0..output.iter().product()).for_each(|element| tie(element, element)),
            Op::Gather { axis: 1, indices } => {
                let inner = from.1;
                indices.iter().enumerate().for_each(|(at, &k)| tie(at * inner, k * inner));
            }
            _ => {
                let order = Rearrange::of(op, input, output)?;
                order.indices().enumerate().for_each(|(element, source)| tie(element, source));
            }
        }
        Some(())
    }

    fn tie(&mut self, a: (ValueId, usize), b: (ValueId, usize)) {
        let root = |sets: &Self, (id, channel): (ValueId, usize)| {
            sets.find(sets.first[id.index()] + channel)
        };
        let (a, b) = (root(self, a), root(self, b));
        let (low, high) = (a.min(b), a.max(b));
        self.root[high] = low;
        self.pinned[low] |= self.pinned[high];
    }

    fn pin(&mut self, id: ValueId) {
        self.pin_some(id, 0..self.first[id.index() + 1] - self.first[id.index()]);
    }

    fn pin_some(&mut self, id: ValueId, channels: std::ops::Range<usize>) {
        for channel in channels {
            let set = self.find(self.first[id.index()] + channel);
            self.pinned[set] = true;
        }
    }

    fn find(&self, mut channel: usize) -> usize {
        while self.root[channel] != channel {
            channel = self.root[channel];
        }
        channel
    }
}

/// The activation of a node that may have one.
pub(super) fn activation_of(op: &Op) -> &Activation {
    match op {
        Op::Conv(conv) => &conv.activation,
        Op::Linear { activation } | Op::Add { activation } | Op::Activation(activation) => {
            activation
        }
        _ => &Activation::None,
    }
}

/// Whether a positive factor can be taken out. A finite upper bound, as in `ReLU6`, is taken for one that
/// is hardly reached: what becomes of it is a matter of the factor ([`super::equalise`]).
fn is_homogeneous(activation: &Activation) -> bool {
    match activation {
        Activation::Clamp { lo, hi } => (*lo == 0.0 || *lo == f32::NEG_INFINITY) && *hi > 0.0,
        Activation::None | Activation::LeakyRelu { .. } | Activation::PRelu { .. } => true,
    }
}

/// Homogeneous operations on one operand that treat every channel by itself.
fn keeps_channels(op: &Op) -> bool {
    match op {
        Op::Activation(activation) => is_homogeneous(activation),
        Op::Unary(function) => matches!(function, Function::Abs | Function::Neg),
        Op::MaxPool(_) | Op::AveragePool { .. } | Op::GlobalAveragePool => true,
        Op::Pad { mode, .. } => !matches!(mode, PadMode::Constant(value) if *value != 0.0),
        Op::Resize(resize) => resize.axes.iter().all(|own| own.axis > 1),
        Op::Reduce { function, axes } => {
            *function != Reduction::Product && axes.iter().all(|&axis| axis > 1)
        }
        _ => false,
    }
}
