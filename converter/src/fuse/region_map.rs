//! Runs the nodes of a candidate on kernel maps: the affine interpreter.

use super::Reason;
use super::cover::Candidate;
use super::flow::Flow;
use super::kernel_map::KernelMap;
use super::node_map::{Role, channels, map_of};
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
        let map = match flow.roles[index].expect("only affine nodes lie between") {
            Role::Map(operand) => {
                let own = map_of(graph, node, operand).expect("the node has a role");
                match operand == candidate.source {
                    true => own,
                    false => KernelMap::compose(own, maps.take(operand))?,
                }
            }
            Role::Sum { sign } => {
                let first = maps.take(node.inputs[0]);
                first.add(maps.take(node.inputs[1]), sign)?
            }
            Role::Stack => {
                let parts: Vec<_> = node.inputs.iter().map(|&id| maps.take(id)).collect();
                KernelMap::stack(&parts)?
            }
        };
        let readers = flow.consumers[node.output.index()].len();
        maps.known.insert(node.output, (map, readers));
    }
    Ok(maps.known.remove(&candidate.output).expect("the last node fills it").0)
}

/// Maps so far, each with the number of reads still to come.
struct Maps<'a> {
    graph: &'a Graph,
    source: ValueId,
    known: HashMap<ValueId, (KernelMap, usize)>,
}

impl Maps<'_> {
    fn take(&mut self, id: ValueId) -> KernelMap {
        if id == self.source {
            let channels = channels(self.graph, id).expect("affine values have channels");
            return KernelMap::identity(channels);
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
