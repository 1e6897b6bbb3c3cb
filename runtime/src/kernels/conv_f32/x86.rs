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
mod blocking;
mod stage;

use super::{Args, Geometry, NR};
use crate::kernels::arch::x86_64::{Panels, Taps};
use crate::step::Activation;
use blocking::{Menu, Tile, panels_per_block, tiles};
use core::ops::Range;
use stage::Staged;

pub(super) use avx2::KERNEL as AVX2;
pub(super) use avx512::KERNEL as AVX512;

/// One block of panels at one output row: all that its tiles share.
struct Row<'a> {
    args: &'a Args<'a>,
    staged: Staged<'a>,
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

    /// Index of panel `n` of the block among those of all groups.
    fn index(&self, n: usize) -> usize {
        self.group * self.geometry().panels + self.panel + n
    }

    /// Bias of one pixel in panel `n` of the block.
    #[inline]
    fn bias(&self, column: usize, n: usize) -> Option<&'a [f32; NR]> {
        let g = self.geometry();
        let vector = g.bias_at(g.rows.class(self.row), g.columns.class(column));
        self.args.bias.get(vector + self.index(n) * NR..)?.first_chunk()
    }

    /// Taps `ky` that read rows of the picture.
    fn ky(&self) -> Range<usize> {
        self.geometry().rows.taps_inside(self.row, self.geometry().input.h)
    }

    /// What tap `(ky, kx)` of `MR` pixels reads.
    #[inline]
    fn taps<const MR: usize>(&self, column: usize, ky: usize, kx: usize) -> Option<Taps<'a, MR>> {
        let g = self.geometry();
        let x = self.staged.channels(g, self.row, ky, self.group)?;
        Taps::new(x.get(g.staged_tap(kx) + column..)?, g.pitch(), g.in_c)
    }

    /// Weights of tap `(ky, kx)` in the block's panels.
    #[inline]
    fn panels<const NB: usize>(&self, ky: usize, kx: usize) -> Option<Panels<'a, NB>> {
        let g = self.geometry();
        let tap = (ky * g.columns.taps + kx) * g.tap_len();
        let weights = self.args.weights.get(self.index(0) * g.panel_len() + tap..)?;
        Panels::new(weights, g.panel_len(), g.in_c)
    }

    /// Slopes of panel `n` of the block, when the activation has slopes.
    fn slopes(&self, n: usize) -> Option<[f32; NR]> {
        match self.args.activation {
            Activation::LeakyRelu { slope } => Some([slope; NR]),
            Activation::PRelu { .. } => {
                self.args.slopes.get(self.index(n) * NR..)?.first_chunk().copied()
            }
            Activation::None | Activation::Clamp { .. } => None,
        }
    }

    /// Bounds of values without slopes; `None` in the activation means none here.
    fn bounds(&self) -> (f32, f32) {
        match self.args.activation {
            Activation::Clamp { lo, hi } => (lo, hi),
            _ => (f32::NEG_INFINITY, f32::INFINITY),
        }
    }

    /// The channels of panel `n` of the block at one pixel: 16, or fewer in a group's last panel.
    #[inline]
    fn channels<'y>(&self, y: &'y mut [f32], column: usize, n: usize) -> Option<&'y mut [f32]> {
        let g = self.geometry();
        let in_group = (self.panel + n) * NR;
        let at = column * g.output.c + self.group * g.out_c + in_group;
        y.get_mut(at..)?.get_mut(..NR.min(g.out_c.checked_sub(in_group)?))
    }
}

/// Computes a band with `compute(row, tile, y_row)`, tiles no larger than `menu` allows.
///
/// `None` means that a check failed which [`Args::new`] and
/// [`Kernel::run`](super::Kernel::run) have already made.
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

fn conv_staged(
    args: &Args<'_>,
    staged: Staged<'_>,
    band: Range<usize>,
    y: &mut [f32],
    menu: &Menu,
    compute: &impl Fn(&Row<'_>, Tile, &mut [f32]) -> Option<()>,
) -> Option<()> {
    let g = &args.geometry;
    let block = panels_per_block(g.output.w, g.panels, menu);
    for group in 0..g.groups {
        for panel in (0..g.panels).step_by(block) {
            let panels = block.min(g.panels - panel);
            let mut rest = &mut *y;
            for row in band.clone() {
                let (y, after) = rest.split_at_mut_checked(g.output_row())?;
                rest = after;
                let row = Row { args, staged, row, group, panel };
                for tile in tiles(g.output.w, panels, menu) {
                    compute(&row, tile, y)?;
                }
            }
        }
    }
    Some(())
}
