//! [`Builder`]: the graph under construction. Names become unique here and sizes are bounded.

use super::call::{Call, Operand};
use super::error::Refusal;
use super::quantized::Integers;
use crate::graph::{Graph, Op, ValueId};
use crate::tensor::{Tensor, elements};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Most elements of one value: its bytes are named with 32 bits in a model file.
pub(super) const MAX_ELEMENTS: usize = 1 << 30;

/// Hands out names, each once.
#[derive(Debug, Default)]
pub(super) struct Names {
    taken: HashMap<String, usize>,
}

impl Names {
    /// `wanted`, or `wanted_2`, `wanted_3`, … if it is taken.
    pub(super) fn unique(&mut self, wanted: &str) -> String {
        let mut name = wanted.to_owned();
        loop {
            match self.taken.entry(name) {
                Entry::Vacant(free) => {
                    let name = free.key().clone();
                    free.insert(1);
                    return name;
                }
                Entry::Occupied(_) => {
                    let count = self.taken.entry(wanted.to_owned()).or_insert(1);
                    *count = count.saturating_add(1);
                    name = format!("{wanted}_{count}");
                }
            }
        }
    }
}

/// The graph under construction.
#[derive(Debug, Default)]
pub(super) struct Builder {
    /// What has been imported so far.
    pub(super) graph: Graph,
    /// Names of values; the file's own are reserved before the first node.
    pub(super) values: Names,
    /// Names of nodes.
    pub(super) nodes: Names,
    /// What is known about integers.
    pub(super) integers: Integers,
    /// Constants and views that are values of the graph by now.
    read: HashMap<String, ValueId>,
}

impl Builder {
    /// The operand as a value of the graph; a constant enters the graph when first read.
    pub(super) fn value(
        &mut self,
        operand: &Operand,
        role: &'static str,
    ) -> Result<ValueId, Refusal> {
        let (name, tensor) = match operand {
            Operand::Value { id, .. } => return Ok(*id),
            Operand::Constant { name, tensor } => (name, tensor),
            Operand::View(_) => return Err(Refusal::MissingOperand(role)),
        };
        if let Some(id) = self.known(name) {
            return Ok(id);
        }
        finite(name, operand.floats(role)?)?;
        let id = self.graph.constant(name.clone(), tensor.clone());
        self.remember(name, id);
        Ok(id)
    }

    /// The value that a constant or view of this name has become.
    pub(super) fn known(&self, name: &str) -> Option<ValueId> {
        self.read.get(name).copied()
    }

    /// What a constant or view has become.
    pub(super) fn remember(&mut self, name: &str, id: ValueId) {
        self.read.insert(name.to_owned(), id);
    }

    /// A constant made here, under a name that tells what it was made from.
    pub(super) fn made(&mut self, name: &str, tensor: Tensor) -> Result<ValueId, Refusal> {
        finite(name, tensor.as_f32().unwrap_or(&[]))?;
        let name = self.values.unique(name);
        Ok(self.graph.constant(name, tensor))
    }

    /// Appends the node that makes the call's result.
    pub(super) fn emit(
        &mut self,
        call: &Call<'_>,
        op: Op,
        inputs: Vec<ValueId>,
        shape: Vec<usize>,
    ) -> Result<Operand, Refusal> {
        within(&shape)?;
        let id = self.graph.value(call.output(), shape.clone());
        self.graph.push(call.name.clone(), op, inputs, id);
        Ok(Operand::Value { id, shape })
    }

    /// Appends a node that makes a partial result, for calls that need several nodes.
    pub(super) fn emit_part(
        &mut self,
        call: &Call<'_>,
        op: Op,
        inputs: Vec<ValueId>,
        shape: Vec<usize>,
    ) -> Result<ValueId, Refusal> {
        within(&shape)?;
        let name = self.values.unique(&format!("{}_part", call.output()));
        let node = self.nodes.unique(&format!("{}_part", call.name));
        let id = self.graph.value(name, shape);
        self.graph.push(node, op, inputs, id);
        Ok(id)
    }
}

/// One of several nodes that a call becomes: it reads what the one before made, and then `operands`.
#[derive(Debug)]
pub(super) struct Stage {
    op: Op,
    operands: Vec<ValueId>,
    shape: Vec<usize>,
}

impl Stage {
    /// A node without further operands, and the shape of its result.
    pub(super) fn new(op: Op, shape: impl Into<Vec<usize>>) -> Self {
        Self { op, operands: Vec::new(), shape: shape.into() }
    }

    /// The same node with further operands.
    pub(super) fn with(self, operands: impl Into<Vec<ValueId>>) -> Self {
        Self { operands: operands.into(), ..self }
    }

    /// The same values under another shape.
    pub(super) fn reshape(shape: impl Into<Vec<usize>>) -> Self {
        Self::new(Op::Reshape, shape)
    }
}

impl Builder {
    /// Appends nodes one behind the other, the last of which makes the call's result. Reshapes to
    /// the shape that there already is are left out.
    pub(super) fn chain(
        &mut self,
        call: &Call<'_>,
        first: ValueId,
        stages: impl IntoIterator<Item = Stage>,
    ) -> Result<Operand, Refusal> {
        let mut shape = self.graph.shape(first).to_vec();
        let mut needed: Vec<Stage> = Vec::new();
        for stage in stages {
            if !(matches!(stage.op, Op::Reshape) && stage.shape == shape) {
                shape.clone_from(&stage.shape);
                needed.push(stage);
            }
        }
        let Some(last) = needed.pop() else { return Ok(Operand::Value { id: first, shape }) };
        let mut x = first;
        for Stage { op, operands, shape } in needed {
            x = self.emit_part(call, op, [vec![x], operands].concat(), shape)?;
        }
        self.emit(call, last.op, [vec![x], last.operands].concat(), last.shape)
    }
}

impl Builder {
    /// A partial result as the call's result; if it was made last, its node takes on the call's names.
    pub(super) fn result(&mut self, call: &Call<'_>, id: ValueId, shape: Vec<usize>) -> Operand {
        let Graph { nodes, values, .. } = &mut self.graph;
        if let Some(node) = nodes.last_mut().filter(|node| node.output == id) {
            node.name.clone_from(&call.name);
            let value = values.get_mut(id.index());
            value.into_iter().for_each(|value| call.output().clone_into(&mut value.name));
        }
        Operand::Value { id, shape }
    }
}

/// Refuses values that a model file could not name.
fn within(shape: &[usize]) -> Result<(), Refusal> {
    match elements(shape) {
        Some(1..=MAX_ELEMENTS) => Ok(()),
        _ => Err(Refusal::TooLarge { shape: shape.to_vec(), most: MAX_ELEMENTS }),
    }
}

/// Refuses NaN and infinity.
pub(super) fn finite(name: &str, values: &[f32]) -> Result<(), Refusal> {
    match values.iter().position(|v| !v.is_finite()) {
        None => Ok(()),
        Some(index) => Err(Refusal::NonFinite {
            name: name.to_owned(),
            index,
            value: values.get(index).copied().unwrap_or(f32::NAN),
        }),
    }
}

/// Drops nodes that no output needs (their shapes were read, not their values), and values and
/// inputs that nothing needs then.
pub(super) fn prune(graph: &mut Graph) {
    let mut needed = vec![false; graph.values.len()];
    let mark = |needed: &mut Vec<bool>, id: ValueId| {
        if let Some(slot) = needed.get_mut(id.index()) {
            *slot = true;
        }
    };
    let is_needed = |needed: &[bool], id: ValueId| needed.get(id.index()) == Some(&true);
    graph.outputs.iter().for_each(|&id| mark(&mut needed, id));
    for node in graph.nodes.iter().rev() {
        if is_needed(&needed, node.output) {
            node.inputs.iter().for_each(|&id| mark(&mut needed, id));
        }
    }
    graph.nodes.retain(|n| is_needed(&needed, n.output));
    graph.inputs.retain(|&id| is_needed(&needed, id));
    renumber(graph, &needed);
}

/// Keeps the values that are needed and gives them consecutive numbers.
fn renumber(graph: &mut Graph, needed: &[bool]) {
    let mut next = 0_u32;
    let mut moved = Vec::with_capacity(needed.len());
    for &keep in needed {
        moved.push(ValueId(next));
        next = next.saturating_add(keep.into());
    }
    let mut keep = needed.iter();
    graph.values.retain(|_| keep.next() == Some(&true));
    let renumber = |id: &mut ValueId| *id = moved.get(id.index()).copied().unwrap_or(*id);
    for node in &mut graph.nodes {
        node.inputs.iter_mut().for_each(renumber);
        renumber(&mut node.output);
    }
    graph.inputs.iter_mut().chain(&mut graph.outputs).for_each(renumber);
}
