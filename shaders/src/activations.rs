//! Where activations lie on the GPU: a plan of its own, because ranges that shaders bind start at
//! multiples of 256 bytes, and a dispatch may not bind overlapping ranges, so nothing is computed
//! in place.
//!
//! A value is what one step writes, or an input of the network. The file names bytes of *its* arena;
//! the walk over the steps finds which value lies there when a step reads. Two values share memory
//! if no step separates the first write of one from the last read of the other.

use crate::adapter::RANGE_ALIGN;
use crate::dispatch::Operands;
use crate::error::{GpuError, Place};
use std::ops::RangeInclusive;
use unbraid_runtime::model::Model;
use unbraid_runtime::span::Span;
use unbraid_runtime::step::Step;

/// Bytes of the activation buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

/// The ranges of one step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepRanges {
    pub(crate) input: Range,
    pub(crate) output: Range,
    /// Second operand, if it is computed.
    pub(crate) other: Option<Range>,
}

/// The plan of the activation buffer.
#[derive(Clone, Debug)]
pub(crate) struct Activations {
    pub(crate) len: u64,
    pub(crate) inputs: Vec<Range>,
    pub(crate) outputs: Vec<Range>,
    pub(crate) steps: Vec<StepRanges>,
}

impl Activations {
    /// Plans the activations of a network with these operands, one a step.
    pub(crate) fn new<'a>(
        model: &Model<'_>,
        operands: impl Iterator<Item = &'a Operands>,
    ) -> Result<Self, GpuError> {
        let mut walk = Walk::default();
        let inputs: Vec<_> = model.inputs().map(|port| walk.write(port.operand.span, 0)).collect();
        let mut steps = Vec::new();
        for (index, (step, operands)) in model.steps().zip(operands).enumerate() {
            steps.push(walk.step(&step, operands, index)?);
        }
        let mut outputs = Vec::new();
        for (index, port) in model.outputs().enumerate() {
            let place = Place::Output(index);
            outputs.push(walk.read(port.operand.span, steps.len() + 1, place)?);
        }
        let (ranges, len) = pack(&walk.values);
        let ranges_of = |ids: Vec<usize>| ids.into_iter().map(|id| ranges[id]).collect();
        Ok(Self {
            len,
            inputs: ranges_of(inputs),
            outputs: ranges_of(outputs),
            steps: steps
                .iter()
                .map(|step| StepRanges {
                    input: ranges[step.input],
                    output: ranges[step.output],
                    other: step.other.map(|id| ranges[id]),
                })
                .collect(),
        })
    }
}

/// A value and the times between which it must stay: 0 is before the first step, step `i` runs at
/// `i + 1`.
#[derive(Clone, Debug)]
struct Value {
    bytes: u64,
    life: RangeInclusive<usize>,
}

/// The values of one step, by index.
struct StepValues {
    input: usize,
    output: usize,
    other: Option<usize>,
}

/// The state of the file's arena while its steps are walked through.
#[derive(Default)]
struct Walk {
    values: Vec<Value>,
    /// Which value lies in which bytes.
    held: Vec<(Span, usize)>,
}

impl Walk {
    fn step(
        &mut self,
        step: &Step,
        operands: &Operands,
        index: usize,
    ) -> Result<StepValues, GpuError> {
        let (time, place) = (index + 1, Place::Step { index, op: step.op.name() });
        let input = self.read(step.input.span, time, place)?;
        let other = operands.other.map(|other| self.read(other.span, time, place)).transpose()?;
        let output = match self.holder(step.output.span) {
            Some(id) if operands.partial_output => self.keep(id, time),
            _ => self.write(step.output.span, time),
        };
        Ok(StepValues { input, output, other })
    }

    fn holder(&self, span: Span) -> Option<usize> {
        self.held.iter().find(|(held, _)| *held == span).map(|&(_, id)| id)
    }

    fn keep(&mut self, id: usize, time: usize) -> usize {
        let value = &mut self.values[id];
        value.life = *value.life.start()..=time;
        id
    }

    fn read(&mut self, span: Span, time: usize, place: Place) -> Result<usize, GpuError> {
        let id = self.holder(span).ok_or(GpuError::PartialRead { place, span })?;
        Ok(self.keep(id, time))
    }

    fn write(&mut self, span: Span, time: usize) -> usize {
        self.held.retain(|(held, _)| !held.overlaps(span));
        self.values.push(Value { bytes: u64::from(span.len), life: time..=time });
        self.held.push((span, self.values.len() - 1));
        self.values.len() - 1
    }
}

/// First fit, the largest first: each value goes to the lowest offset at which it meets no other
/// of its time. Returns the ranges and the length of all.
fn pack(values: &[Value]) -> (Vec<Range>, u64) {
    let mut order: Vec<_> = (0..values.len()).collect();
    order.sort_by_key(|&id| std::cmp::Reverse(values[id].bytes));
    let mut ranges = vec![Range { offset: 0, len: 0 }; values.len()];
    for (rank, &id) in order.iter().enumerate() {
        let mut neighbours: Vec<Range> = order[..rank]
            .iter()
            .filter(|&&other| meet(&values[id].life, &values[other].life))
            .map(|&other| ranges[other])
            .collect();
        neighbours.sort_by_key(|range| range.offset);
        ranges[id] = Range { offset: gap(&neighbours, values[id].bytes), len: values[id].bytes };
    }
    let len = ranges.iter().map(|range| range.offset + range.len).max().unwrap_or(0);
    (ranges, len.next_multiple_of(RANGE_ALIGN))
}

fn meet(a: &RangeInclusive<usize>, b: &RangeInclusive<usize>) -> bool {
    a.start() <= b.end() && b.start() <= a.end()
}

/// The lowest offset with `bytes` free between ranges sorted by offset.
fn gap(taken: &[Range], bytes: u64) -> u64 {
    let mut offset = 0;
    for range in taken {
        if offset + bytes <= range.offset {
            break;
        }
        offset = offset.max((range.offset + range.len).next_multiple_of(RANGE_ALIGN));
    }
    offset
}

#[cfg(test)]
mod tests {
    use super::{RANGE_ALIGN, Value, meet, pack};

    /// Values of all sizes and lives, the same ones each time.
    fn values() -> Vec<Value> {
        let value = |k: u64| {
            let start = (k * 7 % 40) as usize;
            Value { bytes: 4 * (1 + k * k * 31 % 997), life: start..=start + (k % 5) as usize }
        };
        (0..200).map(value).collect()
    }

    #[test]
    fn values_alive_at_the_same_time_share_no_byte() {
        let values = values();
        let (ranges, len) = pack(&values);
        for (a, x) in values.iter().zip(&ranges) {
            assert!(x.offset % RANGE_ALIGN == 0 && x.offset + x.len <= len && x.len == a.bytes);
        }
        for (i, j) in (0..values.len()).flat_map(|i| (0..i).map(move |j| (i, j))) {
            let (x, y) = (ranges[i], ranges[j]);
            let apart = x.offset + x.len <= y.offset || y.offset + y.len <= x.offset;
            assert!(apart || !meet(&values[i].life, &values[j].life), "{i} and {j}");
        }
    }

    #[test]
    fn memory_is_used_again_after_the_last_read() {
        let values = values();
        let all: u64 = values.iter().map(|value| value.bytes).sum();
        assert!(pack(&values).1 < all / 4, "{} of {all}", pack(&values).1);
    }
}
