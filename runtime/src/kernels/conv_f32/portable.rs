//! The reference: plain loops, no scratch, one output pixel and one panel at a time.
//!
//! Oracle of the tests, fallback on every CPU, and free of panicking code: firmware links it.

use super::{Args, ConvF32, Kernel, NR};
use crate::kernels::activation::activate;
use core::ops::Range;

pub(super) const KERNEL: Kernel<ConvF32> =
    Kernel { name: "conv_f32_portable", needs: None, run: conv_rows };

/// One panel of one output pixel.
type Panel = [f32; NR];

fn conv_rows(args: &Args<'_>, rows: Range<usize>, y: &mut [f32], _scratch: &mut [f32]) {
    let output = args.geometry.output;
    let pixels = rows.flat_map(|row| (0..output.w).map(move |column| (row, column)));
    let mut rest = y;
    for (row, column) in pixels {
        let Some((pixel, after)) = rest.split_at_mut_checked(output.c) else { return };
        conv_pixel(args, row, column, pixel);
        rest = after;
    }
}

/// All output channels of one pixel; `pixel` is `[out_c of all groups]`.
fn conv_pixel(args: &Args<'_>, row: usize, column: usize, pixel: &mut [f32]) {
    let g = &args.geometry;
    let bias = g.bias_at(g.rows.class(row), g.columns.class(column));
    let mut rest = pixel;
    for group in 0..g.groups {
        for panel in 0..g.panels {
            let width = NR.min(g.out_c - panel * NR);
            let Some((channels, after)) = rest.split_at_mut_checked(width) else { return };
            rest = after;
            let index = group * g.panels + panel;
            let Some(sum) = chunk(args.bias, bias + index * NR) else { return };
            let mut sum = sum_taps(args, row, column, group, index, *sum).unwrap_or(*sum);
            let slopes = args.slopes.get(index * NR..).unwrap_or(&[]);
            activate(&mut sum, args.activation, slopes);
            channels.iter_mut().zip(sum).for_each(|(to, from)| *to = from);
        }
    }
}

/// Adds all taps of one pixel and panel to `sum`, in the order `ky, kx, i`.
fn sum_taps(
    args: &Args<'_>,
    row: usize,
    column: usize,
    group: usize,
    panel: usize,
    mut sum: Panel,
) -> Option<Panel> {
    let g = &args.geometry;
    for ky in g.rows.taps_inside(row, g.input.h) {
        let iy = g.rows.input(row, ky, g.input.h)?;
        for kx in g.columns.taps_inside(column, g.input.w) {
            let ix = g.columns.input(column, kx, g.input.w)?;
            let x = (iy * g.input.w + ix) * g.input.c + group * g.in_c;
            let tap = panel * g.panel_len() + (ky * g.columns.taps + kx) * g.tap_len();
            let pixels = args.x.get(x..)?.get(..g.in_c)?;
            let (weights, _) = args.weights.get(tap..)?.get(..g.tap_len())?.as_chunks::<NR>();
            add_tap(&mut sum, pixels, weights);
        }
    }
    Some(sum)
}

fn add_tap(sum: &mut Panel, pixels: &[f32], weights: &[Panel]) {
    let mut local = *sum;
    for (x, weights) in pixels.iter().zip(weights) {
        for (sum, weight) in local.iter_mut().zip(weights) {
            *sum += weight * x;
        }
    }
    *sum = local;
}

fn chunk(values: &[f32], at: usize) -> Option<&Panel> {
    values.get(at..)?.first_chunk()
}
