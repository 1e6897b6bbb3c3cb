//! A [`View`] written out. Rows of the output are *runs*: the innermost axis of the view.

use super::copy;
use crate::step::View;
use bytemuck::Pod;
use core::ops::Range;

/// Outer axes, around the two that the loops below are made for.
const OUTER: usize = View::RANK - 2;

/// Runs that are written side by side where their values are neighbours in the input: the values
/// of one cache line.
const TILE: usize = 16;

/// Extent and stride of one axis.
type Axis = (usize, isize);

#[derive(Clone, Copy, Debug)]
pub(super) struct Args<'a, T> {
    outer: [Axis; OUTER],
    /// Runs that follow one another.
    middle: Axis,
    /// Values of a run.
    inner: Axis,
    offset: usize,
    /// Runs in all.
    runs: usize,
    x: &'a [T],
}

impl<'a, T: Pod> Args<'a, T> {
    pub(super) fn new(view: &View, x: &'a [T]) -> Option<Self> {
        let inside = view.reach()?.end <= u64::try_from(x.len()).ok()?;
        let mut axes = [(0, 0); View::RANK];
        for ((axis, extent), stride) in axes.iter_mut().zip(view.extent).zip(view.strides) {
            *axis = (usize::try_from(extent).ok()?, isize::try_from(stride).ok()?);
        }
        let [a, b, c, d, middle, inner] = axes;
        let runs = view.elements()?.checked_div(inner.0)?;
        let offset = usize::try_from(view.offset).ok()?;
        let outer = [a, b, c, d];
        inside.then_some(Self { outer, middle, inner, offset, runs, x })
    }

    /// Number of runs.
    pub(super) fn runs(&self) -> usize {
        self.runs
    }

    /// Values of a run.
    pub(super) fn run(&self) -> usize {
        self.inner.0
    }

    pub(super) fn write(&self, runs: Range<usize>, y: &mut [T]) -> Option<()> {
        let mut place = self.place(runs.start)?;
        let (mut rest, mut left) = (y, runs.len());
        while left > 0 {
            let count = self.middle.0.checked_sub(place.middle)?.min(left);
            let (block, after) = rest.split_at_mut_checked(count.checked_mul(self.inner.0)?)?;
            let start = along(place.address, place.middle, self.middle.1);
            self.block(start, count, block)?;
            (rest, left) = (after, left.checked_sub(count)?);
            self.advance(&mut place);
        }
        Some(())
    }

    /// Where run `run` begins.
    fn place(&self, run: usize) -> Option<Place> {
        let middle = run.checked_rem(self.middle.0)?;
        let mut rest = run.checked_div(self.middle.0)?;
        let (mut address, mut digits) = (self.offset, [0; OUTER]);
        for (digit, &(extent, stride)) in digits.iter_mut().zip(&self.outer).rev() {
            *digit = rest.checked_rem(extent)?;
            rest = rest.checked_div(extent)?;
            address = along(address, *digit, stride);
        }
        Some(Place { digits, middle, address })
    }

    /// To the first of the runs that lie at the next place of the outer axes.
    fn advance(&self, place: &mut Place) {
        place.middle = 0;
        for (digit, &(extent, stride)) in place.digits.iter_mut().zip(&self.outer).rev() {
            *digit = digit.wrapping_add(1);
            place.address = along(place.address, 1, stride);
            if *digit < extent {
                return;
            }
            place.address = along(place.address, extent, stride.wrapping_neg());
            *digit = 0;
        }
    }

    /// `count` runs, the first at `start`.
    fn block(&self, start: usize, count: usize, y: &mut [T]) -> Option<()> {
        let (len, stride) = self.inner;
        let mut rest = y;
        if self.middle.1 == 1 && stride != 1 {
            let mut done = 0;
            while done < count {
                let runs = count.saturating_sub(done).min(TILE);
                let (tile, after) = rest.split_at_mut_checked(runs.checked_mul(len)?)?;
                self.tile(along(start, done, 1), runs, tile)?;
                (rest, done) = (after, done.checked_add(runs)?);
            }
            return Some(());
        }
        for run in 0..count {
            let (to, after) = rest.split_at_mut_checked(len)?;
            let from = along(start, run, self.middle.1);
            match stride {
                1 => copy(self.x.get(from..)?, to),
                _ => gather(self.x, from, stride, to)?,
            }
            rest = after;
        }
        Some(())
    }

    /// Runs whose values are neighbours in the input: column by column, so that a cache line that
    /// is read serves all of them.
    fn tile(&self, start: usize, runs: usize, y: &mut [T]) -> Option<()> {
        let (len, stride) = self.inner;
        for column in 0..len {
            let from = self.x.get(along(start, column, stride)..)?.get(..runs)?;
            let mut at = column;
            for from in from {
                *y.get_mut(at)? = *from;
                at = at.wrapping_add(len);
            }
        }
        Some(())
    }
}

/// Digits of the outer axes, run within the middle one, and the input value that belongs to the
/// digits.
struct Place {
    digits: [usize; OUTER],
    middle: usize,
    address: usize,
}

/// `count` strides behind `address`. Every address of a proved view fits, so nothing wraps for good.
#[inline(always)]
fn along(address: usize, count: usize, stride: isize) -> usize {
    address.wrapping_add(count.wrapping_mul(stride.cast_unsigned()))
}

fn gather<T: Pod>(x: &[T], from: usize, stride: isize, y: &mut [T]) -> Option<()> {
    let mut at = from;
    for to in y {
        *to = *x.get(at)?;
        at = along(at, 1, stride);
    }
    Some(())
}
