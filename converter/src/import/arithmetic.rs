//! Add, Sub, Mul, Div and Sum with broadcasting.

use super::build::Builder;
use super::call::{Call, Operand, shape_refusal};
use super::error::Refusal;
use crate::graph::{Activation, Op};

/// The shape of a broadcast result: axes are aligned at the end, an axis of 1 stretches.
pub(super) fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, Refusal> {
    let rank = a.len().max(b.len());
    let padded = |s: &[usize]| {
        let missing = rank.saturating_sub(s.len());
        std::iter::repeat_n(1, missing).chain(s.to_vec())
    };
    let axis = |(a, b): (usize, usize)| match (a, b) {
        (1, n) | (n, 1) => Some(n),
        (a, b) => (a == b).then_some(a),
    };
    let shape: Option<Vec<usize>> = padded(a).zip(padded(b)).map(axis).collect();
    shape.ok_or_else(|| {
        shape_refusal("its second operand", b, format!("a shape that broadcasts with {a:?}"))
    })
}

fn binary(call: &Call<'_>, builder: &mut Builder, op: Op) -> Result<Operand, Refusal> {
    let (a, b) = (call.operand(0, "its first operand")?, call.operand(1, "its second operand")?);
    let shape = broadcast(a.shape(), b.shape())?;
    let inputs =
        vec![builder.value(a, "its first operand")?, builder.value(b, "its second operand")?];
    builder.emit(call, op, inputs, shape)
}

/// `a + b`.
pub(super) fn add(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    binary(call, builder, Op::Add { activation: Activation::None })
}

/// `a - b`.
pub(super) fn sub(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    binary(call, builder, Op::Sub)
}

/// `a * b`.
pub(super) fn mul(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    binary(call, builder, Op::Mul)
}

/// `a / b`.
pub(super) fn div(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    binary(call, builder, Op::Div)
}

/// `a + b + ...`, as additions from left to right.
pub(super) fn sum(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let terms = call.all("its operands")?;
    let [first, middle @ .., last] = terms.as_slice() else {
        return super::activation::identity(call, builder);
    };
    let op = || Op::Add { activation: Activation::None };
    let mut shape = first.shape().to_vec();
    let mut total = builder.value(first, "its operand")?;
    for term in middle {
        shape = broadcast(&shape, term.shape())?;
        let inputs = vec![total, builder.value(term, "its operand")?];
        total = builder.emit_part(call, op(), inputs, shape.clone())?;
    }
    shape = broadcast(&shape, last.shape())?;
    let inputs = vec![total, builder.value(last, "its operand")?];
    builder.emit(call, op(), inputs, shape)
}
