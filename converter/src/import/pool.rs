//! Pooling.

use super::build::Builder;
use super::call::{Call, Operand};
use super::error::Refusal;
use super::window::{Picture, Slide, picture, slide, touches};
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
    let Picture { n, c, .. } = picture(input.shape())?;
    let x = builder.value(input, "its input")?;
    let shape = vec![n, c, slide.output.h as usize, slide.output.w as usize];
    builder.emit(call, op, vec![x], shape)
}

/// Mean over H and W.
pub(super) fn global_average_pool(
    call: &Call<'_>,
    builder: &mut Builder,
) -> Result<Operand, Refusal> {
    let input = call.operand(0, "its input")?;
    let Picture { n, c, .. } = picture(input.shape())?;
    let x = builder.value(input, "its input")?;
    builder.emit(call, Op::GlobalAveragePool, vec![x], vec![n, c, 1, 1])
}
