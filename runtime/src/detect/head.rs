//! [`Head`]: what the outputs of a detector mean, as the head section of a file says it.
//!
//! A head is five independent facts: where a prediction's values lie ([`Arrangement`]), how four
//! of them make a rectangle ([`Boxes`]), whether one is an objectness, whether scores are logits,
//! and which grids the predictions belong to ([`Level`]). What is called `YOLOv5` or YOLOX is a
//! choice of them:
//!
//! | exported as | values of a prediction | boxes | logits |
//! |---|---|---|---|
//! | YOLOv5, v7; YOLOv6, whose objectness is 1 | box, objectness, classes | `Centre` | no |
//! | YOLOv5, v7, cut before the sigmoid | box, objectness, classes | `Anchors` | yes |
//! | YOLOv8, v9, v11 | box, classes | `Centre` | no |
//! | YOLOv8, v9, v11, cut before the decoding | 4 x 16 bins, classes | `Distances` | yes |
//! | YOLOX | box, objectness, classes | `Grid` | no |

use crate::dims::Hw;
use serde::{Deserialize, Serialize};

/// Most [`Level`]s a head can have.
pub const MAX_LEVELS: usize = 5;

/// Most anchors a [`Level`] can have.
pub const MAX_ANCHORS: usize = 4;

/// Most bins of a distance.
pub const MAX_BINS: u32 = 64;

/// The description of a detector's outputs, of the picture it wants, and of its thresholds.
///
/// The section holds one postcard record of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// Size of the network's input in pixels.
    pub input: Hw,
    /// Number of classes, at least 1.
    pub classes: u32,
    /// Values of a prediction behind its classes, which mean no box: coefficients of masks,
    /// landmarks.
    pub extra: u32,
    /// Where the values of a prediction lie.
    pub arrangement: Arrangement,
    /// What the first values of a prediction say about its rectangle.
    pub boxes: Boxes,
    /// The value behind them is the probability of a thing of any class, by which class scores
    /// are multiplied.
    pub objectness: bool,
    /// The graph ends before the logistic function that objectness and classes (and with
    /// [`Boxes::Anchors`] the box) pass through.
    pub logits: bool,
    /// Grids of predictions that count.
    pub level_count: u8,
    /// Predictions a cell, at least 1.
    pub anchor_count: u8,
    /// The grids in the order of the predictions; zeros behind the last.
    pub levels: [Level; MAX_LEVELS],
    /// How a picture becomes the input.
    pub picture: Picture,
    /// Lowest score of a candidate, 0 to 1.
    pub score_threshold: f32,
    /// Intersection over union, 0 to 1, above which the weaker of two candidates of a class goes.
    pub iou_threshold: f32,
}

/// Where the `F = box + objectness + classes + extra` values of a prediction lie.
///
/// `N` predictions in one output count level by level, in a level anchor by anchor, then row by
/// row. Append variants only: postcard numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Arrangement {
    /// First output, `[1, N, F]`.
    Rows,
    /// First output, `[1, F, N]`.
    Columns,
    /// An output a level: `[1, A * F, H, W]`, in memory NHWC like every picture.
    Maps,
    /// An output a level: `[1, A, H, W, F]`.
    Planes,
}

/// What the first values of a prediction say about its rectangle.
///
/// `x` and `y` count cells of a level, `stride` is that level's. Append variants only: postcard
/// numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Boxes {
    /// Centre x, centre y, width, height in pixels of the input.
    Centre,
    /// Left, top, right, bottom in pixels of the input.
    Corners,
    /// Centre `(x + v0, y + v1) * stride`, size `(exp(v2), exp(v3)) * stride` (Ge et al., "YOLOX:
    /// Exceeding YOLO Series in 2021", 2021).
    Grid,
    /// Distances of left, top, right and bottom edge from the centre of the cell, in strides (Tian
    /// et al., "FCOS", 2019). With `bins` above 1 each is the mean of `0 .. bins` weighted by the
    /// softmax of as many values (Li et al., "Generalized Focal Loss", 2020).
    Distances {
        /// Values a distance, at least 1 and at most [`MAX_BINS`].
        bins: u32,
    },
    /// With `s` the logistic function: centre `(2 s(v0) - 0.5 + x, 2 s(v1) - 0.5 + y) * stride`,
    /// size `4 s(v2)^2 * anchor.w`, `4 s(v3)^2 * anchor.h` (`YOLOv5`; Wang et al., "`YOLOv7`", 2022).
    Anchors,
}

impl Boxes {
    /// Values in front of objectness and classes.
    pub const fn values(self) -> u32 {
        match self {
            Self::Centre | Self::Corners | Self::Grid | Self::Anchors => 4,
            Self::Distances { bins } => bins.saturating_mul(4),
        }
    }

    /// Whether a rectangle depends on the cell that it belongs to.
    pub const fn needs_cells(self) -> bool {
        matches!(self, Self::Grid | Self::Distances { .. } | Self::Anchors)
    }
}

/// A grid of predictions: a cell for each `stride x stride` pixels of the input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Level {
    /// Pixels a cell; divides both sides of the input.
    pub stride: u32,
    /// Sizes of the anchors; zeros behind the last, and without [`Boxes::Anchors`].
    pub anchors: [Anchor; MAX_ANCHORS],
}

/// A size that predictions are relative to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Anchor {
    /// Width in pixels of the input.
    pub w: f32,
    /// Height in pixels of the input.
    pub h: f32,
}

/// How a picture becomes the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picture {
    /// How it is brought to the input's size.
    pub fit: Fit,
    /// Value of every channel where there is no picture, in units of the raw picture (0 to 255).
    pub fill: u8,
    /// Order of the three channels of a colour picture.
    pub order: ChannelOrder,
}

/// How a picture is brought to the input's size. Append variants only: postcard numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fit {
    /// Each axis by its own factor.
    Stretch,
    /// In proportion, in the middle.
    Centre,
    /// In proportion, in the upper left corner.
    Corner,
}

/// Order of the channels of a colour picture. Append variants only: postcard numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChannelOrder {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
}

impl Head {
    /// Decodes the section; `None` when it holds anything else than one record.
    pub fn from_section(section: &[u8]) -> Option<Self> {
        let (head, rest) = postcard::take_from_bytes(section).ok()?;
        rest.is_empty().then_some(head)
    }

    /// Values of a prediction; `None` when they cannot be counted.
    pub fn fields(&self) -> Option<usize> {
        let box_values = self.boxes.values().checked_add(u32::from(self.objectness))?;
        let fields = box_values.checked_add(self.classes)?.checked_add(self.extra)?;
        usize::try_from(fields).ok()
    }

    /// The grids that count.
    pub fn used_levels(&self) -> &[Level] {
        self.levels.get(..usize::from(self.level_count)).unwrap_or(&self.levels)
    }

    /// Rows and columns of a level; 0 where the stride is.
    pub fn grid(&self, level: &Level) -> Hw {
        let cells = |pixels: u32| pixels.checked_div(level.stride).unwrap_or(0);
        Hw { h: cells(self.input.h), w: cells(self.input.w) }
    }

    /// Predictions of a level; `None` when they cannot be counted.
    pub fn level_predictions(&self, level: &Level) -> Option<usize> {
        let Hw { h, w } = self.grid(level);
        let count = h.checked_mul(w)?.checked_mul(u32::from(self.anchor_count))?;
        usize::try_from(count).ok()
    }

    /// Predictions of all levels; `None` when they cannot be counted.
    pub fn predictions(&self) -> Option<usize> {
        let levels = self.used_levels().iter();
        levels
            .map(|level| self.level_predictions(level))
            .try_fold(0usize, |sum, n| sum.checked_add(n?))
    }

    /// Outputs of the network that the head reads, the first ones.
    pub fn outputs(&self) -> usize {
        match self.arrangement {
            Arrangement::Rows | Arrangement::Columns => 1,
            Arrangement::Maps | Arrangement::Planes => usize::from(self.level_count),
        }
    }
}
