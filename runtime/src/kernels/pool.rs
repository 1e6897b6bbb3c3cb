//! What the pools of f32 and of s8 share: [`Pool`], operands, and which pixels are under a window.

use super::axis::{Axis, nonzero};
use super::contract::Operands;
use super::conv_f32::NR;
use super::load_block;
use crate::dims::{Dims, Hw, Window};
use core::ops::Range;

/// What is made of the values under the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// The largest.
    Max,
    /// The mean.
    Average {
        /// Divide by all taps (true) or only by those inside the picture.
        count_include_pad: bool,
    },
}

/// One pooling with its input, bounds proved.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a, T> {
    pub(super) pool: Pool,
    rows: Axis,
    columns: Axis,
    input: (usize, usize),
    output: (usize, usize),
    channels: usize,
    x: &'a [T],
}

impl<'a, T: Copy> Args<'a, T> {
    /// `None` when a dimension is zero, `output` does not follow from `input`, or `x` is not
    /// exactly as long as [`Dims::elements`] says.
    pub fn new(pool: Pool, window: &Window, input: Dims, output: Dims, x: &'a [T]) -> Option<Self> {
        let Window { kernel, stride, dilation, pad } = window;
        let fits = input.c == output.c
            && window.output(input.h, input.w)? == (Hw { h: output.h, w: output.w })
            && x.len() == input.elements()?;
        fits.then_some(Self {
            pool,
            rows: Axis::new(kernel.h, stride.h, dilation.h, pad.top)?,
            columns: Axis::new(kernel.w, stride.w, dilation.w, pad.left)?,
            input: (nonzero(input.h)?, nonzero(input.w)?),
            output: (nonzero(output.h)?, nonzero(output.w)?),
            channels: nonzero(output.c)?,
            x,
        })
    }

    /// Number of values in one output row.
    pub fn output_row(&self) -> usize {
        self.output.1.saturating_mul(self.channels)
    }
}

impl<T: Copy> Operands for Args<'_, T> {
    fn rows(&self) -> usize {
        self.output.0
    }

    fn values(&self, rows: &Range<usize>) -> Option<usize> {
        rows.len().checked_mul(self.output_row())
    }
}

/// Rows and columns of a window's taps that lie inside the picture.
pub(super) type TapsInside = (Range<usize>, Range<usize>);

/// What is done at a pixel. Not a closure: that would not take on the CPU features of its caller.
pub(super) trait Pooling<T> {
    /// Computes the channels of the output pixel at this row and column.
    fn pixel(&self, at: (usize, usize), taps: TapsInside, pixel: &mut [T]);
}

impl<'a, T: Copy> Args<'a, T> {
    /// Computes each output pixel of `rows`.
    #[inline(always)]
    pub(super) fn compute(&self, rows: Range<usize>, y: &mut [T], pooling: &impl Pooling<T>) {
        let mut rest = y;
        for row in rows {
            let taps_y = self.rows.taps_inside(row, self.input.0);
            for column in 0..self.output.1 {
                let Some((pixel, after)) = rest.split_at_mut_checked(self.channels) else { return };
                rest = after;
                let taps_x = self.columns.taps_inside(column, self.input.1);
                pooling.pixel((row, column), (taps_y.clone(), taps_x), pixel);
            }
        }
    }

    /// All channels of one output pixel, tap by tap; `lowest` where the window has none.
    #[inline(always)]
    pub(super) fn largest(&self, at: (usize, usize), taps: TapsInside, lowest: T, pixel: &mut [T])
    where
        T: PartialOrd,
    {
        let places = self.places(at, &taps);
        pixel.fill(lowest);
        for ky in 0..taps.0.len() {
            for kx in 0..taps.1.len() {
                let x = self.x.get(places.of(ky, kx)..).unwrap_or(&[]);
                for (best, &x) in pixel.iter_mut().zip(x) {
                    *best = if x > *best { x } else { *best };
                }
            }
        }
    }

    /// What the sum of the values under these taps is divided by: not 0.
    #[inline(always)]
    pub(super) fn divisor(&self, taps: &TapsInside, count_include_pad: bool) -> f32 {
        let inside = taps.0.len() * taps.1.len();
        let count = if count_include_pad { self.rows.taps * self.columns.taps } else { inside };
        if count == 0 { 1.0 } else { count as f32 }
    }

    /// 16 channels from this place of the input on.
    #[inline(always)]
    pub(super) fn load(&self, place: usize) -> [T; NR]
    where
        T: Default,
    {
        load_block(self.x, place)
    }

    /// Where the channels of the input pixels under these taps begin.
    #[inline(always)]
    pub(super) fn places(&self, at: (usize, usize), taps: &TapsInside) -> Places {
        let iy = self.rows.input(at.0, taps.0.start, self.input.0).unwrap_or(0);
        let ix = self.columns.input(at.1, taps.1.start, self.input.1).unwrap_or(0);
        let row = self.input.1 * self.channels;
        Places {
            first: iy * row + ix * self.channels,
            down: self.rows.dilation * row,
            right: self.columns.dilation * self.channels,
        }
    }
}

/// Where input pixels lie that taps read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    first: usize,
    /// From one row of taps to the next.
    down: usize,
    /// From one tap of a row to the next.
    right: usize,
}

impl Places {
    /// That of a tap, counted from the first one inside the picture.
    #[inline(always)]
    pub(super) fn of(&self, ky: usize, kx: usize) -> usize {
        self.first + ky * self.down + kx * self.right
    }
}
