//! Normalisation by mean and variance that are computed from the values themselves: over the last axes
//! (`LayerNormalization`, `RMSNormalization`), over the pixels of each channel (`InstanceNormalization`),
//! or over groups of channels (`GroupNormalization`).

use super::build::{Builder, finite};
use super::call::{Call, Operand, checked_axis, shape_refusal};
use super::error::Refusal;
use crate::graph::{Activation, Function, Op, Reduction, ValueId};
use crate::tensor::{Tensor, elements};

/// From this opset on, `GroupNormalization` has a factor and a summand for each channel, before for
/// each group.
const CHANNEL_FACTORS: i64 = 21;

/// Over the axes from `axis` on; factors and summands have these axes. Further results are the means
/// and the reciprocals of the roots that values were multiplied by.
pub(super) fn layer(call: &Call<'_>, builder: &mut Builder) -> Result<Vec<Operand>, Refusal> {
    let mut results = vec![last_axes(call, builder, true)?];
    if call.node.output.len() > 1 {
        results.extend(statistics(call, builder)?);
    }
    Ok(results)
}

/// The same without subtracting the mean.
pub(super) fn rms(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    last_axes(call, builder, false)
}

/// Mean, and one over the root of variance and `epsilon`.
fn statistics(call: &Call<'_>, builder: &mut Builder) -> Result<[Operand; 2], Refusal> {
    let input = call.operand(0, "its input")?;
    let shape = input.shape().to_vec();
    let first = checked_axis("axis", call.int("axis", -1)?, shape.len())?;
    let kept: Vec<usize> = (0..).zip(&shape).map(|(k, &n)| if k < first { n } else { 1 }).collect();
    let axes: Vec<usize> = (first..shape.len()).collect();
    let mean_of = Op::Reduce { function: Reduction::Mean, axes };
    let x = builder.value(input, "its input")?;
    let mean = builder.emit_part(call, mean_of.clone(), vec![x], kept.clone())?;
    let beside = builder.emit_part(call, Op::Sub, vec![x, mean], shape.clone())?;
    let squares = builder.emit_part(call, Op::Mul, vec![beside, beside], shape)?;
    let variance = builder.emit_part(call, mean_of, vec![squares], kept.clone())?;
    let eps = Tensor::f32([], vec![eps(call)?]).ok_or(Refusal::MissingOperand("epsilon"))?;
    let eps = builder.made(&format!("{}_epsilon", call.name), eps)?;
    let add = Op::Add { activation: Activation::None };
    let mut root = builder.emit_part(call, add, vec![variance, eps], kept.clone())?;
    for function in [Function::Sqrt, Function::Reciprocal] {
        root = builder.emit_part(call, Op::Unary(function), vec![root], kept.clone())?;
    }
    let value = |id| Operand::Value { id, shape: kept.clone() };
    Ok([value(mean), value(root)])
}

fn last_axes(call: &Call<'_>, builder: &mut Builder, centred: bool) -> Result<Operand, Refusal> {
    let input = call.operand(0, "its input")?;
    let shape = input.shape().to_vec();
    let first = checked_axis("axis", call.int("axis", -1)?, shape.len())?;
    let op = Op::Normalise { axes: (first..shape.len()).collect(), centred, eps: eps(call)? };
    let x = builder.value(input, "its input")?;
    let x = builder.emit_part(call, op, vec![x], shape.clone())?;
    let factors = builder.value(call.operand(1, "its scale")?, "its scale")?;
    let summands = call.optional(2).map(|bias| builder.value(bias, "its bias")).transpose()?;
    scaled(call, builder, (x, shape), factors, summands)
}

/// Over all axes behind the channels, each channel by itself.
pub(super) fn instance(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let input = call.operand(0, "its input")?;
    let shape = input.shape().to_vec();
    let Some(&channels) = shape.get(1).filter(|_| shape.len() > 2) else {
        return Err(shape_refusal("its input", &shape, "[N, C, ...] with pixels"));
    };
    let op = Op::Normalise { axes: (2..shape.len()).collect(), centred: true, eps: eps(call)? };
    let x = builder.value(input, "its input")?;
    let x = builder.emit_part(call, op, vec![x], shape.clone())?;
    let pixels = shape.len().saturating_sub(2);
    let factors = one_each(call, builder, 1, channels, pixels)?;
    let summands = one_each(call, builder, 2, channels, pixels)?;
    scaled(call, builder, (x, shape), factors, Some(summands))
}

/// Over all pixels of each of `num_groups` equal groups of channels.
pub(super) fn group(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let input = call.operand(0, "its input")?;
    let shape = input.shape().to_vec();
    let found = call.int("num_groups", 0)?;
    let wrong = || Refusal::Attribute {
        name: "num_groups",
        found: found.to_string(),
        expected: format!("a divisor of the channels of {shape:?}"),
    };
    let groups = usize::try_from(found).ok().filter(|&groups| groups > 0).ok_or_else(wrong)?;
    let (&[n, channels], pixels) = shape.split_first_chunk::<2>().ok_or_else(wrong)?;
    let per_group = channels.checked_div(groups).filter(|_| channels.is_multiple_of(groups));
    let values = elements(pixels).zip(per_group).and_then(|(pixels, c)| pixels.checked_mul(c));
    let grouped = vec![n, groups, values.ok_or_else(wrong)?];
    let x = builder.value(input, "its input")?;
    let x = builder.emit_part(call, Op::Reshape, vec![x], grouped.clone())?;
    let op = Op::Normalise { axes: vec![2], centred: true, eps: eps(call)? };
    let x = builder.emit_part(call, op, vec![x], grouped.clone())?;
    if call.opset < CHANNEL_FACTORS {
        let factors = one_each(call, builder, 1, groups, 1)?;
        let summands = one_each(call, builder, 2, groups, 1)?;
        let x = builder.emit_part(call, Op::Mul, vec![x, factors], grouped.clone())?;
        let add = Op::Add { activation: Activation::None };
        let x = builder.emit_part(call, add, vec![x, summands], grouped)?;
        return builder.emit(call, Op::Reshape, vec![x], shape);
    }
    let x = builder.emit_part(call, Op::Reshape, vec![x], shape.clone())?;
    let factors = one_each(call, builder, 1, channels, pixels.len())?;
    let summands = one_each(call, builder, 2, channels, pixels.len())?;
    scaled(call, builder, (x, shape), factors, Some(summands))
}

fn eps(call: &Call<'_>) -> Result<f32, Refusal> {
    let eps = call.float("epsilon")?.unwrap_or(1e-5);
    finite("epsilon", &[eps])?;
    let wrong = || Refusal::Attribute {
        name: "epsilon",
        found: eps.to_string(),
        expected: "at least 0".to_owned(),
    };
    if eps >= 0.0 { Ok(eps) } else { Err(wrong()) }
}

/// Operand `index`, one number each, with so many axes of length 1 behind them.
fn one_each(
    call: &Call<'_>,
    builder: &mut Builder,
    index: usize,
    count: usize,
    axes: usize,
) -> Result<ValueId, Refusal> {
    let role = if index == 1 { "its scale" } else { "its bias" };
    let operand = call.operand(index, role)?;
    if operand.shape() != [count] {
        return Err(shape_refusal(role, operand.shape(), format!("[{count}]")));
    }
    let shape: Vec<usize> = [count].into_iter().chain(std::iter::repeat_n(1, axes)).collect();
    if let Operand::Constant { name, tensor } = operand {
        let wrong = || shape_refusal(role, tensor.shape(), format!("{shape:?}"));
        let tensor = tensor.reshaped(shape.clone()).ok_or_else(wrong)?;
        return builder.made(&format!("{name}_as_axis"), tensor);
    }
    let x = builder.value(operand, role)?;
    builder.emit_part(call, Op::Reshape, vec![x], shape)
}

/// `x * factors + summands`.
fn scaled(
    call: &Call<'_>,
    builder: &mut Builder,
    (x, shape): (ValueId, Vec<usize>),
    factors: ValueId,
    summands: Option<ValueId>,
) -> Result<Operand, Refusal> {
    let Some(summands) = summands else {
        return builder.emit(call, Op::Mul, vec![x, factors], shape);
    };
    let x = builder.emit_part(call, Op::Mul, vec![x, factors], shape.clone())?;
    builder.emit(call, Op::Add { activation: Activation::None }, vec![x, summands], shape)
}
