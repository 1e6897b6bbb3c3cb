//! Constant folding: what exporters compute about shapes and weights inside the graph.
//!
//! A fold is a function from constants to a constant. Adding one is one function and one line in
//! [`FOLDS`]. Float results are rounded to f32 after each operation, as the graph says.

pub(super) mod arrange;
pub(super) mod elementwise;
mod product;

use super::call::{Call, checked_axis, shape_refusal};
use super::error::Refusal;
use super::shape::concat_shape;
use super::weights;
use crate::onnx::DataType;
use crate::tensor::{Data, Tensor, elements};

/// Computes a constant from the call's operands.
pub(super) type FoldFn = fn(&Call<'_>) -> Result<Tensor, Refusal>;

/// How an operator makes a constant.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fold {
    /// From constant operands.
    Values(FoldFn),
    /// From the operand's shape, which is always known.
    Shapes(FoldFn),
    /// From a constant operand, by the operator's ordinary import, which shares the values.
    Import,
}

/// Every operator that is computed during import.
pub(super) const FOLDS: &[(&str, Fold)] = &[
    ("Abs", Fold::Values(elementwise::abs)),
    ("Add", Fold::Values(elementwise::add)),
    ("And", Fold::Values(elementwise::and)),
    ("Cast", Fold::Values(cast)),
    ("Clip", Fold::Values(elementwise::clip)),
    ("Concat", Fold::Values(concat)),
    ("Constant", Fold::Values(constant)),
    ("ConstantOfShape", Fold::Values(constant_of_shape)),
    ("Cos", Fold::Values(elementwise::cos)),
    ("DequantizeLinear", Fold::Import),
    ("Div", Fold::Values(elementwise::div)),
    ("Dropout", Fold::Import),
    ("Einsum", Fold::Values(product::einsum)),
    ("Equal", Fold::Values(elementwise::equal)),
    ("Expand", Fold::Values(arrange::expand)),
    ("Flatten", Fold::Import),
    ("Gather", Fold::Values(arrange::gather)),
    ("Greater", Fold::Values(elementwise::greater)),
    ("GreaterOrEqual", Fold::Values(elementwise::greater_or_equal)),
    ("Identity", Fold::Import),
    ("Less", Fold::Values(elementwise::less)),
    ("LessOrEqual", Fold::Values(elementwise::less_or_equal)),
    ("MatMul", Fold::Values(product::matmul)),
    ("Max", Fold::Values(elementwise::max)),
    ("Min", Fold::Values(elementwise::min)),
    ("Mod", Fold::Values(elementwise::modulo)),
    ("Mul", Fold::Values(elementwise::mul)),
    ("Neg", Fold::Values(elementwise::neg)),
    ("Not", Fold::Values(elementwise::not)),
    ("Or", Fold::Values(elementwise::or)),
    ("Pow", Fold::Values(elementwise::pow)),
    ("QuantizeLinear", Fold::Import),
    ("Range", Fold::Values(range)),
    ("Reciprocal", Fold::Values(elementwise::reciprocal)),
    ("ReduceProd", Fold::Values(product::reduce_prod)),
    ("ReduceSum", Fold::Values(product::reduce_sum)),
    ("Reshape", Fold::Import),
    ("ScatterND", Fold::Values(arrange::scatter_nd)),
    ("Shape", Fold::Shapes(shape)),
    ("Sin", Fold::Values(elementwise::sin)),
    ("Size", Fold::Shapes(size)),
    ("Slice", Fold::Values(arrange::slice)),
    ("Split", Fold::Import),
    ("Sqrt", Fold::Values(elementwise::sqrt)),
    ("Squeeze", Fold::Import),
    ("Sub", Fold::Values(elementwise::sub)),
    ("Tile", Fold::Values(arrange::tile)),
    ("Transpose", Fold::Values(arrange::transpose)),
    ("Unsqueeze", Fold::Import),
    ("Where", Fold::Values(elementwise::select)),
    ("Xor", Fold::Values(elementwise::xor)),
];

const ROLE: &str = "its operand";

/// Number of elements of a result, if folding may still make that many.
pub(super) fn affordable(call: &Call<'_>, shape: &[usize]) -> Result<usize, Refusal> {
    let fits = |&n: &usize| n <= call.room;
    let too_large = || Refusal::TooLarge { shape: shape.to_vec(), most: call.room };
    elements(shape).filter(fits).ok_or_else(too_large)
}

fn tensor(shape: Vec<usize>, data: Data) -> Result<Tensor, Refusal> {
    let wrong = shape_refusal("its result", &shape, "as many values as it has");
    match data {
        Data::F32(values) => Tensor::f32(shape, values),
        Data::I64(values) => Tensor::i64(shape, values),
    }
    .ok_or(wrong)
}

fn constant(call: &Call<'_>) -> Result<Tensor, Refusal> {
    if let Some(proto) = call.tensor("value")? {
        return weights::tensor(proto, call.folder).map_err(Refusal::Constant);
    }
    if let Some(values) = call.float_list("value_floats")? {
        return Ok(Tensor::vector(values.to_vec()));
    }
    if let Some(values) = call.ints("value_ints")? {
        return tensor(vec![values.len()], Data::I64(values.to_vec()));
    }
    if let Some(value) = call.float("value_float")? {
        return tensor(vec![], Data::F32(vec![value]));
    }
    if call.node.attribute.iter().any(|a| a.name == "value_int") {
        return tensor(vec![], Data::I64(vec![call.int("value_int", 0)?]));
    }
    Err(Refusal::Unsupported {
        found: "a constant that is neither a tensor nor numbers".to_owned(),
        remedy: "export its value as a tensor",
    })
}

fn shape(call: &Call<'_>) -> Result<Tensor, Refusal> {
    let shape = call.operand(0, ROLE)?.shape();
    let rank = i64::try_from(shape.len()).unwrap_or(i64::MAX);
    let bound = |name, default| {
        let at = call.int(name, default)?;
        let at = if at < 0 { at.saturating_add(rank) } else { at };
        Ok(usize::try_from(at.clamp(0, rank)).unwrap_or(0))
    };
    let (start, end) = (bound("start", 0)?, bound("end", rank)?);
    let axes = shape.get(start..end).unwrap_or(&[]);
    let lengths: Vec<i64> = axes.iter().filter_map(|&n| i64::try_from(n).ok()).collect();
    tensor(vec![lengths.len()], Data::I64(lengths))
}

/// Number of elements.
fn size(call: &Call<'_>) -> Result<Tensor, Refusal> {
    let shape = call.operand(0, ROLE)?.shape();
    let count = elements(shape).and_then(|n| i64::try_from(n).ok());
    let count = count.ok_or_else(|| shape_refusal(ROLE, shape, "fewer elements"))?;
    tensor(vec![], Data::I64(vec![count]))
}

/// Element types have become f32 or i64, so a cast only crosses between the two.
fn cast(call: &Call<'_>) -> Result<Tensor, Refusal> {
    let (_, source) = call.operand(0, ROLE)?.constant(ROLE)?;
    let to = call.int("to", 0)?;
    let kind = i32::try_from(to).ok().and_then(|t| DataType::try_from(t).ok());
    let data = match (kind.unwrap_or(DataType::Undefined), source.data()) {
        (DataType::Bool, Data::F32(v)) => Data::I64(v.iter().map(|&v| (v != 0.0).into()).collect()),
        (DataType::Bool, Data::I64(v)) => Data::I64(v.iter().map(|&v| (v != 0).into()).collect()),
        (
            DataType::Float | DataType::Float16 | DataType::Double | DataType::Bfloat16,
            Data::I64(v),
        ) => Data::F32(v.iter().map(|&v| v as f32).collect()),
        (DataType::Int32 | DataType::Int64, Data::F32(v)) => {
            Data::I64(v.iter().map(|&v| v as i64).collect())
        }
        (
            DataType::Float | DataType::Float16 | DataType::Double | DataType::Bfloat16,
            Data::F32(_),
        )
        | (DataType::Int32 | DataType::Int64, Data::I64(_)) => return Ok(source.clone()),
        _ => {
            return Err(Refusal::Attribute {
                name: "to",
                found: to.to_string(),
                expected:
                    "1 (float), 6 (int32), 7 (int64), 9 (bool), 10 (float16), 11 (double) or \
                           16 (bfloat16)"
                        .to_owned(),
            });
        }
    };
    tensor(source.shape().to_vec(), data)
}

fn concat(call: &Call<'_>) -> Result<Tensor, Refusal> {
    let parts = call.all(ROLE)?;
    let rank = parts.first().map_or(0, |p| p.shape().len());
    let along = checked_axis("axis", call.int("axis", 0)?, rank)?;
    let shape = concat_shape(&parts, along)?;
    affordable(call, &shape)?;
    let outer = elements(shape.get(..along).unwrap_or(&[])).unwrap_or(0);
    let floats = parts.iter().map(|p| p.floats(ROLE)).collect::<Result<Vec<_>, _>>();
    let data = match floats {
        Ok(floats) => Data::F32(interleave(&floats, outer)),
        Err(_) => {
            let integers = parts.iter().map(|p| p.integers(ROLE)).collect::<Result<Vec<_>, _>>()?;
            Data::I64(interleave(&integers, outer))
        }
    };
    tensor(shape, data)
}

/// A piece of every part in turn, `outer` times.
fn interleave<T: Copy>(parts: &[&[T]], outer: usize) -> Vec<T> {
    let piece = |part: &[T], o: usize| {
        let size = part.len().checked_div(outer).unwrap_or(0);
        let start = o.saturating_mul(size);
        part.get(start..start.saturating_add(size)).unwrap_or(&[]).to_vec()
    };
    (0..outer).flat_map(|o| parts.iter().flat_map(move |part| piece(part, o))).collect()
}

fn constant_of_shape(call: &Call<'_>) -> Result<Tensor, Refusal> {
    let wanted = call.operand(0, "its shape")?.integers("its shape")?;
    let lengths: Option<Vec<usize>> = wanted.iter().map(|&n| usize::try_from(n).ok()).collect();
    let shape = lengths.ok_or_else(|| Refusal::Attribute {
        name: "shape",
        found: format!("{wanted:?}"),
        expected: "lengths of at least 0".to_owned(),
    })?;
    let count = affordable(call, &shape)?;
    let value = call.tensor("value")?.map(|proto| weights::tensor(proto, call.folder));
    let data = match value.transpose().map_err(Refusal::Constant)? {
        None => Data::F32(vec![0.0; count]),
        Some(value) => match (value.as_f32(), value.as_i64()) {
            (Some(&[one]), _) => Data::F32(vec![one; count]),
            (_, Some(&[one])) => Data::I64(vec![one; count]),
            _ => return Err(shape_refusal("its value", value.shape(), "one element")),
        },
    };
    tensor(shape, data)
}

/// Start, limit and step, each one number of the same type.
fn range(call: &Call<'_>) -> Result<Tensor, Refusal> {
    let roles = ["its start", "its limit", "its step"];
    let operand = |k: usize| call.operand(k, roles.get(k).copied().unwrap_or(ROLE));
    let (start, limit, step) = (operand(0)?, operand(1)?, operand(2)?);
    let endless = || Refusal::Unsupported {
        found: "a range without a last number".to_owned(),
        remedy: "export the model again",
    };
    if let Ok(first) = start.scalar(ROLE) {
        let (limit, step) = (limit.scalar(ROLE)?, step.scalar(ROLE)?);
        let count = ((limit - first) / step).ceil().max(0.0);
        let count = if count.is_finite() { count as usize } else { return Err(endless()) };
        affordable(call, &[count])?;
        return tensor(
            vec![count],
            Data::F32((0..count).map(|k| first + k as f32 * step).collect()),
        );
    }
    let one = |k| match operand(k)?.integers(ROLE)? {
        &[value] => Ok(i128::from(value)),
        _ => Err(shape_refusal(ROLE, operand(k)?.shape(), "one element")),
    };
    let (first, limit, step) = (one(0)?, one(1)?, one(2)?);
    let span = limit.saturating_sub(first).saturating_mul(step.signum());
    let count = span.max(0).saturating_add(step.abs().saturating_sub(1)).checked_div(step.abs());
    let count = usize::try_from(count.ok_or_else(endless)?).unwrap_or(usize::MAX);
    affordable(call, &[count])?;
    let number = |k: usize| first.saturating_add(step.saturating_mul(k as i128));
    let numbers = (0..count).map(|k| i64::try_from(number(k)).map_err(|_| endless()));
    tensor(vec![count], Data::I64(numbers.collect::<Result<_, _>>()?))
}
