//! [`Area`]: the pixels of a map whose values a kernel combines, channel by channel or all of them.
//!
//! The order in which values are combined is fixed, and in levels: channels, runs of columns, columns,
//! rows. Rounding errors of sums so grow with the root of their length at most.

use super::conv_f32::NR;
use super::load_block;
use core::ops::Range;

/// 16 neighbouring channels.
pub(super) type Block = [f32; NR];

/// Columns that are combined before they join those before them.
const RUN: usize = 64;

/// Rows and columns of a map, NHWC.
#[derive(Clone, Debug)]
pub(super) struct Area {
    pub(super) rows: Range<usize>,
    pub(super) columns: Range<usize>,
    /// Columns of the map.
    pub(super) width: usize,
    /// Channels of the map.
    pub(super) channels: usize,
}

impl Area {
    /// 16 channels, from `16 * block` on, each combined over all pixels. `add` combines with one more
    /// value, `join` two such combinations; `start` changes nothing.
    #[inline(always)]
    pub(super) fn per_channel(
        &self,
        x: &[f32],
        block: usize,
        start: f32,
        add: impl Fn(f32, f32, usize) -> f32,
        join: impl Fn(f32, f32) -> f32,
    ) -> Block {
        let mut total = [start; NR];
        for row in self.rows.clone() {
            let mut of_row = [start; NR];
            let mut column = self.columns.start;
            while column < self.columns.end {
                let end = column.saturating_add(RUN).min(self.columns.end);
                let mut of_run = [start; NR];
                for column in column..end {
                    let values = load_block(x, self.pixel(row, column) + block * NR);
                    for i in 0..NR {
                        of_run[i] = add(of_run[i], values[i], i);
                    }
                }
                join_all(&mut of_row, &of_run, &join);
                column = end;
            }
            join_all(&mut total, &of_row, &join);
        }
        total
    }

    /// All values of all pixels combined.
    #[inline(always)]
    pub(super) fn whole(
        &self,
        x: &[f32],
        start: f32,
        add: impl Fn(f32, f32) -> f32,
        join: impl Fn(f32, f32) -> f32,
    ) -> f32 {
        let mut total = start;
        for row in self.rows.clone() {
            let mut of_row = start;
            for column in self.columns.clone() {
                let pixel = x.get(self.pixel(row, column)..).unwrap_or(&[]);
                let pixel = pixel.get(..self.channels).unwrap_or(&[]);
                of_row = join(of_row, whole_pixel(pixel, start, &add, &join));
            }
            total = join(total, of_row);
        }
        total
    }

    /// Where a pixel begins.
    #[inline(always)]
    pub(super) fn pixel(&self, row: usize, column: usize) -> usize {
        (row * self.width + column) * self.channels
    }
}

#[inline(always)]
fn join_all(all: &mut Block, more: &Block, join: &impl Fn(f32, f32) -> f32) {
    for i in 0..NR {
        all[i] = join(all[i], more[i]);
    }
}

/// Sixteen combinations side by side, then those combined.
#[inline(always)]
fn whole_pixel(
    pixel: &[f32],
    start: f32,
    add: &impl Fn(f32, f32) -> f32,
    join: &impl Fn(f32, f32) -> f32,
) -> f32 {
    let (blocks, rest) = pixel.as_chunks::<NR>();
    let mut lanes = [start; NR];
    for block in blocks {
        for i in 0..NR {
            lanes[i] = add(lanes[i], block[i]);
        }
    }
    lanes.iter_mut().zip(rest).for_each(|(lane, &value)| *lane = add(*lane, value));
    lanes.iter().fold(start, |all, &lane| join(all, lane))
}
