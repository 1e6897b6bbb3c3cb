//! Element-wise functions without trained parameters: [`Function`].

use super::build::{Builder, finite};
use super::call::{Call, Operand};
use super::error::Refusal;
use crate::graph::{Function, Op};

/// A function of the first operand.
pub(super) fn of(
    call: &Call<'_>,
    builder: &mut Builder,
    function: Function,
) -> Result<Operand, Refusal> {
    let input = call.operand(0, "its input")?;
    let x = builder.value(input, "its input")?;
    builder.emit(call, Op::Unary(function), vec![x], input.shape().to_vec())
}

/// A finite attribute, or the operator's default.
fn parameter(call: &Call<'_>, name: &'static str, default: f32) -> Result<f32, Refusal> {
    let value = call.float(name)?.unwrap_or(default);
    finite(name, &[value])?;
    Ok(value)
}

/// `x < 0 ? alpha * (exp(x) - 1) : x`.
pub(super) fn elu(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let alpha = parameter(call, "alpha", 1.0)?;
    of(call, builder, Function::Elu { alpha })
}

/// The exact function; its approximation by tanh is another one.
pub(super) fn gelu(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    match call.string("approximate", "none")? {
        "none" => of(call, builder, Function::Gelu),
        other => Err(Refusal::Attribute {
            name: "approximate",
            found: other.to_owned(),
            expected: "none".to_owned(),
        }),
    }
}

/// `max(0, min(1, alpha * x + beta))`.
pub(super) fn hard_sigmoid(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let (alpha, beta) = (parameter(call, "alpha", 0.2)?, parameter(call, "beta", 0.5)?);
    of(call, builder, Function::HardSigmoid { alpha, beta })
}

/// `x * sigmoid(alpha * x)`.
pub(super) fn swish(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    match parameter(call, "alpha", 1.0)? {
        1.0 => of(call, builder, Function::Silu),
        other => Err(Refusal::Attribute {
            name: "alpha",
            found: other.to_string(),
            expected: "1".to_owned(),
        }),
    }
}
