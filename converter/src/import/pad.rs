//! Pad: elements around a value along any axis, or cut off where pads are negative.

use super::build::{Builder, Stage, finite};
use super::call::{Call, Operand, axis, shape_refusal};
use super::error::Refusal;
use crate::graph::{Op, Pad, PadMode};
use crate::tensor::elements;

/// Pads in any mode; negative ones crop, before anything is added.
pub(super) fn pad(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let input = call.operand(0, "its input")?;
    let mode = mode(call)?;
    let ends = ends(call, input.shape().len())?;
    let (mut shape, mut stages) = cropped(input.shape(), &ends)?;
    for (ends, length) in ends.iter().zip(&shape) {
        if !ends.fits(mode, *length) {
            return Err(shape_refusal("its input", &shape, "longer axes than its pads take"));
        }
    }
    stages.extend(around_pictures(&mut shape, &ends, mode)?);
    let pixels = if pictures(&shape) { 2 } else { shape.len() };
    for (axis, ends) in ends.iter().enumerate().take(pixels) {
        stages.extend(along(&mut shape, axis, *ends, mode)?);
    }
    stages.push(Stage::reshape(shape));
    let x = builder.value(input, "its input")?;
    builder.chain(call, x, stages)
}

fn mode(call: &Call<'_>) -> Result<PadMode, Refusal> {
    match call.string("mode", "constant")? {
        "constant" => {
            let value = match call.optional(2) {
                _ if call.opset < 11 => call.float("value")?.unwrap_or(0.0),
                None => 0.0,
                Some(value) => value.scalar("its pad value")?,
            };
            finite("its pad value", &[value])?;
            Ok(PadMode::Constant(value))
        }
        "reflect" => Ok(PadMode::Reflect),
        "edge" => Ok(PadMode::Edge),
        "wrap" => Ok(PadMode::Wrap),
        other => Err(Refusal::Attribute {
            name: "mode",
            found: other.to_owned(),
            expected: "constant, reflect, edge or wrap".to_owned(),
        }),
    }
}

/// How many elements are added at both ends of an axis, or cut off.
#[derive(Clone, Copy, Debug, Default)]
struct Ends {
    begin: i64,
    end: i64,
}

impl Ends {
    /// What is cut off.
    fn cut(self) -> [usize; 2] {
        [self.begin, self.end].map(|n| usize::try_from(n.saturating_neg()).unwrap_or(0))
    }

    /// What is added.
    fn added(self) -> [u32; 2] {
        [self.begin, self.end].map(|n| u32::try_from(n).unwrap_or(0))
    }

    /// Whether an axis of this length has what the mode puts at its ends.
    fn fits(self, mode: PadMode, length: usize) -> bool {
        let [begin, end] = self.added().map(u64::from);
        let (most, length) = (begin.max(end), length as u64);
        match mode {
            _ if most == 0 => true,
            PadMode::Constant(_) | PadMode::Edge => length > 0,
            PadMode::Reflect => most < length,
            PadMode::Wrap => most <= length,
        }
    }

    fn padded(self, length: usize) -> usize {
        let added = self.added().into_iter().map(u64::from).sum::<u64>();
        length.saturating_add(usize::try_from(added).unwrap_or(usize::MAX))
    }
}

/// The pads of every axis.
fn ends(call: &Call<'_>, rank: usize) -> Result<Vec<Ends>, Refusal> {
    let pads = call.ints_or_operand("pads", 11, 1)?.unwrap_or(&[]);
    let wrong = || Refusal::Attribute {
        name: "pads",
        found: format!("{pads:?}"),
        expected: format!("32-bit numbers for some of {rank} axes"),
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
    let mut all = vec![Ends::default(); rank];
    for ((&axis, &begin), &end) in axes.iter().zip(begins).zip(ends) {
        if i32::try_from(begin).is_err() || i32::try_from(end).is_err() {
            return Err(wrong());
        }
        all.get_mut(axis).into_iter().for_each(|ends| *ends = Ends { begin, end });
    }
    Ok(all)
}

/// The shape that negative pads leave, and the node that cuts them off.
fn cropped(shape: &[usize], ends: &[Ends]) -> Result<(Vec<usize>, Vec<Stage>), Refusal> {
    let left = |(&length, ends): (&usize, &Ends)| {
        let [begin, end] = ends.cut();
        length.checked_sub(begin)?.checked_sub(end)
    };
    let left: Option<Vec<usize>> = shape.iter().zip(ends).map(left).collect();
    let left = left.ok_or_else(|| shape_refusal("its input", shape, "more than its pads cut"))?;
    if left == shape {
        return Ok((left, Vec::new()));
    }
    let starts = ends.iter().map(|ends| ends.cut()[0]).collect();
    let op = Op::Slice { starts, steps: vec![1; shape.len()] };
    Ok((left.clone(), vec![Stage::new(op, left)]))
}

/// Whether axes 2 and 3 are rows and columns, or axis 2 alone is columns.
fn pictures(shape: &[usize]) -> bool {
    matches!(shape.len(), 3 | 4)
}

/// Rows and columns around pictures, in one node.
fn around_pictures(
    shape: &mut [usize],
    ends: &[Ends],
    mode: PadMode,
) -> Result<Vec<Stage>, Refusal> {
    let (whole, rows, columns) = match (&*shape, ends) {
        (&[n, c, w], &[_, _, columns]) => ([n, c, 1, w], Ends::default(), columns),
        (&[n, c, h, w], &[_, _, rows, columns]) => ([n, c, h, w], rows, columns),
        _ => return Ok(Vec::new()),
    };
    let ([top, bottom], [left, right]) = (rows.added(), columns.added());
    let pad = Pad { top, left, bottom, right };
    if pad == Pad::default() {
        return Ok(Vec::new());
    }
    let [n, c, h, w] = whole;
    for (length, ends) in shape.iter_mut().zip(ends).skip(2) {
        *length = ends.padded(*length);
    }
    let padded = [n, c, rows.padded(h), columns.padded(w)];
    let add = Stage::new(Op::Pad { pad, mode }, padded);
    Ok(vec![Stage::reshape(whole), add, Stage::reshape(&*shape)])
}

/// Elements along one axis, as rows of pictures: axes before it are channels, axes behind it columns.
fn along(
    shape: &mut [usize],
    axis: usize,
    ends: Ends,
    mode: PadMode,
) -> Result<Vec<Stage>, Refusal> {
    let [top, bottom] = ends.added();
    if (top, bottom) == (0, 0) {
        return Ok(Vec::new());
    }
    let too_large = shape_refusal("its input", shape, "fewer elements");
    let Some((before, [length, after @ ..])) = shape.split_at_mut_checked(axis) else {
        return Err(too_large);
    };
    let Some((before, after)) = elements(before).zip(elements(after)) else {
        return Err(too_large);
    };
    let whole = [1, before, *length, after];
    *length = ends.padded(*length);
    let pad = Pad { top, bottom, ..Pad::default() };
    let add = Stage::new(Op::Pad { pad, mode }, [1, before, *length, after]);
    Ok(vec![Stage::reshape(whole), add, Stage::reshape(&*shape)])
}
