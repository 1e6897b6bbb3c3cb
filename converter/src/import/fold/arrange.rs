//! Operators that move elements and compute none: which element of the operand each element of the
//! result is. What they do to constants is here; what they do to computed values, in `view`.

use super::{ROLE, affordable, tensor};
use crate::graph::Op;
use crate::import::arithmetic::broadcast;
use crate::import::call::{Call, axis, checked_axis, shape_refusal};
use crate::import::error::Refusal;
use crate::rearrange::{Rearrange, strides, walk};
use crate::tensor::{Data, Tensor, elements};

/// An operation that moves elements, and the shape of its result.
pub(in crate::import) type Move = (Op, Vec<usize>);

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

pub(super) fn transpose(call: &Call<'_>) -> Result<Tensor, Refusal> {
    moved(call, transposed)
}

pub(super) fn slice(call: &Call<'_>) -> Result<Tensor, Refusal> {
    moved(call, sliced)
}

fn moved(
    call: &Call<'_>,
    by: fn(&Call<'_>, &[usize]) -> Result<Move, Refusal>,
) -> Result<Tensor, Refusal> {
    let (_, source) = call.operand(0, ROLE)?.constant(ROLE)?;
    let (op, shape) = by(call, source.shape())?;
    picked(call, source, &op, shape)
}

/// The elements that an operation takes from a constant, in its order.
pub(in crate::import) fn picked(
    call: &Call<'_>,
    source: &Tensor,
    op: &Op,
    shape: Vec<usize>,
) -> Result<Tensor, Refusal> {
    affordable(call, &shape)?;
    let wrong = || shape_refusal(ROLE, source.shape(), "a shape that the operator takes");
    let by = Rearrange::of(op, source.shape(), &shape).ok_or_else(wrong)?;
    pick(source, shape, by.indices())
}

/// Axes in another order, reversed if the node names none.
pub(in crate::import) fn transposed(call: &Call<'_>, source: &[usize]) -> Result<Move, Refusal> {
    let rank = source.len();
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
    let shape: Vec<usize> = order.iter().filter_map(|&a| source.get(a).copied()).collect();
    Ok((Op::Transpose { perm: order }, shape))
}

pub(super) fn gather(call: &Call<'_>) -> Result<Tensor, Refusal> {
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
pub(in crate::import) fn sliced(call: &Call<'_>, source: &[usize]) -> Result<Move, Refusal> {
    let list = |name, index| call.ints_or_operand(name, 10, index);
    let (starts, ends) = (list("starts", 1)?.unwrap_or(&[]), list("ends", 2)?.unwrap_or(&[]));
    let all: Vec<i64> = (0..).take(starts.len()).collect();
    let ones = vec![1; starts.len()];
    let axes = list("axes", 3)?.unwrap_or(&all);
    let steps = if call.opset < 10 { None } else { list("steps", 4)? }.unwrap_or(&ones);
    let mut shape = source.to_vec();
    let mut first = vec![0; source.len()];
    let mut by = vec![1; source.len()];
    for (((&start, &end), &along), &step) in starts.iter().zip(ends).zip(axes).zip(steps) {
        let along = checked_axis("axes", along, source.len())?;
        let axis = shape.get_mut(along).zip(first.get_mut(along)).zip(by.get_mut(along));
        let Some(((length, first), by)) = axis else { continue };
        let wrong = || Refusal::Attribute {
            name: "steps",
            found: step.to_string(),
            expected: "not 0".to_owned(),
        };
        (*first, *length) = clamped(start, end, step, *length).ok_or_else(wrong)?;
        *by = step;
    }
    Ok((Op::Slice { starts: first, steps: by }, shape))
}

/// First index and number of indices of `start..end` by `step` in an axis, clamped as ONNX says.
fn clamped(start: i64, end: i64, step: i64, length: usize) -> Option<(usize, usize)> {
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
    Some((usize::try_from(first).ok()?, usize::try_from(count).ok()?))
}

/// Axes of length 1 stretched, as in arithmetic.
pub(super) fn expand(call: &Call<'_>) -> Result<Tensor, Refusal> {
    let (_, source) = call.operand(0, ROLE)?.constant(ROLE)?;
    let wanted = lengths(call, 1, "its shape")?;
    expanded(call, source, &broadcast(source.shape(), &wanted)?)
}

/// The elements of a constant repeated to a shape that it broadcasts to.
pub(in crate::import) fn expanded(
    call: &Call<'_>,
    source: &Tensor,
    shape: &[usize],
) -> Result<Tensor, Refusal> {
    affordable(call, shape)?;
    pick(source, shape.to_vec(), stretched(source.shape(), shape))
}

/// The whole tensor repeated along each axis.
pub(super) fn tile(call: &Call<'_>) -> Result<Tensor, Refusal> {
    let (_, source) = call.operand(0, ROLE)?.constant(ROLE)?;
    let repeats = lengths(call, 1, "its repeats")?;
    if repeats.len() != source.shape().len() {
        let expected = format!("one number for each of {} axes", source.shape().len());
        return Err(shape_refusal("its repeats", &[repeats.len()], expected));
    }
    let axes = || repeats.iter().zip(source.shape());
    let shape: Vec<usize> = axes().map(|(&r, &n)| r.saturating_mul(n)).collect();
    affordable(call, &shape)?;
    // A repeated axis is two axes: one of copies, where nothing moves, and its own.
    let split: Vec<usize> = axes().flat_map(|(&r, &n)| [r, n]).collect();
    let by: Vec<i64> = strides(source.shape()).into_iter().flat_map(|s| [0, s]).collect();
    let indices = walk(&split, 0, &by);
    pick(source, shape, indices)
}

fn lengths(call: &Call<'_>, index: usize, role: &'static str) -> Result<Vec<usize>, Refusal> {
    let found = call.operand(index, role)?.integers(role)?;
    let lengths: Option<Vec<usize>> = found.iter().map(|&n| usize::try_from(n).ok()).collect();
    lengths.ok_or_else(|| Refusal::Unsupported {
        found: format!("a negative number among {found:?}"),
        remedy: "export the model again",
    })
}

/// For each element of a broadcast result the index into an operand of the shape `own`.
pub(super) fn stretched(own: &[usize], shape: &[usize]) -> impl Iterator<Item = usize> + use<> {
    let axes = strides(own).into_iter().zip(own);
    let axes = axes.map(|(stride, &n)| if n == 1 { 0 } else { stride });
    let missing = shape.len().saturating_sub(own.len());
    let by: Vec<i64> = std::iter::repeat_n(0, missing).chain(axes).collect();
    walk(shape, 0, &by)
}

/// The operand with the elements at some indices overwritten.
pub(super) fn scatter_nd(call: &Call<'_>) -> Result<Tensor, Refusal> {
    fn written<T: Copy>(into: &[T], at: &[usize], from: &[T]) -> Vec<T> {
        let mut all = into.to_vec();
        for (&at, &value) in at.iter().zip(from) {
            all.get_mut(at).into_iter().for_each(|slot| *slot = value);
        }
        all
    }
    let (_, source) = call.operand(0, ROLE)?.constant(ROLE)?;
    let at = overwritten(call, source.shape())?;
    let updates = call.operand(2, "its updates")?;
    let data = match source.data() {
        Data::F32(into) => Data::F32(written(into, &at, updates.floats("its updates")?)),
        Data::I64(into) => Data::I64(written(into, &at, updates.integers("its updates")?)),
    };
    tensor(source.shape().to_vec(), data)
}

/// The elements of a tensor of this shape that `ScatterND` writes, in the order of its updates.
pub(in crate::import) fn overwritten(
    call: &Call<'_>,
    source: &[usize],
) -> Result<Vec<usize>, Refusal> {
    affordable(call, source)?;
    let (indices, updates) = (call.operand(1, "its indices")?, call.operand(2, "its updates")?);
    let reduction = call.string("reduction", "none")?;
    if reduction != "none" {
        let found = reduction.to_owned();
        return Err(Refusal::Attribute { name: "reduction", found, expected: "none".to_owned() });
    }
    let wrong = || {
        let expected = format!("indices into {source:?}, the last axis one index");
        shape_refusal("its indices", indices.shape(), expected)
    };
    let (&depth, outer) = indices.shape().split_last().ok_or_else(wrong)?;
    let (indexed, inner) =
        source.split_at_checked(depth).filter(|_| depth > 0).ok_or_else(wrong)?;
    let expected = [outer, inner].concat();
    if updates.shape() != expected {
        return Err(shape_refusal("its updates", updates.shape(), format!("{expected:?}")));
    }
    let (steps, run) = (strides(source), elements(inner).unwrap_or(0));
    let start = |index: &[i64]| {
        let axes = index.iter().zip(indexed).zip(&steps);
        axes.map(|((&at, &length), &step)| {
            axis(at, length).map(|at| at.saturating_mul(usize::try_from(step).unwrap_or(0)))
        })
        .try_fold(0_usize, |sum, part| Some(sum.saturating_add(part?)))
    };
    let starts = indices.integers("its indices")?.chunks(depth).map(start);
    let starts = starts.collect::<Option<Vec<usize>>>().ok_or_else(wrong)?;
    Ok(starts.into_iter().flat_map(|s| s..s.saturating_add(run)).collect())
}
