//! Channels that carry nothing → gone, with their rows, columns and biases.
//!
//! After fusion a pruned network (`ResRep`'s zero compactor rows, GSM's zero weights) has output
//! channels whose kernel is zero: they hold `act(bias)`, whatever the picture. Such a constant goes
//! into the bias of every layer that reads it (`push`) and the channel out of the layer that made
//! it; a channel that meets only zero weights goes as well. No pattern of layers is known here:
//! constants are found forwards (`constants`), needs backwards (`live`), both through the same
//! list of what each operation does to channels (`channels`).
//!
//! Sources: Ding et al., "`ResRep`: Lossless CNN Pruning via Decoupling Remembering and Forgetting",
//! ICCV 2021; Ding et al., "Global Sparse Momentum SGD for Pruning Very Deep Neural Networks",
//! `NeurIPS` 2019 (unstructured zeros, of which whole rows and columns are the free part).

mod certificate;
mod channels;
mod constants;
mod live;
mod near_zero;
mod push;
mod restrict;

pub use certificate::{Certificate, Refused};
pub use near_zero::NEAR_ZERO;

use crate::fuse::drop_unnamed;
use crate::graph::{Graph, Node, Op, ValueId};
use crate::plan::facts::{node_macs, node_params};
use channels::{Channels, Reach};
use constants::Constants;
use restrict::{Keep, Operand, restricted};
use serde::{Serialize, Serializer};
use std::collections::HashMap;

/// The account of a pruning.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Pruning {
    /// Layers that lost channels, in execution order; none: the graph is as it was.
    pub layers: Vec<PrunedLayer>,
    /// Proof by execution; none where nothing was removed.
    pub certificate: Option<Certificate>,
    /// Why the graph is as it was although channels could go.
    #[serde(serialize_with = "as_text")]
    pub refused: Option<Refused>,
}

/// A convolution or dense layer that lost channels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PrunedLayer {
    /// Its node.
    pub name: String,
    /// Input channels before and after.
    pub inputs: [usize; 2],
    /// Output channels before and after.
    pub outputs: [usize; 2],
    /// Output rows that were not zero but near it ([`NEAR_ZERO`]), and count as zero.
    pub near_zero: usize,
    /// Multiply-accumulates for one picture that it saves.
    pub macs_saved: i128,
    /// Weights and biases that it saves; negative where only a bias for constants was added.
    pub params_saved: i128,
}

fn as_text<S: Serializer>(refused: &Option<Refused>, serializer: S) -> Result<S::Ok, S::Error> {
    match refused {
        Some(refused) => serializer.collect_str(refused),
        None => serializer.serialize_none(),
    }
}

/// Removes the channels of `graph` that carry nothing. The result computes the same outputs from
/// the same inputs, under the same names; it was executed before and after. If near-zero rows fail
/// that, only exact zeros go; if those fail it, the graph stays. A graph that is quantized stays too.
pub fn prune(graph: &mut Graph) -> Pruning {
    if graph.is_quantized() {
        return Pruning::default();
    }
    let attempt = match attempt(graph, true) {
        Err(_) => attempt(graph, false),
        attempt => attempt,
    };
    match attempt {
        Ok(Some((pruned, account))) => {
            *graph = pruned;
            account
        }
        Ok(None) => Pruning::default(),
        Err(refused) => Pruning { refused: Some(refused), ..Pruning::default() },
    }
}

/// The pruned graph and its account; `None` if there is nothing to remove.
fn attempt(graph: &Graph, near_zero: bool) -> Result<Option<(Graph, Pruning)>, Refused> {
    let mut zeroed = graph.clone();
    let channels = Channels::of(graph);
    let rows = if near_zero { near_zero::zeroed(&mut zeroed, &channels) } else { HashMap::new() };
    let Some(mut pruned) = round(&zeroed) else { return Ok(None) };
    // A layer takes up constants while it has border classes left: fewer channels may leave more.
    while let Some(fewer) = round(&pruned) {
        pruned = fewer;
    }
    let certificate = certificate::certify(graph, (!rows.is_empty()).then_some(&zeroed), &pruned)?;
    let layers = layers(graph, &pruned, &rows);
    Ok(Some((pruned, Pruning { layers, certificate: Some(certificate), refused: None })))
}

/// The graph without channels that carry nothing; `None` if all carry something.
fn round(graph: &Graph) -> Option<Graph> {
    let channels = Channels::of(graph);
    let constants = Constants::of(graph, &channels);
    let keep = live::live(graph, &channels, &constants);
    let rewrite = Rewrite { graph, channels: &channels, constants: &constants, keep: &keep };
    (!keep.is_empty()).then(|| rewrite.graph())
}

/// What is being written.
struct Rewrite<'a> {
    graph: &'a Graph,
    channels: &'a Channels,
    constants: &'a Constants,
    keep: &'a Keep,
}

impl Rewrite<'_> {
    fn graph(&self) -> Graph {
        let mut pruned = self.graph.clone();
        for (index, node) in self.graph.nodes.iter().enumerate() {
            let touched = node.inputs.iter().chain([&node.output]);
            if touched.clone().any(|&id| self.keep.of(id).is_some()) {
                let (op, operands) = self.node(node, &self.channels.reaches[index]);
                let name = |at: usize| format!("{}.kept{at}", node.name);
                let inputs = operands.into_iter().enumerate().map(|(at, operand)| match operand {
                    Operand::Same(id) => id,
                    Operand::Part(tensor) => pruned.constant(name(at), tensor),
                });
                pruned.nodes[index].inputs = inputs.collect();
                pruned.nodes[index].op = op;
            }
        }
        for (id, _) in self.keep.iter() {
            pruned.values[id.index()].shape = self.keep.shape(self.graph, id);
        }
        drop_unnamed(&mut pruned);
        pruned
    }

    /// A node on the channels that are left, its bias with the constants of those that are not.
    fn node(&self, node: &Node, reach: &Reach) -> (Op, Vec<Operand>) {
        let (mut op, mut operands) = restricted(self.graph, node, self.keep);
        let gone = self.gone(node.inputs[0]);
        if *reach != Reach::Mixing || gone.is_empty() {
            return (op, operands);
        }
        let kept = self.kept(node.output);
        let pushed = push::pushed(self.graph, node, self.constants, gone, kept);
        let (border, bias) = pushed.expect("constants were executed when they were found");
        operands.truncate(2);
        let uniform = match &mut op {
            Op::Conv(conv) => push::set_border(conv, border, &bias),
            _ => bias.reshaped([bias.len()]),
        };
        operands.extend(uniform.map(Operand::Part));
        (op, operands)
    }

    /// Channels removed from a value that hold a constant other than zero.
    fn gone(&self, id: ValueId) -> Vec<usize> {
        let Some(kept) = self.keep.of(id) else { return Vec::new() };
        let constant = |&c: &usize| self.constants.plane(id, c).is_some_and(|p| !p.is_zero());
        let removed = |c: &usize| kept.binary_search(c).is_err();
        (0..self.channels.classes(id).len()).filter(removed).filter(constant).collect()
    }

    fn kept(&self, id: ValueId) -> Vec<usize> {
        let all = || (0..self.channels.classes(id).len()).collect();
        self.keep.of(id).map_or_else(all, <[usize]>::to_vec)
    }
}

/// What each layer lost.
fn layers(before: &Graph, after: &Graph, near_zero: &HashMap<String, usize>) -> Vec<PrunedLayer> {
    let pairs = before.nodes.iter().zip(&after.nodes);
    let layer = |(old, new): (&Node, &Node)| {
        let channels =
            |pick: fn(&Node) -> ValueId| [before.shape(pick(old))[1], after.shape(pick(new))[1]];
        let saved = |count: fn(&Graph, &Node) -> u64| {
            i128::from(count(before, old)) - i128::from(count(after, new))
        };
        PrunedLayer {
            name: old.name.clone(),
            inputs: channels(|node| node.inputs[0]),
            outputs: channels(|node| node.output),
            near_zero: near_zero.get(&old.name).copied().unwrap_or(0),
            macs_saved: saved(node_macs),
            params_saved: saved(node_params),
        }
    };
    let is_layer = |(old, _): &(&Node, &Node)| matches!(old.op, Op::Conv(_) | Op::Linear { .. });
    let lost = |layer: &PrunedLayer| {
        layer.inputs[0] != layer.inputs[1]
            || layer.outputs[0] != layer.outputs[1]
            || layer.near_zero > 0
    };
    pairs.filter(is_layer).map(layer).filter(lost).collect()
}
