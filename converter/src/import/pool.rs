//! Pooling.

use super::build::{Builder, Stage};
use super::call::{Call, Operand, shape_refusal};
use super::error::Refusal;
use super::window::{Picture, Slide, picture, slide, touches};
use crate::graph::Op;
use crate::tensor::elements;

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
        expected: "one or two positive numbers".to_owned(),
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
    let picture = picture(input.shape())?;
    let x = builder.value(input, "its input")?;
    let [pooled, own] = picture.result(input.shape().len(), picture.c, slide.output);
    let stages = [Stage::reshape(picture.shape()), Stage::new(op, pooled), Stage::reshape(own)];
    builder.chain(call, x, stages)
}

/// Mean over all axes but those of pictures and channels.
pub(super) fn global_average_pool(
    call: &Call<'_>,
    builder: &mut Builder,
) -> Result<Operand, Refusal> {
    let input = call.operand(0, "its input")?;
    let (as_picture, own) = flattened(input)?;
    let (n, c) = (as_picture.n, as_picture.c);
    let x = builder.value(input, "its input")?;
    let stages = [
        Stage::reshape(as_picture.shape()),
        Stage::new(Op::GlobalAveragePool, vec![n, c, 1, 1]),
        Stage::reshape(own),
    ];
    builder.chain(call, x, stages)
}

/// `[N, C, ...]` as a picture, and the shape of one pixel of it with as many axes.
fn flattened(input: &Operand) -> Result<(Picture, Vec<usize>), Refusal> {
    let wrong = || shape_refusal("its input", input.shape(), "[N, C, ...]");
    let (&[n, c], pixels) = input.shape().split_first_chunk::<2>().ok_or_else(wrong)?;
    let own = [n, c].into_iter().chain(pixels.iter().map(|_| 1)).collect();
    if let &[_, _] = pixels {
        return Ok((picture(input.shape())?, own));
    }
    let w = elements(pixels).and_then(|w| u32::try_from(w).ok()).ok_or_else(wrong)?;
    Ok((Picture { n, c, h: 1, w }, own))
}
