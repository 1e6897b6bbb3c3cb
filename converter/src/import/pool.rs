//! Pooling, and `ReduceMean` where it is pooling.

use super::build::Builder;
use super::call::{Call, Operand, axis, shape_refusal};
use super::error::Refusal;
use super::shape::reshaped;
use super::window::{Slide, picture, slide, touches};
use crate::graph::Op;

/// Largest value under the window.
pub(super) fn max_pool(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let slide = pool_window(call)?;
    pool(call, builder, Op::MaxPool(slide.window), slide)
}

/// Mean under the window.
pub(super) fn average_pool(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let slide = pool_window(call)?;
    let count_include_pad = call.flag("count_include_pad", false)?;
    if slide.grown && count_include_pad {
        // Rows added by ceil_mode are not counted, rows added by pads are: one window, two rules.
        return Err(Refusal::Unsupported {
            found:
                "ceil_mode=1 with count_include_pad=1 on a picture that the stride does not divide"
                    .to_owned(),
            remedy: "export with ceil_mode=False, or pad the picture",
        });
    }
    pool(call, builder, Op::AveragePool { window: slide.window, count_include_pad }, slide)
}

fn pool_window(call: &Call<'_>) -> Result<Slide, Refusal> {
    let x = picture(call.operand(0, "its input")?.shape())?;
    let kernel = call.ints("kernel_shape")?.unwrap_or(&[]);
    let kernel: Option<Vec<usize>> =
        kernel.iter().map(|&k| usize::try_from(k).ok().filter(|&k| k > 0)).collect();
    let kernel = kernel.ok_or_else(|| Refusal::Attribute {
        name: "kernel_shape",
        found: "not positive".to_owned(),
        expected: "two positive numbers".to_owned(),
    })?;
    let slide = slide(call, &kernel, x)?;
    if touches(&slide, x) {
        return Ok(slide);
    }
    Err(Refusal::Unsupported {
        found: format!("a window that sees only padding ({:?})", slide.window.pad),
        remedy: "make the pads smaller than the window",
    })
}

fn pool(call: &Call<'_>, builder: &mut Builder, op: Op, slide: Slide) -> Result<Operand, Refusal> {
    let input = call.operand(0, "its input")?;
    let channels = picture(input.shape())?.c;
    let x = builder.value(input, "its input")?;
    let shape = vec![1, channels, slide.output.h as usize, slide.output.w as usize];
    builder.emit(call, op, vec![x], shape)
}

/// Mean over H and W.
pub(super) fn global_average_pool(
    call: &Call<'_>,
    builder: &mut Builder,
) -> Result<Operand, Refusal> {
    let input = call.operand(0, "its input")?;
    let channels = picture(input.shape())?.c;
    let x = builder.value(input, "its input")?;
    builder.emit(call, Op::GlobalAveragePool, vec![x], vec![1, channels, 1, 1])
}

/// Mean over the axes 2 and 3 of a picture, which is what exporters make of adaptive pooling.
pub(super) fn reduce_mean(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let input = call.operand(0, "its input")?;
    let rank = input.shape().len();
    let axes = call.ints_or_operand("axes", 18, 1)?.unwrap_or(&[]);
    if axes.is_empty() && call.flag("noop_with_empty_axes", false)? {
        return Ok(input.clone());
    }
    let mut chosen: Vec<Option<usize>> = axes.iter().map(|&a| axis(a, rank)).collect();
    chosen.sort_unstable();
    if rank != 4 || chosen != [Some(2), Some(3)] {
        return Err(Refusal::Attribute {
            name: "axes",
            found: format!("{axes:?} of a tensor with {rank} axes"),
            expected: "[2, 3] of a picture [1, C, H, W]: the mean over rows and columns".to_owned(),
        });
    }
    if call.flag("keepdims", true)? {
        return global_average_pool(call, builder);
    }
    let channels = picture(input.shape())?.c;
    let x = builder.value(input, "its input")?;
    let pooled = vec![1, channels, 1, 1];
    let id = builder.emit_part(call, Op::GlobalAveragePool, vec![x], pooled.clone())?;
    reshaped(call, builder, &Operand::Value { id, shape: pooled }, vec![1, channels])
}

/// Constant padding of rows and columns.
pub(super) fn pad(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let mode = call.string("mode", "constant")?;
    if mode != "constant" {
        return Err(Refusal::Attribute {
            name: "mode",
            found: mode.to_owned(),
            expected: "constant".to_owned(),
        });
    }
    let input = call.operand(0, "its input")?;
    let value = match call.optional(2) {
        _ if call.opset < 11 => call.float("value")?.unwrap_or(0.0),
        None => 0.0,
        Some(value) => value.scalar("its pad value")?,
    };
    super::build::finite("its pad value", &[value])?;
    let pad = picture_pads(call, input.shape().len())?;
    if pad == crate::graph::Pad::default() {
        return Ok(input.clone());
    }
    let x = picture(input.shape())?;
    let sum = |parts: [u32; 3]| {
        let sum = parts.into_iter().map(u64::from).sum::<u64>();
        usize::try_from(sum).unwrap_or(usize::MAX)
    };
    let shape = vec![1, x.c, sum([x.h, pad.top, pad.bottom]), sum([x.w, pad.left, pad.right])];
    let x = builder.value(input, "its input")?;
    builder.emit(call, Op::Pad { pad, value }, vec![x], shape)
}

/// The pads of the axes 2 and 3; refuses pads of other axes and negative ones (crops).
fn picture_pads(call: &Call<'_>, rank: usize) -> Result<crate::graph::Pad, Refusal> {
    let pads = call.ints_or_operand("pads", 11, 1)?.unwrap_or(&[]);
    let wrong = || Refusal::Attribute {
        name: "pads",
        found: format!("{pads:?}"),
        expected: "numbers of at least 0, and 0 on all axes but rows and columns".to_owned(),
    };
    let axes: Vec<usize> = match call.optional(3) {
        None => (0..rank).collect(),
        Some(axes) => {
            let axes = axes.integers("its axes")?.iter().map(|&a| axis(a, rank));
            axes.collect::<Option<_>>().ok_or_else(wrong)?
        }
    };
    if pads.len() != axes.len().saturating_mul(2) {
        return Err(shape_refusal("its pads", &[pads.len()], "a begin and an end for each axis"));
    }
    let (begins, ends) = pads.split_at(axes.len());
    let mut result = crate::graph::Pad::default();
    for ((&axis, &begin), &end) in axes.iter().zip(begins).zip(ends) {
        let number = |n: i64| u32::try_from(n).map_err(|_| wrong());
        match (axis, number(begin)?, number(end)?) {
            (_, 0, 0) => {}
            (2, begin, end) if rank == 4 => (result.top, result.bottom) = (begin, end),
            (3, begin, end) if rank == 4 => (result.left, result.right) = (begin, end),
            _ => return Err(wrong()),
        }
    }
    Ok(result)
}
