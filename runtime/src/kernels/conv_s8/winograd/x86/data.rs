//! Transformed inputs of a block of tile rows: `[point][tile][channel]`, the tiles of each point those
//! that use it, row by row.

use super::super::super::Args;
use super::super::cover::{Cover, POINTS, TILE, points};
use super::super::{BLOCK, Winograd};
use super::transform::{self, Points};
use crate::kernels::arch::x86_64::words::{load_bytes_as_words_avx512, store_words_avx512};
use core::arch::x86_64::*;
use core::ops::Range;

/// Transforms what output rows `rows` read of the channels of `group`. `None` when `to` is too short.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn transform_block(
    args: &Args<'_>,
    plan: &Winograd,
    group: usize,
    rows: &Range<usize>,
    to: &mut [i16],
) -> Option<()> {
    let cover = Cover { len: rows.len() };
    let mut half = [[_mm512_setzero_si512(); POINTS]; POINTS];
    for i in 0..cover.tiles() {
        for j in 0..plan.columns().tiles() {
            let tile = Tile::new(args, plan, group, (cover, i, j), rows.start + i * TILE);
            for channel in (0..plan.geometry.in_c).step_by(BLOCK) {
                tile.transform(channel, &mut half, to)?;
            }
        }
    }
    Some(())
}

/// One tile of a block.
struct Tile<'a> {
    x: &'a [i8],
    /// What pixels outside the picture hold.
    outside: i8,
    /// Rows and columns of the outputs.
    outputs: (usize, usize),
    /// Where the group's channels begin in the input rows under the tile, and in a row at its columns.
    rows: [Option<usize>; POINTS],
    columns: [Option<usize>; POINTS],
    /// Where the tile is stored at point `(0, b)`, for each `b`, and how far it is to the next `a`.
    places: [usize; POINTS],
    pitch: usize,
}

impl<'a> Tile<'a> {
    fn new(
        args: &Args<'a>,
        plan: &Winograd,
        group: usize,
        (cover, i, j): (Cover, usize, usize),
        row: usize,
    ) -> Self {
        let g = &plan.geometry;
        let input_row = |at| Some(g.rows.input(row + at, 0, g.input.h)? * g.input.w * g.input.c);
        let input_column = |at| {
            let column = g.columns.input(j * TILE + at, 0, g.input.w)?;
            Some(column * g.input.c + group * g.in_c)
        };
        let point = plan.data_point(plan.block.get());
        let place = |b| b * point + (i * plan.columns().using(b) + j) * plan.tile_pitch();
        Self {
            x: args.tensors.x,
            outside: args.outside,
            outputs: (cover.outputs(i), plan.columns().outputs(j)),
            rows: core::array::from_fn(input_row),
            columns: core::array::from_fn(input_column),
            places: core::array::from_fn(place),
            pitch: point * POINTS,
        }
    }

    /// [`BLOCK`] channels from `channel` on.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn transform(&self, channel: usize, half: &mut [Points; POINTS], to: &mut [i16]) -> Option<()> {
        match self.outputs.0 {
            1 => self.transform_columns::<1>(channel, half),
            2 => self.transform_columns::<2>(channel, half),
            3 => self.transform_columns::<3>(channel, half),
            _ => self.transform_columns::<4>(channel, half),
        }?;
        match self.outputs.1 {
            1 => self.transform_rows::<1>(channel, half, to),
            2 => self.transform_rows::<2>(channel, half, to),
            3 => self.transform_rows::<3>(channel, half, to),
            _ => self.transform_rows::<4>(channel, half, to),
        }
    }

    /// Each column of the tile's inputs, which has `ROWS + 2` rows.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn transform_columns<const ROWS: usize>(
        &self,
        channel: usize,
        half: &mut [Points; POINTS],
    ) -> Option<()> {
        for (column, &at) in self.columns.iter().enumerate().take(self.outputs.1 + 2) {
            let mut pixels = [_mm512_setzero_si512(); POINTS];
            for row in 0..ROWS + 2 {
                pixels[row] = self.pixel(self.rows[row], at, channel)?;
            }
            let values = transform::data::<ROWS>(pixels);
            for a in 0..POINTS {
                *half[a].get_mut(column)? = values[a];
            }
        }
        Some(())
    }

    /// Channels of an input pixel.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    #[inline]
    fn pixel(&self, row: Option<usize>, column: Option<usize>, channel: usize) -> Option<__m512i> {
        let (Some(row), Some(column)) = (row, column) else {
            return Some(_mm512_set1_epi16(i16::from(self.outside)));
        };
        // Channels of the next pixel may follow those of the group: their weights are zero.
        Some(load_bytes_as_words_avx512(self.x.get(row + column + channel..)?))
    }

    /// Each row of the half-transformed tile, which has `COLUMNS + 2` columns.
    #[target_feature(enable = "avx512f,avx512bw")]
    fn transform_rows<const COLUMNS: usize>(
        &self,
        channel: usize,
        half: &[Points; POINTS],
        to: &mut [i16],
    ) -> Option<()> {
        for &a in points(self.outputs.0) {
            let to = to.get_mut(a * self.pitch + channel..)?;
            let values = transform::data::<COLUMNS>(*half.get(a)?);
            for &b in points(COLUMNS) {
                store_words_avx512(to.get_mut(self.places[b]..)?.first_chunk_mut()?, values[b]);
            }
        }
        Some(())
    }
}
