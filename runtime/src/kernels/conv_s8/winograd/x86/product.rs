//! Products of a batch of tile rows with one panel, point by point: `[point][tile][16]`, the tiles of each
//! point those that use it.

use super::super::cover::{Cover, POINTS};
use super::super::{NR, Winograd};
use crate::kernels::arch::x86_64::words::{At, Columns, Tiles, multiply_avx512};
use core::ops::Range;

/// What a batch reads.
pub(super) struct Factors<'a> {
    pub(super) plan: &'a Winograd,
    /// Transformed inputs of the block, and its tile rows.
    pub(super) data: &'a [i16],
    pub(super) rows: Cover,
    /// Weights of the panel, transformed along the columns.
    pub(super) weights: &'a [i16],
    /// Fours of input channels that are summed.
    pub(super) fours: Range<usize>,
}

/// Most tiles that are multiplied at once: with their sums there is room for weights in the registers.
const MOST: usize = 16;

impl Factors<'_> {
    /// Multiplies the tile rows `batch` at all points.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub(super) fn multiply(&self, batch: &Range<usize>, to: &mut [i32]) -> Option<()> {
        let (plan, columns) = (self.plan, self.plan.columns());
        for a in 0..POINTS {
            let weights = self.weights.get(a * plan.weights_pitch()..)?;
            let weights = Columns::new(weights, 2 * self.fours.len())?;
            let rows = batch.start..batch.end.min(self.rows.using(a));
            for b in 0..POINTS {
                let point = a * POINTS + b;
                let slots = rows.start * columns.using(b)..rows.end * columns.using(b);
                let data = self.data.get(point * plan.data_point(plan.block.get())..)?;
                let to = to.get_mut(point * plan.product_point()..)?;
                self.multiply_point(b, slots, data, weights, to)?;
            }
        }
        Some(())
    }

    /// Cuts the tiles at a point into nearly equal runs.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    fn multiply_point(
        &self,
        b: usize,
        slots: Range<usize>,
        data: &[i16],
        weights: Columns<'_>,
        to: &mut [i32],
    ) -> Option<()> {
        let (mut slot, mut rest) = (slots.start, to);
        while slot < slots.end {
            let left = slots.end - slot;
            let tiles = left.checked_div(left.div_ceil(MOST))?;
            let (to, after) = rest.split_at_mut_checked(tiles * NR)?;
            let first = slot * self.plan.tile_pitch() + self.fours.start * 4;
            let data = data.get(first..)?;
            match b {
                0 => self.multiply_tiles::<0>(tiles, data, (weights, At::Zero), to),
                1 => self.multiply_tiles::<1>(tiles, data, (weights, At::Positive), to),
                2 => self.multiply_tiles::<1>(tiles, data, (weights, At::Negative), to),
                3 => self.multiply_tiles::<2>(tiles, data, (weights, At::Positive), to),
                4 => self.multiply_tiles::<2>(tiles, data, (weights, At::Negative), to),
                _ => self.multiply_tiles::<0>(tiles, data, (weights, At::Infinity), to),
            }?;
            (slot, rest) = (slot + tiles, after);
        }
        Some(())
    }

    /// Up to [`MOST`] tiles.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    fn multiply_tiles<const P: u32>(
        &self,
        tiles: usize,
        data: &[i16],
        (weights, at): (Columns<'_>, At),
        to: &mut [i32],
    ) -> Option<()> {
        macro_rules! of_tiles {
            ($($tiles:literal)+) => {
                match tiles {
                    $($tiles => multiply_avx512::<$tiles, P>(self.tiles(data)?, weights, at, to),)+
                    _ => None,
                }
            };
        }
        of_tiles!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16)
    }

    fn tiles<'a, const MR: usize>(&self, data: &'a [i16]) -> Option<Tiles<'a, MR>> {
        Tiles::new(data, self.plan.tile_pitch(), 2 * self.fours.len())
    }
}
