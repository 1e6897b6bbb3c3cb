//! Products transformed back: divided by 576, summed over the parts of the input channels, requantized and
//! stored.

use super::super::super::Args;
use super::super::cover::{POINTS, TILE, points};
use super::super::{NR, Winograd};
use super::product::Factors;
use super::transform;
use crate::kernels::arch::x86_64::s8::load_i32_avx512;
use crate::kernels::arch::x86_64::words::store_i32_avx512;
use core::arch::x86_64::*;
use core::ops::Range;

/// 9 times this is 1 modulo 2^32.
const NINTH: i32 = 0x38e3_8e39;

/// Where results go.
pub(super) struct Results<'a> {
    pub(super) args: &'a Args<'a>,
    pub(super) plan: &'a Winograd,
    /// The first row of `y`.
    pub(super) first: usize,
    pub(super) group: usize,
    /// Panel within the group.
    pub(super) panel: usize,
    /// Output rows of the block.
    pub(super) rows: Range<usize>,
}

impl Results<'_> {
    /// Transforms the tile rows `batch` of the block. With `sums`, `[tile][4][4][16]`, the values of
    /// earlier parts are added; `y` is written by the last part only.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    pub(super) fn transform(
        &self,
        factors: &Factors<'_>,
        batch: &Range<usize>,
        products: &[i32],
        sums: &mut [i32],
        y: &mut [u8],
    ) -> Option<()> {
        let columns = self.plan.columns().tiles();
        let fours = &factors.fours;
        let part =
            Part { is_first: fours.start == 0, is_last: fours.end == self.plan.geometry.fours() };
        let mut sums = sums.as_chunks_mut().0.as_chunks_mut().0.as_chunks_mut().0.iter_mut();
        let mut none = [[[0; NR]; TILE]; TILE];
        let mut half = [[_mm512_setzero_si512(); POINTS]; TILE];
        for (i, j) in batch.clone().flat_map(|i| (0..columns).map(move |j| (i, j))) {
            self.transform_columns(factors, (i, i - batch.start, j), products, &mut half)?;
            let sums = sums.next().unwrap_or(&mut none);
            let to = self.place(i, j);
            match self.plan.columns().outputs(j) {
                1 => to.finish::<1>(&half, part, sums, y),
                2 => to.finish::<2>(&half, part, sums, y),
                3 => to.finish::<3>(&half, part, sums, y),
                _ => to.finish::<4>(&half, part, sums, y),
            }?;
        }
        Some(())
    }

    /// The products of a tile, transformed along its columns.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn transform_columns(
        &self,
        factors: &Factors<'_>,
        (i, row, j): (usize, usize, usize),
        products: &[i32],
        half: &mut Half,
    ) -> Option<()> {
        let columns = self.plan.columns();
        let pitch = self.plan.product_point();
        for &b in points(columns.outputs(j)) {
            let slot = row * columns.using(b) + j;
            let products = products.get(b * pitch + slot * NR..)?;
            let pitch = pitch * POINTS;
            let of_column = match factors.rows.outputs(i) {
                1 => column::<1>(products, pitch),
                2 => column::<2>(products, pitch),
                3 => column::<3>(products, pitch),
                _ => column::<4>(products, pitch),
            }?;
            for r in 0..TILE {
                *half[r].get_mut(b)? = of_column[r];
            }
        }
        Some(())
    }

    /// Where the outputs of a tile go.
    fn place(&self, i: usize, j: usize) -> Place<'_> {
        let g = &self.plan.geometry;
        let row = self.rows.start + i * TILE;
        Place {
            args: self.args,
            first: self.first,
            rows: row..self.rows.end.min(row + TILE),
            column: j * TILE,
            channel: self.group * g.out_c + self.panel * NR,
            width: NR.min(g.out_c.saturating_sub(self.panel * NR)),
            index: (self.group * g.panels + self.panel) * NR,
        }
    }
}

/// Which part of a sum products are.
#[derive(Clone, Copy)]
struct Part {
    is_first: bool,
    is_last: bool,
}

/// A tile that is transformed along its columns: rows of points.
type Half = [[__m512i; POINTS]; TILE];

/// One column of products, the points `pitch` apart, transformed.
#[target_feature(enable = "avx512f")]
#[inline]
fn column<const ROWS: usize>(products: &[i32], pitch: usize) -> Option<[__m512i; TILE]> {
    let mut m = [_mm512_setzero_si512(); POINTS];
    for &a in points(ROWS) {
        m[a] = load_i32_avx512(products.get(a * pitch..)?.first_chunk()?);
    }
    Some(transform::results::<ROWS>(m))
}

/// One panel of the outputs of a tile.
struct Place<'a> {
    args: &'a Args<'a>,
    /// The first row of `y`.
    first: usize,
    /// Output rows and first output column.
    rows: Range<usize>,
    column: usize,
    /// First output channel, and how many.
    channel: usize,
    width: usize,
    /// First of the panel's factors.
    index: usize,
}

impl Place<'_> {
    /// Transforms along the rows, divides, adds the parts; after the last one, the bias, requantizes and
    /// stores.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    fn finish<const COLUMNS: usize>(
        &self,
        half: &Half,
        part: Part,
        sums: &mut [[[i32; NR]; TILE]; TILE],
        y: &mut [u8],
    ) -> Option<()> {
        for ((row, half), sums) in self.rows.clone().zip(half).zip(sums) {
            let mut outputs = transform::results::<COLUMNS>(*half).map(|y| divide(y));
            if !part.is_first {
                for c in 0..COLUMNS {
                    outputs[c] = _mm512_add_epi32(outputs[c], load_i32_avx512(&sums[c]));
                }
            }
            if part.is_last {
                self.write::<COLUMNS>(row, &outputs, y)?;
            } else {
                for c in 0..COLUMNS {
                    store_i32_avx512(&mut sums[c], outputs[c]);
                }
            }
        }
        Some(())
    }

    /// Adds the bias, requantizes and stores one row.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    #[inline]
    fn write<const COLUMNS: usize>(
        &self,
        row: usize,
        outputs: &[__m512i; TILE],
        y: &mut [u8],
    ) -> Option<()> {
        let g = &self.args.geometry;
        let class = g.rows.class(row);
        let mut sums = [[_mm512_setzero_si512(); 1]; COLUMNS];
        for c in 0..COLUMNS {
            let at = g.bias_at(class, g.columns.class(self.column + c)) + self.index;
            let bias = load_i32_avx512(self.args.tensors.bias.get(at..)?.first_chunk()?);
            sums[c][0] = _mm512_add_epi32(outputs[c], bias);
        }
        let first = ((row - self.first) * g.output.w + self.column) * g.output.c + self.channel;
        let y = y.get_mut(first * self.args.requantize.size()..)?;
        self.args.requantize.store_avx512(&sums, self.index, y, (g.output.c, self.width))
    }
}

/// `y` of `576 y` modulo 2^32.
#[target_feature(enable = "avx512f")]
#[inline]
fn divide(y: __m512i) -> __m512i {
    _mm512_srai_epi32::<6>(_mm512_mullo_epi32(y, _mm512_set1_epi32(NINTH)))
}
