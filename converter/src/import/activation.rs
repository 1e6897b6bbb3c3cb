//! Element-wise functions of one value.

use super::build::{Builder, finite};
use super::call::{Call, Operand, checked_axis, shape_refusal};
use super::error::Refusal;
use crate::graph::{Activation, Op};
use crate::tensor::Tensor;

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
    // The largest floats are how ONNX writes "no bound".
    let lo = if lo <= f32::MIN { f32::NEG_INFINITY } else { lo };
    let hi = if hi >= f32::MAX { f32::INFINITY } else { hi };
    if lo == f32::NEG_INFINITY && hi == f32::INFINITY {
        return identity(call, builder);
    }
    unary(call, builder, Op::Activation(Activation::Clamp { lo, hi }))
}

/// `x < 0 ? alpha * x : x`.
pub(super) fn leaky_relu(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let slope = call.float("alpha")?.unwrap_or(0.01);
    finite("alpha", &[slope])?;
    unary(call, builder, Op::Activation(Activation::LeakyRelu { slope }))
}

/// [`leaky_relu`] with one slope a channel; ONNX lets the slope broadcast, exporters write `[C,1,1]`.
pub(super) fn prelu(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let (input, slope) = (call.operand(0, "its input")?, call.operand(1, "its slope")?);
    let wrong = |channels| {
        let expected = format!("[{channels}, 1, 1], [1, {channels}, 1, 1] or one element");
        shape_refusal("its slope", slope.shape(), expected)
    };
    let &[_, channels, ..] = input.shape() else {
        return Err(shape_refusal("its input", input.shape(), "[1, C, ...]"));
    };
    let (name, _) = slope.constant("its slope")?;
    let values = slope.floats("its slope")?;
    finite(name, values)?;
    let missing =
        input.shape().len().checked_sub(slope.shape().len()).ok_or_else(|| wrong(channels))?;
    let padded = std::iter::repeat_n(1, missing).chain(slope.shape().iter().copied());
    let per_channel = padded.enumerate().all(|(axis, n)| n == 1 || (axis == 1 && n == channels));
    let slopes = match values {
        &[one] => vec![one; channels],
        all if per_channel && all.len() == channels => all.to_vec(),
        _ => return Err(wrong(channels)),
    };
    unary(call, builder, Op::Activation(Activation::PRelu { slope: Tensor::vector(slopes) }))
}

/// Softmax along one axis. Before opset 13 all axes from `axis` on counted as one, which is the
/// same only while at most one of them is longer than 1.
pub(super) fn softmax(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let shape = call.operand(0, "its input")?.shape();
    let old = call.opset < 13;
    let first = checked_axis("axis", call.int("axis", if old { 1 } else { -1 })?, shape.len())?;
    let mut axis = first;
    if old {
        let long: Vec<usize> = (first..)
            .zip(shape.iter().skip(first))
            .filter(|(_, n)| **n > 1)
            .map(|(a, _)| a)
            .collect();
        axis = match long.as_slice() {
            [] => first,
            &[one] => one,
            _ => {
                return Err(Refusal::Unsupported {
                    found: format!("softmax over all axes from {first} of {shape:?} together"),
                    remedy: "export with opset 13 or newer",
                });
            }
        };
    }
    unary(call, builder, Op::Softmax { axis })
}
