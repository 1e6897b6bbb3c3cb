//! `Conv` and `BatchNormalization`.

use super::build::{Builder, Stage};
use super::call::{Call, Operand, shape_refusal};
use super::error::Refusal;
use super::window::{picture, slide};
use crate::graph::{Activation, Conv, Op, ValueId};

/// `y = conv(x, w) + b`: x `[N,C,H,W]`, w `[O,C/g,Kh,Kw]`, b `[O]`, or all without H and Kh.
pub(super) fn conv(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let (input, weight) = (call.operand(0, "its input")?, call.operand(1, "its weight")?);
    let x = picture(input.shape())?;
    let (weight, filters) = filters(builder, weight)?;
    let &[out, per_group, ref kernel @ ..] = &filters[..] else {
        return Err(shape_refusal("its weight", &filters, "[O, C/groups, ...]"));
    };
    let groups = groups(call, x.c, out)?;
    if per_group.checked_mul(groups) != Some(x.c) {
        let expected = format!("{} channels in {groups} groups of its second axis", x.c);
        return Err(shape_refusal("its weight", &filters, expected));
    }
    kernel_agrees(call, kernel)?;
    let slide = slide(call, kernel, x)?;
    let mut operands = vec![weight];
    if let Some(bias) = call.optional(2) {
        operands.push(bias_of(builder, bias, out)?);
    }
    let op =
        Op::Conv(Conv { window: slide.window, groups, border: None, activation: Activation::None });
    let [result, own] = x.result(input.shape().len(), out, slide.output);
    let stages =
        [Stage::reshape(x.shape()), Stage::new(op, result).with(operands), Stage::reshape(own)];
    let x = builder.value(input, "its input")?;
    builder.chain(call, x, stages)
}

/// A constant filter bank as `[O, I, Kh, Kw]`, and the shape that it has in the file.
fn filters(builder: &mut Builder, weight: &Operand) -> Result<(ValueId, Vec<usize>), Refusal> {
    let (name, tensor) = weight.constant("its weight")?;
    let shape = tensor.shape().to_vec();
    let wrong = || {
        let expected = "[O, C/groups, Kw] or [O, C/groups, Kh, Kw]: windows have one or two axes";
        shape_refusal("its weight", weight.shape(), expected)
    };
    match shape[..] {
        [_, _, _, _] => {
            let id = builder.value(weight, "its weight")?;
            builder.weights(id, name, 0)?;
            Ok((id, shape))
        }
        [o, i, kw] => {
            let row = tensor.reshaped([o, i, 1, kw]).ok_or_else(wrong)?;
            let id = builder.made(&format!("{name}_of_rows"), row)?;
            builder.weights(id, name, 0)?;
            Ok((id, shape))
        }
        _ => Err(wrong()),
    }
}

/// A constant bias of as many channels.
pub(super) fn bias_of(
    builder: &mut Builder,
    bias: &Operand,
    channels: usize,
) -> Result<ValueId, Refusal> {
    bias.constant("its bias")?;
    if bias.shape() != [channels] {
        return Err(shape_refusal("its bias", bias.shape(), format!("[{channels}]")));
    }
    builder.value(bias, "its bias")
}

/// The groups of so many channels.
pub(super) fn groups(call: &Call<'_>, channels: usize, out: usize) -> Result<usize, Refusal> {
    let found = call.int("group", 1)?;
    let divides = |&g: &usize| g > 0 && channels.is_multiple_of(g) && out.is_multiple_of(g);
    usize::try_from(found).ok().filter(divides).ok_or_else(|| Refusal::Attribute {
        name: "group",
        found: found.to_string(),
        expected: format!("a divisor of {channels} input and {out} output channels"),
    })
}

/// Refuses a kernel shape that is not that of the weight.
pub(super) fn kernel_agrees(call: &Call<'_>, weight: &[usize]) -> Result<(), Refusal> {
    let Some(found) = call.ints("kernel_shape")? else { return Ok(()) };
    let same = found.iter().map(|&k| usize::try_from(k)).eq(weight.iter().map(|&k| Ok(k)));
    if same {
        return Ok(());
    }
    Err(Refusal::Attribute {
        name: "kernel_shape",
        found: format!("{found:?}"),
        expected: format!("{weight:?}, as its weight has"),
    })
}

/// `(x - mean) / sqrt(var + eps) * gamma + beta` with stored statistics; all four are `[C]`.
pub(super) fn batch_norm(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    const ROLES: [&str; 4] = ["its scale", "its bias", "its mean", "its variance"];
    if call.flag("training_mode", false)? {
        return Err(Refusal::Training("training_mode=1"));
    }
    if call.opset < 9 && !call.flag("spatial", true)? {
        return Err(Refusal::Attribute {
            name: "spatial",
            found: "0".to_owned(),
            expected: "1: statistics of channels, not of pixels".to_owned(),
        });
    }
    let input = call.operand(0, "its input")?;
    let &[_, channels, ..] = input.shape() else {
        return Err(shape_refusal("its input", input.shape(), "[1, C, ...]"));
    };
    let eps = call.float("epsilon")?.unwrap_or(1e-5);
    let mut operands = Vec::with_capacity(ROLES.len());
    for (index, role) in (1..).zip(ROLES) {
        let parameter = call.operand(index, role)?;
        parameter.constant(role)?;
        if parameter.shape() != [channels] {
            return Err(shape_refusal(role, parameter.shape(), format!("[{channels}]")));
        }
        operands.push(builder.value(parameter, role)?);
    }
    let variance = call.operand(4, "its variance")?.floats("its variance")?;
    if let Some(bad) = variance.iter().find(|&&v| f64::from(v) + f64::from(eps) <= 0.0) {
        return Err(Refusal::Unsupported {
            found: format!("variance {bad} with epsilon {eps}"),
            remedy: "their sum must be positive: check the training run",
        });
    }
    // Convolutions leave rows of pixels as pictures: so they meet.
    let as_picture = match *input.shape() {
        [n, c, w] => vec![n, c, 1, w],
        [n, c, d, h, w] => vec![n, c, d.saturating_mul(h), w],
        _ => input.shape().to_vec(),
    };
    let stages = [
        Stage::reshape(as_picture.clone()),
        Stage::new(Op::BatchNorm { eps }, as_picture).with(operands),
        Stage::reshape(input.shape()),
    ];
    let x = builder.value(input, "its input")?;
    builder.chain(call, x, stages)
}
