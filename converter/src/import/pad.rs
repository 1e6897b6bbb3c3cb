//! Pad: rows and columns around a picture, or cut off where pads are negative.

use super::build::{Builder, finite};
use super::call::{Call, Operand, axis, shape_refusal};
use super::error::Refusal;
use super::window::picture;
use crate::graph::{Op, Pad, PadMode, ValueId};

/// Pads of rows and columns in any mode; negative ones crop, before anything is added.
pub(super) fn pad(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let input = call.operand(0, "its input")?;
    let mode = mode(call)?;
    let sides = Sides::of(call, input.shape().len())?;
    let x = builder.value(input, "its input")?;
    let (x, shape) = cropped(call, builder, (x, input.shape()), &sides)?;
    let pad = sides.added();
    if pad == Pad::default() {
        return Ok(Operand::Value { id: x, shape });
    }
    let whole = picture(&shape)?;
    let room = |low: u32, high: u32, len: u32| match mode {
        PadMode::Constant(_) | PadMode::Edge => true,
        PadMode::Reflect => low.max(high) < len,
        PadMode::Wrap => low.max(high) <= len,
    };
    if !(room(pad.top, pad.bottom, whole.h) && room(pad.left, pad.right, whole.w)) {
        return Err(shape_refusal("its input", &shape, "more rows and columns than its pads take"));
    }
    let sum = |parts: [u32; 3]| {
        let sum = parts.into_iter().map(u64::from).sum::<u64>();
        usize::try_from(sum).unwrap_or(usize::MAX)
    };
    let rows = sum([whole.h, pad.top, pad.bottom]);
    let padded = vec![whole.n, whole.c, rows, sum([whole.w, pad.left, pad.right])];
    builder.emit(call, Op::Pad { pad, mode }, vec![x], padded)
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

/// The value without the rows and columns that negative pads cut off.
fn cropped(
    call: &Call<'_>,
    builder: &mut Builder,
    (x, shape): (ValueId, &[usize]),
    sides: &Sides,
) -> Result<(ValueId, Vec<usize>), Refusal> {
    let cut = |side: i64| usize::try_from(side.saturating_neg()).unwrap_or(0);
    let (rows, columns) = (sides.rows.map(cut), sides.columns.map(cut));
    if rows == [0; 2] && columns == [0; 2] {
        return Ok((x, shape.to_vec()));
    }
    let &[n, c, h, w] = shape else {
        return Err(shape_refusal("its input", shape, "[1, C, H, W]"));
    };
    let left = |len: usize, [low, high]: [usize; 2]| {
        let left = len.checked_sub(low).and_then(|len| len.checked_sub(high));
        left.ok_or_else(|| shape_refusal("its input", shape, "more rows and columns than are cut"))
    };
    let part = vec![n, c, left(h, rows)?, left(w, columns)?];
    let [top, _] = rows;
    let [start, _] = columns;
    let op = Op::Slice { starts: vec![0, 0, top, start], steps: vec![1; 4] };
    Ok((builder.emit_part(call, op, vec![x], part.clone())?, part))
}

/// Begin and end of rows and columns; negative numbers crop.
struct Sides {
    rows: [i64; 2],
    columns: [i64; 2],
}

impl Sides {
    /// The pads of the axes 2 and 3; refuses pads of other axes.
    fn of(call: &Call<'_>, rank: usize) -> Result<Self, Refusal> {
        let pads = call.ints_or_operand("pads", 11, 1)?.unwrap_or(&[]);
        let wrong = || Refusal::Attribute {
            name: "pads",
            found: format!("{pads:?}"),
            expected: "32-bit numbers, 0 on all axes but rows and columns".to_owned(),
        };
        let axes: Vec<usize> = match call.optional(3) {
            None => (0..rank).collect(),
            Some(axes) => {
                let axes = axes.integers("its axes")?.iter().map(|&a| axis(a, rank));
                axes.collect::<Option<_>>().ok_or_else(wrong)?
            }
        };
        if pads.len() != axes.len().saturating_mul(2) {
            return Err(shape_refusal(
                "its pads",
                &[pads.len()],
                "a begin and an end for each axis",
            ));
        }
        let (begins, ends) = pads.split_at(axes.len());
        let mut sides = Self { rows: [0; 2], columns: [0; 2] };
        for ((&axis, &begin), &end) in axes.iter().zip(begins).zip(ends) {
            if i32::try_from(begin).is_err() || i32::try_from(end).is_err() {
                return Err(wrong());
            }
            match (axis, begin, end) {
                (_, 0, 0) => {}
                (2, ..) if rank == 4 => sides.rows = [begin, end],
                (3, ..) if rank == 4 => sides.columns = [begin, end],
                _ => return Err(wrong()),
            }
        }
        Ok(sides)
    }

    /// What is added.
    fn added(&self) -> Pad {
        let [top, bottom] = self.rows.map(|n| u32::try_from(n).unwrap_or(0));
        let [left, right] = self.columns.map(|n| u32::try_from(n).unwrap_or(0));
        Pad { top, left, bottom, right }
    }
}
