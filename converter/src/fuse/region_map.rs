//! Runs the nodes of a candidate on kernel maps.

use super::Reason;
use super::cover::Candidate;
use super::flow::Flow;
use super::interpret::{Mapped, interpret};
use super::kernel_map::KernelMap;
use super::node_map::{Extent, map_of};
use crate::graph::{Graph, ValueId};
use std::collections::HashMap;

/// The map from the candidate's source to its output, in f64. Maps are moved, not copied, into
/// their last reader, so that a large kernel exists once.
///
/// # Errors
/// What the algebra refuses; forms have been checked, so none is expected.
pub(super) fn region_map(
    graph: &Graph,
    flow: &Flow,
    candidate: &Candidate,
) -> Result<KernelMap, Reason> {
    let mut maps = Maps { graph, source: candidate.source, known: HashMap::new() };
    for &index in &candidate.nodes {
        let node = &graph.nodes[index];
        let role = flow.roles[index].expect("only affine nodes lie between");
        let own = |operand| map_of(graph, node, operand).expect("the node has a role");
        let map = interpret(graph, node, role, own, |id| Ok(maps.take(id)))?;
        let readers = flow.consumers[node.output.index()].len();
        maps.known.insert(node.output, (map, readers));
    }
    Ok(maps.known.remove(&candidate.output).expect("the last node fills it").0.map)
}

/// Maps so far, each with the number of reads still to come.
struct Maps<'a> {
    graph: &'a Graph,
    source: ValueId,
    known: HashMap<ValueId, (Mapped<KernelMap>, usize)>,
}

impl Maps<'_> {
    fn take(&mut self, id: ValueId) -> Mapped<KernelMap> {
        if id == self.source {
            return Mapped::identity(Extent::of(self.graph.shape(id)));
        }
        match self.known.get_mut(&id) {
            Some((map, left)) if *left > 1 => {
                *left -= 1;
                map.clone()
            }
            _ => self.known.remove(&id).expect("nodes are in execution order").0,
        }
    }
}
