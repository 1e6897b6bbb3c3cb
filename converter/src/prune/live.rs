//! Which channels the outputs of a graph need: backwards from the outputs, through non-zero weights.
//!
//! A layer needs an input channel if one of its own needed outputs has a weight for it that is not
//! zero, unless the channel is a constant that the layer's bias can take up. Needs are spread until
//! nothing is added, so what is left is the smallest set: channels that only unneeded ones read go
//! too, however long the way, and of a residual sum those that no summand and no reader needs.

use super::channels::{Channels, Reach, count};
use super::constants::{Constants, Reads};
use super::push::pushable;
use super::restrict::Keep;
use crate::graph::{Graph, Node, Op, ValueId};

/// The channels that must stay, for each value that can lose some. No value loses all: of one that
/// nobody needs, the output channel with the largest weights stays (as `ResRep` keeps one).
pub(super) fn live(graph: &Graph, channels: &Channels, constants: &Constants) -> Keep {
    let mut needs = Needs::new(graph, channels, constants);
    needs.spread();
    // Backwards, so that what is kept of a value reads as little as possible of those before it.
    for node in graph.nodes.iter().rev() {
        needs.keep_one(node);
    }
    let mut keep = Keep::default();
    for node in &graph.nodes {
        let classes = channels.classes(node.output);
        let kept: Vec<usize> = (0..classes.len()).filter(|&c| needs.live[classes[c]]).collect();
        if kept.len() < classes.len() {
            keep.insert(node.output, kept);
        }
    }
    keep
}

/// A layer that mixes channels.
struct Layer {
    input: ValueId,
    output: ValueId,
    reads: Reads,
    /// By input channel: a constant that its bias can take up.
    pushable: Vec<bool>,
}

impl Layer {
    /// The input channels that its live outputs cannot do without.
    fn needs(&self, outputs: &[usize], live: &[bool]) -> Vec<usize> {
        let rows = (0..outputs.len()).filter(|&o| live[outputs[o]]).map(|o| self.reads.row(o));
        let mut read = vec![false; self.pushable.len()];
        rows.for_each(|row| read.iter_mut().zip(row).for_each(|(read, &w)| *read |= w));
        (0..read.len()).filter(|&i| read[i] && !self.pushable[i]).collect()
    }
}

struct Needs<'a> {
    graph: &'a Graph,
    channels: &'a Channels,
    layers: Vec<Layer>,
    /// By class.
    live: Vec<bool>,
}

impl<'a> Needs<'a> {
    fn new(graph: &'a Graph, channels: &'a Channels, constants: &Constants) -> Self {
        let mixing = graph.nodes.iter().zip(&channels.reaches);
        let mixing = mixing.filter(|(_, reach)| **reach == Reach::Mixing);
        let layers = mixing.map(|(node, _)| Layer {
            input: node.inputs[0],
            output: node.output,
            reads: Reads::of(graph, node),
            pushable: pushable(graph, node, constants),
        });
        let layers = layers.collect();
        let live = (0..channels.len()).map(|class| channels.is_pinned(class)).collect();
        Self { graph, channels, layers, live }
    }

    /// Marks what the marked channels need, and what that needs.
    fn spread(&mut self) {
        let mut changed = true;
        while changed {
            changed = false;
            for layer in self.layers.iter().rev() {
                let inputs = self.channels.classes(layer.input);
                for input in layer.needs(self.channels.classes(layer.output), &self.live) {
                    changed |= !std::mem::replace(&mut self.live[inputs[input]], true);
                }
            }
        }
    }

    fn keep_one(&mut self, node: &Node) {
        let classes = self.channels.classes(node.output);
        if classes.is_empty() || classes.iter().any(|&class| self.live[class]) {
            return;
        }
        self.live[classes[largest_row(self.graph, node)]] = true;
        self.spread();
    }
}

/// The output channel with the largest weights; the first of a node without weights.
fn largest_row(graph: &Graph, node: &Node) -> usize {
    if !matches!(node.op, Op::Conv(_) | Op::Linear { .. }) {
        return 0;
    }
    let outputs = count(graph, node.output).unwrap_or(1).max(1);
    let norms = super::near_zero::row_norms(graph, node, outputs);
    (0..norms.len()).rev().max_by(|&a, &b| norms[a].total_cmp(&norms[b])).unwrap_or(0)
}
