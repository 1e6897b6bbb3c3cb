//! Where affine regions lie: the structure of the graph that fusion works on.
//!
//! Every value is either opaque or affine in earlier ones. A *boundary* is a value that regions
//! compute from or lead to: what an opaque node gives, and every affine value that reaches more than
//! one reader of another region, which is therefore computed once. Inside a region, a value has a
//! *dominator*: the nearest earlier value that everything it depends on passes through. A value is
//! one kernel map of each of its dominators, if the algebra allows.

use super::node_map::Role;
use crate::graph::{Graph, ValueId};

/// Roles of nodes and dominators of values.
#[derive(Debug)]
pub(super) struct Flow {
    /// By node; `None`: opaque.
    pub(super) roles: Vec<Option<Role>>,
    /// By value: the node that fills it.
    pub(super) producers: Vec<Option<usize>>,
    /// By value: the nodes that read it.
    pub(super) consumers: Vec<Vec<usize>>,
    boundary: Vec<bool>,
    dominator: Vec<Option<ValueId>>,
    depth: Vec<u32>,
}

impl Flow {
    /// Finds the regions. With `joins` false a sum or concatenation of computed values is opaque.
    pub(super) fn of(graph: &Graph, joins: bool) -> Self {
        let joined = |role: &Role| matches!(role, Role::Sum { .. } | Role::Stack);
        let role = |node| Role::of(graph, node).filter(|role| joins || !joined(role));
        let n = graph.values.len();
        let mut flow = Self {
            roles: graph.nodes.iter().map(role).collect(),
            producers: graph.producers(),
            consumers: graph.consumers(),
            boundary: vec![false; n],
            dominator: vec![None; n],
            depth: vec![0; n],
        };
        flow.find_boundaries(graph);
        flow.find_dominators(graph);
        flow
    }

    /// Whether a value is kept as it is by every region that reads it.
    pub(super) fn is_boundary(&self, value: ValueId) -> bool {
        self.boundary[value.index()]
    }

    /// The role of the node that fills a value; `None`: opaque, constant or an input.
    pub(super) fn role_of(&self, value: ValueId) -> Option<(usize, Role)> {
        let node = self.producers[value.index()]?;
        Some((node, self.roles[node]?))
    }

    /// Nearest value that everything `value` depends on passes through.
    pub(super) fn dominator(&self, value: ValueId) -> Option<ValueId> {
        self.dominator[value.index()]
    }

    /// All dominators of a value, nearest first, up to the boundary of its region.
    pub(super) fn dominators(&self, value: ValueId) -> impl Iterator<Item = ValueId> + '_ {
        std::iter::successors(self.dominator(value), |&s| {
            if self.is_boundary(s) { None } else { self.dominator(s) }
        })
    }

    /// From the last node to the first: which region's exit does a value lead to?
    fn find_boundaries(&mut self, graph: &Graph) {
        let mut exit: Vec<Option<ValueId>> = vec![None; graph.values.len()];
        let mark = |exit: &mut Vec<Option<ValueId>>, flow: &mut Self, id: ValueId| {
            let mut exits = flow.consumers[id.index()].iter().map(|&reader| {
                let output = graph.nodes[reader].output;
                if flow.roles[reader].is_some() { exit[output.index()] } else { None }
            });
            let first = exits.next().flatten();
            let one = first.is_some() && exits.all(|other| other == first);
            if one && !graph.outputs.contains(&id) {
                exit[id.index()] = first;
            } else {
                exit[id.index()] = Some(id);
                flow.boundary[id.index()] = true;
            }
        };
        for index in (0..graph.nodes.len()).rev() {
            mark(&mut exit, self, graph.nodes[index].output);
            if self.roles[index].is_none() {
                self.boundary[graph.nodes[index].output.index()] = true;
            }
        }
        for &id in &graph.inputs {
            self.boundary[id.index()] = true;
        }
    }

    fn find_dominators(&mut self, graph: &Graph) {
        for (index, node) in graph.nodes.iter().enumerate() {
            let Some(role) = self.roles[index] else { continue };
            let operands = role.operands(node);
            let (&first, rest) = operands.split_first().expect("affine nodes read something");
            let meet = |at: Option<ValueId>, &other: &ValueId| self.meet(at?, other);
            let dominator = rest.iter().fold(Some(first), meet);
            let output = node.output.index();
            self.dominator[output] = dominator;
            self.depth[output] = dominator.map_or(0, |d| self.depth_as_source(d) + 1);
        }
    }

    fn depth_as_source(&self, value: ValueId) -> u32 {
        if self.is_boundary(value) { 0 } else { self.depth[value.index()] }
    }

    /// Nearest common dominator of two values, themselves included.
    fn meet(&self, mut a: ValueId, mut b: ValueId) -> Option<ValueId> {
        while a != b {
            let (da, db) = (self.depth_as_source(a), self.depth_as_source(b));
            if da == 0 && db == 0 {
                return None;
            }
            let deeper = if da >= db { &mut a } else { &mut b };
            *deeper = self.dominator(*deeper)?;
        }
        Some(a)
    }

    /// The nodes on all ways from `source` to `value`, in execution order; `None` if one of the
    /// values between is read elsewhere, so that it is needed anyway.
    pub(super) fn between(
        &self,
        graph: &Graph,
        source: ValueId,
        value: ValueId,
    ) -> Option<Vec<usize>> {
        let mut found = Vec::new();
        let mut open = vec![value];
        let mut seen = std::collections::HashSet::from([source, value]);
        while let Some(id) = open.pop() {
            let (index, role) = self.role_of(id)?;
            found.push(index);
            let operands = role.operands(&graph.nodes[index]);
            open.extend(operands.into_iter().filter(|&operand| seen.insert(operand)));
        }
        found.sort_unstable();
        let inside =
            |id: ValueId| self.consumers[id.index()].iter().all(|c| found.binary_search(c).is_ok());
        let closed = found.iter().all(|&index| {
            let output = graph.nodes[index].output;
            output == value || (inside(output) && !self.is_boundary(output))
        });
        closed.then_some(found)
    }
}
