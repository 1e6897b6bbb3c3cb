//! Element-wise functions of one value.

use super::arithmetic::broadcast;
use super::build::{Builder, Stage, finite};
use super::call::{Call, Operand, checked_axis, shape_refusal};
use super::error::Refusal;
use crate::graph::{Activation, Binary, Function, Op, Reduction};
use crate::onnx::DataType;
use crate::tensor::{Tensor, elements};

fn unary(call: &Call<'_>, builder: &mut Builder, op: Op) -> Result<Operand, Refusal> {
    let input = call.operand(0, "its input")?;
    let x = builder.value(input, "its input")?;
    builder.emit(call, op, vec![x], input.shape().to_vec())
}

/// The operand itself: Identity.
pub(super) fn identity(call: &Call<'_>, _: &mut Builder) -> Result<Operand, Refusal> {
    Ok(call.operand(0, "its input")?.clone())
}

/// The operand itself, unless the model would still drop values.
pub(super) fn dropout(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let training = call.optional(2).map(|o| o.integers("its training_mode")).transpose()?;
    if training.is_some_and(|t| t.iter().any(|&flag| flag != 0)) {
        return Err(Refusal::Training("training_mode=1"));
    }
    identity(call, builder)
}

/// `max(x, 0)`.
pub(super) fn relu(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    unary(call, builder, Op::Activation(Activation::Clamp { lo: 0.0, hi: f32::INFINITY }))
}

/// `min(max(x, lo), hi)`: bounds are attributes before opset 11, optional operands from then on.
pub(super) fn clip(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let computed = |operand: &Operand| !matches!(operand, Operand::Constant { .. });
    if [1, 2].into_iter().filter_map(|k| call.optional(k)).any(computed) {
        return clip_to_computed(call, builder);
    }
    let (lo, hi) = bounds(call)?;
    if lo == f32::NEG_INFINITY && hi == f32::INFINITY {
        return identity(call, builder);
    }
    unary(call, builder, Op::Activation(Activation::Clamp { lo, hi }))
}

/// [`clip`] where a bound is computed: one number.
fn clip_to_computed(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let input = call.operand(0, "its input")?;
    let shape = input.shape().to_vec();
    let x = builder.value(input, "its input")?;
    let mut stages = Vec::new();
    for (index, role, function) in
        [(1, "its lower bound", Binary::Max), (2, "its upper bound", Binary::Min)]
    {
        let none = |bound: &&Operand| bound.scalar(role).is_ok_and(f32::is_infinite);
        let Some(bound) = call.optional(index).filter(|bound| !none(bound)) else { continue };
        if elements(bound.shape()) != Some(1) || bound.shape().len() > shape.len() {
            return Err(shape_refusal(role, bound.shape(), "one element"));
        }
        let bound = builder.value(bound, role)?;
        stages.push(Stage::new(Op::Binary(function), shape.clone()).with([bound]));
    }
    builder.chain(call, x, stages)
}

/// The bounds of a Clip of floats, infinite where there is none.
pub(super) fn bounds(call: &Call<'_>) -> Result<(f32, f32), Refusal> {
    let bound = |name, index, role| match call.optional(index) {
        _ if call.opset < 11 => call.float(name),
        None => Ok(None),
        Some(operand) => operand.scalar(role).map(Some),
    };
    let lo = bound("min", 1, "its lower bound")?.unwrap_or(f32::MIN);
    let hi = bound("max", 2, "its upper bound")?.unwrap_or(f32::MAX);
    if lo.is_nan() || hi.is_nan() {
        return Err(Refusal::Attribute {
            name: "min and max",
            found: format!("{lo} and {hi}"),
            expected: "numbers".to_owned(),
        });
    }
    // Where the bounds exclude each other, the upper one wins.
    let lo = lo.min(hi);
    // The largest floats are how ONNX writes "no bound".
    let lo = if lo <= f32::MIN { f32::NEG_INFINITY } else { lo };
    let hi = if hi >= f32::MAX { f32::INFINITY } else { hi };
    Ok((lo, hi))
}

/// `x < 0 ? alpha * x : x`.
pub(super) fn leaky_relu(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let slope = call.float("alpha")?.unwrap_or(0.01);
    finite("alpha", &[slope])?;
    unary(call, builder, Op::Activation(Activation::LeakyRelu { slope }))
}

/// [`leaky_relu`] with slopes that broadcast; exporters write `[C,1,1]`.
pub(super) fn prelu(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    match channel_slopes(call)? {
        Some(slope) => unary(call, builder, Op::Activation(Activation::PRelu { slope })),
        None => prelu_of_any_slopes(call, builder),
    }
}

/// `max(x, 0) + slope * min(x, 0)`.
fn prelu_of_any_slopes(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let (input, slope) = (call.operand(0, "its input")?, call.operand(1, "its slope")?);
    let shape = input.shape().to_vec();
    if broadcast(&shape, slope.shape())? != shape {
        let expected = format!("a shape that broadcasts to {shape:?}");
        return Err(shape_refusal("its slope", slope.shape(), expected));
    }
    let (x, slope) = (builder.value(input, "its input")?, builder.value(slope, "its slope")?);
    let clamp = |lo, hi| Op::Activation(Activation::Clamp { lo, hi });
    let above = builder.emit_part(call, clamp(0.0, f32::INFINITY), vec![x], shape.clone())?;
    let add = Op::Add { activation: Activation::None };
    let stages = [
        Stage::new(clamp(f32::NEG_INFINITY, 0.0), shape.clone()),
        Stage::new(Op::Mul, shape.clone()).with([slope]),
        Stage::new(add, shape).with([above]),
    ];
    builder.chain(call, x, stages)
}

/// The slopes as one a channel, if they are constant and do not differ otherwise.
fn channel_slopes(call: &Call<'_>) -> Result<Option<Tensor>, Refusal> {
    let (input, slope) = (call.operand(0, "its input")?, call.operand(1, "its slope")?);
    let (&[_, channels, ..], Operand::Constant { name, .. }) = (input.shape(), slope) else {
        return Ok(None);
    };
    let values = slope.floats("its slope")?;
    finite(name, values)?;
    let Some(missing) = input.shape().len().checked_sub(slope.shape().len()) else {
        return Ok(None);
    };
    let padded = std::iter::repeat_n(1, missing).chain(slope.shape().iter().copied());
    let per_channel = padded.enumerate().all(|(axis, n)| n == 1 || (axis == 1 && n == channels));
    let slopes = match values {
        &[one] => vec![one; channels],
        all if per_channel && all.len() == channels => all.to_vec(),
        _ => return Ok(None),
    };
    Ok(Some(Tensor::vector(slopes)))
}

/// Softmax along one axis. Before opset 13 all axes from `axis` on count as one.
pub(super) fn softmax(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let input = call.operand(0, "its input")?;
    let shape = input.shape().to_vec();
    let old = call.opset < 13;
    let axis = checked_axis("axis", call.int("axis", if old { 1 } else { -1 })?, shape.len())?;
    let (rows, columns) = shape.split_at(axis);
    if !old || columns.iter().skip(1).all(|&n| n == 1) {
        return unary(call, builder, Op::Softmax { axis });
    }
    let too_large = || shape_refusal("its input", &shape, "fewer elements");
    let matrix = [rows, columns].map(elements);
    let matrix = matrix.into_iter().collect::<Option<Vec<usize>>>().ok_or_else(too_large)?;
    let x = builder.value(input, "its input")?;
    let stages = [
        Stage::reshape(matrix.clone()),
        Stage::new(Op::Softmax { axis: 1 }, matrix),
        Stage::reshape(shape),
    ];
    builder.chain(call, x, stages)
}

/// `x - m - ln(sum e^(x - m))` along one axis, with the largest value m, so that nothing overflows.
/// Before opset 13 all axes from `axis` on count as one.
pub(super) fn log_softmax(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let input = call.operand(0, "its input")?;
    let shape = input.shape().to_vec();
    let old = call.opset < 13;
    let axis = checked_axis("axis", call.int("axis", if old { 1 } else { -1 })?, shape.len())?;
    let axes: Vec<usize> = if old { (axis..shape.len()).collect() } else { vec![axis] };
    let one = |(k, &n): (usize, &usize)| if axes.contains(&k) { 1 } else { n };
    let kept: Vec<usize> = shape.iter().enumerate().map(one).collect();
    let reduce = |function| Op::Reduce { function, axes: axes.clone() };
    let x = builder.value(input, "its input")?;
    let top = builder.emit_part(call, reduce(Reduction::Max), vec![x], kept.clone())?;
    let below = builder.emit_part(call, Op::Sub, vec![x, top], shape.clone())?;
    let powers = builder.emit_part(call, Op::Unary(Function::Exp), vec![below], shape.clone())?;
    let sum = builder.emit_part(call, reduce(Reduction::Sum), vec![powers], kept.clone())?;
    let log = builder.emit_part(call, Op::Unary(Function::Log), vec![sum], kept)?;
    builder.emit(call, Op::Sub, vec![below, log], shape)
}

/// The operand itself: networks compute in f32, whatever floats their file stores.
pub(super) fn cast(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let to = call.int("to", 0)?;
    let kind = i32::try_from(to).ok().and_then(|t| DataType::try_from(t).ok());
    match kind {
        Some(DataType::Float | DataType::Float16 | DataType::Double | DataType::Bfloat16) => {
            identity(call, builder)
        }
        Some(DataType::Bool) => super::logic::truth(call, builder),
        Some(DataType::Int32 | DataType::Int64) => super::logic::truncated(call, builder),
        _ => Err(Refusal::Attribute {
            name: "to",
            found: to.to_string(),
            expected: "1 (float), 6 (int32), 7 (int64), 9 (bool), 10 (float16), 11 (double) or 16 \
                       (bfloat16): computed values are kept as floats"
                .to_owned(),
        }),
    }
}
