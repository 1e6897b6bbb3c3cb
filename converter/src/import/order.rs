//! Which nodes of the file are needed, in an order in which they can be computed.

use super::error::Problem;
use crate::onnx::{GraphProto, NodeProto};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

/// Where every value of the file comes from.
#[derive(Debug)]
pub(super) struct Sources<'a> {
    graph: &'a GraphProto,
    /// Initialisers and inputs.
    given: HashSet<&'a str>,
    /// Node that makes a value, as index into the file's nodes.
    producers: HashMap<&'a str, usize>,
}

impl<'a> Sources<'a> {
    /// Reads all names.
    ///
    /// # Errors
    /// A name with two definitions. An initialiser may share its name with an input (its default).
    pub(super) fn new(graph: &'a GraphProto) -> Result<Self, Problem> {
        let mut given = HashSet::new();
        let mut defaults = HashSet::new();
        for tensor in &graph.initializer {
            define(given.insert(&*tensor.name), &tensor.name)?;
            defaults.insert(&*tensor.name);
        }
        for input in &graph.input {
            let new = given.insert(&*input.name) || defaults.remove(&*input.name);
            define(new, &input.name)?;
        }
        let mut producers = HashMap::new();
        for (index, node) in graph.node.iter().enumerate() {
            for output in node.output.iter().filter(|o| !o.is_empty()) {
                let new = producers.insert(output.as_str(), index).is_none();
                define(new && !given.contains(output.as_str()), output)?;
            }
        }
        Ok(Self { graph, given, producers })
    }

    /// Whether anything defines the name.
    pub(super) fn defines(&self, name: &str) -> bool {
        self.given.contains(name) || self.producers.contains_key(name)
    }

    /// Every name of the file.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.given.iter().chain(self.producers.keys()).copied()
    }

    /// The nodes that the outputs need, in the file's order where that is an order of execution.
    ///
    /// # Errors
    /// A value that nothing defines, or a cycle.
    pub(super) fn order(
        &self,
        outputs: &[&'a str],
    ) -> Result<Vec<(usize, &'a NodeProto)>, Problem> {
        let needed = self.needed(outputs)?;
        let mut waiting: HashMap<usize, usize> = HashMap::new();
        let mut readers: HashMap<usize, Vec<usize>> = HashMap::new();
        for (&index, node) in &needed {
            let before: HashSet<usize> = self.makers(node).collect();
            waiting.insert(index, before.len());
            before.into_iter().for_each(|b| readers.entry(b).or_default().push(index));
        }
        let free = |(&index, &count): (&usize, &usize)| (count == 0).then_some(Reverse(index));
        let mut ready: BinaryHeap<Reverse<usize>> = waiting.iter().filter_map(free).collect();
        let mut order = Vec::with_capacity(needed.len());
        while let Some(Reverse(index)) = ready.pop() {
            waiting.remove(&index);
            order.extend(needed.get(&index).map(|&node| (index, node)));
            for reader in readers.remove(&index).unwrap_or_default() {
                if let Some(count) = waiting.get_mut(&reader) {
                    *count = count.saturating_sub(1);
                    if *count == 0 {
                        ready.push(Reverse(reader));
                    }
                }
            }
        }
        match waiting.keys().min().and_then(|index| needed.get(index)) {
            None => Ok(order),
            Some(node) => Err(Problem::Cycle(label(node).to_owned())),
        }
    }

    /// The nodes that the outputs need.
    fn needed(&self, outputs: &[&'a str]) -> Result<HashMap<usize, &'a NodeProto>, Problem> {
        let mut needed = HashMap::new();
        let mut open: Vec<usize> = outputs.iter().filter_map(|&o| self.maker(o)).collect();
        while let Some(index) = open.pop() {
            let Some(node) = self.graph.node.get(index).filter(|_| !needed.contains_key(&index))
            else {
                continue;
            };
            needed.insert(index, node);
            for name in node.input.iter().filter(|n| !n.is_empty()) {
                if !self.defines(name) {
                    return Err(Problem::MissingValue {
                        value: name.clone(),
                        node: label(node).to_owned(),
                        op: node.op_type.clone(),
                    });
                }
                open.extend(self.maker(name));
            }
        }
        Ok(needed)
    }

    fn maker(&self, name: &str) -> Option<usize> {
        self.producers.get(name).copied()
    }

    fn makers(&self, node: &'a NodeProto) -> impl Iterator<Item = usize> {
        node.input.iter().filter_map(|name| self.maker(name))
    }
}

/// What a message calls a node: its name, or what it makes.
pub(super) fn label(node: &NodeProto) -> &str {
    if !node.name.is_empty() {
        return &node.name;
    }
    node.output.first().map_or("", String::as_str)
}

fn define(new: bool, name: &str) -> Result<(), Problem> {
    if new { Ok(()) } else { Err(Problem::DuplicateValue(name.to_owned())) }
}
