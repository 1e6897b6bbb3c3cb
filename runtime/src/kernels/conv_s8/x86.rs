//! What the x86 kernels share: sub-bands, blocks of panels, rows, and tiles of neighbouring pixels.
//!
//! ```text
//! for each sub-band of output rows whose input rows fit the scratch:
//!     stage those input rows                                           (stage.rs)
//!     for each block of panels, whose weights stay in the level-2 cache:
//!         for each output row, each tile of pixels: one call of a tile  (vnni.rs, avx2.rs)
//! ```
//!
//! The fours of a pixel lie side by side, and so do those of neighbouring taps: without dilation a row
//! of taps is one run of fours. A 1x1 convolution with stride 1 has no rows: all pixels of a
//! sub-band are one.

mod avx2;
mod stage;
mod vnni;

use super::geometry::ROW;
use super::{Args, ConvolutionS8, Geometry, Kernel, NR, pack};
use crate::kernels::arch::x86_64::s8::{Fours, Rows};
use crate::kernels::blocking::{Menu, Tile, panels_per_block, tiles};
use crate::kernels::conv_f32::Map;
use crate::step::LayoutS8;
use core::ops::Range;
use stage::Staged;

pub(super) use avx2::KERNEL as AVX2;
pub(super) use vnni::{KERNEL as VNNI, run as run_vnni};

/// One block of panels at one output row: all that its tiles share.
struct Row<'a> {
    args: &'a Args<'a>,
    /// What the first tap of the group reads at the row's first pixel, and all behind it.
    staged: &'a [u8],
    /// 8-bit weights from the block's first panel on.
    weights: &'a [i8],
    runs: Runs,
    /// Output row.
    row: usize,
    group: usize,
    /// First panel of the block within the group.
    panel: usize,
}

impl<'a> Row<'a> {
    fn geometry(&self) -> &'a Geometry {
        &self.args.geometry
    }

    /// Where vectors of the block's first panel begin.
    fn vector(&self) -> usize {
        (self.group * self.geometry().panels + self.panel) * NR
    }

    /// Bias of `MR` pixels from `column` on in the block's panels.
    #[inline]
    fn bias<const MR: usize, const NB: usize>(
        &self,
        column: usize,
    ) -> Option<[&'a [[i32; NR]; NB]; MR]> {
        let g = self.geometry();
        let of_row = self.args.tensors.bias.get(g.bias_at(g.rows.class(self.row), 0)..)?;
        let first = vectors(of_row, g.bias_at(0, g.columns.class(column)) + self.vector())?;
        let mut bias = [first; MR];
        if g.columns.has_classes() {
            for (m, bias) in bias.iter_mut().enumerate() {
                let vector = g.bias_at(0, g.columns.class(column + m));
                *bias = vectors(of_row, vector + self.vector())?;
            }
        }
        Some(bias)
    }

    /// Sums of the weights of the block's panels.
    #[inline]
    fn sums<const NB: usize>(&self) -> Option<&'a [[i32; NR]; NB]> {
        vectors(self.args.tensors.sums, self.vector())
    }

    /// What `MR` pixels from `column` on read in run `at` (row of taps, number in it), and its weights.
    #[inline]
    fn run<const MR: usize, const NB: usize>(
        &self,
        column: usize,
        at: (usize, usize),
    ) -> Option<(Fours<'a, MR>, Rows<'a, NB>)> {
        let Runs { count, in_row, row_pitch, run_pitch, pixel, panel, .. } = self.runs;
        let x = self.staged.get(column * pixel + at.0 * row_pitch + at.1 * run_pitch..)?;
        let weights = self.weights.get((at.0 * in_row + at.1) * count * ROW..)?;
        Some((Fours::new(x, pixel, count)?, Rows::new(weights, panel, count)?))
    }

    /// Where the block's channels of the pixels from `column` on go in the output row `y`, and how
    /// many they are.
    #[inline]
    fn target<'y, const NB: usize>(
        &self,
        y: &'y mut [u8],
        column: usize,
    ) -> Option<(&'y mut [u8], usize)> {
        let g = self.geometry();
        let in_group = self.panel * NR;
        let width = (NB * NR).min(g.out_c.checked_sub(in_group)?);
        let first = column * g.output.c + self.group * g.out_c + in_group;
        Some((y.get_mut(first * self.args.requantize.size()..)?, width))
    }
}

/// `NB` vectors of 16 integers from `at` on.
#[inline]
fn vectors<const NB: usize>(values: &[i32], at: usize) -> Option<&[[i32; NR]; NB]> {
    values.get(at..)?.as_chunks().0.first_chunk()
}

/// Runs of taps that neighbour each other in memory: where they lie.
#[derive(Clone, Copy)]
struct Runs {
    /// Rows of taps.
    rows: usize,
    /// Runs in a row of taps.
    in_row: usize,
    /// Fours of a run.
    count: usize,
    /// Bytes from one row of taps to the next.
    row_pitch: usize,
    /// Bytes from one run of a row to the next.
    run_pitch: usize,
    /// Bytes from one output pixel to the next.
    pixel: usize,
    /// Bytes from one panel to the next.
    panel: usize,
}

impl Geometry {
    #[inline]
    fn runs(&self) -> Runs {
        let taps = self.columns.taps;
        let (in_row, taps) = if self.columns.dilation == 1 { (1, taps) } else { (taps, 1) };
        Runs {
            rows: self.rows.taps,
            in_row,
            count: taps * self.fours(),
            row_pitch: self.rows.dilation * self.staged_row(),
            run_pitch: self.columns.dilation * self.pitch(),
            pixel: self.columns.stride.get() * self.pitch(),
            panel: self.panel_rows() * ROW,
        }
    }

    /// The same convolution of `rows` rows as one of a single row, if there is no difference.
    fn flat(&self, rows: usize) -> Option<Self> {
        let axes = [&self.rows, &self.columns];
        let plain = axes.into_iter().all(|axis| {
            (axis.taps, axis.stride.get(), axis.pad, axis.class_count()) == (1, 1, 0, 1)
        });
        if !plain || self.output.w != self.input.w {
            return None;
        }
        let pixels = rows * self.output.w;
        let map = |map: Map| Map { h: 1, w: pixels, ..map };
        let columns = self.columns.with_border(0, 0, pixels)?;
        Some(Self { input: map(self.input), output: map(self.output), columns, ..*self })
    }
}

/// Computes a band with `compute(row, tile, y_row)`, tiles no larger than `menu` allows; staged bytes
/// are those of the input XOR `flip`.
///
/// `None` means that a check failed which [`Args::new`] and
/// [`Kernel::run`](super::Kernel::run) have already made.
#[target_feature(enable = "avx2,fma")]
fn conv_rows(
    args: &Args<'_>,
    rows: Range<usize>,
    y: &mut [u8],
    scratch: &mut [u8],
    (menu, flip): (&Menu, u8),
    compute: impl Fn(&Row<'_>, Tile, &mut [u8]) -> Option<()>,
) -> Option<()> {
    let g = &args.geometry;
    let (decoded, scratch) = scratch.split_at_mut_checked(g.decoded_len(args.layout))?;
    let fitting = g.rows_in(scratch.len()).max(1);
    let (mut rest, mut first) = (y, rows.start);
    while first < rows.end {
        let band = first..rows.end.min(first + fitting);
        let len = band.len() * g.output_row() * args.requantize.size();
        let (y, after) = rest.split_at_mut_checked(len)?;
        (rest, first) = (after, band.end);
        let (args, band) = flattened(args, band)?;
        let staged = stage::stage(&args, &band, flip, scratch)?;
        conv_staged(&args, staged, band, y, decoded, menu, &compute)?;
    }
    Some(())
}

/// The rows `band` as one row, where that is the same.
fn flattened<'a>(args: &Args<'a>, band: Range<usize>) -> Option<(Args<'a>, Range<usize>)> {
    let Some(geometry) = args.geometry.flat(band.len()) else { return Some((*args, band)) };
    let row = args.geometry.input_row();
    let x = args.tensors.x.get(band.start * row..band.end * row)?;
    let tensors = super::Tensors { x, ..args.tensors };
    Some((Args { geometry, tensors, ..*args }, 0..1))
}

#[target_feature(enable = "avx2,fma")]
fn conv_staged(
    args: &Args<'_>,
    staged: Staged<'_>,
    band: Range<usize>,
    y: &mut [u8],
    decoded: &mut [u8],
    menu: &Menu,
    compute: &impl Fn(&Row<'_>, Tile, &mut [u8]) -> Option<()>,
) -> Option<()> {
    let g = &args.geometry;
    let at_once = if decoded.is_empty() { menu.len() } else { super::geometry::DECODED };
    let menu = menu.get(..at_once).unwrap_or(menu);
    // At least 1 anyway; said here, `step_by` needs no panic path.
    let block = panels_per_block(g.output.w, g.panels, menu).max(1);
    for group in 0..g.groups {
        for panel in (0..g.panels).step_by(block) {
            let panels = block.min(g.panels - panel);
            let weights = block_weights(args, group * g.panels + panel, panels, decoded)?;
            let mut rest = &mut *y;
            for row in band.clone() {
                let row_len = g.output_row() * args.requantize.size();
                let (y, after) = rest.split_at_mut_checked(row_len)?;
                rest = after;
                let staged = staged.row(g, row, group)?;
                let row = Row { args, staged, weights, runs: g.runs(), row, group, panel };
                for tile in tiles(g.output.w, panels, menu) {
                    compute(&row, tile, y)?;
                }
            }
        }
    }
    Some(())
}

/// The 8-bit weights of `panels` panels from number `index` on.
#[target_feature(enable = "avx2")]
fn block_weights<'a>(
    args: &Args<'a>,
    index: usize,
    panels: usize,
    decoded: &'a mut [u8],
) -> Option<&'a [i8]> {
    let first = index * args.geometry.panel_rows();
    let weights = args.tensors.weights;
    if args.layout != LayoutS8::Nr16Kr4Bits4 {
        return weights.get(first * ROW..);
    }
    let rows = panels * args.geometry.panel_rows();
    let decoded: &mut [i8] = bytemuck::try_cast_slice_mut(decoded).ok()?;
    let decoded = decoded.get_mut(..rows * ROW)?;
    let packed = weights.get(first * ROW / 2..)?.as_chunks().0;
    for (row, bytes) in decoded.as_chunks_mut().0.iter_mut().zip(packed) {
        *row = pack::unpack_bits4(bytes);
    }
    Some(decoded)
}
