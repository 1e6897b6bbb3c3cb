//! Detection: from the outputs of a network to boxes in the picture, in the caller's memory.
//!
//! ```text
//! picture ─Letterbox→ input   (outside: needs pixels)
//! outputs ─decode→ candidates, best first ─suppress→ one a thing ─Letterbox::undo→ in the picture
//! ```
//!
//! A file says in its head section what its outputs mean ([`Head`]); [`Head::detect`] does all
//! three steps. Nothing allocates, nothing panics, and no value of an output, NaN included, does
//! more than leave its own prediction out.
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::unwrap_used
)]

mod check;
mod decode;
mod head;
mod letterbox;
mod rank;
mod suppress;

pub use check::HeadFault;
pub use decode::DecodeError;
pub use head::{
    Anchor, Arrangement, Boxes, ChannelOrder, Fit, Head, Level, MAX_ANCHORS, MAX_BINS, MAX_LEVELS,
    Picture,
};
pub use letterbox::Letterbox;
pub use suppress::suppress;

/// A rectangle with its edges parallel to those of the picture, in pixels: pixel `i` of an axis
/// covers `i ..= i + 1`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rect {
    /// Left edge.
    pub left: f32,
    /// Upper edge.
    pub top: f32,
    /// Right edge, not below `left` where something is inside.
    pub right: f32,
    /// Lower edge, not below `top` where something is inside.
    pub bottom: f32,
}

impl Rect {
    /// The rectangle of this centre and size.
    #[inline]
    pub(crate) fn around(x: f32, y: f32, width: f32, height: f32) -> Self {
        let (w, h) = (width / 2.0, height / 2.0);
        Self { left: x - w, top: y - h, right: x + w, bottom: y + h }
    }

    fn is_finite(&self) -> bool {
        [self.left, self.top, self.right, self.bottom].iter().all(|edge| edge.is_finite())
    }

    /// 0 for edges that have changed sides.
    fn area(&self) -> f32 {
        (self.right - self.left).max(0.0) * (self.bottom - self.top).max(0.0)
    }

    /// Intersection over union: 1 for equal rectangles, 0 for disjoint ones, NaN for two without area.
    pub fn overlap(&self, other: &Self) -> f32 {
        let common = Self {
            left: self.left.max(other.left),
            top: self.top.max(other.top),
            right: self.right.min(other.right),
            bottom: self.bottom.min(other.bottom),
        };
        let common = common.area();
        common / (self.area() + other.area() - common)
    }
}

/// A prediction that may be a thing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Candidate {
    /// Where: in pixels of the network's input, or of the picture after [`Letterbox::undo`].
    pub rect: Rect,
    /// How sure the network is, 0 to 1.
    pub score: f32,
    /// What: the class with the highest score, of equal ones the first.
    pub class: u32,
    /// Number of the prediction in the outputs, from 0: of equal scores the lower one comes first.
    pub index: u32,
}

impl Head {
    /// The things in a picture, best first: the first `n` of `memory`, with the answer `n`.
    ///
    /// [`Head::decode`] and [`suppress`] with the head's own thresholds, then
    /// [`Letterbox::undo`]: rectangles in pixels of the picture that `letterbox` brought in.
    ///
    /// ```no_run
    /// # use unbraid_runtime::{Model, Session};
    /// # use unbraid_runtime::detect::{Candidate, Letterbox};
    /// # fn find(model: &Model<'_>, session: &Session<'_>, letterbox: &Letterbox) -> Option<usize> {
    /// let head = model.head()?;
    /// let mut found = [Candidate::default(); 64];
    /// let count = head.detect(&[session.output(0)?], letterbox, &mut found).ok()?;
    /// # Some(count)
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Head::decode`].
    pub fn detect(
        &self,
        outputs: &[&[f32]],
        letterbox: &Letterbox,
        memory: &mut [Candidate],
    ) -> Result<usize, DecodeError> {
        let count = self.decode(outputs, self.score_threshold, memory)?;
        let candidates = memory.get_mut(..count).unwrap_or_default();
        let kept = suppress(candidates, self.iou_threshold);
        for candidate in candidates.iter_mut().take(kept) {
            candidate.rect = letterbox.undo(candidate.rect);
        }
        Ok(kept)
    }
}

/// Pixel counts and cell numbers are below 2^24 in any picture that fits a file.
#[expect(clippy::as_conversions, reason = "exact below 2^24, and merely rounded above")]
fn real(n: u32) -> f32 {
    n as f32
}
