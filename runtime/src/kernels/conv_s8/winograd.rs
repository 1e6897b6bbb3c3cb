//! [`Winograd`]: when and in what pieces a convolution is computed by exact integer Winograd F(4x4,3x3).
//!
//! Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016, with the points 0, 1, -1,
//! 2, -2 and infinity, in integers. In one dimension, for weights `g` and inputs `d`:
//!
//! * `u = G g` without the divisions of the paper: `g0`, `g0 + g1 + g2`, `g0 - g1 + g2`,
//!   `g0 + 2 g1 + 4 g2`, `g0 - 2 g1 + 4 g2`, `g2`. In two dimensions `|u| <= 49 * 128`.
//! * `v = B d` with integer coefficients, whose magnitudes add up to 10 at most: `|v| <= 100 * 128`.
//!   Both fit i16, of which a CPU multiplies pairs (`vpdpwssd`), half as many in an instruction as of
//!   bytes, but there are a quarter as many products.
//! * `24 y = A (c * Σ u v)`, where `c` holds 24 times the divisions left out: 6, -4, -4, 1, 1, 24.
//!
//! In two dimensions that is `576 y` modulo 2^32, and `576 = 9 * 64`: multiplied by the inverse of 9
//! modulo 2^32 and shifted right by 6 bits it is `y`, exactly, as long as `-2^25 <= y < 2^25`. That holds
//! for the sum over at most [`DEPTH`] fours of input channels, whatever the numbers are, since
//! `9 * 4 * 56 * 128 * 128 < 2^25`; more channels are summed in several parts. Thus the results are those
//! of the direct sum, bit by bit.
#![cfg_attr(
    not(target_arch = "x86_64"),
    allow(dead_code, reason = "the planner asks for lengths, only SIMD kernels for the rest")
)]

mod cover;
#[cfg(target_arch = "x86_64")]
pub(super) mod x86;

use super::geometry::Geometry;
use super::{NR, WINOGRAD};
use crate::dims::{Dims, Window};
use crate::kernels::axis::Axis;
use crate::step::{Border, ConvS8, LayoutS8};
use core::num::NonZeroUsize;
use cover::{Cover, POINTS};

pub(super) use cover::TILE;

/// Most fours of input channels whose sum is exact.
const DEPTH: usize = 56;

const _: () = assert!(9 * 4 * DEPTH * 128 * 128 < 1 << 25);

/// Input channels that are transformed at once, and the multiple up to which those of a tile are stored.
const BLOCK: usize = 32;

/// Words of one register: a cache line. Strides end in an odd number of lines, so that the 36 points of a
/// place do not compete for the same few sets of the level-1 cache.
const LINE: usize = 32;

/// Bytes of transformed inputs that one block of rows may take, if there are several blocks.
const DATA: usize = 448 << 10;

/// Bytes of transformed weights that may be held for all panels.
const HELD: usize = 352 << 10;

/// Tiles that are multiplied before their sums are transformed back, if rows are short enough.
const BATCH: usize = 28;

/// Bytes of scratch with which a [`LayoutS8::Nr16Kr4`] convolution can run as Winograd. More than any kernel
/// needs: an optional grant.
///
/// `None` where that is impossible: windows other than 3x3 with stride and dilation 1, other layouts, and
/// what [`Args::new`](super::Args::new) refuses.
pub fn winograd_scratch_len(
    layout: LayoutS8,
    window: &Window,
    groups: u32,
    input: Dims,
    output: Dims,
) -> Option<usize> {
    let geometry = Geometry::new(window, groups, Border::default(), input, output)?;
    Some(Winograd::new(&geometry, layout)?.lens().bytes())
}

/// Whether a kernel of [`WINOGRAD`](super::WINOGRAD) is expected to be done earlier than the direct sum, if
/// it gets [`winograd_scratch_len`] bytes.
pub fn winograd_pays(
    layout: LayoutS8,
    window: &Window,
    groups: u32,
    input: Dims,
    output: Dims,
) -> bool {
    let geometry = Geometry::new(window, groups, Border::default(), input, output);
    geometry.and_then(|geometry| Winograd::new(&geometry, layout)).is_some_and(|plan| plan.pays())
}

/// Whether one of [`WINOGRAD`](super::WINOGRAD) is to execute the step, where the CPU has it: it has the
/// scratch, and gains by it.
pub fn prefers_winograd(conv: &ConvS8, input: Dims, output: Dims) -> bool {
    let geometry = Geometry::new(&conv.window, conv.groups, conv.border, input, output);
    geometry.is_some_and(|geometry| Winograd::is_granted(&geometry, conv))
}

/// How a convolution is cut so that each piece stays in the level-2 cache.
///
/// Blocks of tile rows are transformed; for each of them, one panel of weights after the other is
/// transformed (once for all blocks if there is room) and multiplied with batches of tile rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Winograd {
    /// Input and output shape, groups, channels.
    pub(super) geometry: Geometry,
    /// Fours of input channels that are summed before the division by 576.
    pub(super) depth: NonZeroUsize,
    /// Whether the weights of all panels are held.
    pub(super) resident: bool,
    /// Tile rows whose inputs are transformed at once.
    pub(super) block: NonZeroUsize,
    /// Tile rows that are multiplied at once.
    pub(super) batch: NonZeroUsize,
}

/// Lengths of the parts of the scratch, in values; each is a whole number of cache lines.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lens {
    /// Transformed weights, i16.
    pub(super) weights: usize,
    /// Transformed inputs, i16.
    pub(super) data: usize,
    /// Sums of products, i32.
    pub(super) products: usize,
    /// Results of the parts of a sum, i32.
    pub(super) sums: usize,
}

impl Lens {
    /// Bytes of all parts, wherever the first begins.
    fn bytes(&self) -> usize {
        let words = self.weights.saturating_add(self.data);
        let sums = self.products.saturating_add(self.sums);
        words.saturating_add(sums.saturating_mul(2)).saturating_mul(2).saturating_add(64)
    }
}

impl Winograd {
    /// `None` where Winograd is impossible.
    pub(super) fn new(geometry: &Geometry, layout: LayoutS8) -> Option<Self> {
        let unit = |axis: &Axis| axis.taps == 3 && axis.stride.get() == 1 && axis.dilation == 1;
        let fits =
            matches!(layout, LayoutS8::Nr16Kr4) && unit(&geometry.rows) && unit(&geometry.columns);
        if fits { Self::cut(geometry) } else { None }
    }

    /// Whether there is enough scratch, and the direct sum is expected to take longer. Never where this
    /// build has no kernel.
    pub(super) fn is_granted(geometry: &Geometry, conv: &ConvS8) -> bool {
        let is_enough = |plan: &Self| {
            usize::try_from(conv.scratch).is_ok_and(|bytes| bytes >= plan.lens().bytes())
        };
        !WINOGRAD.is_empty()
            && Self::new(geometry, conv.layout).is_some_and(|plan| is_enough(&plan) && plan.pays())
    }

    fn pays(&self) -> bool {
        self.cost() < self.direct_cost()
    }

    fn cut(geometry: &Geometry) -> Option<Self> {
        let (fours, one) = (geometry.fours(), NonZeroUsize::MIN);
        let depth = NonZeroUsize::new(fours.div_ceil(fours.div_ceil(DEPTH).max(1)))?;
        let mut plan = Self { geometry: *geometry, depth, resident: false, block: one, batch: one };
        let rows = NonZeroUsize::new(Cover { len: geometry.output.h }.tiles())?;
        let columns = NonZeroUsize::new(plan.columns().tiles())?;
        let row = plan.data_point(1).saturating_mul(POINTS * POINTS * size_of::<i16>());
        let block = NonZeroUsize::new(DATA.checked_div(row)?).map_or(one, |block| block.min(rows));
        plan.batch = NonZeroUsize::new(BATCH / columns).map_or(one, |batch| batch.min(block));
        let held = plan.weights_len(geometry.panels).saturating_mul(size_of::<i16>());
        plan.resident = block < rows && plan.parts() == 1 && held <= HELD;
        plan.block = if plan.resident { plan.batch } else { block };
        Some(plan)
    }

    /// Tiles along a row.
    fn columns(&self) -> Cover {
        Cover { len: self.geometry.output.w }
    }

    /// How many parts a sum has.
    pub(super) fn parts(&self) -> usize {
        ceil_div(self.geometry.fours(), self.depth)
    }

    /// Words from one tile of transformed inputs to the next.
    pub(super) fn tile_pitch(&self) -> usize {
        self.geometry.in_c.next_multiple_of(BLOCK)
    }

    /// Words of one point of `rows` tile rows of transformed inputs.
    pub(super) fn data_point(&self, rows: usize) -> usize {
        rows.saturating_mul(self.columns().tiles())
            .saturating_mul(self.tile_pitch())
            .saturating_add(LINE)
    }

    /// Words from one `a` of the transformed weights to the next: `[pair of input channels][kx][16][2]`,
    /// and a line.
    pub(super) fn weights_pitch(&self) -> usize {
        self.depth.get().saturating_mul(6 * LINE).saturating_add(LINE)
    }

    /// Words of the transformed weights of some panels.
    pub(super) fn weights_len(&self, panels: usize) -> usize {
        panels.saturating_mul(self.weights_pitch()).saturating_mul(POINTS)
    }

    /// Sums of one point of a batch: `[tile][16]`, and a line.
    pub(super) fn product_point(&self) -> usize {
        self.batch.get().saturating_mul(self.columns().tiles() * NR).saturating_add(NR)
    }

    /// Lengths of the parts of the scratch.
    pub(super) fn lens(&self) -> Lens {
        let panels = if self.resident { self.geometry.panels } else { 1 };
        let tiles = self.block.get().saturating_mul(self.columns().tiles());
        let sums = tiles.saturating_mul(TILE * TILE * NR);
        Lens {
            weights: self.weights_len(panels),
            data: self.data_point(self.block.get()).saturating_mul(POINTS * POINTS),
            products: self.product_point().saturating_mul(POINTS * POINTS),
            sums: if self.parts() > 1 { sums } else { 0 },
        }
    }

    /// Cycles of a core that starts one 64-byte dot product a cycle; those of the transforms, and the least
    /// ones of a pair of input channels of few tiles, are measured (Zen 4).
    fn cost(&self) -> usize {
        const FOUR_OF_WEIGHTS: usize = 140;
        const BLOCK_OF_DATA: usize = 160;
        const PANEL_OF_TILE: usize = 300;
        const PAIR: usize = 5;
        let g = &self.geometry;
        let (rows, columns) = (Cover { len: g.output.h }, self.columns());
        let batches = ceil_div(rows.tiles(), self.batch);
        let times = if self.resident { 1 } else { ceil_div(rows.tiles(), self.block) };
        let points = (0..POINTS).flat_map(|a| (0..POINTS).map(move |b| (a, b)));
        let tiles = points.map(|(a, b)| (rows.using(a) * columns.using(b)).max(PAIR * batches));
        let products = tiles.sum::<usize>().saturating_mul(2 * g.fours());
        let weights = times.saturating_mul(g.fours() * FOUR_OF_WEIGHTS);
        let tiles = rows.tiles().saturating_mul(columns.tiles());
        let data = tiles.saturating_mul(g.in_c.div_ceil(BLOCK) * BLOCK_OF_DATA);
        let results = tiles.saturating_mul(self.parts() * PANEL_OF_TILE);
        let panel = products.saturating_add(weights).saturating_add(results);
        panel.saturating_mul(g.panels).saturating_add(data)
    }

    /// The same of the direct sum, which starts 15 dot products in 16 cycles.
    fn direct_cost(&self) -> usize {
        let g = &self.geometry;
        let pixels = g.output.h.saturating_mul(g.output.w);
        let products = pixels.saturating_mul(9 * g.fours()).saturating_mul(g.panels);
        products.saturating_add(products / 15)
    }
}

/// `a / b`, rounded up, with no panic path.
fn ceil_div(a: usize, b: NonZeroUsize) -> usize {
    a / b + usize::from(a % b > 0)
}
