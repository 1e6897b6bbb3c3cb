//! AVX-512 VNNI: tiles of up to 4 pixels x 64 channels.
//!
//! `vpdpbusd` adds four products a channel: those of four rows in one column of taps. The four bytes of
//! an input column are put side by side once (`vpunpck`), for all output pixels whose taps read it.
//! The input's sign bits are flipped, and sums begin at `bias - 128 * sums`.
//!
//! Pixels whose columns do not all lie inside the picture are tiles of their own, a column at a time,
//! and so are all pixels of rarer kernels than 3x3 and 5x5. Rows outside are rows of zero points.

use super::super::{Args, DepthwiseS8, Kernel, NR};
use crate::cpu::Feature;
use crate::kernels::arch::x86_64::s8::load_i32_avx512;
use crate::kernels::arch::x86_64::s8_columns::{
    CHANNELS, Columns, Quad, add_columns_vnni, interleave, load_bytes, store_bytes, transpose_lanes,
};
use crate::kernels::requantize::x86::ColumnFactors;
use bytemuck::Zeroable;
use core::arch::x86_64::*;
use core::ops::Range;

pub(in super::super) const KERNEL: Kernel<DepthwiseS8> =
    Kernel { name: "depthwise_s8_4x64_vnni", needs: Some(Feature::Avx512Vnni), run };

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
fn run(args: &Args<'_>, rows: Range<usize>, y: &mut [u8], scratch: &mut [u8]) {
    let computed = depthwise_rows(args, rows, y, scratch);
    debug_assert!(computed.is_some(), "Args::new and Kernel::run proved all extents");
}

/// 64 channels, or those that are left: all that their tiles share.
struct Block<'a> {
    args: &'a Args<'a>,
    /// First channel.
    first: usize,
    width: usize,
    /// `[quad of rows][column of taps]`.
    weights: &'a [Quad],
    /// 128 times the sum of the weights.
    flipped: [__m512i; 4],
    /// Where sums begin, unless pixels differ in class.
    start: [__m512i; 4],
    factors: ColumnFactors,
    outside: [i8; CHANNELS],
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
fn depthwise_rows(
    args: &Args<'_>,
    rows: Range<usize>,
    y: &mut [u8],
    scratch: &mut [u8],
) -> Option<()> {
    let row_len = args.output_row() * args.requantize.size();
    let scratch: &mut [i8] = bytemuck::try_cast_slice_mut(scratch).ok()?;
    let (weights, _) = scratch.as_chunks_mut::<CHANNELS>().0.as_chunks_mut::<4>();
    for first in (0..args.channels).step_by(CHANNELS) {
        interleave_weights(args, first, weights)?;
        let mut flipped = load_vector(args.tensors.sums, first);
        for flipped in &mut flipped {
            *flipped = _mm512_slli_epi32::<7>(*flipped);
        }
        let width = CHANNELS.min(args.channels - first);
        let outside = [args.outside; CHANNELS];
        let factors = args.requantize.column_factors(first);
        let start = flipped;
        let mut block = Block { args, first, width, weights, flipped, start, factors, outside };
        block.start = block.class_start(0, 0);
        let mut rest = &mut *y;
        for row in rows.clone() {
            let (y, after) = rest.split_at_mut_checked(row_len)?;
            rest = after;
            depthwise_row(&block, row, y)?;
        }
    }
    Some(())
}

/// The weights of 64 channels from `first` on, the four rows of a quad side by side; rows that are none
/// have weights 0.
#[target_feature(enable = "avx512f,avx512bw")]
fn interleave_weights(args: &Args<'_>, first: usize, to: &mut [Quad]) -> Option<()> {
    let (kh, kw) = (args.rows.taps, args.columns.taps);
    let (taps, _) = args.tensors.weights.as_chunks::<NR>();
    for (quad, to) in to.chunks_mut(kw.max(1)).take(kh.div_ceil(4)).enumerate() {
        for (kx, to) in to.iter_mut().enumerate() {
            let mut rows = [_mm512_setzero_si512(); 4];
            for (k, row) in rows.iter_mut().enumerate().take(kh - quad * 4) {
                let mut channels: [i8; CHANNELS] = Zeroable::zeroed();
                for (l, lane) in channels.as_chunks_mut::<NR>().0.iter_mut().enumerate() {
                    let at = ((first / NR + l) * kh + quad * 4 + k) * kw + kx;
                    *lane = taps.get(at).copied().unwrap_or([0; NR]);
                }
                *row = load_bytes(&channels);
            }
            for (to, register) in to.iter_mut().zip(interleave(rows)) {
                store_bytes(to, register);
            }
        }
    }
    Some(())
}

/// 64 integers from `at` on in the order of registers; zeros behind the end.
#[target_feature(enable = "avx512f")]
#[inline]
fn load_vector(values: &[i32], at: usize) -> [__m512i; 4] {
    let mut registers = [_mm512_setzero_si512(); 4];
    for (i, register) in registers.iter_mut().enumerate() {
        let values = values.get(at + i * NR..).and_then(<[i32]>::first_chunk);
        *register = values.map_or(_mm512_setzero_si512(), |values| load_i32_avx512(values));
    }
    transpose_lanes(registers)
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
fn depthwise_row(block: &Block<'_>, row: usize, y: &mut [u8]) -> Option<()> {
    let args = block.args;
    let inner = args.columns.interior(args.output.1, args.input.1);
    let shape = (args.columns.taps, args.columns.stride.get(), args.columns.dilation);
    let mut column = 0;
    while column < args.output.1 {
        let room = if inner.contains(&column) { inner.end - column } else { 0 };
        column += match (shape, room) {
            ((3, 1, 1), 4..) => tile::<4, 3, 1, 6>(block, row, column, y)?,
            ((3, 1, 1), 1..) => tile::<1, 3, 1, 3>(block, row, column, y)?,
            ((3, 2, 1), 4..) => tile::<4, 3, 2, 9>(block, row, column, y)?,
            ((3, 2, 1), 1..) => tile::<1, 3, 2, 3>(block, row, column, y)?,
            ((5, 1, 1), 4..) => tile::<4, 5, 1, 8>(block, row, column, y)?,
            ((5, 1, 1), 1..) => tile::<1, 5, 1, 5>(block, row, column, y)?,
            ((5, 2, 1), 4..) => tile::<4, 5, 2, 11>(block, row, column, y)?,
            ((5, 2, 1), 1..) => tile::<1, 5, 2, 5>(block, row, column, y)?,
            _ => pixel(block, row, column, y)?,
        };
    }
    Some(())
}

/// `MR` pixels from `column` on, all of whose `K` columns of taps lie inside the picture, `S` apart;
/// `COLS` is `(MR - 1) * S + K`. Returns `MR`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
fn tile<const MR: usize, const K: usize, const S: usize, const COLS: usize>(
    block: &Block<'_>,
    row: usize,
    column: usize,
    y: &mut [u8],
) -> Option<usize> {
    let mut sum = block.start::<MR>(row, column);
    let ix = block.args.columns.input(column, 0, block.args.input.1);
    for (quad, weights) in block.weights.as_chunks::<K>().0.iter().enumerate() {
        if quad * 4 >= block.args.rows.taps {
            break;
        }
        let columns = Columns::<COLS>::new(block.rows(row, quad, ix)?, block.width)?;
        add_columns_vnni::<MR, K, S, COLS>(&mut sum, columns, weights);
    }
    block.store(&sum, column, y)?;
    Some(MR)
}

/// One pixel, a column of taps at a time. Returns 1.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
fn pixel(block: &Block<'_>, row: usize, column: usize, y: &mut [u8]) -> Option<usize> {
    let Args { rows, columns, input, .. } = block.args;
    let mut sum = block.start::<1>(row, column);
    for quad in 0..rows.taps.div_ceil(4) {
        for kx in 0..columns.taps {
            let weights = block.weights.get(quad * columns.taps + kx..)?.first_chunk()?;
            let ix = columns.input(column, kx, input.1);
            let column = Columns::<1>::new(block.rows(row, quad, ix)?, block.width)?;
            add_columns_vnni::<1, 1, 1, 1>(&mut sum, column, weights);
        }
    }
    block.store(&sum, column, y)?;
    Some(1)
}

impl Block<'_> {
    /// Where the sums of `MR` pixels from `column` on begin.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn start<const MR: usize>(&self, row: usize, column: usize) -> [[__m512i; 4]; MR] {
        let mut sums = [self.start; MR];
        if self.args.rows.has_classes() || self.args.columns.has_classes() {
            for (m, sums) in sums.iter_mut().enumerate() {
                *sums = self.class_start(row, column + m);
            }
        }
        sums
    }

    /// Where the sums of one pixel begin: its bias without what the flipped sign bits add.
    #[target_feature(enable = "avx512f")]
    fn class_start(&self, row: usize, column: usize) -> [__m512i; 4] {
        let args = self.args;
        let vector = args.channels.div_ceil(NR) * NR;
        let class = args.rows.class(row) * args.columns.class_count() + args.columns.class(column);
        let bias = args.tensors.bias.get(class * vector..(class + 1) * vector);
        let mut start = load_vector(bias.unwrap_or(&[]), self.first);
        for i in 0..4 {
            start[i] = _mm512_sub_epi32(start[i], self.flipped[i]);
        }
        start
    }

    /// The four rows that a quad of taps reads at output row `row`, from input column `ix` on, and their
    /// pitch. Outside the picture and behind the last tap zero points.
    #[inline]
    fn rows(&self, row: usize, quad: usize, ix: Option<usize>) -> Option<[(&[i8], usize); 4]> {
        let args = self.args;
        let mut rows: [(&[i8], usize); 4] = [(&self.outside, 0); 4];
        let Some(ix) = ix else { return Some(rows) };
        for (k, of_tap) in rows.iter_mut().enumerate() {
            let ky = quad * 4 + k;
            let iy = args.rows.input(row, ky, args.input.0).filter(|_| ky < args.rows.taps);
            if let Some(iy) = iy {
                let at = (iy * args.input.1 + ix) * args.channels + self.first;
                *of_tap = (args.tensors.x.get(at..)?, args.channels);
            }
        }
        Some(rows)
    }

    /// Stores the results of the pixels from `column` on in the output row `y`.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
    #[inline]
    fn store<const MR: usize>(
        &self,
        sums: &[[__m512i; 4]; MR],
        column: usize,
        y: &mut [u8],
    ) -> Option<()> {
        let (channels, requantize) = (self.args.channels, &self.args.requantize);
        let y = y.get_mut((column * channels + self.first) * requantize.size()..)?;
        requantize.store_columns_avx512(sums, &self.factors, y, (channels, self.width))
    }
}
