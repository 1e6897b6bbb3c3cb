//! What the x86 kernels share: blocks of panels, rows, and tiles of neighbouring pixels.
//!
//! ```text
//! for each sub-band of output rows whose input rows fit the scratch:
//!     stage those input rows                                           (stage.rs)
//!     for each block of panels, whose weights stay in the level-2 cache:
//!         for each output row, each tile of pixels: one call of a tile  (avx512.rs, avx2.rs)
//! ```

mod avx2;
mod avx512;
mod stage;

use super::{Args, Geometry, NR};
use crate::kernels::activation::x86::Finish;
use crate::kernels::arch::x86_64::{Panels, Pixels, Taps};
use crate::kernels::blocking::{Menu, Tile, panels_per_block, tiles};
use core::ops::Range;
use stage::Staged;

pub(super) use avx2::KERNEL as AVX2;
pub(super) use avx512::KERNEL as AVX512;
#[cfg(test)]
pub(in crate::kernels) use avx512::MENU as AVX512_MENU;

/// One block of panels at one output row: all that its tiles share.
struct Row<'a> {
    args: &'a Args<'a>,
    staged: Staged<'a>,
    /// Output row.
    row: usize,
    group: usize,
    /// First panel of the block within the group.
    panel: usize,
    /// Taps `ky` that read rows of the picture.
    ky: Range<usize>,
}

impl<'a> Row<'a> {
    fn geometry(&self) -> &'a Geometry {
        &self.args.geometry
    }

    /// Index of the block's first panel among those of all groups.
    fn index(&self) -> usize {
        self.group * self.geometry().panels + self.panel
    }

    /// Bias of `MR` pixels from `column` on in the block's panels.
    #[inline]
    fn bias<const MR: usize, const NB: usize>(
        &self,
        column: usize,
    ) -> Option<[&'a [[f32; NR]; NB]; MR]> {
        let g = self.geometry();
        let of_row = self.args.bias.get(g.bias_at(g.rows.class(self.row), 0)..)?;
        let first = vectors(of_row, g.bias_at(0, g.columns.class(column)) + self.index() * NR)?;
        let mut bias = [first; MR];
        if g.columns.has_classes() {
            for (m, bias) in bias.iter_mut().enumerate() {
                let vector = g.bias_at(0, g.columns.class(column + m));
                *bias = vectors(of_row, vector + self.index() * NR)?;
            }
        }
        Some(bias)
    }

    /// Staged pixels of tap row `ky`, and its weights in the block's panels.
    #[inline]
    fn tap_row(&self, ky: usize) -> Option<TapRow<'a>> {
        let g = self.geometry();
        let weights = self.index() * g.panel_len() + ky * g.columns.taps * g.tap_len();
        Some(TapRow {
            geometry: g,
            pixels: self.staged.channels(g, self.row, ky, self.group)?,
            weights: self.args.weights.get(weights..)?,
        })
    }

    /// The activation of the block's panels.
    #[inline]
    fn finish<const NB: usize>(&self) -> Finish<NB> {
        Finish::new(self.args.activation, vectors(self.args.slopes, self.index() * NR))
    }

    /// Where the block's channels of `MR` pixels from `column` on go.
    #[inline]
    fn pixels<'y, const MR: usize, const NB: usize>(
        &self,
        y: &'y mut [f32],
        column: usize,
    ) -> Option<Pixels<'y, MR, NB>> {
        let g = self.geometry();
        let in_group = self.panel * NR;
        let width = (NB * NR).min(g.out_c.checked_sub(in_group)?);
        let first = column * g.output.c + self.group * g.out_c + in_group;
        Pixels::new(y.get_mut(first..)?, g.output.c, width)
    }
}

/// `NB` vectors of 16 floats from `at` on.
#[inline]
fn vectors<const NB: usize>(values: &[f32], at: usize) -> Option<&[[f32; NR]; NB]> {
    values.get(at..)?.as_chunks().0.first_chunk()
}

/// What one row of taps of a tile reads.
struct TapRow<'a> {
    geometry: &'a Geometry,
    pixels: &'a [f32],
    weights: &'a [f32],
}

impl<'a> TapRow<'a> {
    /// The operands of tap `kx`, which lies `at` floats into a staged channel, for `MR` pixels
    /// from `column` on.
    #[inline]
    fn tap<const MR: usize, const NB: usize>(
        &self,
        column: usize,
        (kx, at): (usize, usize),
    ) -> Option<(Taps<'a, MR>, Panels<'a, NB>)> {
        let g = self.geometry;
        let taps = Taps::new(self.pixels.get(at + column..)?, g.pitch(), g.in_c)?;
        let weights = self.weights.get(kx * g.tap_len()..)?;
        Some((taps, Panels::new(weights, g.panel_len(), g.in_c)?))
    }
}

/// Computes a band with `compute(row, tile, y_row)`, tiles no larger than `menu` allows.
///
/// `None` means that a check failed which [`Args::new`] and
/// [`Kernel::run`](super::Kernel::run) have already made.
#[target_feature(enable = "avx2,fma")]
fn conv_rows(
    args: &Args<'_>,
    rows: Range<usize>,
    y: &mut [f32],
    scratch: &mut [f32],
    menu: &Menu,
    compute: impl Fn(&Row<'_>, Tile, &mut [f32]) -> Option<()>,
) -> Option<()> {
    let g = &args.geometry;
    let fitting = g.rows_in(scratch.len()).max(1);
    let (mut rest, mut first) = (y, rows.start);
    while first < rows.end {
        let band = first..rows.end.min(first + fitting);
        let (y, after) = rest.split_at_mut_checked(band.len() * g.output_row())?;
        let staged = stage::stage(args, &band, scratch)?;
        (rest, first) = (after, band.end);
        conv_staged(args, staged, band, y, menu, &compute)?;
    }
    Some(())
}

#[target_feature(enable = "avx2,fma")]
fn conv_staged(
    args: &Args<'_>,
    staged: Staged<'_>,
    band: Range<usize>,
    y: &mut [f32],
    menu: &Menu,
    compute: &impl Fn(&Row<'_>, Tile, &mut [f32]) -> Option<()>,
) -> Option<()> {
    let g = &args.geometry;
    // At least 1 anyway; said here, `step_by` needs no panic path.
    let block = panels_per_block(g.output.w, g.panels, menu).max(1);
    for group in 0..g.groups {
        for panel in (0..g.panels).step_by(block) {
            let panels = block.min(g.panels - panel);
            let mut rest = &mut *y;
            for row in band.clone() {
                let (y, after) = rest.split_at_mut_checked(g.output_row())?;
                rest = after;
                let ky = g.rows.taps_inside(row, g.input.h);
                let row = Row { args, staged, row, group, panel, ky };
                for tile in tiles(g.output.w, panels, menu) {
                    compute(&row, tile, y)?;
                }
            }
        }
    }
    Some(())
}
