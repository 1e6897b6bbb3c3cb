//! [`View`]: the values of a map in another order, some of them several times or not at all.

use core::ops::Range;
use serde::{Deserialize, Serialize};

/// Six nested loops over a map's values: transposes, crops, slices, repeats, pixel shuffles.
///
/// Value `(i0, .., i5)`, `i5` running fastest, is input value `offset + sum(i[k] * strides[k])`,
/// counted in NHWC order. Axes that are not needed have extent 1 and stride 0, the first ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct View {
    /// Lengths of the axes, outermost first; none is 0.
    pub extent: [u32; Self::RANK],
    /// Input values between neighbours along each axis; 0 repeats, negative ones run backwards.
    pub strides: [i32; Self::RANK],
    /// The input value that comes first.
    pub offset: u32,
}

impl View {
    /// Number of axes.
    pub const RANK: usize = 6;

    /// How many values it has; `None` when their number does not fit a `usize`.
    pub fn elements(&self) -> Option<usize> {
        self.extent
            .iter()
            .try_fold(1usize, |product, &extent| product.checked_mul(usize::try_from(extent).ok()?))
    }

    /// From the first to behind the last input value that it shows. `None` when an axis is empty, a
    /// value lies before the first of the input, or a number overflows.
    pub fn reach(&self) -> Option<Range<u64>> {
        let (mut first, mut last) = (i64::from(self.offset), i64::from(self.offset));
        for (&extent, &stride) in self.extent.iter().zip(&self.strides) {
            let steps = i64::from(extent.checked_sub(1)?);
            let way = steps.checked_mul(i64::from(stride))?;
            first = first.checked_add(way.min(0))?;
            last = last.checked_add(way.max(0))?;
        }
        Some(u64::try_from(first).ok()?..u64::try_from(last).ok()?.checked_add(1)?)
    }
}
