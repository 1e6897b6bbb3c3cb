//! Whether a [`Head`] describes the network that it came with.

use super::head::{Anchor, Arrangement, Boxes, Head, Level, MAX_ANCHORS, MAX_BINS, MAX_LEVELS};
use crate::dims::Hw;
use crate::model::Port;
use core::fmt;

/// What is wrong with the head section of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeadFault {
    /// The section is not one record.
    Undecodable,
    /// No classes, or too many to count.
    Classes,
    /// More levels than there can be, or none where boxes or outputs need them.
    Levels,
    /// No anchor, or more than there can be.
    AnchorCount,
    /// A stride is 0 or does not divide the input, or is set behind the last level.
    Stride {
        /// Which level, from 0.
        level: usize,
    },
    /// An anchor that boxes need is not positive and finite, or one is set that none needs.
    Anchor {
        /// Which level, from 0.
        level: usize,
    },
    /// No bins for a distance, or more than there can be.
    Bins,
    /// A threshold is not in 0 to 1.
    Threshold,
    /// The first input is no picture of this size with 1 or 3 channels.
    Input {
        /// The size that the head has.
        expected: Hw,
    },
    /// The head reads an output that the network does not have, or one of another shape.
    Output {
        /// Which, from 0.
        index: usize,
    },
}

impl fmt::Display for HeadFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Undecodable => f.write_str("cannot be decoded"),
            Self::Classes => f.write_str("no classes, or too many"),
            Self::Levels => write!(f, "the levels must be 1 to {MAX_LEVELS}"),
            Self::AnchorCount => write!(f, "the anchors of a level must be 1 to {MAX_ANCHORS}"),
            Self::Stride { level } => {
                write!(f, "the stride of level {level} must divide both sides of the input")
            }
            Self::Anchor { level } => {
                write!(f, "the anchors of level {level} must be positive, and none without need")
            }
            Self::Bins => write!(f, "the bins of a distance must be 1 to {MAX_BINS}"),
            Self::Threshold => f.write_str("the thresholds must be 0 to 1"),
            Self::Input { expected: Hw { h, w } } => write!(
                f,
                "the first input must be a picture of {h} rows, {w} columns and 1 or 3 channels"
            ),
            Self::Output { index } => write!(f, "output {index} is missing or has another shape"),
        }
    }
}

impl Head {
    /// Proves that the head is consistent and fits the ports of a network.
    ///
    /// # Errors
    ///
    /// The first thing found wrong.
    pub fn check<'p>(
        &self,
        mut inputs: impl Iterator<Item = Port<'p>>,
        outputs: impl Iterator<Item = Port<'p>>,
    ) -> Result<(), HeadFault> {
        self.check_numbers()?;
        self.check_levels()?;
        let picture = inputs.next().is_some_and(|port| self.takes(&port));
        if !picture {
            return Err(HeadFault::Input { expected: self.input });
        }
        let mut outputs = outputs.map(|port| (port.shape, port.rank));
        for index in 0..self.outputs() {
            let fits = outputs.next().is_some_and(|(shape, rank)| {
                let axes = shape.get(..usize::from(rank)).unwrap_or(&shape);
                self.reads(index, axes).unwrap_or(false)
            });
            if !fits {
                return Err(HeadFault::Output { index });
            }
        }
        Ok(())
    }

    fn check_numbers(&self) -> Result<(), HeadFault> {
        if self.classes == 0 || self.fields().is_none() {
            return Err(HeadFault::Classes);
        }
        if matches!(self.boxes, Boxes::Distances { bins } if !(1..=MAX_BINS).contains(&bins)) {
            return Err(HeadFault::Bins);
        }
        let thresholds = [self.score_threshold, self.iou_threshold];
        if thresholds.iter().all(|threshold| (0.0..=1.0).contains(threshold)) {
            Ok(())
        } else {
            Err(HeadFault::Threshold)
        }
    }

    fn check_levels(&self) -> Result<(), HeadFault> {
        let used = usize::from(self.level_count);
        let needed = self.boxes.needs_cells()
            || matches!(self.arrangement, Arrangement::Maps | Arrangement::Planes);
        if used > MAX_LEVELS || (used == 0 && needed) {
            return Err(HeadFault::Levels);
        }
        if !(1..=MAX_ANCHORS).contains(&usize::from(self.anchor_count)) {
            return Err(HeadFault::AnchorCount);
        }
        for (index, level) in self.levels.iter().enumerate() {
            let divides = |side: u32| side > 0 && side.checked_rem(level.stride) == Some(0);
            let right = if index < used {
                divides(self.input.h) && divides(self.input.w)
            } else {
                level.stride == 0
            };
            if !right {
                return Err(HeadFault::Stride { level: index });
            }
            if !self.anchors_fit(level, index < used) {
                return Err(HeadFault::Anchor { level: index });
            }
        }
        Ok(())
    }

    /// Sizes where boxes need them, nothing elsewhere.
    fn anchors_fit(&self, level: &Level, used: bool) -> bool {
        let needed = match (used, self.boxes) {
            (true, Boxes::Anchors) => usize::from(self.anchor_count),
            _ => 0,
        };
        let size = |length: f32| length > 0.0 && length.is_finite();
        level.anchors.iter().enumerate().all(|(index, anchor)| {
            if index < needed {
                size(anchor.w) && size(anchor.h)
            } else {
                *anchor == Anchor::default()
            }
        })
    }

    fn takes(&self, port: &Port<'_>) -> bool {
        match *port.axes() {
            [1, c, h, w] => matches!(c, 1 | 3) && Hw { h, w } == self.input,
            _ => false,
        }
    }

    /// Whether an output of this shape is the head's output `index`; `None` where it is none.
    fn reads(&self, index: usize, axes: &[u32]) -> Option<bool> {
        let fields = u32::try_from(self.fields()?).ok()?;
        let anchors = u32::from(self.anchor_count);
        let Hw { h, w } = self.grid(self.used_levels().get(index).unwrap_or(&Level::default()));
        Some(match (self.arrangement, axes) {
            (Arrangement::Rows, &[1, n, f]) | (Arrangement::Columns, &[1, f, n]) => {
                let n = usize::try_from(n).ok();
                f == fields && (!self.boxes.needs_cells() || n == self.predictions())
            }
            (Arrangement::Maps, axes) => *axes == [1, anchors.checked_mul(fields)?, h, w],
            (Arrangement::Planes, axes) => *axes == [1, anchors, h, w, fields],
            _ => false,
        })
    }
}
