//! AVX-512 VNNI: pairs of words, up to 16 tiles by one panel at a time.
//!
//! ```text
//! for each block of tile rows:
//!     transform the inputs                                              (data.rs)
//!     for each panel, and of each the parts of the input channels:
//!         transform the weights, unless they are held                   (weights.rs)
//!         for each batch of tile rows:
//!             multiply at each of the 36 points                         (product.rs)
//!             transform back, requantize, store                         (results.rs)
//! ```

mod data;
mod product;
mod results;
mod transform;
mod weights;

use super::super::{Args, ConvolutionS8, Kernel, x86};
use super::Winograd;
use super::cover::{Cover, TILE};
use crate::cpu::Feature;
use core::ops::Range;
use product::Factors;
use results::Results;

pub(in super::super) const KERNEL: Kernel<ConvolutionS8> =
    Kernel { name: "conv_s8_winograd_avx512vnni", needs: Some(Feature::Avx512Vnni), run };

/// What is no Winograd, or has too little scratch, is summed directly.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn run(args: &Args<'_>, rows: Range<usize>, y: &mut [u8], scratch: &mut [u8]) {
    let plan = Winograd::new(&args.geometry, args.layout);
    let computed = plan.and_then(|plan| conv_rows(args, &plan, rows.clone(), y, scratch));
    if computed.is_none() {
        x86::run_vnni(args, rows, y, scratch);
    }
}

/// The parts of the scratch.
struct Scratch<'a> {
    weights: &'a mut [i16],
    data: &'a mut [i16],
    products: &'a mut [i32],
    sums: &'a mut [i32],
}

impl<'a> Scratch<'a> {
    /// `None` when `bytes` are too few.
    fn cut(plan: &Winograd, bytes: &'a mut [u8]) -> Option<Self> {
        let lens = plan.lens();
        let (_, bytes) = bytes.split_at_mut_checked(bytes.as_ptr().align_offset(64))?;
        let (weights, rest) =
            bytes.split_at_mut_checked(lens.weights.saturating_mul(size_of::<i16>()))?;
        let (data, rest) = rest.split_at_mut_checked(lens.data.saturating_mul(size_of::<i16>()))?;
        let (products, rest) =
            rest.split_at_mut_checked(lens.products.saturating_mul(size_of::<i32>()))?;
        let (sums, _) = rest.split_at_mut_checked(lens.sums.saturating_mul(size_of::<i32>()))?;
        Some(Self {
            weights: bytemuck::try_cast_slice_mut(weights).ok()?,
            data: bytemuck::try_cast_slice_mut(data).ok()?,
            products: bytemuck::try_cast_slice_mut(products).ok()?,
            sums: bytemuck::try_cast_slice_mut(sums).ok()?,
        })
    }
}

/// One convolution on its way through a band.
struct Band<'a> {
    args: &'a Args<'a>,
    plan: &'a Winograd,
    group: usize,
    rows: Range<usize>,
}

/// Computes a band. `None`, and nothing written, when `scratch` is too short.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn conv_rows(
    args: &Args<'_>,
    plan: &Winograd,
    rows: Range<usize>,
    y: &mut [u8],
    scratch: &mut [u8],
) -> Option<()> {
    let mut scratch = Scratch::cut(plan, scratch)?;
    for group in 0..plan.geometry.groups {
        Band { args, plan, group, rows: rows.clone() }.compute(y, &mut scratch)?;
    }
    Some(())
}

impl Band<'_> {
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn compute(&self, y: &mut [u8], scratch: &mut Scratch<'_>) -> Option<()> {
        let plan = self.plan;
        if plan.resident {
            for panel in 0..plan.geometry.panels {
                self.weights(panel, &(0..plan.geometry.fours()), scratch)?;
            }
        }
        for first in self.rows.clone().step_by(plan.block.get() * TILE) {
            let rows = first..self.rows.end.min(first + plan.block.get() * TILE);
            data::transform_block(self.args, plan, self.group, &rows, scratch.data)?;
            for panel in 0..plan.geometry.panels {
                self.multiply(&rows, panel, y, scratch)?;
            }
        }
        Some(())
    }

    /// Where the transformed weights of a panel are held.
    fn held(&self, panel: usize) -> Range<usize> {
        let first = if self.plan.resident { panel } else { 0 };
        self.plan.weights_len(first)..self.plan.weights_len(first + 1)
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    fn weights(&self, panel: usize, fours: &Range<usize>, scratch: &mut Scratch<'_>) -> Option<()> {
        let to = scratch.weights.get_mut(self.held(panel))?;
        let panel = self.group * self.plan.geometry.panels + panel;
        weights::transform_panel(self.args, self.plan, panel, fours, to)
    }

    /// One block of tile rows by one panel.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn multiply(
        &self,
        rows: &Range<usize>,
        panel: usize,
        y: &mut [u8],
        scratch: &mut Scratch<'_>,
    ) -> Option<()> {
        let (plan, all) = (self.plan, self.plan.geometry.fours());
        let results = Results {
            args: self.args,
            plan,
            first: self.rows.start,
            group: self.group,
            panel,
            rows: rows.clone(),
        };
        for first in (0..all).step_by(plan.depth.get()) {
            let fours = first..all.min(first + plan.depth.get());
            if !plan.resident {
                self.weights(panel, &fours, scratch)?;
            }
            let Scratch { weights, data, products, sums } = scratch;
            let (rows, weights) = (Cover { len: rows.len() }, weights.get(self.held(panel))?);
            let factors = Factors { plan, data, rows, weights, fours };
            multiply_batches(&factors, &results, (products, sums), y)?;
        }
        Some(())
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn multiply_batches(
    factors: &Factors<'_>,
    results: &Results<'_>,
    (products, sums): (&mut [i32], &mut [i32]),
    y: &mut [u8],
) -> Option<()> {
    let (tiles, batch) = (factors.rows.tiles(), factors.plan.batch.get());
    let row = factors.plan.columns().tiles() * TILE * TILE * super::NR;
    for first in (0..tiles).step_by(batch) {
        let batch = first..tiles.min(first + batch);
        factors.multiply(&batch, products)?;
        let sums = sums.get_mut(first * row..).unwrap_or_default();
        results.transform(factors, &batch, products, sums, y)?;
    }
    Some(())
}
