//! Rows of maps: pixel by pixel, and beside a second operand that is repeated where it is shorter.

use crate::dims::Dims;

/// Row `row` of a map; empty where there is none.
#[inline(always)]
pub(super) fn row_of<T>(map: &[T], row: usize, len: usize) -> &[T] {
    map.get(row.saturating_mul(len)..).and_then(|rest| rest.get(..len)).unwrap_or(&[])
}

#[inline(always)]
pub(super) fn for_pixels<T>(row: &mut [T], channels: usize, mut f: impl FnMut(&mut [T])) {
    let mut rest = row;
    while let Some((pixel, after)) = rest.split_at_mut_checked(channels) {
        if pixel.is_empty() {
            return;
        }
        f(pixel);
        rest = after;
    }
}

/// Whether each axis of a second operand has the map's length, or 1.
pub(super) fn repeats(own: Dims, map: Dims) -> bool {
    let repeats = |own: u32, len: u32| own == len || own == 1;
    repeats(own.h, map.h) && repeats(own.w, map.w) && repeats(own.c, map.c)
}

/// One row of a second operand.
#[derive(Clone, Copy)]
pub(super) struct Repeated<'a, T> {
    /// All values of the row, those of one pixel, one a pixel, or one.
    other: &'a [T],
    /// One value a pixel.
    per_pixel: bool,
    /// Channels of the first operand.
    channels: usize,
}

impl<'a, T: Copy> Repeated<'a, T> {
    /// What `other`, of these dims, has for row `row` of a map with `channels`.
    #[inline(always)]
    pub(super) fn row(other: &'a [T], dims: Dims, row: usize, channels: usize) -> Self {
        let row = if dims.h == 1 { 0 } else { row };
        let other = row_of(other, row, dims.row().unwrap_or(0));
        Self { other, per_pixel: dims.c == 1, channels }
    }

    /// Makes `f(y, other)` of the values of a row.
    #[inline(always)]
    pub(super) fn with(&self, y: &mut [T], f: impl Fn(T, T) -> T) {
        if self.other.len() == y.len() {
            y.iter_mut().zip(self.other).for_each(|(y, &b)| *y = f(*y, b));
        } else if let &[b] = self.other {
            y.iter_mut().for_each(|y| *y = f(*y, b));
        } else if self.per_pixel {
            let mut others = self.other.iter();
            for_pixels(y, self.channels, |pixel| {
                let Some(&b) = others.next() else { return };
                pixel.iter_mut().for_each(|y| *y = f(*y, b));
            });
        } else {
            for_pixels(y, self.channels, |pixel| {
                pixel.iter_mut().zip(self.other).for_each(|(y, &b)| *y = f(*y, b));
            });
        }
    }
}
