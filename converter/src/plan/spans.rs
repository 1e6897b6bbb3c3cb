//! Buffers -> spans: lifetimes, results written over operands, offsets.

use super::arena::{Lifetime, place};
use super::error::Kind;
use super::lower::{Buffer, Draft, Lowered, Memory, Place};
use super::parts::Part;
use std::collections::HashMap;
use unbraid_runtime::model::scratch_bytes;
use unbraid_runtime::span::Span;
use unbraid_runtime::step::{Element, FunctionS8, Op, Operand, Source, Step};

/// Where every buffer lies.
#[derive(Debug)]
pub(super) struct Spans {
    spans: Vec<Span>,
    /// What the values of each buffer are.
    elements: Vec<Element>,
    /// For each step, whether its two operands change places, so that the first is written over.
    swapped: Vec<bool>,
    /// Bytes of the arena.
    pub(super) arena_base: u32,
}

impl Spans {
    /// A place with its bytes.
    pub(super) fn operand(&self, place: Place) -> Operand {
        let (span, element) = (self.spans[place.buffer], self.elements[place.buffer]);
        Operand { span, dims: place.dims, element }
    }

    /// A draft with its bytes.
    pub(super) fn step(&self, index: usize, draft: &Draft) -> Step {
        let (mut input, output) = (self.operand(draft.input), self.operand(draft.output));
        let mut op = draft.op;
        if let (Op::Binary { other, swapped, .. }, Some(place)) = (&mut op, draft.other) {
            let mut second = self.operand(place);
            if self.swapped[index] {
                std::mem::swap(&mut input, &mut second);
                *swapped = !*swapped;
            }
            *other = Source::Arena(second);
        }
        if let (Op::PairS8(pair), Some(place)) = (&mut op, draft.other) {
            let mut second = self.operand(place);
            if self.swapped[index] {
                std::mem::swap(&mut input, &mut second);
                match &mut pair.function {
                    FunctionS8::Sum { multipliers } => multipliers.reverse(),
                    FunctionS8::Product { zero_points, .. } => zero_points.reverse(),
                }
            }
            pair.other = Source::Arena(second);
        }
        if let (Op::MatMul(matmul), Some(place)) = (&mut op, draft.other) {
            matmul.other = Source::Arena(self.operand(place));
        }
        Step { input, output, op }
    }
}

/// Finds a place for every buffer.
pub(super) fn assign(lowered: &Lowered) -> Result<Spans, Kind> {
    let mut owners = Owners::new(lowered);
    let swapped = lowered.drafts.iter().enumerate().map(|(i, d)| owners.write_over(i, d)).collect();
    let roots: Vec<Buffer> = (0..lowered.buffers.len()).filter(|&b| owners.owner[b] == b).collect();
    let lifetimes: Vec<Lifetime> = roots.iter().map(|&root| owners.lifetimes[root]).collect();
    let arena = place(&lifetimes);
    let too_large = |_| Kind::TooLarge { shape: vec![arena.bytes as usize] };
    let arena_base = u32::try_from(arena.bytes).map_err(too_large)?;
    let spans = (0..lowered.buffers.len()).map(|buffer| {
        let (whole, inside) =
            lowered.parts.get(&buffer).map_or((buffer, 0), |p| (p.whole, p.offset));
        let at = roots.binary_search(&owners.owner(whole)).unwrap_or(0);
        // Both are below `arena_base`.
        let offset = (arena.offsets[at] + inside) as u32;
        Span { offset, len: lowered.buffers[buffer].bytes as u32 }
    });
    let elements = lowered.buffers.iter().map(|memory| memory.element).collect();
    Ok(Spans { spans: spans.collect(), elements, swapped, arena_base })
}

/// Largest scratch of any step, rounded up to whole cache lines.
pub(super) fn scratch(steps: &[Step]) -> u32 {
    steps.iter().filter_map(scratch_bytes).max().unwrap_or(0).next_multiple_of(64)
}

/// Which buffer's bytes each buffer uses, and how long those are needed.
struct Owners<'l> {
    owner: Vec<Buffer>,
    parts: &'l HashMap<Buffer, Part>,
    lifetimes: Vec<Lifetime>,
}

impl<'l> Owners<'l> {
    fn new(lowered: &'l Lowered) -> Self {
        let untouched =
            |memory: &Memory| Lifetime { bytes: memory.bytes, first: usize::MAX, last: 0 };
        let mut lifetimes: Vec<Lifetime> = lowered.buffers.iter().map(untouched).collect();
        let whole = |buffer: Buffer| lowered.parts.get(&buffer).map_or(buffer, |part| part.whole);
        let mut touch = |place: &Place, step: usize| {
            let lifetime = &mut lifetimes[whole(place.buffer)];
            lifetime.first = lifetime.first.min(step);
            lifetime.last = lifetime.last.max(step);
        };
        lowered.inputs.iter().for_each(|place| touch(place, 0));
        for (step, draft) in lowered.drafts.iter().enumerate() {
            [Some(&draft.input), draft.other.as_ref(), Some(&draft.output)]
                .into_iter()
                .flatten()
                .for_each(|place| touch(place, step));
        }
        lowered.outputs.iter().for_each(|place| touch(place, lowered.drafts.len()));
        let owner = (0..lowered.buffers.len()).map(whole).collect();
        Self { owner, parts: &lowered.parts, lifetimes }
    }

    fn owner(&self, mut buffer: Buffer) -> Buffer {
        while self.owner[buffer] != buffer {
            buffer = self.owner[buffer];
        }
        buffer
    }

    /// Lets an element-wise step write its result over an operand that nobody reads later.
    /// Returns whether that operand is the second one.
    fn write_over(&mut self, step: usize, draft: &Draft) -> bool {
        let output = draft.output.buffer;
        let places = [Some(draft.input), draft.other, Some(draft.output)];
        if places.into_iter().flatten().any(|place| self.parts.contains_key(&place.buffer)) {
            return false;
        }
        let input = self.owner(draft.input.buffer);
        let other = draft.other.map(|place| self.owner(place.buffer));
        if !draft.op.in_place() || self.lifetimes[output].first != step || other == Some(input) {
            return false;
        }
        let dies = |owners: &Self, buffer: Buffer| {
            owners.lifetimes[buffer].last == step
                && owners.lifetimes[buffer].bytes == owners.lifetimes[output].bytes
        };
        let Some(operand) = [Some(input), other].into_iter().flatten().find(|&b| dies(self, b))
        else {
            return false;
        };
        self.owner[output] = operand;
        self.lifetimes[operand].last = self.lifetimes[output].last;
        operand != input
    }
}
