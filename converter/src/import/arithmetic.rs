//! Functions of two values with broadcasting, and of several from left to right.

use super::build::{Builder, Stage};
use super::call::{Call, Operand, shape_refusal};
use super::error::Refusal;
use super::fold::elementwise::as_float;
use crate::graph::{Activation, Binary, Function, Op, ValueId};
use crate::tensor::Tensor;

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

/// `a` to the power `b`: by products and roots where one small exponent says so.
pub(super) fn pow(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let base = call.operand(0, "its base")?;
    let exponent = call.operand(1, "its exponent")?;
    let exponent = &match exponent {
        Operand::Constant { .. } => as_float(exponent)?,
        Operand::Value { .. } | Operand::View(_) => exponent.clone(),
    };
    let shape = broadcast(base.shape(), exponent.shape())?;
    let x = builder.value(base, "its base")?;
    let one = exponent.floats("its exponent").ok().and_then(|values| match values {
        &[one] if shape == base.shape() => Some(one),
        _ => None,
    });
    let product = |factor| Stage::new(Op::Mul, shape.clone()).with([factor]);
    let function = |function| Stage::new(Op::Unary(function), shape.clone());
    match one {
        Some(-1.0) => builder.chain(call, x, [function(Function::Reciprocal)]),
        Some(0.5) => builder.chain(call, x, [function(Function::Sqrt)]),
        Some(1.0) => Ok(base.clone()),
        Some(2.0) => builder.chain(call, x, [product(x)]),
        Some(3.0) => builder.chain(call, x, [product(x), product(x)]),
        _ => {
            let exponent = builder.value(exponent, "its exponent")?;
            builder.emit(call, Op::Binary(Binary::Pow), vec![x, exponent], shape)
        }
    }
}

/// `a + b + ...`.
pub(super) fn sum(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    several(call, builder, &Op::Add { activation: Activation::None })
}

/// The smallest of the operands.
pub(super) fn min(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    several(call, builder, &Op::Binary(Binary::Min))
}

/// The largest of the operands.
pub(super) fn max(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    several(call, builder, &Op::Binary(Binary::Max))
}

/// `(a + b + ...) / n`.
pub(super) fn mean(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let terms = call.all("its operands")?;
    let mut shape = Vec::new();
    let mut stages = Vec::with_capacity(terms.len());
    for term in &terms {
        shape = broadcast(&shape, term.shape())?;
        let operand = builder.value(term, "its operand")?;
        let add = Op::Add { activation: Activation::None };
        stages.push(Stage::new(add, shape.clone()).with([operand]));
    }
    let share = scalar(call, builder, (1.0 / terms.len() as f64) as f32)?;
    stages.push(Stage::new(Op::Mul, shape).with([share]));
    let first = builder.value(call.operand(0, "its operands")?, "its operand")?;
    builder.chain(call, first, stages.into_iter().skip(1))
}

/// A constant of the call that has one element and no axis.
pub(super) fn scalar(
    call: &Call<'_>,
    builder: &mut Builder,
    value: f32,
) -> Result<ValueId, Refusal> {
    let wrong = || shape_refusal("its constant", &[], "one element");
    let tensor = Tensor::f32([], vec![value]).ok_or_else(wrong)?;
    builder.made(&format!("{}_by", call.output()), tensor)
}

fn several(call: &Call<'_>, builder: &mut Builder, op: &Op) -> Result<Operand, Refusal> {
    let terms = call.all("its operands")?;
    let [first, middle @ .., last] = terms.as_slice() else {
        return super::activation::identity(call, builder);
    };
    let mut shape = first.shape().to_vec();
    let mut total = builder.value(first, "its operand")?;
    for term in middle {
        shape = broadcast(&shape, term.shape())?;
        let inputs = vec![total, builder.value(term, "its operand")?];
        total = builder.emit_part(call, op.clone(), inputs, shape.clone())?;
    }
    shape = broadcast(&shape, last.shape())?;
    let inputs = vec![total, builder.value(last, "its operand")?];
    builder.emit(call, op.clone(), inputs, shape)
}
