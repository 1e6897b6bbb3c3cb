//! [`Channels`]: all channels of a graph as one numbered set, and which of them must go together.
//!
//! A channel is a place on axis 1 of a computed value with a batch of 1: a plane of a picture, a
//! value of a vector. What a node does to channels is its [`Reach`], the one list of operations that
//! this pass sees through; everything else here and beside it follows from that.

use crate::graph::{Conv, DepthOrder, Graph, Node, Op, ValueId};
use std::ops::Range;

/// Which input channels the output channels of a node depend on.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reach {
    /// Each output channel on any channel of the first operand, through a row of weights.
    Mixing,
    /// Each block on itself: its channels stay or go together.
    Blocks(Vec<Block>),
    /// Unknown: all operands are needed whole, and the result stays whole.
    Opaque,
}

/// Channels that one part of a node joins.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Block {
    /// Channels of computed operands.
    pub(super) inputs: Vec<(ValueId, Range<usize>)>,
    /// Channels of the result.
    pub(super) outputs: Range<usize>,
}

/// Number of channels of a computed value; `None` for constants and other shapes.
pub(super) fn count(graph: &Graph, id: ValueId) -> Option<usize> {
    match graph.get(id).shape[..] {
        [1, channels, ..] if graph.get(id).constant.is_none() => Some(channels),
        _ => None,
    }
}

/// Values of one channel.
pub(super) fn plane_len(graph: &Graph, id: ValueId) -> usize {
    graph.shape(id).iter().skip(2).product()
}

impl Reach {
    fn of(graph: &Graph, node: &Node) -> Self {
        Self::seen(graph, node).unwrap_or(Self::Opaque)
    }

    fn seen(graph: &Graph, node: &Node) -> Option<Self> {
        let learned = || node.inputs[1..].iter().all(|&id| graph.constant_f32(id).is_some());
        match &node.op {
            Op::Conv(Conv { groups, .. }) if *groups > 1 && learned() => {
                blocks_of(graph, node, *groups)
            }
            Op::Conv(_) | Op::Linear { .. } if learned() => {
                count(graph, node.inputs[0]).and(count(graph, node.output)).map(|_| Self::Mixing)
            }
            Op::BatchNorm { .. } if learned() => channelwise(graph, node),
            Op::Activation(_)
            | Op::Unary(_)
            | Op::MaxPool(_)
            | Op::AveragePool { .. }
            | Op::GlobalAveragePool
            | Op::Pad { .. } => channelwise(graph, node),
            Op::Resize(resize) if resize.axes.iter().all(|own| own.axis > 1) => {
                channelwise(graph, node)
            }
            Op::Reduce { axes, .. } | Op::Normalise { axes, .. }
                if axes.iter().all(|&axis| axis > 1) =>
            {
                channelwise(graph, node)
            }
            Op::Add { .. } | Op::Sub | Op::Mul | Op::Div => elementwise(graph, node),
            Op::Concat { axis: 1 } => stacked(graph, node),
            Op::DepthToSpace { block, order } => shuffled(graph, node, block * block, *order),
            Op::Reshape => {
                let (inputs, outputs) = (count(graph, node.inputs[0])?, count(graph, node.output)?);
                let divides = inputs > 0 && outputs > 0;
                let joined = if divides { inputs.min(outputs) } else { return None };
                (inputs.max(outputs).is_multiple_of(joined))
                    .then(|| blocks_of(graph, node, joined))?
            }
            _ => None,
        }
    }
}

/// `n` equal blocks of the first operand and the result.
fn blocks_of(graph: &Graph, node: &Node, n: usize) -> Option<Reach> {
    let (input, output) = (node.inputs[0], node.output);
    let (i, o) = (count(graph, input)? / n, count(graph, output)? / n);
    let block =
        |k: usize| Block { inputs: vec![(input, k * i..(k + 1) * i)], outputs: k * o..(k + 1) * o };
    Some(Reach::Blocks((0..n).map(block).collect()))
}

/// Pixel shuffle: `square` input channels for each of the result.
fn shuffled(graph: &Graph, node: &Node, square: usize, order: DepthOrder) -> Option<Reach> {
    let (input, channels) = (node.inputs[0], count(graph, node.output)?);
    if count(graph, input)? != channels * square {
        return None;
    }
    if order == DepthOrder::ChannelFirst {
        return blocks_of(graph, node, channels);
    }
    let place = |c: usize, k: usize| (input, k * channels + c..k * channels + c + 1);
    let block =
        |c: usize| Block { inputs: (0..square).map(|k| place(c, k)).collect(), outputs: c..c + 1 };
    Some(Reach::Blocks((0..channels).map(block).collect()))
}

fn channelwise(graph: &Graph, node: &Node) -> Option<Reach> {
    let (inputs, outputs) = (count(graph, node.inputs[0])?, count(graph, node.output)?);
    if inputs == outputs { blocks_of(graph, node, outputs) } else { None }
}

/// Computed operands with all channels of the result; constants may repeat themselves.
fn elementwise(graph: &Graph, node: &Node) -> Option<Reach> {
    let (channels, rank) = (count(graph, node.output)?, graph.shape(node.output).len());
    let computed = node.inputs.iter().copied().filter(|&id| graph.get(id).constant.is_none());
    let computed: Vec<ValueId> = computed.collect();
    let whole = |&id: &ValueId| count(graph, id) == Some(channels) && graph.shape(id).len() == rank;
    if !computed.iter().all(whole) {
        return None;
    }
    let block = |c: usize| Block {
        inputs: computed.iter().map(|&id| (id, c..c + 1)).collect(),
        outputs: c..c + 1,
    };
    Some(Reach::Blocks((0..channels).map(block).collect()))
}

fn stacked(graph: &Graph, node: &Node) -> Option<Reach> {
    let mut blocks = Vec::new();
    for &part in &node.inputs {
        for c in 0..count(graph, part)? {
            let at = blocks.len();
            blocks.push(Block { inputs: vec![(part, c..c + 1)], outputs: at..at + 1 });
        }
    }
    (count(graph, node.output)? == blocks.len()).then_some(Reach::Blocks(blocks))
}

/// The channels of all values, numbered, in classes that stay or go as one.
#[derive(Debug)]
pub(super) struct Channels {
    /// By value: number of its first channel; one entry more than values.
    first: Vec<usize>,
    /// By channel: a channel that stands for its class.
    class: Vec<usize>,
    /// By class: needed whatever anybody reads.
    pinned: Vec<bool>,
    /// By node.
    pub(super) reaches: Vec<Reach>,
}

impl Channels {
    /// The classes of a graph. Inputs, outputs and what opaque nodes touch are pinned.
    pub(super) fn of(graph: &Graph) -> Self {
        let ids = (0..graph.values.len()).map(|k| ValueId(k as u32));
        let mut first = vec![0];
        for id in ids {
            first.push(first[id.index()] + count(graph, id).unwrap_or(0));
        }
        let total = first[graph.values.len()];
        let reaches = graph.nodes.iter().map(|node| Reach::of(graph, node)).collect();
        let mut channels =
            Self { first, class: (0..total).collect(), pinned: vec![false; total], reaches };
        channels.tie(graph);
        channels.pin(graph);
        channels
    }

    /// The classes of a value's channels, in order.
    pub(super) fn classes(&self, id: ValueId) -> &[usize] {
        &self.class[self.first[id.index()]..self.first[id.index() + 1]]
    }

    /// Whether the class must stay.
    pub(super) fn is_pinned(&self, class: usize) -> bool {
        self.pinned[class]
    }

    /// Number of channels of all values: classes have smaller numbers.
    pub(super) fn len(&self) -> usize {
        self.class.len()
    }

    fn tie(&mut self, graph: &Graph) {
        for (node, reach) in graph.nodes.iter().zip(std::mem::take(&mut self.reaches)) {
            if let Reach::Blocks(blocks) = &reach {
                for block in blocks {
                    let root = self.root(self.first[node.output.index()] + block.outputs.start);
                    let outputs = [(node.output, block.outputs.clone())];
                    for (id, range) in block.inputs.iter().chain(&outputs) {
                        for channel in range.clone() {
                            let other = self.root(self.first[id.index()] + channel);
                            self.class[other] = root;
                        }
                    }
                }
            }
            self.reaches.push(reach);
        }
        for channel in 0..self.class.len() {
            self.class[channel] = self.root(channel);
        }
    }

    /// Follows to the channel that stands for a class, and shortens the way.
    fn root(&mut self, mut channel: usize) -> usize {
        while self.class[channel] != channel {
            self.class[channel] = self.class[self.class[channel]];
            channel = self.class[channel];
        }
        channel
    }

    fn pin(&mut self, graph: &Graph) {
        let opaque = graph.nodes.iter().zip(&self.reaches);
        let opaque = opaque.filter(|(_, reach)| **reach == Reach::Opaque);
        let touched = opaque.flat_map(|(node, _)| node.inputs.iter().chain([&node.output]));
        let ids: Vec<ValueId> =
            touched.chain(&graph.inputs).chain(&graph.outputs).copied().collect();
        for id in ids {
            for channel in self.first[id.index()]..self.first[id.index() + 1] {
                self.pinned[self.class[channel]] = true;
            }
        }
    }
}
