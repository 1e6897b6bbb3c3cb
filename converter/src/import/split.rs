//! Split: one value as several parts along an axis, each a view that no node stands for yet.

use super::build::Builder;
use super::call::{Call, Operand, checked_axis, shape_refusal};
use super::error::Refusal;
use super::fold::arrange::picked;
use super::view::part;
use crate::graph::Op;

/// Parts of given lengths, of equal ones, or (from opset 18 on) of equal ones but the last.
pub(super) fn split(call: &Call<'_>, _: &mut Builder) -> Result<Vec<Operand>, Refusal> {
    let input = call.operand(0, "its input")?;
    let shape = input.shape();
    let axis = checked_axis("axis", call.int("axis", 0)?, shape.len())?;
    let whole = shape.get(axis).copied().unwrap_or(0);
    let mut begin = 0_usize;
    let mut parts = Vec::with_capacity(call.node.output.len());
    for (name, length) in call.node.output.iter().zip(lengths(call, whole)?) {
        let (mut starts, steps) = (vec![0; shape.len()], vec![1; shape.len()]);
        let mut result = shape.to_vec();
        starts.get_mut(axis).into_iter().for_each(|start| *start = begin);
        result.get_mut(axis).into_iter().for_each(|axis| *axis = length);
        begin = begin.saturating_add(length);
        let op = Op::Slice { starts, steps };
        parts.push(match input {
            Operand::Constant { tensor, .. } => {
                let tensor = picked(call, tensor, &op, result)?;
                Operand::Constant { name: name.clone(), tensor }
            }
            Operand::Value { .. } | Operand::View(_) => part(input, name, op, result)?,
        });
    }
    Ok(parts)
}

/// The length of each part; their sum is that of the axis.
fn lengths(call: &Call<'_>, whole: usize) -> Result<Vec<usize>, Refusal> {
    let wrong = |expected: String| shape_refusal("its input", &[whole], expected);
    if let Some(given) = call.ints_or_operand("split", 13, 1)? {
        let lengths: Option<Vec<usize>> = given.iter().map(|&n| usize::try_from(n).ok()).collect();
        let sum = |lengths: &Vec<usize>| lengths.iter().try_fold(0_usize, |n, &d| n.checked_add(d));
        let fits = |l: &Vec<usize>| sum(l) == Some(whole) && l.len() == call.node.output.len();
        let expected = || format!("an axis of the parts {given:?}, one for each result");
        return lengths.filter(fits).ok_or_else(|| wrong(expected()));
    }
    let count = call.node.output.len();
    let equal = match call.int("num_outputs", 0)? {
        0 => whole.is_multiple_of(count),
        wanted => usize::try_from(wanted) == Ok(count),
    };
    let length = whole.div_ceil(count.max(1));
    let last = count.checked_sub(1).and_then(|n| whole.checked_sub(n.checked_mul(length)?));
    match last.filter(|_| equal) {
        None => Err(wrong(format!("an axis that {count} equal parts fill"))),
        Some(last) => {
            let parts = std::iter::repeat_n(length, count.saturating_sub(1));
            Ok(parts.chain([last]).collect())
        }
    }
}
