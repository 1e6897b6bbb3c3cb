//! Ops that change the shape and not the values, squares of channels and pixels, and Concat.

use super::build::{Builder, Stage};
use super::call::{Call, Operand, checked_axis, shape_refusal};
use super::error::Refusal;
use super::view::framed;
use crate::graph::{DepthOrder, Op};
use crate::tensor::elements;

/// The operand under another shape: a constant at once, a value by a node, nothing if it has it.
pub(super) fn reshaped(
    call: &Call<'_>,
    builder: &mut Builder,
    operand: &Operand,
    shape: Vec<usize>,
) -> Result<Operand, Refusal> {
    if operand.shape() == shape {
        return Ok(operand.clone());
    }
    let count = elements(operand.shape());
    if elements(&shape) != count {
        let expected = format!("as many elements as {:?}", operand.shape());
        return Err(shape_refusal("its result", &shape, expected));
    }
    match operand {
        Operand::Constant { tensor, .. } => {
            let wrong = || shape_refusal("its input", tensor.shape(), "a valid shape");
            let tensor = tensor.reshaped(shape).ok_or_else(wrong)?;
            Ok(Operand::Constant { name: call.output().to_owned(), tensor })
        }
        Operand::Value { .. } | Operand::View(_) => {
            let x = builder.value(operand, "its input")?;
            builder.emit(call, Op::Reshape, vec![x], shape)
        }
    }
}

/// Reshape to a constant shape: 0 copies an axis (unless `allowzero`), -1 takes what is left.
pub(super) fn reshape(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let (input, wanted) = (call.operand(0, "its input")?, call.operand(1, "its shape")?);
    let wanted = wanted.integers("its shape")?;
    let zero_copies = !call.flag("allowzero", false)?;
    let shape =
        completed(wanted, input.shape(), zero_copies).ok_or_else(|| Refusal::Attribute {
            name: "shape",
            found: format!("{wanted:?}"),
            expected: format!("a shape with as many elements as {:?}", input.shape()),
        })?;
    reshaped(call, builder, input, shape)
}

/// The shape that Reshape's operand asks for; `None` if the input's elements do not fit.
fn completed(wanted: &[i64], input: &[usize], zero_copies: bool) -> Option<Vec<usize>> {
    let mut known = Vec::with_capacity(wanted.len());
    for (axis, &length) in wanted.iter().enumerate() {
        known.push(match length {
            -1 => None,
            0 if zero_copies => Some(*input.get(axis)?),
            _ => Some(usize::try_from(length).ok()?),
        });
    }
    let count = elements(input)?;
    let product = known.iter().flatten().try_fold(1, |n: usize, &d| n.checked_mul(d))?;
    let left = match known.iter().filter(|d| d.is_none()).count() {
        0 => 1,
        1 => count.checked_div(product)?,
        _ => return None,
    };
    (product.checked_mul(left)? == count).then(|| known.iter().map(|d| d.unwrap_or(left)).collect())
}

/// Axes before `axis` become rows, the others columns.
pub(super) fn flatten(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let input = call.operand(0, "its input")?;
    let shape = input.shape();
    let found = call.int("axis", 1)?;
    let end = i64::try_from(shape.len()).is_ok_and(|rank| rank == found);
    let axis = if end { shape.len() } else { checked_axis("axis", found, shape.len())? };
    let (rows, columns) = shape.split_at(axis);
    let too_large = || shape_refusal("its input", shape, "fewer elements");
    let flat = [rows, columns].map(elements);
    let flat = flat.into_iter().collect::<Option<Vec<usize>>>().ok_or_else(too_large)?;
    reshaped(call, builder, input, flat)
}

/// Drops axes of length 1.
pub(super) fn squeeze(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let input = call.operand(0, "its input")?;
    let shape = input.shape();
    let dropped: Vec<usize> = match call.ints_or_operand("axes", 13, 1)? {
        None => (0..).zip(shape).filter(|(_, n)| **n == 1).map(|(axis, _)| axis).collect(),
        Some(axes) => {
            let axes = axes.iter().map(|&a| checked_axis("axes", a, shape.len()));
            axes.collect::<Result<_, _>>()?
        }
    };
    if dropped.iter().any(|&axis| shape.get(axis) != Some(&1)) {
        return Err(shape_refusal("its input", shape, format!("length 1 on the axes {dropped:?}")));
    }
    let kept = (0..).zip(shape).filter(|(axis, _)| !dropped.contains(axis)).map(|(_, &n)| n);
    let kept = kept.collect();
    reshaped(call, builder, input, kept)
}

/// Adds axes of length 1.
pub(super) fn unsqueeze(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let input = call.operand(0, "its input")?;
    let axes = call.ints_or_operand("axes", 13, 1)?.ok_or(Refusal::MissingOperand("its axes"))?;
    let rank = input.shape().len().saturating_add(axes.len());
    let added = axes.iter().map(|&a| checked_axis("axes", a, rank));
    let mut added = added.collect::<Result<Vec<usize>, _>>()?;
    added.sort_unstable();
    added.dedup();
    if added.len() != axes.len() {
        return Err(Refusal::Attribute {
            name: "axes",
            found: format!("{axes:?}"),
            expected: "each axis once".to_owned(),
        });
    }
    let mut old = input.shape().iter().copied();
    let next = |axis| if added.binary_search(&axis).is_ok() { Some(1) } else { old.next() };
    let shape = (0..rank).filter_map(next).collect();
    reshaped(call, builder, input, shape)
}

/// Squares of channels become squares of pixels.
pub(super) fn depth_to_space(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let input = call.operand(0, "its input")?;
    let block = block(call)?;
    let order = match call.string("mode", "DCR")? {
        "DCR" => DepthOrder::SquareFirst,
        "CRD" => DepthOrder::ChannelFirst,
        other => {
            return Err(Refusal::Attribute {
                name: "mode",
                found: other.to_owned(),
                expected: "DCR or CRD".to_owned(),
            });
        }
    };
    let wrong = || {
        let expected = format!("[N, C, H, W], C a multiple of {block} times {block}");
        shape_refusal("its input", input.shape(), expected)
    };
    let &[n, c, h, w] = input.shape() else { return Err(wrong()) };
    let square = block.saturating_mul(block);
    let channels = c.checked_div(square).filter(|_| c.is_multiple_of(square)).ok_or_else(wrong)?;
    let shape = vec![n, channels, h.saturating_mul(block), w.saturating_mul(block)];
    let x = builder.value(input, "its input")?;
    builder.emit(call, Op::DepthToSpace { block, order }, vec![x], shape)
}

/// Squares of pixels become squares of channels, the position in the square before the channel or,
/// from opset 27 on by `mode`, behind it.
pub(super) fn space_to_depth(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let input = call.operand(0, "its input")?;
    let block = block(call)?;
    let wrong = || {
        let expected = format!("[N, C, H, W], H and W multiples of {block}");
        shape_refusal("its input", input.shape(), expected)
    };
    let &[n, c, h, w] = input.shape() else { return Err(wrong()) };
    let part =
        |len: usize| len.checked_div(block).filter(|_| len.is_multiple_of(block)).ok_or_else(wrong);
    let square = block.saturating_mul(block);
    let shape = vec![n, c.saturating_mul(square), part(h)?, part(w)?];
    let x = builder.value(input, "its input")?;
    match call.string("mode", "DCR")? {
        "DCR" => builder.emit(call, Op::SpaceToDepth { block }, vec![x], shape),
        "CRD" => {
            let cut = [n, c, part(h)?, block, part(w)?, block];
            let moved = [n, c, block, block, part(h)?, part(w)?];
            let stages = [
                Stage::reshape(cut),
                Stage::new(Op::Transpose { perm: vec![0, 1, 3, 5, 2, 4] }, moved),
                Stage::reshape(shape),
            ];
            builder.chain(call, x, stages)
        }
        other => Err(Refusal::Attribute {
            name: "mode",
            found: other.to_owned(),
            expected: "DCR or CRD".to_owned(),
        }),
    }
}

fn block(call: &Call<'_>) -> Result<usize, Refusal> {
    let found = call.int("blocksize", 0)?;
    usize::try_from(found).ok().filter(|&block| block > 0).ok_or_else(|| Refusal::Attribute {
        name: "blocksize",
        found: found.to_string(),
        expected: "at least 1".to_owned(),
    })
}

/// The shape of a concatenation: equal on all axes but one.
pub(super) fn concat_shape(parts: &[&Operand], axis: usize) -> Result<Vec<usize>, Refusal> {
    let mut shape = parts.first().map_or(&[][..], |p| p.shape()).to_vec();
    for part in parts.iter().skip(1) {
        let same = |(n, (a, b)): (usize, (&usize, &usize))| n == axis || a == b;
        let fits = part.shape().len() == shape.len()
            && shape.iter().zip(part.shape()).enumerate().all(same);
        if !fits {
            let expected = format!("{shape:?} on all axes but {axis}");
            return Err(shape_refusal("its operand", part.shape(), expected));
        }
        if let (Some(total), Some(&more)) = (shape.get_mut(axis), part.shape().get(axis)) {
            *total = total.saturating_add(more);
        }
    }
    Ok(shape)
}

/// Concatenation along one axis.
pub(super) fn concat(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let parts = call.all("its operands")?;
    if let [only] = parts.as_slice() {
        return Ok((*only).clone());
    }
    let rank = parts.first().map_or(0, |p| p.shape().len());
    let axis = checked_axis("axis", call.int("axis", 0)?, rank)?;
    let shape = concat_shape(&parts, axis)?;
    if let Some(view) = framed(call, &parts, axis, &shape) {
        return Ok(view);
    }
    let value = |part: &&Operand| {
        let part = builder.without_view(call, part)?;
        builder.value(&part, "its operand")
    };
    let inputs = parts.iter().map(value).collect::<Result<_, _>>()?;
    builder.emit(call, Op::Concat { axis }, inputs, shape)
}
