//! Comparisons, selection and truth values of computed numbers: truth is 1, falsehood 0.

use super::arithmetic::{broadcast, scalar};
use super::build::{Builder, Stage};
use super::call::{Call, Operand};
use super::error::Refusal;
use super::fold::elementwise::as_float;
use crate::graph::{Activation, Binary, Function, Op, ValueId};

const FIRST: &str = "its first operand";
const SECOND: &str = "its second operand";
const CONDITION: &str = "its condition";

/// A value of the graph, integers and truth values of constants as floats.
fn value(
    call: &Call<'_>,
    builder: &mut Builder,
    (index, role): (usize, &'static str),
) -> Result<(ValueId, Vec<usize>), Refusal> {
    let operand = call.operand(index, role)?;
    let floats = match operand {
        Operand::Constant { .. } => as_float(operand)?,
        Operand::Value { .. } | Operand::View(_) => operand.clone(),
    };
    Ok((builder.value(&floats, role)?, operand.shape().to_vec()))
}

/// A function of two operands, the first of which is operand `order[0]`.
fn pair(
    call: &Call<'_>,
    builder: &mut Builder,
    function: Binary,
    order: [usize; 2],
) -> Result<Operand, Refusal> {
    let role = |index: usize| (index, if index == 0 { FIRST } else { SECOND });
    let (a, shape) = value(call, builder, role(order[0]))?;
    let (b, other) = value(call, builder, role(order[1]))?;
    let shape = broadcast(&shape, &other)?;
    builder.emit(call, Op::Binary(function), vec![a, b], shape)
}

/// `a == b`.
pub(super) fn equal(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    pair(call, builder, Binary::Equal, [0, 1])
}

/// `a > b`.
pub(super) fn greater(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    pair(call, builder, Binary::Greater, [0, 1])
}

/// `a >= b`.
pub(super) fn greater_or_equal(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    pair(call, builder, Binary::GreaterOrEqual, [0, 1])
}

/// `a < b`.
pub(super) fn less(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    pair(call, builder, Binary::Greater, [1, 0])
}

/// `a <= b`.
pub(super) fn less_or_equal(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    pair(call, builder, Binary::GreaterOrEqual, [1, 0])
}

/// Both are true.
pub(super) fn and(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    pair(call, builder, Binary::Min, [0, 1])
}

/// One of them is true.
pub(super) fn or(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    pair(call, builder, Binary::Max, [0, 1])
}

/// Not true.
pub(super) fn not(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let (x, shape) = value(call, builder, (0, FIRST))?;
    let zero = scalar(call, builder, 0.0)?;
    builder.emit(call, Op::Binary(Binary::Equal), vec![x, zero], shape)
}

/// The second operand where the first is true, the third elsewhere: each is masked, so that what is
/// not chosen may be no number, and one of each two masked values is zero.
pub(super) fn select(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let (condition, of_condition) = value(call, builder, (0, CONDITION))?;
    let mut masked = |at, mask| {
        let (x, shape) = value(call, builder, at)?;
        let shape = broadcast(&of_condition, &shape)?;
        let op = Op::Binary(mask);
        Ok((builder.emit_part(call, op, vec![condition, x], shape.clone())?, shape))
    };
    let (yes, of_yes) = masked((1, FIRST), Binary::Keep)?;
    let (no, of_no) = masked((2, SECOND), Binary::Drop)?;
    let add = Op::Add { activation: Activation::None };
    builder.emit(call, add, vec![yes, no], broadcast(&of_yes, &of_no)?)
}

/// Whether each value is not zero.
pub(super) fn truth(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let (x, shape) = value(call, builder, (0, FIRST))?;
    let zero = scalar(call, builder, 0.0)?;
    let is_zero = || Stage::new(Op::Binary(Binary::Equal), shape.clone()).with([zero]);
    builder.chain(call, x, [is_zero(), is_zero()])
}

/// Each value without what follows the decimal point.
pub(super) fn truncated(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let (x, shape) = value(call, builder, (0, FIRST))?;
    let function = |function| Stage::new(Op::Unary(function), shape.clone());
    let sign = builder.emit_part(call, Op::Unary(Function::Sign), vec![x], shape.clone())?;
    let signed = Stage::new(Op::Mul, shape.clone()).with([sign]);
    builder.chain(call, x, [function(Function::Abs), function(Function::Floor), signed])
}
