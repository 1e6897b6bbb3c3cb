//! Constant folding: what exporters compute about shapes and weights inside the graph.
//!
//! A fold is a function from constants to a constant. Adding one is one function and one line in
//! [`FOLDS`]. Float results are rounded to f32 after each operation, as the graph says.

use super::arithmetic::broadcast;
use super::call::{Call, Operand, axis, checked_axis, shape_refusal};
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
    ("Add", Fold::Values(add)),
    ("Cast", Fold::Values(cast)),
    ("Concat", Fold::Values(concat)),
    ("Constant", Fold::Values(constant)),
    ("ConstantOfShape", Fold::Values(constant_of_shape)),
    ("Div", Fold::Values(div)),
    ("Dropout", Fold::Import),
    ("Flatten", Fold::Import),
    ("Gather", Fold::Values(gather)),
    ("Identity", Fold::Import),
    ("Mul", Fold::Values(mul)),
    ("Reshape", Fold::Import),
    ("Shape", Fold::Shapes(shape)),
    ("Slice", Fold::Values(slice)),
    ("Squeeze", Fold::Import),
    ("Sub", Fold::Values(sub)),
    ("Transpose", Fold::Values(transpose)),
    ("Unsqueeze", Fold::Import),
];

const ROLE: &str = "its operand";

/// Number of elements of a result, if folding may still make that many.
fn affordable(call: &Call<'_>, shape: &[usize]) -> Result<usize, Refusal> {
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

/// The elements of `source` at these row-major indices.
fn pick(
    source: &Tensor,
    shape: Vec<usize>,
    indices: impl Iterator<Item = usize>,
) -> Result<Tensor, Refusal> {
    fn of<T: Copy>(values: &[T], indices: impl Iterator<Item = usize>) -> Vec<T> {
        indices.filter_map(|i| values.get(i).copied()).collect()
    }
    let data = match source.data() {
        Data::F32(values) => Data::F32(of(values, indices)),
        Data::I64(values) => Data::I64(of(values, indices)),
    };
    tensor(shape, data)
}

/// Elements between neighbours along each axis of a row-major tensor.
fn strides(shape: &[usize]) -> Vec<i64> {
    let mut stride = 1_i64;
    let mut strides: Vec<i64> = Vec::with_capacity(shape.len());
    for &length in shape.iter().rev() {
        strides.push(stride);
        stride = stride.saturating_mul(i64::try_from(length).unwrap_or(i64::MAX));
    }
    strides.reverse();
    strides
}

/// Row-major walk over `shape`; yields `offset` + the sum of coordinate x stride.
fn walk(shape: &[usize], offset: i64, strides: &[i64]) -> impl Iterator<Item = usize> + use<> {
    let axes: Vec<(i64, i64)> =
        shape.iter().map(|&n| i64::try_from(n).unwrap_or(0)).zip(strides.iter().copied()).collect();
    let total = elements(shape).unwrap_or(0);
    let mut at = vec![0_i64; axes.len()];
    let mut index = offset;
    (0..total).map(move |_| {
        let here = index;
        for (coordinate, &(length, stride)) in at.iter_mut().zip(&axes).rev() {
            *coordinate = coordinate.saturating_add(1);
            index = index.saturating_add(stride);
            if *coordinate < length {
                break;
            }
            index = index.saturating_sub(stride.saturating_mul(length));
            *coordinate = 0;
        }
        usize::try_from(here).unwrap_or(usize::MAX)
    })
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

/// Element types have become f32 or i64, so a cast only crosses between the two.
fn cast(call: &Call<'_>) -> Result<Tensor, Refusal> {
    let (_, source) = call.operand(0, ROLE)?.constant(ROLE)?;
    let to = call.int("to", 0)?;
    let kind = i32::try_from(to).ok().and_then(|t| DataType::try_from(t).ok());
    let data = match (kind.unwrap_or(DataType::Undefined), source.data()) {
        (DataType::Bool, Data::F32(v)) => Data::I64(v.iter().map(|&v| (v != 0.0).into()).collect()),
        (DataType::Bool, Data::I64(v)) => Data::I64(v.iter().map(|&v| (v != 0).into()).collect()),
        (DataType::Float | DataType::Double, Data::I64(v)) => {
            Data::F32(v.iter().map(|&v| v as f32).collect())
        }
        (DataType::Int32 | DataType::Int64, Data::F32(v)) => {
            Data::I64(v.iter().map(|&v| v as i64).collect())
        }
        (DataType::Float | DataType::Double, Data::F32(_))
        | (DataType::Int32 | DataType::Int64, Data::I64(_)) => return Ok(source.clone()),
        _ => {
            return Err(Refusal::Attribute {
                name: "to",
                found: to.to_string(),
                expected: "1 (float), 6 (int32), 7 (int64), 9 (bool) or 11 (double)".to_owned(),
            });
        }
    };
    tensor(source.shape().to_vec(), data)
}

fn transpose(call: &Call<'_>) -> Result<Tensor, Refusal> {
    let (_, source) = call.operand(0, ROLE)?.constant(ROLE)?;
    let rank = source.shape().len();
    let order: Vec<usize> = match call.ints("perm")? {
        None => (0..rank).rev().collect(),
        Some(perm) => {
            let axes = perm.iter().map(|&a| checked_axis("perm", a, rank));
            axes.collect::<Result<_, _>>()?
        }
    };
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..rank) {
        return Err(Refusal::Attribute {
            name: "perm",
            found: format!("{order:?}"),
            expected: format!("each of the {rank} axes once"),
        });
    }
    let by = strides(source.shape());
    let shape: Vec<usize> = order.iter().filter_map(|&a| source.shape().get(a).copied()).collect();
    let by: Vec<i64> = order.iter().filter_map(|&a| by.get(a).copied()).collect();
    affordable(call, &shape)?;
    let indices = walk(&shape, 0, &by);
    pick(source, shape, indices)
}

fn gather(call: &Call<'_>) -> Result<Tensor, Refusal> {
    let (_, source) = call.operand(0, ROLE)?.constant(ROLE)?;
    let indices = call.operand(1, "its indices")?;
    let along = checked_axis("axis", call.int("axis", 0)?, source.shape().len())?;
    let (before, after) = source.shape().split_at(along);
    let (length, after) = after.split_first().map_or((0, after), |(&n, rest)| (n, rest));
    let shape = [before, indices.shape(), after].concat();
    affordable(call, &shape)?;
    let wrong = |found: &i64| Refusal::Shape {
        role: "its operand",
        found: source.shape().to_vec(),
        expected: format!("an axis {along} that holds index {found}"),
    };
    let rows = indices.integers("its indices")?.iter();
    let rows = rows.map(|i| axis(*i, length).ok_or_else(|| wrong(i)));
    let rows: Vec<usize> = rows.collect::<Result<_, _>>()?;
    let inner = elements(after).unwrap_or(0);
    let outer = 0..elements(before).unwrap_or(0);
    let row = |o: usize, r: usize| o.saturating_mul(length).saturating_add(r).saturating_mul(inner);
    let starts = outer.flat_map(|o| rows.iter().map(move |&r| row(o, r)));
    pick(source, shape, starts.flat_map(|s| s..s.saturating_add(inner)))
}

/// Starts, ends, axes and steps are attributes before opset 10, operands from then on.
fn slice(call: &Call<'_>) -> Result<Tensor, Refusal> {
    let (_, source) = call.operand(0, ROLE)?.constant(ROLE)?;
    let list = |name, index| call.ints_or_operand(name, 10, index);
    let (starts, ends) = (list("starts", 1)?.unwrap_or(&[]), list("ends", 2)?.unwrap_or(&[]));
    let all: Vec<i64> = (0..).take(starts.len()).collect();
    let ones = vec![1; starts.len()];
    let axes = list("axes", 3)?.unwrap_or(&all);
    let steps = if call.opset < 10 { None } else { list("steps", 4)? }.unwrap_or(&ones);
    let mut shape = source.shape().to_vec();
    let mut by = strides(&shape);
    let mut offset = 0_i64;
    for (((&start, &end), &along), &step) in starts.iter().zip(ends).zip(axes).zip(steps) {
        let along = checked_axis("axes", along, source.shape().len())?;
        let Some((length, stride)) = shape.get_mut(along).zip(by.get_mut(along)) else { continue };
        let wrong = || Refusal::Attribute {
            name: "steps",
            found: step.to_string(),
            expected: "not 0".to_owned(),
        };
        let (first, count) = range(start, end, step, *length).ok_or_else(wrong)?;
        offset = offset.saturating_add(first.saturating_mul(*stride));
        *length = count;
        *stride = stride.saturating_mul(step);
    }
    affordable(call, &shape)?;
    let indices = walk(&shape, offset, &by);
    pick(source, shape, indices)
}

/// First index and number of indices of `start..end` by `step` in an axis, clamped as ONNX says.
fn range(start: i64, end: i64, step: i64, length: usize) -> Option<(i64, usize)> {
    let length = i64::try_from(length).ok()?;
    let wrap = |at: i64| if at < 0 { at.saturating_add(length) } else { at };
    let last = length.checked_sub(1)?;
    let (first, span) = if step > 0 {
        let first = wrap(start).clamp(0, length);
        (first, wrap(end).clamp(0, length).checked_sub(first)?)
    } else {
        let first = wrap(start).clamp(0, last.max(0)).min(last);
        (first, first.checked_sub(wrap(end).clamp(-1, last))?)
    };
    let step = step.checked_abs().filter(|&s| s > 0)?;
    let count = span.max(0).checked_add(step.checked_sub(1)?)?.checked_div(step)?;
    Some((first, usize::try_from(count).ok()?))
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

fn add(call: &Call<'_>) -> Result<Tensor, Refusal> {
    binary(call, |a, b| a + b, i64::checked_add)
}

fn sub(call: &Call<'_>) -> Result<Tensor, Refusal> {
    binary(call, |a, b| a - b, i64::checked_sub)
}

fn mul(call: &Call<'_>) -> Result<Tensor, Refusal> {
    binary(call, |a, b| a * b, i64::checked_mul)
}

fn div(call: &Call<'_>) -> Result<Tensor, Refusal> {
    binary(call, |a, b| a / b, i64::checked_div)
}

fn binary(
    call: &Call<'_>,
    float: impl Fn(f32, f32) -> f32,
    integer: impl Fn(i64, i64) -> Option<i64>,
) -> Result<Tensor, Refusal> {
    let (a, b) = (call.operand(0, "its first operand")?, call.operand(1, "its second operand")?);
    let shape = broadcast(a.shape(), b.shape())?;
    affordable(call, &shape)?;
    let pairs = pairs(a, b, &shape);
    let data = match (a.floats("its first operand"), a.integers("its first operand")) {
        (Ok(x), _) => {
            let y = b.floats("its second operand")?;
            let value = |(i, j): (usize, usize)| Some(float(*x.get(i)?, *y.get(j)?));
            Data::F32(pairs.filter_map(value).collect())
        }
        (_, x) => {
            let (x, y) = (x?, b.integers("its second operand")?);
            let value = |(i, j): (usize, usize)| integer(*x.get(i)?, *y.get(j)?);
            let values = pairs.map(value).collect::<Option<Vec<i64>>>();
            Data::I64(values.ok_or_else(|| Refusal::Unsupported {
                found: format!("{} of integers that overflows or divides by 0", call.node.op_type),
                remedy: "export the model again",
            })?)
        }
    };
    tensor(shape, data)
}

/// Indices into both operands for each element of the broadcast result.
fn pairs(
    a: &Operand,
    b: &Operand,
    shape: &[usize],
) -> impl Iterator<Item = (usize, usize)> + use<> {
    let stretched = |operand: &Operand| {
        let own = strides(operand.shape()).into_iter().zip(operand.shape());
        let own = own.map(|(stride, &n)| if n == 1 { 0 } else { stride });
        let missing = shape.len().saturating_sub(operand.shape().len());
        let by: Vec<i64> = std::iter::repeat_n(0, missing).chain(own).collect();
        walk(shape, 0, &by)
    };
    stretched(a).zip(stretched(b))
}
