//! [`Span`]: the only "pointer" in a model file.

use core::ops::Range;
use serde::{Deserialize, Serialize};

/// A range of bytes, in the arena or in the weights section, as the field that holds it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// First byte.
    pub offset: u32,
    /// Number of bytes.
    pub len: u32,
}

impl Span {
    /// No bytes: what an absent operand names.
    pub const EMPTY: Self = Self { offset: 0, len: 0 };

    /// The bytes as a range; `None` when the end does not fit a `usize`.
    #[inline]
    pub fn range(self) -> Option<Range<usize>> {
        let start = usize::try_from(self.offset).ok()?;
        Some(start..start.checked_add(usize::try_from(self.len).ok()?)?)
    }

    /// Whether any byte lies in both.
    #[inline]
    pub fn overlaps(self, other: Self) -> bool {
        let end = |s: Self| u64::from(s.offset) + u64::from(s.len);
        self.len > 0
            && other.len > 0
            && u64::from(self.offset) < end(other)
            && u64::from(other.offset) < end(self)
    }
}
