//! [`Letterbox`]: where a picture lies in the input of a network, and the way back.

use super::{Fit, Rect, real};
use crate::dims::Hw;

/// Where a picture lies in the input: all of it, scaled, with space around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Letterbox {
    /// Size of the picture.
    pub source: Hw,
    /// Size that it has in the input, at least one pixel each way.
    pub placed: Hw,
    /// Columns of the input to the left of it.
    pub left: u32,
    /// Rows of the input above it.
    pub top: u32,
}

impl Letterbox {
    /// A picture of size `source` in an input of size `input`; `None` if a side of either is 0.
    ///
    /// In proportion means: the side that limits has the input's length, the other one is rounded
    /// to the nearest pixel with [`Fit::Centre`] and down with [`Fit::Corner`], as those who train
    /// detectors that way do. Where the space of [`Fit::Centre`] is odd, the half above or to the
    /// left is the smaller one.
    pub fn new(fit: Fit, source: Hw, input: Hw) -> Option<Self> {
        if [source.h, source.w, input.h, input.w].contains(&0) {
            return None;
        }
        let placed = match fit {
            Fit::Stretch => input,
            Fit::Centre => in_proportion(source, input, true)?,
            Fit::Corner => in_proportion(source, input, false)?,
        };
        let half = |whole: u32, part: u32| match fit {
            Fit::Centre => whole.saturating_sub(part) / 2,
            Fit::Stretch | Fit::Corner => 0,
        };
        let (left, top) = (half(input.w, placed.w), half(input.h, placed.h));
        Some(Self { source, placed, left, top })
    }

    /// A rectangle in the picture, seen in the input.
    pub fn place(&self, rect: Rect) -> Rect {
        let x = |x: f32| x / real(self.source.w) * real(self.placed.w) + real(self.left);
        let y = |y: f32| y / real(self.source.h) * real(self.placed.h) + real(self.top);
        Rect { left: x(rect.left), top: y(rect.top), right: x(rect.right), bottom: y(rect.bottom) }
    }

    /// A rectangle in the input, seen in the picture and cut off at its edges. NaN stays NaN.
    pub fn undo(&self, rect: Rect) -> Rect {
        let x = |x| back(x, self.left, self.placed.w, self.source.w);
        let y = |y| back(y, self.top, self.placed.h, self.source.h);
        Rect { left: x(rect.left), top: y(rect.top), right: x(rect.right), bottom: y(rect.bottom) }
    }
}

/// The largest size with the proportions of `source` inside `input`.
fn in_proportion(source: Hw, input: Hw, nearest: bool) -> Option<Hw> {
    let scaled = |side: u32, to: u32, from: u32| {
        let (product, from) = (u64::from(side).checked_mul(u64::from(to))?, u64::from(from));
        let rounding = if nearest { from / 2 } else { 0 };
        let length = product.checked_add(rounding)?.checked_div(from)?;
        u32::try_from(length.max(1)).ok()
    };
    let (by_w, by_h) = (u64::from(input.w), u64::from(input.h));
    let wide = by_w.checked_mul(u64::from(source.h))? <= by_h.checked_mul(u64::from(source.w))?;
    Some(if wide {
        Hw { h: scaled(source.h, input.w, source.w)?.min(input.h), w: input.w }
    } else {
        Hw { h: input.h, w: scaled(source.w, input.h, source.h)?.min(input.w) }
    })
}

/// One coordinate of the input in a picture of `source` pixels.
fn back(value: f32, before: u32, placed: u32, source: u32) -> f32 {
    let value = (value - real(before)) / real(placed) * real(source);
    if value < 0.0 {
        0.0
    } else if value > real(source) {
        real(source)
    } else {
        value
    }
}
