//! Element-wise functions without trained parameters: [`Function`].

use super::arithmetic::scalar;
use super::build::{Builder, Stage, finite};
use super::call::{Call, Operand};
use super::error::Refusal;
use crate::graph::{Activation, Function, Op};
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

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

/// The exact function, or its approximation by tanh.
pub(super) fn gelu(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    match call.string("approximate", "none")? {
        "none" => of(call, builder, Function::Gelu),
        "tanh" => gelu_by_tanh(call, builder),
        other => Err(Refusal::Attribute {
            name: "approximate",
            found: other.to_owned(),
            expected: "none or tanh".to_owned(),
        }),
    }
}

/// `max(0, min(1, alpha * x + beta))`.
pub(super) fn hard_sigmoid(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let (alpha, beta) = (parameter(call, "alpha", 0.2)?, parameter(call, "beta", 0.5)?);
    of(call, builder, Function::HardSigmoid { alpha, beta })
}

/// `x / 2 * (1 + tanh(z))` with `z = sqrt(2 / pi) * (x + 0.044715 x^3)` (Hendrycks and Gimpel,
/// 2016), which is `x * sigmoid(2 z)`.
fn gelu_by_tanh(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    const SLOPE: f64 = 2.0 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2;
    let input = call.operand(0, "its input")?;
    let (x, shape) = (builder.value(input, "its input")?, input.shape().to_vec());
    let stage = |op| Stage::new(op, shape.clone());
    let cubic = scalar(call, builder, (SLOPE * 0.044_715) as f32)?;
    let slope = scalar(call, builder, SLOPE as f32)?;
    let add = Op::Add { activation: Activation::None };
    let stages = [
        stage(Op::Mul).with([x]),
        stage(Op::Mul).with([cubic]),
        stage(add).with([slope]),
        stage(Op::Mul).with([x]),
        stage(Op::Unary(Function::Sigmoid)),
        stage(Op::Mul).with([x]),
    ];
    builder.chain(call, x, stages)
}

/// `x * sigmoid(alpha * x)`.
pub(super) fn swish(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let alpha = parameter(call, "alpha", 1.0)?;
    if alpha == 1.0 {
        return of(call, builder, Function::Silu);
    }
    let input = call.operand(0, "its input")?;
    let (x, shape) = (builder.value(input, "its input")?, input.shape().to_vec());
    let alpha = scalar(call, builder, alpha)?;
    let stages = [
        Stage::new(Op::Mul, shape.clone()).with([alpha]),
        Stage::new(Op::Unary(Function::Sigmoid), shape.clone()),
        Stage::new(Op::Mul, shape).with([x]),
    ];
    builder.chain(call, x, stages)
}

/// `gamma * (x < 0 ? alpha * (exp(x) - 1) : x)` (Klambauer et al., "Self-Normalizing Neural
/// Networks", 2017).
pub(super) fn selu(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let alpha = parameter(call, "alpha", 1.673_263_2)?;
    let gamma = parameter(call, "gamma", 1.050_701)?;
    scaled(call, builder, Function::Elu { alpha }, [1.0, gamma])
}

/// `x < 0 ? alpha * (exp(x / alpha) - 1) : x` (Barron, "Continuously Differentiable Exponential
/// Linear Units", 2017).
pub(super) fn celu(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let alpha = parameter(call, "alpha", 1.0)?;
    if alpha <= 0.0 {
        return Err(Refusal::Attribute {
            name: "alpha",
            found: alpha.to_string(),
            expected: "a positive number".to_owned(),
        });
    }
    scaled(call, builder, Function::Elu { alpha: 1.0 }, [1.0 / alpha, alpha])
}

/// `after * function(before * x)`.
fn scaled(
    call: &Call<'_>,
    builder: &mut Builder,
    function: Function,
    [before, after]: [f32; 2],
) -> Result<Operand, Refusal> {
    let input = call.operand(0, "its input")?;
    let (x, shape) = (builder.value(input, "its input")?, input.shape().to_vec());
    let (inside, outside) = (scalar(call, builder, before)?, scalar(call, builder, after)?);
    let stage = |op| Stage::new(op, shape.clone());
    let mut stages = vec![stage(Op::Unary(function)), stage(Op::Mul).with([outside])];
    if before != 1.0 {
        stages.insert(0, stage(Op::Mul).with([inside]));
    }
    builder.chain(call, x, stages)
}

/// `x / (1 + |x|)`.
pub(super) fn softsign(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let input = call.operand(0, "its input")?;
    let (x, shape) = (builder.value(input, "its input")?, input.shape().to_vec());
    let one = scalar(call, builder, 1.0)?;
    let size = builder.emit_part(call, Op::Unary(Function::Abs), vec![x], shape.clone())?;
    let add = Op::Add { activation: Activation::None };
    let size = builder.emit_part(call, add, vec![size, one], shape.clone())?;
    builder.emit(call, Op::Div, vec![x, size], shape)
}

/// `x > alpha ? x : 0`, as `x * max(0, sign(x - alpha))`.
pub(super) fn thresholded_relu(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let alpha = parameter(call, "alpha", 1.0)?;
    let input = call.operand(0, "its input")?;
    let (x, shape) = (builder.value(input, "its input")?, input.shape().to_vec());
    let alpha = scalar(call, builder, alpha)?;
    let stage = |op| Stage::new(op, shape.clone());
    let relu = Activation::Clamp { lo: 0.0, hi: f32::INFINITY };
    let stages = [
        stage(Op::Sub).with([alpha]),
        stage(Op::Unary(Function::Sign)),
        stage(Op::Activation(relu)),
        stage(Op::Mul).with([x]),
    ];
    builder.chain(call, x, stages)
}
