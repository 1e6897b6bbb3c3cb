//! [`Session`]: the import of one decoded file, from its inputs over its nodes to its outputs.

use super::build::{Builder, prune};
use super::call::{Call, Operand};
use super::error::{Problem, Refusal, Unsupported};
use super::fold::{FOLDS, Fold, affordable};
use super::order::{Sources, label};
use super::view::SEE_VIEWS;
use super::{ImportFn, OPERATORS, Options, inputs, is_standard, weights};
use crate::graph::{Activation, Graph, Op};
use crate::onnx::{GraphProto, NodeProto};
use crate::reference;
use crate::tensor::Tensor;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

/// Elements that constant folding may make in all: 512 MiB of floats. The largest layer in
/// use that an exporter may leave transposed, VGG's first dense one, has 98 Mi elements.
const MAX_FOLDED: usize = 1 << 27;

type Operands<'a> = HashMap<&'a str, Operand>;
type Nodes<'a> = [(usize, &'a NodeProto)];

/// One file and what the caller said about it.
#[derive(Debug)]
pub(super) struct Session<'a> {
    /// The decoded graph.
    pub(super) file: &'a GraphProto,
    /// Version of the standard operators.
    pub(super) opset: i64,
    /// Where external weights may lie.
    pub(super) folder: Option<&'a Path>,
    /// From the command line.
    pub(super) options: &'a Options,
}

impl<'a> Session<'a> {
    /// The whole import.
    pub(super) fn run(&self, name: &str) -> Result<Graph, Problem> {
        let sources = Sources::new(self.file)?;
        let outputs = self.outputs(&sources)?;
        let order = sources.order(&outputs)?;
        self.check_operators(&order)?;
        let mut builder = Builder::default();
        builder.graph.name = name.to_owned();
        for name in sources.names() {
            builder.values.unique(name);
        }
        let read = outputs.iter().copied().chain(order.iter().flat_map(|(_, n)| names(&n.input)));
        let read: HashSet<&str> = read.collect();
        let mut operands = self.inputs(&mut builder, &read)?;
        self.initialisers(&mut operands, &read)?;
        self.nodes(&mut builder, &mut operands, &order, &read, &outputs)?;
        bind_outputs(&mut builder, &operands, &outputs)?;
        self.check_batch(&builder.graph)?;
        prune(&mut builder.graph);
        Ok(builder.graph)
    }

    /// Names of the values to keep, each once.
    fn outputs(&self, sources: &Sources<'_>) -> Result<Vec<&'a str>, Problem> {
        let own = || self.file.output.iter().map(|o| o.name.as_str());
        let mut kept: Vec<&str> = Vec::new();
        let wanted: Vec<&str> = match &self.options.outputs {
            Some(names) => names.iter().map(String::as_str).collect(),
            None => own().collect(),
        };
        let unknown = |name: &str| Problem::UnknownOutput {
            name: name.to_owned(),
            known: own().map(str::to_owned).collect(),
        };
        for name in wanted {
            if !sources.defines(name) {
                return Err(unknown(name));
            }
            if !kept.contains(&name) {
                kept.push(name);
            }
        }
        if kept.is_empty() { Err(Problem::NoOutputs) } else { Ok(kept) }
    }

    /// Refuses all unsupported operators at once: unknown ones, and those that only constants may
    /// go through where they depend on the input.
    fn check_operators(&self, order: &Nodes<'a>) -> Result<(), Problem> {
        let initialisers = self.file.initializer.iter().map(|t| t.name.as_str());
        let mut constants: HashSet<&str> = initialisers.collect();
        let mut refused: BTreeMap<(String, bool), Vec<String>> = BTreeMap::new();
        for (index, node) in order {
            let known = is_standard(&node.domain);
            let fold = fold(&node.op_type).filter(|_| known);
            let all_constant = names(&node.input).all(|i| constants.contains(i));
            let runs = known && operator(&node.op_type).is_some();
            let computed = all_constant && (fold.is_some() || runs);
            let folds = matches!(fold, Some(Fold::Shapes(_))) || computed;
            if !folds && !runs {
                let nodes = refused.entry((qualified(node), fold.is_some())).or_default();
                nodes.push(shown(*index, node));
            }
            // What a refused operator makes of constants would be a constant if it were supported.
            if folds || (all_constant && !runs) {
                constants.extend(names(&node.output));
            }
        }
        if refused.is_empty() {
            return Ok(());
        }
        let operators = refused.into_iter().map(|((op, fold), nodes)| (op, fold, nodes)).collect();
        Err(Problem::Unsupported(Unsupported { operators, supported: self::operators() }))
    }

    /// Where an input holds one picture of the file's batch, outputs of the batch must hold one result.
    fn check_batch(&self, graph: &Graph) -> Result<(), Problem> {
        for info in inputs::fillable(self.file) {
            let shape = graph.inputs.iter().map(|&id| graph.get(id)).find(|v| v.name == info.name);
            let Some(batch) = shape.and_then(|v| inputs::batch(info, &v.shape)) else { continue };
            for (file, &id) in self.file.output.iter().zip(&graph.outputs) {
                let found = graph.shape(id).to_vec();
                if inputs::first_length(file) == Some(batch) && found.first() != Some(&1) {
                    let (input, output) = (info.name.clone(), file.name.clone());
                    let example = inputs::whole_batch(info);
                    return Err(Problem::Batch { input, batch, output, found, example });
                }
            }
        }
        Ok(())
    }

    /// The inputs that are read, normalised if the caller wants that.
    fn inputs(&self, builder: &mut Builder, read: &HashSet<&str>) -> Result<Operands<'a>, Problem> {
        let fillable = inputs::fillable(self.file);
        inputs::check_names(&fillable, self.options)?;
        let mut operands = HashMap::new();
        let mut normalise = self.options.normalise.as_ref();
        for info in fillable.into_iter().filter(|i| read.contains(i.name.as_str())) {
            let shape = inputs::shape(info, self.options)?;
            let id = builder.graph.value(&info.name, shape.clone());
            builder.graph.inputs.push(id);
            let mut operand = Operand::Value { id, shape };
            if let Some((mean, std)) = normalise.take_if(|_| operand.shape().len() == 4) {
                operand = normalised(builder, &info.name, operand, mean, std)?;
            }
            operands.insert(info.name.as_str(), operand);
        }
        match normalise {
            None => Ok(operands),
            Some(_) => Err(Problem::Normalise("the model has no input [1, C, H, W]".to_owned())),
        }
    }

    fn initialisers(
        &self,
        operands: &mut Operands<'a>,
        read: &HashSet<&str>,
    ) -> Result<(), Problem> {
        for proto in self.file.initializer.iter().filter(|t| read.contains(t.name.as_str())) {
            let name = || proto.name.clone();
            let tensor = weights::tensor(proto, self.folder)
                .map_err(|problem| Problem::Tensor { name: name(), problem })?;
            operands.insert(&proto.name, Operand::Constant { name: name(), tensor });
        }
        Ok(())
    }

    fn nodes(
        &self,
        builder: &mut Builder,
        operands: &mut Operands<'a>,
        order: &Nodes<'a>,
        read: &HashSet<&str>,
        outputs: &[&str],
    ) -> Result<(), Problem> {
        let mut room = MAX_FOLDED;
        for (index, node) in order {
            let name = builder.nodes.unique(&shown(*index, node));
            let bound = node.input.iter().map(|i| operands.get(i.as_str()).cloned()).collect();
            let (opset, folder) = (self.opset, self.folder);
            let mut call = Call { node, name, opset, operands: bound, room, folder };
            let result = sole_output(&call, read).and_then(|()| one(&mut call, builder, &mut room));
            let refused = |refusal| Problem::Node {
                node: call.name.clone(),
                op: node.op_type.clone(),
                refusal,
            };
            let result = result.and_then(|result| match outputs.contains(&call.output()) {
                true => builder.without_view(&call, &result),
                false => Ok(result),
            });
            operands.insert(call.output(), result.map_err(refused)?);
        }
        Ok(())
    }
}

/// Refuses a node whose second or later result is read: statistics, masks, indices.
fn sole_output(call: &Call<'_>, read: &HashSet<&str>) -> Result<(), Refusal> {
    let mut extra = call.node.output.iter().skip(1);
    match extra.find(|o| read.contains(o.as_str())) {
        None => Ok(()),
        Some(output) => Err(Refusal::ExtraOutput(output.clone())),
    }
}

/// Computes the node if it can be, imports it otherwise.
fn one(call: &mut Call<'_>, builder: &mut Builder, room: &mut usize) -> Result<Operand, Refusal> {
    let constant = call.operands.iter().flatten().all(|o| matches!(o, Operand::Constant { .. }));
    let op = &call.node.op_type;
    let tensor = match (fold(op), constant) {
        (Some(Fold::Values(compute)), true) | (Some(Fold::Shapes(compute)), _) => compute(call)?,
        (None, true) => interpreted(call)?,
        _ => return imported(call, builder, room),
    };
    *room = room.saturating_sub(tensor.len());
    Ok(Operand::Constant { name: call.output().to_owned(), tensor })
}

/// The result of an operator on constants, from the oracle: rounded to f32 once, as any runtime
/// would hand it on.
fn interpreted(call: &mut Call<'_>) -> Result<Tensor, Refusal> {
    let mut alone = Builder::default();
    let mut room = call.room;
    let result = match imported(call, &mut alone, &mut room)? {
        Operand::Constant { tensor, .. } => return Ok(tensor),
        view @ Operand::View(_) => alone.without_view(call, &view)?,
        value @ Operand::Value { .. } => value,
    };
    affordable(call, result.shape())?;
    let id = alone.value(&result, "its result")?;
    let nodes: Vec<usize> = (0..alone.graph.nodes.len()).collect();
    let found = reference::evaluate(&alone.graph, &nodes, Vec::new(), &[id]);
    let unsupported = |error: String| Refusal::Unsupported {
        found: format!("{} on constants ({error})", call.node.op_type),
        remedy: "export the model with its result as an initialiser",
    };
    let found = found.map_err(|error| unsupported(error.to_string()))?.pop();
    let tensor = found.and_then(|array| {
        Tensor::f32(array.shape, array.values.iter().map(|&v| v as f32).collect())
    });
    tensor.ok_or_else(|| unsupported("no result".to_owned()))
}

/// Imports the node through its operator.
fn imported(
    call: &mut Call<'_>,
    builder: &mut Builder,
    room: &mut usize,
) -> Result<Operand, Refusal> {
    let op = call.node.op_type.as_str();
    let import = operator(op).ok_or_else(|| Refusal::Unsupported {
        found: format!("{op} of a value that depends on the input"),
        remedy: "replace it before exporting",
    })?;
    if !SEE_VIEWS.contains(&op) {
        let operands = std::mem::take(&mut call.operands).into_iter();
        let values = operands.map(|o| o.map(|o| builder.without_view(call, &o)).transpose());
        call.operands = values.collect::<Result<_, _>>()?;
    }
    let result = import(call, builder)?;
    if let Operand::View(view) = &result {
        *room = room.saturating_sub(view.cost());
    }
    Ok(result)
}

/// `x * (1 / std) - mean / std`, both factors rounded once from f64.
fn normalised(
    builder: &mut Builder,
    name: &str,
    input: Operand,
    mean: &[f32],
    std: &[f32],
) -> Result<Operand, Problem> {
    let channels = input.shape().get(1).copied().unwrap_or(0);
    let wrong = |why: String| Problem::Normalise(why);
    if mean.len() != channels || std.len() != channels {
        let found = format!("{} means and {} deviations", mean.len(), std.len());
        return Err(wrong(format!("{found} for {channels} channels of input `{name}`")));
    }
    if std.iter().any(|&s| !(s.is_finite() && s > 0.0)) || mean.iter().any(|m| !m.is_finite()) {
        return Err(wrong(format!("{mean:?} and {std:?}; expected numbers, deviations positive")));
    }
    let scale = std.iter().map(|&s| (1.0 / f64::from(s)) as f32).collect();
    let shift =
        mean.iter().zip(std).map(|(&m, &s)| (-f64::from(m) / f64::from(s)) as f32).collect();
    let add = Op::Add { activation: Activation::None };
    let mut operand = input;
    for (op, verb, values) in [(Op::Mul, "scaled", scale), (add, "shifted", shift)] {
        let refused = |refusal| Problem::Node {
            node: format!("{name}_{verb}"),
            op: "--mean/--std".to_owned(),
            refusal,
        };
        let shape = operand.shape().to_vec();
        let factors = Tensor::f32([1, channels, 1, 1], values)
            .ok_or_else(|| wrong(format!("{channels} channels")))?;
        let factors = builder.made(&format!("{name}_{verb}_by"), factors).map_err(refused)?;
        let x = builder.value(&operand, "its input").map_err(refused)?;
        let output = builder.values.unique(&format!("{name}_{verb}"));
        let node = builder.nodes.unique(&output);
        let id = builder.graph.value(output, shape.clone());
        builder.graph.push(node, op, vec![x, factors], id);
        operand = Operand::Value { id, shape };
    }
    Ok(operand)
}

/// Declares the outputs under their ONNX names. Where an output is another name for an input or
/// for another output, a copy makes it a value of its own.
fn bind_outputs(
    builder: &mut Builder,
    operands: &Operands<'_>,
    outputs: &[&str],
) -> Result<(), Problem> {
    for &name in outputs {
        let Some(Operand::Value { id, shape }) = operands.get(name) else {
            return Err(Problem::ConstantOutput { name: name.to_owned() });
        };
        let mut output = *id;
        if builder.graph.inputs.contains(id) || builder.graph.outputs.contains(id) {
            let taken = builder.graph.values.iter().any(|v| v.name == name);
            let copy = if taken { builder.values.unique(name) } else { name.to_owned() };
            let node = builder.nodes.unique(&copy);
            output = builder.graph.value(copy, shape.clone());
            builder.graph.push(node, Op::Reshape, vec![*id], output);
        } else if let Some(value) = builder.graph.values.get_mut(id.index()) {
            name.clone_into(&mut value.name);
        }
        builder.graph.outputs.push(output);
    }
    Ok(())
}

fn fold(op: &str) -> Option<Fold> {
    FOLDS.iter().find(|(name, _)| *name == op).map(|(_, fold)| *fold)
}

fn operator(op: &str) -> Option<ImportFn> {
    OPERATORS.iter().find(|(name, _)| *name == op).map(|(_, import)| *import)
}

/// Every operator that a model may use, in alphabetical order.
pub fn operators() -> Vec<&'static str> {
    let run = OPERATORS.iter().map(|(op, _)| *op);
    let mut all: Vec<&str> = run.chain(FOLDS.iter().map(|(op, _)| *op)).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Value names, omitted ones left out.
fn names(list: &[String]) -> impl Iterator<Item = &str> {
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
