//! [`Session`]: the import of one decoded file, from its inputs over its nodes to its outputs.

use super::build::{Builder, prune};
use super::call::Operand;
use super::error::{Problem, Refusal};
use super::nodes::{Nodes, names};
use super::order::Sources;
use super::quantized::{Integers, settle};
use super::{Options, inputs, weights};
use crate::graph::{Activation, Graph, Op};
use crate::onnx::GraphProto;
use crate::tensor::Tensor;
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// What each name of the file stands for.
pub(super) type Operands<'a> = HashMap<&'a str, Operand>;

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
        let mut builder = Builder::default();
        builder.integers = Integers::new(self.file);
        builder.graph.name = name.to_owned();
        for name in sources.names() {
            builder.values.unique(name);
        }
        let read = outputs.iter().copied().chain(order.iter().flat_map(|(_, n)| names(&n.input)));
        let read: HashSet<&str> = read.collect();
        let mut operands = self.inputs(&mut builder, &read)?;
        self.initialisers(&mut operands, &read)?;
        let operands = Nodes::new(self, &mut builder, operands).all(&order, &read, &outputs)?;
        bind_outputs(&mut builder, &operands, &outputs)?;
        self.check_batch(&builder.graph)?;
        settle(&mut builder.graph);
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
        let refused = |refusal: Refusal| Problem::Normalise(refusal.to_string());
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
        if builder.integers.contains(*id) {
            return Err(Problem::IntegerOutput { name: name.to_owned() });
        }
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
