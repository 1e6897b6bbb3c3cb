//! Resize and Upsample: their attributes and operands in every opset → [`Resize`].

use super::build::{Builder, finite};
use super::call::{Call, Operand, checked_axis, shape_refusal};
use super::error::Refusal;
use crate::graph::{Activation, Op, ValueId};
use crate::resize::{Coordinates, Interpolation, Resize, ResizedAxis, Rounding, Taps};
use crate::tensor::Tensor;

/// Axes that one operation resizes; more are resized one pair after the other.
const AXES_AT_ONCE: usize = 2;

/// First opset whose Resize says where output elements lie.
const NAMED_COORDINATES: i64 = 11;

/// First opset whose Upsample has its scales as an operand.
const SCALES_OPERAND: i64 = 9;

/// Interpolation along any axes, by scales or to sizes.
pub(super) fn resize(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let input = call.operand(0, "its input")?;
    let targets = targets(call, input.shape())?;
    let kind = if call.opset < NAMED_COORDINATES { unnamed(call, &targets)? } else { named(call)? };
    let changes = |target: &Target| {
        let from = input.shape().get(target.axis.axis).copied().unwrap_or(1);
        !Taps::of(&kind, &target.axis, from, target.length).is_identity(from)
    };
    let changed: Vec<Target> = targets.into_iter().filter(changes).collect();
    let outside = match kind.coordinates {
        Coordinates::TfCropAndResize => call.float("extrapolation_value")?.unwrap_or(0.0),
        _ => 0.0,
    };
    let x = builder.value(input, "its input")?;
    let stages: Vec<&[Target]> = changed.chunks(AXES_AT_ONCE).collect();
    match (stages.split_last(), outside) {
        (None, _) => Ok(input.clone()),
        (Some((last, before)), 0.0) => {
            let (x, shape) = chained(call, builder, (x, input.shape()), &kind, before)?;
            let (op, shape) = stage(&kind, last, &shape);
            builder.emit(call, op, vec![x], shape)
        }
        // What shows nothing of the input is 0: then this is 0 in the difference to it.
        (Some(_), outside) => {
            finite("extrapolation_value", &[outside])?;
            let value = Tensor::f32([], vec![outside]).ok_or(Refusal::MissingOperand("a value"))?;
            let value = builder.made(&format!("{}_outside", call.name), value)?;
            let shape = input.shape();
            let x = builder.emit_part(call, Op::Sub, vec![x, value], shape.to_vec())?;
            let (x, shape) = chained(call, builder, (x, shape), &kind, &stages)?;
            builder.emit(call, Op::Add { activation: Activation::None }, vec![x, value], shape)
        }
    }
}

/// One resized axis and its length afterwards.
#[derive(Clone, Copy, Debug)]
struct Target {
    axis: ResizedAxis,
    length: usize,
}

/// Appends a node a stage.
fn chained(
    call: &Call<'_>,
    builder: &mut Builder,
    (mut x, shape): (ValueId, &[usize]),
    kind: &Resize,
    stages: &[&[Target]],
) -> Result<(ValueId, Vec<usize>), Refusal> {
    let mut shape = shape.to_vec();
    for targets in stages {
        let op;
        (op, shape) = stage(kind, targets, &shape);
        x = builder.emit_part(call, op, vec![x], shape.clone())?;
    }
    Ok((x, shape))
}

/// The operation that resizes these axes, and the shape of its result.
fn stage(kind: &Resize, targets: &[Target], shape: &[usize]) -> (Op, Vec<usize>) {
    let mut shape = shape.to_vec();
    for target in targets {
        shape.get_mut(target.axis.axis).into_iter().for_each(|length| *length = target.length);
    }
    let axes = targets.iter().map(|target| target.axis).collect();
    (Op::Resize(Resize { axes, ..kind.clone() }), shape)
}

/// What the attributes say, without axes.
fn named(call: &Call<'_>) -> Result<Resize, Refusal> {
    let rounding = one_of(call, "nearest_mode", &Rounding::NAMES)?;
    let interpolation = match call.string("mode", "nearest")? {
        "nearest" => Interpolation::Nearest(rounding),
        "linear" => Interpolation::Linear,
        "cubic" => {
            let a = call.float("cubic_coeff_a")?.unwrap_or(-0.75);
            finite("cubic_coeff_a", &[a])?;
            Interpolation::Cubic { a }
        }
        other => return Err(unknown("mode", other, "nearest, linear or cubic")),
    };
    let kind = Resize {
        axes: vec![],
        interpolation,
        coordinates: Coordinates::HalfPixel,
        exclude_outside: call.flag("exclude_outside", false)?,
        antialias: call.flag("antialias", false)?,
    };
    // `floor((i + 0.5) / scale)` is half_pixel with halves rounded up.
    if call.string("coordinate_transformation_mode", "half_pixel")? == "tf_half_pixel_for_nn" {
        return match interpolation {
            Interpolation::Nearest(Rounding::Floor) => {
                Ok(Resize { interpolation: Interpolation::Nearest(Rounding::PreferCeil), ..kind })
            }
            _ => Err(Refusal::Unsupported {
                found: "tf_half_pixel_for_nn with another mode than nearest and floor".to_owned(),
                remedy: "export with opset 13 or later",
            }),
        };
    }
    let coordinates = one_of(call, "coordinate_transformation_mode", &Coordinates::NAMES)?;
    Ok(Resize { coordinates, ..kind })
}

/// Before opset 11 coordinates had no names; as engines do it, the nearest element is the one before
/// where the input grows and the one behind where it shrinks.
fn unnamed(call: &Call<'_>, targets: &[Target]) -> Result<Resize, Refusal> {
    let shrinks = targets.iter().any(|target| target.axis.scale.is_some_and(|scale| scale < 1.0));
    let rounding = if shrinks { Rounding::Ceil } else { Rounding::Floor };
    let interpolation = match call.string("mode", "nearest")? {
        "nearest" => Interpolation::Nearest(rounding),
        "linear" | "bilinear" => Interpolation::Linear,
        other => return Err(unknown("mode", other, "nearest or linear")),
    };
    Ok(Resize {
        axes: vec![],
        interpolation,
        coordinates: Coordinates::Asymmetric,
        exclude_outside: false,
        antialias: false,
    })
}

/// The attribute's value in a list of names, the first of which is the default.
fn one_of<T: Copy>(
    call: &Call<'_>,
    name: &'static str,
    names: &[(&'static str, T)],
) -> Result<T, Refusal> {
    let found = call.string(name, names.first().map_or("", |(default, _)| default))?;
    let known = names.iter().find(|(name, _)| *name == found);
    let all = || names.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    known.map(|(_, value)| *value).ok_or_else(|| unknown(name, found, &all()))
}

fn unknown(name: &'static str, found: &str, expected: &str) -> Refusal {
    Refusal::Attribute { name, found: found.to_owned(), expected: expected.to_owned() }
}

/// The axes that scales or sizes name, with their lengths afterwards.
fn targets(call: &Call<'_>, shape: &[usize]) -> Result<Vec<Target>, Refusal> {
    let axes: Vec<usize> = match call.ints("axes")? {
        None => (0..shape.len()).collect(),
        Some(axes) => {
            let axes = axes.iter().map(|&axis| checked_axis("axes", axis, shape.len()));
            axes.collect::<Result<_, _>>()?
        }
    };
    let lengths: Vec<usize> = axes.iter().filter_map(|&axis| shape.get(axis).copied()).collect();
    let given = |index| call.optional(index).filter(|operand| !operand.shape().contains(&0));
    let first = if call.opset < NAMED_COORDINATES { 1 } else { 2 };
    let attribute = if call.opset < SCALES_OPERAND { call.float_list("scales")? } else { None };
    let scaled = match (given(first), given(3)) {
        (None, None) if attribute.is_some() => by_scales(attribute.unwrap_or(&[]), &lengths)?,
        (Some(scales), None) => by_scales(scales.floats("its scales")?, &lengths)?,
        (None, Some(sizes)) => by_sizes(call, sizes.integers("its sizes")?, &lengths)?,
        _ => return Err(Refusal::MissingOperand("exactly one of its scales and its sizes")),
    };
    let crops = crops(call, axes.len())?;
    let targets = axes.into_iter().zip(crops).zip(scaled);
    let target = |((axis, crop), (scale, length))| Target {
        axis: ResizedAxis { axis, scale, crop },
        length,
    };
    Ok(targets.map(target).collect())
}

/// A scale, if it is more than the quotient of the lengths, and the length afterwards.
type Scaled = (Option<f32>, usize);

fn by_scales(scales: &[f32], lengths: &[usize]) -> Result<Vec<Scaled>, Refusal> {
    one_each("its scales", scales.len(), lengths)?;
    let scaled = |(&scale, &length): (&f32, &usize)| {
        let length = (f64::from(scale) * length as f64).floor();
        let wrong = || unknown("scales", &format!("{scales:?}"), "positive numbers");
        if scale > 0.0 && scale.is_finite() {
            Ok((Some(scale), length as usize))
        } else {
            Err(wrong())
        }
    };
    scales.iter().zip(lengths).map(scaled).collect()
}

/// To these sizes, or to the largest or smallest ones of the input's proportions within them.
fn by_sizes(call: &Call<'_>, sizes: &[i64], lengths: &[usize]) -> Result<Vec<Scaled>, Refusal> {
    one_each("its sizes", sizes.len(), lengths)?;
    let wrong = || unknown("sizes", &format!("{sizes:?}"), "positive numbers");
    let positive = |&size: &i64| usize::try_from(size).ok().filter(|&size| size > 0);
    let sizes: Vec<usize> = sizes.iter().map(positive).collect::<Option<_>>().ok_or_else(wrong)?;
    let quotients = sizes.iter().zip(lengths).map(|(&size, &length)| size as f64 / length as f64);
    let scale = match call.string("keep_aspect_ratio_policy", "stretch")? {
        "stretch" => return Ok(sizes.into_iter().map(|size| (None, size)).collect()),
        "not_larger" => quotients.fold(f64::INFINITY, f64::min),
        "not_smaller" => quotients.fold(0.0, f64::max),
        other => {
            let expected = "stretch, not_larger or not_smaller";
            return Err(unknown("keep_aspect_ratio_policy", other, expected));
        }
    };
    let scaled = |&length: &usize| {
        let length = (scale * length as f64 + 0.5).floor();
        (Some(scale as f32), length as usize)
    };
    Ok(lengths.iter().map(scaled).collect())
}

fn one_each(role: &'static str, found: usize, lengths: &[usize]) -> Result<(), Refusal> {
    let expected = || shape_refusal(role, &[found], format!("[{}]", lengths.len()));
    if found == lengths.len() { Ok(()) } else { Err(expected()) }
}

/// The part of each axis that `tf_crop_and_resize` shows: all starts, then all ends.
fn crops(call: &Call<'_>, axes: usize) -> Result<Vec<[f32; 2]>, Refusal> {
    let crops = "tf_crop_and_resize";
    let named = call.opset >= NAMED_COORDINATES;
    if !named || call.string("coordinate_transformation_mode", "half_pixel")? != crops {
        return Ok(vec![[0.0, 1.0]; axes]);
    }
    let region = call.operand(1, "its region")?;
    let values = region.floats("its region")?;
    finite("its region", values)?;
    if values.len() != axes.saturating_mul(2) {
        return Err(shape_refusal(
            "its region",
            region.shape(),
            "a start and an end for each axis",
        ));
    }
    let (starts, ends) = values.split_at(axes);
    Ok(starts.iter().zip(ends).map(|(&start, &end)| [start, end]).collect())
}
