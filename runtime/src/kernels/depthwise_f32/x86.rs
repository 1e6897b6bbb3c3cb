//! What the x86 kernels share: output rows, tiles of neighbouring pixels, blocks of 16 channels.
//!
//! A tile computes one block of channels of a few pixels: the weights of a tap are loaded once for
//! all of them, and their sums do not wait for each other. Pixels whose taps do not all lie inside
//! the picture are tiles of their own.

mod avx2;
mod avx512;

use super::{Args, NR, sum_taps};
use crate::kernels::activation::x86::Finish;
use crate::kernels::arch::x86_64::{Blocks, Pixels};
use core::ops::Range;

pub(super) use avx2::KERNEL as AVX2;
pub(super) use avx512::KERNEL as AVX512;

/// One block of channels of neighbouring output pixels.
struct Tile<'a> {
    args: &'a Args<'a>,
    row: usize,
    column: usize,
    pixels: usize,
    block: usize,
    /// Taps that read the picture at every pixel.
    taps: (Range<usize>, Range<usize>),
}

impl<'a> Tile<'a> {
    /// Bias of `MR` pixels.
    #[inline]
    fn bias<const MR: usize>(&self) -> Option<[&'a [f32; NR]; MR]> {
        let (args, blocks) = (self.args, self.args.channels.div_ceil(NR));
        let row = args.rows.class(self.row) * args.columns.class_count();
        let vector = |column| {
            let class = row + args.columns.class(column);
            args.bias.get((class * blocks + self.block) * NR..)?.first_chunk()
        };
        let mut bias = [vector(self.column)?; MR];
        if args.columns.has_classes() {
            for (m, bias) in bias.iter_mut().enumerate() {
                *bias = vector(self.column + m)?;
            }
        }
        Some(bias)
    }

    /// What the taps `ky` read, and their weights. `None` also where the map ends inside a block.
    #[inline]
    fn tap_row<const MR: usize>(&self, ky: usize) -> Option<(Blocks<'a, MR>, &'a [[f32; NR]])> {
        let (args, kx) = (self.args, &self.taps.1);
        let iy = args.rows.input(self.row, ky, args.input.0)?;
        let ix = args.columns.input(self.column, kx.start, args.input.1)?;
        let first = (iy * args.input.1 + ix) * args.channels + self.block * NR;
        let pixel = args.columns.stride.get() * args.channels;
        let tap = args.columns.dilation * args.channels;
        let blocks = Blocks::new(args.x.get(first..)?, pixel, tap, kx.len())?;
        let weights = (self.block * args.rows.taps + ky) * args.columns.taps;
        let weights = args.weights.as_chunks().0.get(weights + kx.start..weights + kx.end)?;
        Some((blocks, weights))
    }

    /// The activation.
    #[inline]
    fn finish(&self) -> Finish<1> {
        let slopes = self.args.slopes.as_chunks().0.get(self.block..);
        Finish::new(self.args.activation, slopes.and_then(|slopes| slopes.first_chunk()))
    }

    /// Where the block of each pixel goes; `y` is the output row.
    #[inline]
    fn pixels<'y, const MR: usize>(&self, y: &'y mut [f32]) -> Option<Pixels<'y, MR, 1>> {
        let (channels, from) = (self.args.channels, self.block * NR);
        let y = y.get_mut(self.column * channels + from..)?;
        Pixels::new(y, channels, NR.min(channels.checked_sub(from)?))
    }

    /// The tile without SIMD.
    #[cold]
    fn compute_portably(&self, y: &mut [f32]) -> Option<()> {
        let pixels = y.chunks_mut(self.args.channels).enumerate();
        for (column, pixel) in pixels.skip(self.column).take(self.pixels) {
            let (taps_y, taps_x) = self.taps.clone();
            let sum = sum_taps(self.args, (self.row, column), taps_y, taps_x, self.block);
            let channels = pixel.get_mut(self.block * NR..)?;
            channels.iter_mut().zip(sum).for_each(|(to, from)| *to = from);
        }
        Some(())
    }
}

/// Computes a band with `compute(tile, y_row)`, tiles of as many pixels as one of `sizes`, which
/// falls and ends with 1.
///
/// `None` means that a check failed which [`Args::new`] and
/// [`Kernel::run`](super::Kernel::run) have already made.
#[target_feature(enable = "avx2,fma")]
fn depthwise_rows(
    args: &Args<'_>,
    rows: Range<usize>,
    y: &mut [f32],
    sizes: &[usize],
    compute: impl Fn(&Tile<'_>, &mut [f32]) -> Option<()>,
) -> Option<()> {
    let inner = args.columns.interior(args.output.1, args.input.1);
    let mut rest = y;
    for row in rows {
        let (y, after) = rest.split_at_mut_checked(args.output_row())?;
        rest = after;
        let taps_y = args.rows.taps_inside(row, args.input.0);
        let mut column = 0;
        while column < args.output.1 {
            let room = if inner.contains(&column) { inner.end - column } else { 1 };
            let pixels = sizes.iter().copied().find(|&size| size <= room)?;
            let taps = (taps_y.clone(), args.columns.taps_inside(column, args.input.1));
            let mut tile = Tile { args, row, column, pixels, block: 0, taps };
            for block in 0..args.channels.div_ceil(NR) {
                tile.block = block;
                if compute(&tile, y).is_none() {
                    tile.compute_portably(y)?;
                }
            }
            column += pixels;
        }
    }
    Some(())
}
