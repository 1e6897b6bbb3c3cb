//! [`Renaming`]: values that are read in place of others, and the equal ones among them.

use crate::graph::{Graph, Op, ValueId};
use crate::tensor::Tensor;
use std::collections::HashMap;

/// Longest constant that is compared with others: settings and scalars, no weights.
const SHORT: usize = 64;

/// What is read in place of what; applied to all nodes at once, so that a pass over a graph stays
/// linear in its nodes.
#[derive(Debug)]
pub(super) struct Renaming {
    to: Vec<ValueId>,
}

impl Renaming {
    /// Every value in its own place.
    pub(super) fn new(graph: &Graph) -> Self {
        Self { to: (0..graph.values.len()).map(|k| ValueId(k as u32)).collect() }
    }

    /// Lets `new` be read in place of `old`; what `new` becomes later, `old` becomes too.
    pub(super) fn rename(&mut self, old: ValueId, new: ValueId) {
        self.to[old.index()] = new;
    }

    /// What is read in place of a value.
    pub(super) fn of(&self, mut id: ValueId) -> ValueId {
        while self.to[id.index()] != id {
            id = self.to[id.index()];
        }
        id
    }

    /// Lets every node read what it should.
    pub(super) fn apply(mut self, graph: &mut Graph) {
        for index in 0..self.to.len() {
            // The values before have arrived: chains stay short.
            self.to[index] = self.of(ValueId(index as u32));
        }
        let inputs = graph.nodes.iter_mut().flat_map(|node| &mut node.inputs);
        inputs.for_each(|input| *input = self.to[input.index()]);
    }
}

/// An operation and its result.
type Computed<'a> = (&'a Op, ValueId);

/// Nodes that compute the same of the same: readers read the first one's result. Outputs of the graph
/// keep nodes of their own.
pub(super) fn merge_equal_nodes(graph: &mut Graph) {
    let mut renaming = Renaming::new(graph);
    merge_equal_constants(graph, &mut renaming);
    let mut firsts: HashMap<(&str, Vec<ValueId>), Vec<Computed<'_>>> = HashMap::new();
    for node in &graph.nodes {
        let inputs = node.inputs.iter().map(|&id| renaming.of(id)).collect();
        let alike = firsts.entry((node.op.name(), inputs)).or_default();
        let shape = graph.shape(node.output);
        let equal = |(op, id): &&Computed<'_>| *op == &node.op && graph.shape(*id) == shape;
        match alike.iter().find(equal) {
            Some(&(_, first)) if !graph.outputs.contains(&node.output) => {
                renaming.rename(node.output, first);
            }
            _ => alike.push((&node.op, node.output)),
        }
    }
    renaming.apply(graph);
    super::simplify::drop_unread(graph);
}

/// Exporters write the same exponent or epsilon once for each of its readers.
fn merge_equal_constants(graph: &Graph, renaming: &mut Renaming) {
    let mut firsts: HashMap<(&[usize], Vec<u32>), ValueId> = HashMap::new();
    let bits = |tensor: &Tensor| {
        let values = tensor.as_f32().filter(|values| values.len() <= SHORT)?;
        Some(values.iter().map(|value| value.to_bits()).collect::<Vec<u32>>())
    };
    for (index, value) in graph.values.iter().enumerate() {
        let Some(bits) = value.constant.as_ref().and_then(bits) else { continue };
        let id = ValueId(index as u32);
        let first = *firsts.entry((&value.shape, bits)).or_insert(id);
        if first != id && !graph.outputs.contains(&id) {
            renaming.rename(id, first);
        }
    }
}
