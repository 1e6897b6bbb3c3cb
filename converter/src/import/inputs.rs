//! Shapes of the model's inputs: from the file, completed by `--input-shape`.

use super::Options;
use super::build::MAX_ELEMENTS;
use super::error::Problem;
use crate::onnx::{DataType, DimensionProto, GraphProto, ValueInfoProto};
use crate::tensor::elements;
use std::collections::HashSet;

/// The inputs that the caller fills: those that no initialiser gives a value.
pub(super) fn fillable(graph: &GraphProto) -> Vec<&ValueInfoProto> {
    let given: HashSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    graph.input.iter().filter(|i| !given.contains(i.name.as_str())).collect()
}

/// Refuses an `--input-shape` that names no input.
pub(super) fn check_names(inputs: &[&ValueInfoProto], options: &Options) -> Result<(), Problem> {
    for (name, _) in &options.input_shapes {
        if inputs.iter().all(|i| i.name != *name) {
            let known = inputs.iter().map(|i| i.name.clone()).collect();
            return Err(Problem::UnknownInput { name: name.clone(), known });
        }
    }
    Ok(())
}

/// The shape of one input. Without `--input-shape`, a symbolic axis 0 is 1, and of a batch of pictures
/// there is one: whoever has more runs the network for each ([`batch`]).
pub(super) fn shape(info: &ValueInfoProto, options: &Options) -> Result<Vec<usize>, Problem> {
    let input = || info.name.clone();
    let tensor = info.r#type.as_ref().and_then(|t| t.tensor_type.as_ref());
    let kind = tensor.map_or(0, |t| t.elem_type);
    let floats = [DataType::Float, DataType::Float16, DataType::Bfloat16, DataType::Double];
    if !floats.contains(&element(kind)) {
        return Err(Problem::InputType { input: input(), found: kind });
    }
    let given = options.input_shapes.iter().rev().find(|(n, _)| *n == info.name).map(|(_, s)| s);
    let shape = match (tensor.and_then(|t| t.shape.as_ref()), given) {
        (None, None) => return Err(Problem::NoShape { input: input() }),
        (None, Some(given)) => given.clone(),
        (Some(file), None) => from_file(&info.name, &file.dim)?,
        (Some(file), Some(given)) => agreed(&info.name, &file.dim, given)?,
    };
    match elements(&shape) {
        Some(1..=MAX_ELEMENTS) => Ok(shape),
        _ => Err(Problem::InputSize { input: input(), shape, most: MAX_ELEMENTS }),
    }
}

/// The number of pictures that the file says for an input which holds one here.
pub(super) fn batch(info: &ValueInfoProto, shape: &[usize]) -> Option<usize> {
    first_length(info).filter(|&pictures| pictures > 1 && shape.first() == Some(&1))
}

/// Length of axis 0, if the file fixes it.
pub(super) fn first_length(info: &ValueInfoProto) -> Option<usize> {
    dimensions(info).first().and_then(fixed)
}

/// What `--input-shape` takes for all of the file's batch.
pub(super) fn whole_batch(info: &ValueInfoProto) -> String {
    let axes: Vec<String> = dimensions(info).iter().enumerate().map(example).collect();
    format!("{}={}", info.name, axes.join(","))
}

/// The value's name.
pub(super) fn name(info: &ValueInfoProto) -> &str {
    &info.name
}

/// The shape that the file declares for a value, of one picture; `None` if it is not fixed.
pub(super) fn declared(info: &ValueInfoProto) -> Option<Vec<usize>> {
    let dims = dimensions(info);
    from_file(&info.name, dims).ok().filter(|shape| !shape.is_empty())
}

fn dimensions(info: &ValueInfoProto) -> &[DimensionProto] {
    let tensor = info.r#type.as_ref().and_then(|t| t.tensor_type.as_ref());
    tensor.and_then(|t| t.shape.as_ref()).map_or(&[], |shape| &shape.dim)
}

fn element(kind: i32) -> DataType {
    DataType::try_from(kind).unwrap_or(DataType::Undefined)
}

fn from_file(input: &str, dims: &[DimensionProto]) -> Result<Vec<usize>, Problem> {
    let axis = |(axis, dim): (usize, &DimensionProto)| match fixed(dim) {
        Some(_) if axis == 0 && dims.len() == 4 => Ok(1),
        Some(length) => Ok(length),
        None if axis == 0 && dims.len() > 1 => Ok(1),
        None => Err(Problem::DynamicDimension {
            input: input.to_owned(),
            axis,
            found: dim.dim_param.clone().unwrap_or_else(|| "unnamed".to_owned()),
            example: flag(input, dims.iter().enumerate().skip(1).map(example)),
        }),
    };
    dims.iter().enumerate().map(axis).collect()
}

/// A length that the file fixes; exporters also write 0 or -1 for an unknown one.
fn fixed(dim: &DimensionProto) -> Option<usize> {
    dim.dim_value.filter(|&d| d > 0).and_then(|d| usize::try_from(d).ok())
}

fn example((axis, dim): (usize, &DimensionProto)) -> String {
    let usual = if axis == 1 { 3 } else { 224 };
    fixed(dim).unwrap_or(usual).to_string()
}

fn flag(input: &str, tail: impl Iterator<Item = String>) -> String {
    let axes: Vec<String> = std::iter::once("1".to_owned()).chain(tail).collect();
    format!("{input}={}", axes.join(","))
}

fn agreed(input: &str, dims: &[DimensionProto], given: &[usize]) -> Result<Vec<usize>, Problem> {
    let name = || input.to_owned();
    if dims.len() != given.len() {
        return Err(Problem::InputRank { input: name(), given: given.to_vec(), file: dims.len() });
    }
    for (axis, (dim, &given)) in dims.iter().zip(given).enumerate() {
        match fixed(dim) {
            // A batch in the file is an export setting, not a property of the network.
            Some(file) if file != given && !(axis == 0 && given == 1) => {
                return Err(Problem::InputConflict { input: name(), axis, given, file });
            }
            _ => {}
        }
    }
    Ok(given.to_vec())
}
