//! Elements picked along an axis: by constant indices (`Gather`), or the best ones (`TopK`, `ArgMax`,
//! `ArgMin`), whose indices are floats in the graph.

use super::build::{Builder, Stage};
use super::call::{Call, Operand, axis, checked_axis, shape_refusal};
use super::error::Refusal;
use super::view::part;
use crate::graph::{Op, ValueId};
use crate::tensor::elements;
use unbraid_runtime::step;

/// Elements at constant indices, which may be negative. Where they are evenly spaced, it is a slice.
pub(super) fn gather(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let input = call.operand(0, "its input")?;
    let along = checked_axis("axis", call.int("axis", 0)?, input.shape().len())?;
    let length = input.shape().get(along).copied().unwrap_or(0);
    let operand = call.operand(1, "its indices")?;
    let given = operand.integers("its indices")?;
    let wrong = |found: i64| Refusal::Attribute {
        name: "indices",
        found: found.to_string(),
        expected: format!("an index into {length} elements"),
    };
    let indices = given.iter().map(|&index| axis(index, length).ok_or_else(|| wrong(index)));
    let indices: Vec<usize> = indices.collect::<Result<_, _>>()?;
    let mut picked = input.shape().to_vec();
    picked.get_mut(along).into_iter().for_each(|axis| *axis = indices.len());
    let (before, after) = input.shape().split_at(along);
    let shape = [before, operand.shape(), after.get(1..).unwrap_or(&[])].concat();
    let op = match spaced(&indices) {
        Some((start, step)) => along_axis(along, picked.len(), start, step),
        None => Op::Gather { axis: along, indices },
    };
    let x = builder.value(input, "its input")?;
    builder.chain(call, x, [Stage::new(op, picked), Stage::reshape(shape)])
}

/// The first of indices and their distance, if each follows from the one before.
fn spaced(indices: &[usize]) -> Option<(usize, i64)> {
    let apart = |pair: &[usize]| match pair {
        &[a, b] => i64::try_from(b).ok()?.checked_sub(i64::try_from(a).ok()?),
        _ => None,
    };
    let mut steps = indices.windows(2).map(apart);
    let step = steps.next().unwrap_or(Some(1))?;
    let even = step != 0 && steps.all(|other| other == Some(step));
    indices.first().filter(|_| even).map(|&first| (first, step))
}

fn along_axis(axis: usize, rank: usize, start: usize, step: i64) -> Op {
    let (mut starts, mut steps) = (vec![0; rank], vec![1; rank]);
    starts.get_mut(axis).into_iter().for_each(|at| *at = start);
    steps.get_mut(axis).into_iter().for_each(|by| *by = step);
    Op::Slice { starts, steps }
}

/// Where the largest element is.
pub(super) fn arg_max(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    arg_best(call, builder, true)
}

/// Where the smallest element is.
pub(super) fn arg_min(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    arg_best(call, builder, false)
}

fn arg_best(call: &Call<'_>, builder: &mut Builder, largest: bool) -> Result<Operand, Refusal> {
    let input = call.operand(0, "its input")?;
    let along = checked_axis("axis", call.int("axis", 0)?, input.shape().len())?;
    let last = call.flag("select_last_index", false)?;
    let (x, both) = best(call, builder, Best { along, count: 1, largest, last })?;
    let mut one = both;
    one.get_mut(along).into_iter().for_each(|length| *length = 1);
    let slice = Stage::new(along_axis(along, one.len(), 1, 1), one.clone());
    if !call.flag("keepdims", true)? {
        one.remove(along);
    }
    builder.chain(call, x, [slice, Stage::reshape(one)])
}

/// The best elements, and where they are.
pub(super) fn top_k(call: &Call<'_>, builder: &mut Builder) -> Result<Vec<Operand>, Refusal> {
    let input = call.operand(0, "its input")?;
    let along = checked_axis("axis", call.int("axis", -1)?, input.shape().len())?;
    let length = input.shape().get(along).copied().unwrap_or(0);
    let wanted = match call.opset {
        ..10 => call.int("k", 0)?,
        _ => match call.operand(1, "its K")?.integers("its K")? {
            &[count] => count,
            _ => return Err(shape_refusal("its K", input.shape(), "one number")),
        },
    };
    let fits = |&count: &usize| (1..=length).contains(&count);
    let count = usize::try_from(wanted).ok().filter(fits).ok_or_else(|| Refusal::Attribute {
        name: "K",
        found: wanted.to_string(),
        expected: format!("a number from 1 to {length}"),
    })?;
    let largest = call.flag("largest", true)?;
    let (id, both) = best(call, builder, Best { along, count, largest, last: false })?;
    let mut shape = both.clone();
    shape.get_mut(along).into_iter().for_each(|length| *length = count);
    let both = Operand::Value { id, shape: both };
    let halves = call.node.output.iter().zip([0, count]).map(|(name, start)| {
        part(&both, name, along_axis(along, shape.len(), start, 1), shape.clone())
    });
    halves.collect()
}

/// What is chosen along an axis.
struct Best {
    along: usize,
    count: usize,
    largest: bool,
    last: bool,
}

/// Values and indices, side by side along the axis, and their shape.
fn best(
    call: &Call<'_>,
    builder: &mut Builder,
    Best { along, count, largest, last }: Best,
) -> Result<(ValueId, Vec<usize>), Refusal> {
    let input = call.operand(0, "its input")?;
    let length = input.shape().get(along).copied().unwrap_or(0);
    if u32::try_from(length).map_or(true, |length| length > step::TopK::MAX_CHANNELS) {
        return Err(shape_refusal("its input", input.shape(), "at most 2^24 elements on its axis"));
    }
    let mut shape = input.shape().to_vec();
    shape.get_mut(along).into_iter().for_each(|length| *length = count.saturating_mul(2));
    elements(&shape).ok_or_else(|| shape_refusal("its input", &shape, "fewer elements"))?;
    let x = builder.value(input, "its input")?;
    let op = Op::TopK { axis: along, count, largest, last };
    Ok((builder.emit_part(call, op, vec![x], shape.clone())?, shape))
}
