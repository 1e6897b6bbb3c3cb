//! `Conv` and `BatchNormalization`.

use super::build::Builder;
use super::call::{Call, Operand, shape_refusal};
use super::error::Refusal;
use super::window::{picture, slide};
use crate::graph::{Activation, Conv, Op};

/// `y = conv(x, w) + b`: x `[N,C,H,W]`, w `[O,C/g,Kh,Kw]`, b `[O]`.
pub(super) fn conv(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let (input, weight) = (call.operand(0, "its input")?, call.operand(1, "its weight")?);
    weight.constant("its weight")?;
    let &[out, per_group, kh, kw] = weight.shape() else {
        let expected = "[O, C/groups, Kh, Kw]: only two-dimensional convolutions are supported";
        return Err(shape_refusal("its weight", weight.shape(), expected));
    };
    let x = picture(input.shape())?;
    let groups = groups(call, x.c, out)?;
    if per_group.checked_mul(groups) != Some(x.c) {
        let expected = format!("{} channels in {groups} groups of its second axis", x.c);
        return Err(shape_refusal("its weight", weight.shape(), expected));
    }
    kernel_agrees(call, [kh, kw])?;
    let slide = slide(call, &[kh, kw], x)?;
    let mut inputs = vec![builder.value(input, "its input")?, builder.value(weight, "its weight")?];
    if let Some(bias) = call.optional(2) {
        bias.constant("its bias")?;
        if bias.shape() != [out] {
            return Err(shape_refusal("its bias", bias.shape(), format!("[{out}]")));
        }
        inputs.push(builder.value(bias, "its bias")?);
    }
    let op =
        Op::Conv(Conv { window: slide.window, groups, border: None, activation: Activation::None });
    let shape = vec![x.n, out, slide.output.h as usize, slide.output.w as usize];
    builder.emit(call, op, inputs, shape)
}

fn groups(call: &Call<'_>, channels: usize, out: usize) -> Result<usize, Refusal> {
    let found = call.int("group", 1)?;
    let divides = |&g: &usize| g > 0 && channels.is_multiple_of(g) && out.is_multiple_of(g);
    usize::try_from(found).ok().filter(divides).ok_or_else(|| Refusal::Attribute {
        name: "group",
        found: found.to_string(),
        expected: format!("a divisor of {channels} input and {out} output channels"),
    })
}

fn kernel_agrees(call: &Call<'_>, weight: [usize; 2]) -> Result<(), Refusal> {
    let Some(found) = call.ints("kernel_shape")? else { return Ok(()) };
    let same = found.iter().map(|&k| usize::try_from(k)).eq(weight.map(Ok));
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
    let mut inputs = vec![builder.value(input, "its input")?];
    for (index, role) in (1..).zip(ROLES) {
        let parameter = call.operand(index, role)?;
        parameter.constant(role)?;
        if parameter.shape() != [channels] {
            return Err(shape_refusal(role, parameter.shape(), format!("[{channels}]")));
        }
        inputs.push(builder.value(parameter, role)?);
    }
    let variance = call.operand(4, "its variance")?.floats("its variance")?;
    if let Some(bad) = variance.iter().find(|&&v| f64::from(v) + f64::from(eps) <= 0.0) {
        return Err(Refusal::Unsupported {
            found: format!("variance {bad} with epsilon {eps}"),
            remedy: "their sum must be positive: check the training run",
        });
    }
    builder.emit(call, Op::BatchNorm { eps }, inputs, input.shape().to_vec())
}
