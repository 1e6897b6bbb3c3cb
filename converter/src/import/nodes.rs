//! [`Nodes`]: node by node from the file into the graph, past those that are refused.

use super::build::Builder;
use super::call::{Call, Operand};
use super::error::{Problem, Refusal, Refused, RefusedNode};
use super::fold::{FOLDS, Fold, affordable};
use super::order::label;
use super::quantized::moved;
use super::session::{Operands, Session};
use super::view::SEE_VIEWS;
use super::{ImportFn, OPERATORS, SEVERAL, SeveralFn, inputs, is_standard};
use crate::onnx::NodeProto;
use crate::reference;
use crate::tensor::Tensor;
use std::collections::{HashMap, HashSet};

/// Elements that constant folding may make in all: 512 MiB of floats. The largest layer in
/// use that an exporter may leave transposed, VGG's first dense one, has 98 Mi elements.
const MAX_FOLDED: usize = 1 << 27;

/// The nodes that the outputs need, with their positions in the file.
type Ordered<'a> = [(usize, &'a NodeProto)];

/// The state of the import of one file's nodes.
#[derive(Debug)]
pub(super) struct Nodes<'s, 'a> {
    session: &'s Session<'a>,
    builder: &'s mut Builder,
    operands: Operands<'a>,
    /// What constant folding may still make.
    room: usize,
    refused: Vec<RefusedNode>,
    /// Shapes that the exporter has written down, for what refused nodes make.
    declared: HashMap<&'a str, Vec<usize>>,
}

impl<'s, 'a> Nodes<'s, 'a> {
    /// Before the first node.
    pub(super) fn new(
        session: &'s Session<'a>,
        builder: &'s mut Builder,
        operands: Operands<'a>,
    ) -> Self {
        let infos = session.file.value_info.iter().chain(&session.file.output);
        let shape = |info| inputs::declared(info).map(|shape| (inputs::name(info), shape));
        let declared = infos.filter_map(shape).collect();
        Self { session, builder, operands, room: MAX_FOLDED, refused: Vec::new(), declared }
    }

    /// Imports the nodes; what each name stands for then.
    ///
    /// # Errors
    /// Lists every node that is refused. Where the shapes of a refused node's results are not
    /// known, the nodes that read them are not looked at.
    pub(super) fn all(
        mut self,
        order: &Ordered<'a>,
        read: &HashSet<&str>,
        outputs: &[&str],
    ) -> Result<Operands<'a>, Problem> {
        let mut unsupported = self.unsupported(order);
        for (index, node) in order {
            let name = self.builder.nodes.unique(&shown(*index, node));
            let bound = names(&node.input).all(|name| self.operands.contains_key(name));
            let result = match unsupported.remove(index) {
                Some(refusal) => Err(refusal),
                None if bound => self.node(node, &name, read, outputs),
                None => {
                    self.declare(node);
                    continue;
                }
            };
            if let Err(refusal) = result {
                self.refused.push(RefusedNode { node: name, op: qualified(node), refusal });
                self.declare(node);
            }
        }
        match self.refused.is_empty() {
            true => Ok(self.operands),
            false => {
                let (nodes, supported) = (self.refused, operators());
                Err(Problem::Refused(Refused { nodes, supported }))
            }
        }
    }

    /// All nodes with unsupported operators: unknown ones, and those that only constants may go
    /// through where they depend on the input.
    fn unsupported(&self, order: &Ordered<'a>) -> HashMap<usize, Refusal> {
        let initialisers = self.session.file.initializer.iter().map(|t| t.name.as_str());
        let mut constants: HashSet<&str> = initialisers.collect();
        let mut refused = HashMap::new();
        for (index, node) in order {
            let known = is_standard(&node.domain);
            let fold = fold(&node.op_type).filter(|_| known);
            let all_constant = names(&node.input).all(|i| constants.contains(i));
            let runs = known && runs(&node.op_type);
            let computed = all_constant && (fold.is_some() || runs);
            let folds = matches!(fold, Some(Fold::Shapes(_))) || computed;
            if !folds && !runs {
                refused.insert(*index, Refusal::Operator { constants_only: fold.is_some() });
            }
            // What a refused operator makes of constants would be a constant if it were supported.
            if folds || (all_constant && !runs) {
                constants.extend(names(&node.output));
            }
        }
        refused
    }

    /// Lets what a refused node would make stand for values of the shapes that the file declares.
    fn declare(&mut self, node: &'a NodeProto) {
        for name in names(&node.output) {
            if let Some(shape) = self.declared.get(name).cloned() {
                let id = self.builder.graph.value(name, shape.clone());
                self.operands.insert(name, Operand::Value { id, shape });
            }
        }
    }

    fn node(
        &mut self,
        node: &'a NodeProto,
        name: &str,
        read: &HashSet<&str>,
        outputs: &[&str],
    ) -> Result<(), Refusal> {
        let bound = node.input.iter().map(|i| self.operands.get(i.as_str()).cloned()).collect();
        let (opset, folder, name) = (self.session.opset, self.session.folder, name.to_owned());
        let mut call = Call { node, name, opset, operands: bound, room: self.room, folder };
        let grid = moved(&call, self.builder)?;
        let mut results = results(&mut call, self.builder, &mut self.room, read)?;
        if let Some(grid) = grid {
            for result in &mut results {
                let value = self.builder.without_view(&call, result)?;
                *result = self.builder.integral(value, grid.clone());
            }
        }
        let named = node.output.iter().zip(results).filter(|(name, _)| !name.is_empty());
        for (name, result) in named {
            let result = match outputs.contains(&name.as_str()) {
                true => self.builder.without_view(&call, &result)?,
                false => result,
            };
            self.operands.insert(name, result);
        }
        Ok(())
    }
}

/// Refuses a node of which more than the first `supported` results are read: statistics, masks.
fn unread(call: &Call<'_>, supported: usize, read: &HashSet<&str>) -> Result<(), Refusal> {
    let mut extra = call.node.output.iter().skip(supported);
    match extra.find(|o| read.contains(o.as_str())) {
        None => Ok(()),
        Some(output) => Err(Refusal::ExtraOutput(output.clone())),
    }
}

/// Computes the node if it can be, imports it otherwise.
fn results(
    call: &mut Call<'_>,
    builder: &mut Builder,
    room: &mut usize,
    read: &HashSet<&str>,
) -> Result<Vec<Operand>, Refusal> {
    let constant = call.operands.iter().flatten().all(|o| matches!(o, Operand::Constant { .. }));
    let op = &call.node.op_type;
    if several(op).is_none() {
        unread(call, 1, read)?;
    }
    let tensors = match (fold(op), constant) {
        (Some(Fold::Values(compute)), true) | (Some(Fold::Shapes(compute)), _) => {
            let result = compute(call)?;
            if op == "Transpose" {
                builder.transposed_grid(call)?;
            }
            vec![result]
        }
        (None, true) => interpreted(call)?,
        _ => {
            let results = imported(call, builder, room)?;
            unread(call, results.len(), read)?;
            return Ok(results);
        }
    };
    unread(call, tensors.len(), read)?;
    let named = call.node.output.iter().zip(tensors).map(|(name, tensor)| {
        *room = room.saturating_sub(tensor.len());
        Operand::Constant { name: name.clone(), tensor }
    });
    Ok(named.collect())
}

/// The results of an operator on constants, from the oracle: rounded to f32 once, as any runtime
/// would hand them on.
fn interpreted(call: &mut Call<'_>) -> Result<Vec<Tensor>, Refusal> {
    let mut alone = Builder::default();
    let mut room = call.room;
    let results = imported(call, &mut alone, &mut room)?;
    let unsupported = |error: String| Refusal::Unsupported {
        found: format!("{} on constants ({error})", call.node.op_type),
        remedy: "export the model with its result as an initialiser",
    };
    let mut tensors = Vec::with_capacity(results.len());
    for result in results {
        let value = match result {
            Operand::Constant { tensor, .. } => {
                tensors.push(tensor);
                continue;
            }
            view @ Operand::View(_) => alone.without_view(call, &view)?,
            value @ Operand::Value { .. } => value,
        };
        affordable(call, value.shape())?;
        let id = alone.value(&value, "its result")?;
        let nodes: Vec<usize> = (0..alone.graph.nodes.len()).collect();
        let found = reference::evaluate(&alone.graph, &nodes, Vec::new(), &[id]);
        let found = found.map_err(|error| unsupported(error.to_string()))?.pop();
        let tensor = found.and_then(|array| {
            Tensor::f32(array.shape, array.values.iter().map(|&v| v as f32).collect())
        });
        tensors.push(tensor.ok_or_else(|| unsupported("no result".to_owned()))?);
    }
    Ok(tensors)
}

/// Imports the node through its operator.
fn imported(
    call: &mut Call<'_>,
    builder: &mut Builder,
    room: &mut usize,
) -> Result<Vec<Operand>, Refusal> {
    let op = call.node.op_type.as_str();
    if !SEE_VIEWS.contains(&op) {
        let operands = std::mem::take(&mut call.operands).into_iter();
        let values = operands.map(|o| o.map(|o| builder.without_view(call, &o)).transpose());
        call.operands = values.collect::<Result<_, _>>()?;
    }
    let results = match (operator(op), several(op)) {
        (Some(import), _) => vec![import(call, builder)?],
        (None, Some(import)) => import(call, builder)?,
        (None, None) => return Err(Refusal::Operator { constants_only: true }),
    };
    for result in &results {
        if let Operand::View(view) = result {
            *room = room.saturating_sub(view.cost());
        }
    }
    Ok(results)
}

fn fold(op: &str) -> Option<Fold> {
    FOLDS.iter().find(|(name, _)| *name == op).map(|(_, fold)| *fold)
}

fn operator(op: &str) -> Option<ImportFn> {
    OPERATORS.iter().find(|(name, _)| *name == op).map(|(_, import)| *import)
}

fn several(op: &str) -> Option<SeveralFn> {
    SEVERAL.iter().find(|(name, _)| *name == op).map(|(_, import)| *import)
}

/// Whether values that depend on the input may go through an operator.
fn runs(op: &str) -> bool {
    operator(op).is_some() || several(op).is_some()
}

/// Every operator that a model may use, in alphabetical order.
pub fn operators() -> Vec<&'static str> {
    let run = OPERATORS.iter().map(|(op, _)| *op).chain(SEVERAL.iter().map(|(op, _)| *op));
    let mut all: Vec<&str> = run.chain(FOLDS.iter().map(|(op, _)| *op)).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Value names, omitted ones left out.
pub(super) fn names(list: &[String]) -> impl Iterator<Item = &str> {
    list.iter().map(String::as_str).filter(|n| !n.is_empty())
}

/// A node's name in messages and in the graph: its own, or one made from operator and position.
fn shown(index: usize, node: &NodeProto) -> String {
    if node.name.is_empty() { format!("{}_{index}", node.op_type) } else { label(node).to_owned() }
}

/// Operator with its domain, unless that is the standard one.
fn qualified(node: &NodeProto) -> String {
    let op = &node.op_type;
    if is_standard(&node.domain) { op.clone() } else { format!("{}::{op}", node.domain) }
}
