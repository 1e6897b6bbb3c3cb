//! Expand and Tile of computed values: axes of length 1 repeated.

use super::arithmetic::broadcast;
use super::build::{Builder, Stage};
use super::call::{Call, Operand, shape_refusal};
use super::error::Refusal;
use crate::graph::Op;
use crate::tensor::elements;

/// The operand under the shape that it and the wanted shape broadcast to.
pub(super) fn expand(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let (input, wanted) = (call.operand(0, "its input")?, call.operand(1, "its shape")?);
    let wanted = lengths("its shape", wanted.integers("its shape")?)?;
    let shape = broadcast(input.shape(), &wanted)?;
    if shape == input.shape() {
        return Ok(input.clone());
    }
    let missing = shape.len().saturating_sub(input.shape().len());
    let aligned: Vec<usize> =
        std::iter::repeat_n(1, missing).chain(input.shape().iter().copied()).collect();
    let x = builder.value(input, "its input")?;
    builder.chain(call, x, [Stage::reshape(aligned), Stage::new(Op::Expand, shape)])
}

/// The operand repeated along each axis, one after the other: an axis of length 1 before it is
/// expanded.
pub(super) fn tile(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let (input, repeats) = (call.operand(0, "its input")?, call.operand(1, "its repeats")?);
    let repeats = lengths("its repeats", repeats.integers("its repeats")?)?;
    let mut shape = input.shape().to_vec();
    if repeats.len() != shape.len() {
        return Err(shape_refusal("its repeats", &repeats, format!("{} numbers", shape.len())));
    }
    let mut stages = Vec::new();
    for (axis, &times) in repeats.iter().enumerate().filter(|&(_, &times)| times > 1) {
        let (before, after) = shape.split_at(axis);
        let too_large = || shape_refusal("its input", &shape, "fewer elements");
        let [before, after] = [elements(before), elements(after)];
        let (before, after) = before.zip(after).ok_or_else(too_large)?;
        stages.push(Stage::reshape([before, 1, after]));
        stages.push(Stage::new(Op::Expand, [before, times, after]));
        shape.get_mut(axis).into_iter().for_each(|n| *n = n.saturating_mul(times));
    }
    stages.push(Stage::reshape(shape));
    let x = builder.value(input, "its input")?;
    builder.chain(call, x, stages)
}

/// Numbers of at least 1.
fn lengths(role: &'static str, found: &[i64]) -> Result<Vec<usize>, Refusal> {
    let positive = |&n: &i64| usize::try_from(n).ok().filter(|&n| n > 0);
    found.iter().map(positive).collect::<Option<_>>().ok_or_else(|| Refusal::Attribute {
        name: role,
        found: format!("{found:?}"),
        expected: "positive numbers".to_owned(),
    })
}
