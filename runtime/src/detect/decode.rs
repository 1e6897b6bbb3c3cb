//! [`Head::decode`]: the values of the outputs as candidates.

use super::head::{Anchor, Arrangement, Boxes, Head, MAX_BINS};
use super::rank::Best;
use super::{Candidate, Rect, real};
use crate::dims::Hw;
use core::fmt;
use libm::expf;

/// Why outputs cannot be decoded. None of it can happen with the outputs of the [`Session`] of a
/// file and the [`Head`] of that file.
///
/// [`Session`]: crate::Session
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// Fewer outputs than the head reads.
    Outputs {
        /// How many it reads.
        needed: usize,
        /// How many there are.
        found: usize,
    },
    /// An output has another number of values than the head's predictions.
    Length {
        /// Which, from 0.
        output: usize,
        /// Values that it must have; with [`Boxes::Centre`] and [`Boxes::Corners`] in one output,
        /// of which its length must be a multiple.
        needed: usize,
        /// Values that it has.
        found: usize,
    },
    /// The head has more predictions than can be counted, or no values.
    Head,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Outputs { needed, found } => {
                write!(f, "the head reads {needed} outputs, there are {found}")
            }
            Self::Length { output, needed, found } => {
                write!(f, "output {output} has {found} values, the head reads {needed}")
            }
            Self::Head => f.write_str("the head has more predictions than can be counted, or none"),
        }
    }
}

impl core::error::Error for DecodeError {}

impl Head {
    /// The candidates in the first `n` of `memory`, best first, with the answer `n`.
    ///
    /// A prediction is one with its best class (the first of equal ones) if `score >= threshold`,
    /// where the score is that class's times the objectness, and if its rectangle is finite. When
    /// there are more than fit `memory`, the best are kept: those that sorting all of them would
    /// put first. `outputs` are the first outputs of the network, as [`Session::output`] has them.
    /// Computed in f32; rectangles are in pixels of the input.
    ///
    /// Needs time for every value once, and for every candidate the logarithm of `memory.len()`.
    ///
    /// [`Session::output`]: crate::Session::output
    ///
    /// # Errors
    ///
    /// When `outputs` are not those that the head describes.
    pub fn decode(
        &self,
        outputs: &[&[f32]],
        threshold: f32,
        memory: &mut [Candidate],
    ) -> Result<usize, DecodeError> {
        let (needed, found) = (self.outputs(), outputs.len());
        let outputs = outputs.get(..needed).ok_or(DecodeError::Outputs { needed, found })?;
        let mut best = Best::new(memory);
        let mut first = 0u32;
        for (output, values) in outputs.iter().enumerate() {
            let predictions = Predictions::new(self, output, values)?;
            for number in 0..predictions.count {
                let index = first.saturating_add(u32::try_from(number).unwrap_or(u32::MAX));
                if let Some(candidate) = predictions.candidate(number, index, threshold) {
                    best.offer(candidate);
                }
            }
            first = first.saturating_add(u32::try_from(predictions.count).unwrap_or(u32::MAX));
        }
        Ok(best.finish())
    }
}

/// The predictions of one output.
struct Predictions<'a> {
    head: &'a Head,
    values: &'a [f32],
    output: usize,
    count: usize,
    /// Values between neighbouring predictions, and between the values of one.
    step: usize,
    field_step: usize,
}

impl<'a> Predictions<'a> {
    fn new(head: &'a Head, output: usize, values: &'a [f32]) -> Result<Self, DecodeError> {
        let fields = head.fields().filter(|&fields| fields > 0).ok_or(DecodeError::Head)?;
        let found = values.len();
        let count = match head.arrangement {
            Arrangement::Rows | Arrangement::Columns if !head.boxes.needs_cells() => {
                found.checked_div(fields)
            }
            Arrangement::Rows | Arrangement::Columns => head.predictions(),
            Arrangement::Maps | Arrangement::Planes => {
                let level = head.used_levels().get(output);
                level.and_then(|level| head.level_predictions(level))
            }
        };
        let count = count.ok_or(DecodeError::Head)?;
        let needed = count.checked_mul(fields).ok_or(DecodeError::Head)?;
        if needed != found {
            return Err(DecodeError::Length { output, needed, found });
        }
        let (step, field_step) = match head.arrangement {
            Arrangement::Columns => (1, count),
            Arrangement::Rows | Arrangement::Maps | Arrangement::Planes => (fields, 1),
        };
        Ok(Self { head, values, output, count, step, field_step })
    }

    /// The values of prediction `number` from its field `first` on; none behind its last.
    fn fields(&self, number: usize, first: usize) -> impl Iterator<Item = f32> + use<'a> {
        let start = number.saturating_mul(self.step);
        let start = start.saturating_add(first.saturating_mul(self.field_step));
        let tail = self.values.get(start..).unwrap_or_default();
        tail.iter().step_by(self.field_step.max(1)).copied()
    }

    fn candidate(&self, number: usize, index: u32, threshold: f32) -> Option<Candidate> {
        let head = self.head;
        let mut scores = self.fields(number, usize::try_from(head.boxes.values()).ok()?);
        let objectness = if head.objectness { head.probability(scores.next()?) } else { 1.0 };
        let (class, value) = best_class(scores, head.classes)?;
        let score = objectness * head.probability(value);
        // A NaN is not at least anything.
        let rect = if score >= threshold { self.rect(number)? } else { return None };
        rect.is_finite().then_some(Candidate { rect, score, class, index })
    }

    fn rect(&self, number: usize) -> Option<Rect> {
        let mut values = self.fields(number, 0);
        let mut four = || Some([values.next()?, values.next()?, values.next()?, values.next()?]);
        match self.head.boxes {
            Boxes::Centre => four().map(|[x, y, w, h]| Rect::around(x, y, w, h)),
            Boxes::Corners => {
                four().map(|[left, top, right, bottom]| Rect { left, top, right, bottom })
            }
            Boxes::Grid => {
                let (cell, [x, y, w, h]) = (self.cell(number)?, four()?);
                let Cell { stride, .. } = cell;
                let (x, y) = ((cell.x + x) * stride, (cell.y + y) * stride);
                Some(Rect::around(x, y, expf(w) * stride, expf(h) * stride))
            }
            Boxes::Distances { bins } => self.cell(number)?.distant(&mut values, bins),
            Boxes::Anchors => {
                let (cell, four) = (self.cell(number)?, four()?);
                Some(cell.anchored(four.map(|value| self.head.probability(value))))
            }
        }
    }

    /// The cell that prediction `number` of this output belongs to.
    fn cell(&self, number: usize) -> Option<Cell> {
        let head = self.head;
        let mut levels = head.used_levels().iter();
        let mut number = number;
        let level = match head.arrangement {
            Arrangement::Maps | Arrangement::Planes => levels.nth(self.output)?,
            Arrangement::Rows | Arrangement::Columns => levels.find(|level| {
                let predictions = head.level_predictions(level).unwrap_or(usize::MAX);
                let before = number.checked_sub(predictions);
                number = before.unwrap_or(number);
                before.is_none()
            })?,
        };
        let (number, anchors) = (u32::try_from(number).ok()?, u32::from(head.anchor_count));
        let Hw { h, w } = head.grid(level);
        let (pixel, anchor) = match head.arrangement {
            Arrangement::Maps => split(number, anchors)?,
            _ => {
                let (anchor, pixel) = split(number, h.checked_mul(w)?)?;
                (pixel, anchor)
            }
        };
        let (y, x) = split(pixel, w)?;
        let anchor = level.anchors.get(usize::try_from(anchor).ok()?);
        let anchor = anchor.copied().unwrap_or_default();
        Some(Cell { x: real(x), y: real(y), stride: real(level.stride), anchor })
    }
}

/// Quotient and remainder.
fn split(number: u32, by: u32) -> Option<(u32, u32)> {
    Some((number.checked_div(by)?, number.checked_rem(by)?))
}

/// The highest of the first `classes` scores, of equal ones the first; NaN is none.
fn best_class(scores: impl Iterator<Item = f32>, classes: u32) -> Option<(u32, f32)> {
    let mut best = None;
    for (class, score) in (0..classes).zip(scores) {
        let highest = best.map_or(f32::NEG_INFINITY, |(_, highest)| highest);
        if score > highest {
            best = Some((class, score));
        }
    }
    best
}

/// Where a prediction comes from: a cell of a level, in cells, and its anchor.
struct Cell {
    x: f32,
    y: f32,
    stride: f32,
    anchor: Anchor,
}

impl Cell {
    fn anchored(&self, [x, y, w, h]: [f32; 4]) -> Rect {
        let Anchor { w: anchor_w, h: anchor_h } = self.anchor;
        let centre = |cell: f32, value: f32| (2.0 * value - 0.5 + cell) * self.stride;
        let (w, h) = (4.0 * w * w * anchor_w, 4.0 * h * h * anchor_h);
        Rect::around(centre(self.x, x), centre(self.y, y), w, h)
    }

    /// `values`: `bins` of each distance.
    fn distant(&self, values: &mut impl Iterator<Item = f32>, bins: u32) -> Option<Rect> {
        let mut distance = || mean_bin(values, bins);
        let [left, top, right, bottom] = [distance()?, distance()?, distance()?, distance()?];
        let (x, y, stride) = (self.x + 0.5, self.y + 0.5, self.stride);
        Some(Rect {
            left: (x - left) * stride,
            top: (y - top) * stride,
            right: (x + right) * stride,
            bottom: (y + bottom) * stride,
        })
    }
}

/// The next value if `bins` is 1, else the mean of `0 .. bins` weighted by the softmax of the next
/// `bins` values.
fn mean_bin(values: &mut impl Iterator<Item = f32>, bins: u32) -> Option<f32> {
    if bins == 1 {
        return values.next();
    }
    // Relative to the largest so far: one pass, and no exponential overflows.
    let (mut largest, mut weight, mut moment) = (f32::NEG_INFINITY, 0.0f32, 0.0f32);
    for bin in 0..bins.min(MAX_BINS) {
        let value = values.next()?;
        if value > largest {
            let shrink = expf(largest - value);
            (largest, weight, moment) = (value, weight * shrink, moment * shrink);
        }
        let share = expf(value - largest);
        weight += share;
        moment += share * real(bin);
    }
    Some(moment / weight)
}

impl Head {
    /// The probability that a value of an output stands for.
    fn probability(&self, value: f32) -> f32 {
        if self.logits { 1.0 / (1.0 + expf(-value)) } else { value }
    }
}
