//! AVX2 without dot products: tiles of up to 4 pixels x 16 channels.
//!
//! Bytes are widened to 16 bits, and `vpmaddwd` adds two products a channel: those of two rows in one
//! column of taps.

use super::super::{Args, DepthwiseS8, Kernel, NR};
use crate::cpu::Feature;
use crate::kernels::arch::x86_64::s8::{load_i32_avx2, widen_avx2};
use core::arch::x86_64::*;
use core::ops::Range;

pub(in super::super) const KERNEL: Kernel<DepthwiseS8> =
    Kernel { name: "depthwise_s8_4x16_avx2", needs: Some(Feature::Avx2), run };

#[target_feature(enable = "avx2,fma")]
fn run(args: &Args<'_>, rows: Range<usize>, y: &mut [u8], _: &mut [u8]) {
    let computed = depthwise_rows(args, rows, y);
    debug_assert!(computed.is_some(), "Args::new and Kernel::run proved all extents");
}

#[target_feature(enable = "avx2,fma")]
fn depthwise_rows(args: &Args<'_>, rows: Range<usize>, y: &mut [u8]) -> Option<()> {
    let row_len = args.output_row() * args.requantize.size();
    let mut rest = y;
    for row in rows {
        let (y, after) = rest.split_at_mut_checked(row_len)?;
        rest = after;
        for block in 0..args.channels.div_ceil(NR) {
            let mut column = 0;
            while column < args.output.1 {
                let tile = Tile { args, row, column, block };
                column += match args.output.1 - column {
                    4.. => tile.compute::<4>(y)?,
                    2.. => tile.compute::<2>(y)?,
                    _ => tile.compute::<1>(y)?,
                };
            }
        }
    }
    Some(())
}

/// One block of channels of neighbouring output pixels.
struct Tile<'a> {
    args: &'a Args<'a>,
    row: usize,
    column: usize,
    block: usize,
}

impl<'a> Tile<'a> {
    /// Computes `MR` pixels of the output row `y`, and returns how many that are.
    #[target_feature(enable = "avx2,fma")]
    fn compute<const MR: usize>(&self, y: &mut [u8]) -> Option<usize> {
        let (args, at) = (self.args, self.block * NR);
        let mut pairs = [[_mm256_setzero_si256(); 2]; MR];
        for ky in (0..args.rows.taps).step_by(2) {
            self.add_rows(&mut pairs, ky)?;
        }
        let mut sums = [[_mm256_setzero_si256(); 2]; MR];
        for m in 0..MR {
            let [low, high] = pairs[m];
            let bias = load_i32_avx2(self.bias(self.column + m)?);
            let ordered = [
                _mm256_permute2x128_si256::<0x20>(low, high),
                _mm256_permute2x128_si256::<0x31>(low, high),
            ];
            for h in 0..2 {
                sums[m][h] = _mm256_add_epi32(bias[h], ordered[h]);
            }
        }
        let y = y.get_mut((self.column * args.channels + at) * args.requantize.size()..)?;
        let width = NR.min(args.channels.checked_sub(at)?);
        args.requantize.store_avx2(&sums, at, y, (args.channels, width))?;
        Some(MR)
    }

    fn bias(&self, column: usize) -> Option<&'a [i32; NR]> {
        let args = self.args;
        let class = args.rows.class(self.row) * args.columns.class_count();
        let class = class + args.columns.class(column);
        let vector = class * args.channels.div_ceil(NR) + self.block;
        args.tensors.bias.get(vector * NR..)?.first_chunk()
    }

    /// Adds the taps of rows `ky` and `ky + 1`; their sums lie in halves of four channels.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn add_rows<const MR: usize>(&self, sums: &mut [[__m256i; 2]; MR], ky: usize) -> Option<()> {
        let columns = &self.args.columns;
        let rows = [self.input_row(ky), self.input_row(ky + 1)];
        for kx in 0..columns.taps {
            let [a, b] = [self.weights(ky, kx)?, self.weights(ky + 1, kx)?];
            let weights = [_mm256_unpacklo_epi16(a, b), _mm256_unpackhi_epi16(a, b)];
            for m in 0..MR {
                let ix = columns.input(self.column + m, kx, self.args.input.1);
                let [a, b] = [self.pixel(rows[0], ix), self.pixel(rows[1], ix)];
                let pixels = [_mm256_unpacklo_epi16(a, b), _mm256_unpackhi_epi16(a, b)];
                for h in 0..2 {
                    let products = _mm256_madd_epi16(pixels[h], weights[h]);
                    sums[m][h] = _mm256_add_epi32(sums[m][h], products);
                }
            }
        }
        Some(())
    }

    /// The weights of a tap; zeros behind the last row.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn weights(&self, ky: usize, kx: usize) -> Option<__m256i> {
        let (kh, kw) = (self.args.rows.taps, self.args.columns.taps);
        if ky >= kh {
            return Some(_mm256_setzero_si256());
        }
        let (taps, _) = self.args.tensors.weights.as_chunks::<NR>();
        taps.get((self.block * kh + ky) * kw + kx).map(|tap| widen_avx2(tap))
    }

    /// The block's channels from the first pixel of the input row that tap `ky` reads.
    #[inline]
    fn input_row(&self, ky: usize) -> Option<&'a [i8]> {
        let args = self.args;
        let iy = args.rows.input(self.row, ky, args.input.0)?;
        args.tensors.x.get(iy * args.input.1 * args.channels + self.block * NR..)
    }

    /// The block of an input pixel: zero points outside the picture. Behind the last channel of a pixel
    /// come those of the next one, in lanes that are not stored.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn pixel(&self, row: Option<&[i8]>, ix: Option<usize>) -> __m256i {
        let (Some(row), Some(ix)) = (row, ix) else {
            return _mm256_set1_epi16(self.args.outside.into());
        };
        let channels = row.get(ix * self.args.channels..).unwrap_or(&[]);
        match channels.first_chunk() {
            Some(block) => widen_avx2(block),
            None => {
                let mut block = [0; NR];
                block.iter_mut().zip(channels).for_each(|(to, from)| *to = *from);
                widen_avx2(&block)
            }
        }
    }
}
