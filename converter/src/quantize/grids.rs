//! Which values become integers, and which of them share one quantization.
//!
//! Layers ask for integers: their operand, and through operations that have an 8-bit form what that is made
//! of. What no layer asks for stays in float, like the tail of a network behind its last layer, and so
//! do its outputs. An operation that only moves or chooses values leaves them as they are: its operand
//! and its result are one [`Grid`].

use super::forms::Form;
use super::options::Options;
use crate::graph::{Graph, Node, ValueId};

/// Values that share one quantization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    /// All of them, in order of their numbers.
    pub(super) values: Vec<ValueId>,
    /// Those that some operation computes with: what they hold decides the range.
    pub(super) read: Vec<ValueId>,
}

/// What is to be quantized.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selection {
    /// Nodes with integer weights.
    pub(super) layers: Vec<usize>,
    /// Layers that could have integer weights and have not: node and reason.
    pub(super) float_layers: Vec<(usize, &'static str)>,
    /// For each value the one that stands for its grid; `None` for float values.
    roots: Vec<Option<ValueId>>,
}

impl Selection {
    /// What `options` leave to quantize.
    pub(super) fn of(graph: &Graph, options: &Options) -> Self {
        let (layers, float_layers) = layers(graph, options);
        let mut selection = Self { layers, float_layers, roots: vec![None; graph.values.len()] };
        selection.ask(graph);
        let reason = "its operand is an output of the network, and outputs are float";
        selection.leave_out_unasked(graph, reason);
        for node in &graph.nodes {
            if Form::of(graph, node) == Form::Same {
                selection.join(node.inputs[0], node.output);
            }
        }
        selection
    }

    /// Marks what layers read, and what that is computed from in 8 bits.
    fn ask(&mut self, graph: &Graph) {
        for (index, node) in graph.nodes.iter().enumerate().rev() {
            let asked = match Form::of(graph, node) {
                Form::Layer if self.layers.contains(&index) => &node.inputs[..1],
                Form::Same | Form::Joined | Form::Own if self.is_integer(node.output) => {
                    &node.inputs[..]
                }
                _ => &[],
            };
            for &id in asked {
                let computed = graph.get(id).constant.is_none();
                if computed && !graph.outputs.contains(&id) {
                    self.roots[id.index()] = Some(id);
                }
            }
        }
    }

    /// Layers whose operand is float after all compute in float.
    pub(super) fn leave_out_unasked(&mut self, graph: &Graph, reason: &'static str) {
        let is_integer = |index: &usize| self.is_integer(graph.nodes[*index].inputs[0]);
        let (layers, float): (Vec<_>, Vec<_>) = self.layers.iter().copied().partition(is_integer);
        self.layers = layers;
        self.float_layers.extend(float.into_iter().map(|index| (index, reason)));
        self.float_layers.sort_unstable();
    }

    /// Whether a value becomes integers.
    pub(super) fn is_integer(&self, id: ValueId) -> bool {
        self.roots[id.index()].is_some()
    }

    /// The value that stands for the grid of another one.
    fn root(&self, id: ValueId) -> Option<ValueId> {
        let root = self.roots[id.index()]?;
        if root == id { Some(id) } else { self.root(root) }
    }

    /// Makes the grids of two values one, if both have one.
    pub(super) fn join(&mut self, a: ValueId, b: ValueId) {
        if let (Some(a), Some(b)) = (self.root(a), self.root(b)) {
            self.roots[a.max(b).index()] = Some(a.min(b));
        }
    }

    /// The value is float after all, and with it all of its grid.
    pub(super) fn leave_out(&mut self, grid: &Grid) {
        grid.values.iter().for_each(|id| self.roots[id.index()] = None);
    }

    /// All grids, in order of their first values.
    pub(super) fn grids(&self, graph: &Graph) -> Vec<Grid> {
        let mut grids: Vec<Grid> = Vec::new();
        let mut index = vec![None; graph.values.len()];
        for id in (0..graph.values.len()).map(|k| ValueId(k as u32)) {
            let Some(root) = self.root(id) else { continue };
            let at = *index[root.index()].get_or_insert_with(|| {
                grids.push(Grid { values: Vec::new(), read: Vec::new() });
                grids.len() - 1
            });
            grids[at].values.push(id);
        }
        for grid in &mut grids {
            let is_read = |id: &&ValueId| self.readers(graph, **id).next().is_some();
            grid.read = grid.values.iter().filter(is_read).copied().collect();
        }
        grids
    }

    /// The nodes that read a value and do not just hand it on within its grid.
    pub(super) fn readers<'g>(
        &'g self,
        graph: &'g Graph,
        id: ValueId,
    ) -> impl Iterator<Item = &'g Node> {
        let outside = move |node: &&Node| self.root(node.output) != self.root(id);
        graph.nodes.iter().filter(move |node| node.inputs.contains(&id)).filter(outside)
    }
}

/// Whether a name is that of a node or of its result: reports of layers have the one or the other.
pub(super) fn is_called(graph: &Graph, node: &Node, name: &str) -> bool {
    node.name == name || graph.get(node.output).name == name
}

/// The layers to quantize, and those that the options leave in float.
fn layers(graph: &Graph, options: &Options) -> (Vec<usize>, Vec<(usize, &'static str)>) {
    let is_layer = |&index: &usize| Form::of(graph, &graph.nodes[index]) == Form::Layer;
    let all: Vec<usize> = (0..graph.nodes.len()).filter(is_layer).collect();
    let reason = |index: usize| {
        let node = &graph.nodes[index];
        let first = options.float_first && Some(&index) == all.first();
        let last = options.float_last && Some(&index) == all.last();
        match () {
            () if first => Some("it is the first, and --float-first was given"),
            () if last => Some("it is the last, and --float-last was given"),
            () if options.float_nodes.iter().any(|name| is_called(graph, node, name)) => {
                Some("it was named to stay in float")
            }
            () => None,
        }
    };
    let float: Vec<_> = all.iter().filter_map(|&index| Some((index, reason(index)?))).collect();
    let kept = all.iter().copied().filter(|&index| reason(index).is_none()).collect();
    (kept, float)
}
