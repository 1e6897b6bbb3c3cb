//! The reference: plain loops, no scratch, one output pixel and one panel at a time.
//!
//! Oracle of the tests, fallback on every CPU, and free of panicking code: firmware links it.

use super::geometry::ROW;
use super::{Args, ConvolutionS8, KR, Kernel, NR, pack};
use crate::step::LayoutS8;
use core::ops::Range;

pub(super) const KERNEL: Kernel<ConvolutionS8> =
    Kernel { name: "conv_s8_portable", needs: None, run: conv_rows };

/// One panel of one output pixel.
type Panel = [i32; NR];

fn conv_rows(args: &Args<'_>, rows: Range<usize>, y: &mut [u8], _scratch: &mut [u8]) {
    let output = args.geometry.output;
    let pixels = rows.flat_map(|row| (0..output.w).map(move |column| (row, column)));
    let mut rest = y;
    for at in pixels {
        let pixel = output.c * args.requantize.size();
        let Some((pixel, after)) = rest.split_at_mut_checked(pixel) else { return };
        conv_pixel(args, at, pixel);
        rest = after;
    }
}

/// All output channels of the pixel `at` (row, column).
fn conv_pixel(args: &Args<'_>, at: (usize, usize), pixel: &mut [u8]) {
    let g = &args.geometry;
    let bias = g.bias_at(g.rows.class(at.0), g.columns.class(at.1));
    let mut rest = pixel;
    for group in 0..g.groups {
        for panel in 0..g.panels {
            let width = NR.min(g.out_c - panel * NR) * args.requantize.size();
            let Some((channels, after)) = rest.split_at_mut_checked(width) else { return };
            rest = after;
            let index = group * g.panels + panel;
            let bias = args.tensors.bias.get(bias + index * NR..);
            let Some(bias) = bias.and_then(<[i32]>::first_chunk) else { return };
            let Some(sum) = sum_taps(args, at, group, index, *bias) else { return };
            if args.requantize.write(&sum, index * NR, channels).is_none() {
                return;
            }
        }
    }
}

/// Adds all taps of one pixel and panel to `sum`.
fn sum_taps(
    args: &Args<'_>,
    (row, column): (usize, usize),
    group: usize,
    panel: usize,
    mut sum: Panel,
) -> Option<Panel> {
    let g = &args.geometry;
    let mut at = panel * g.panel_rows();
    for ky in 0..g.rows.taps {
        for kx in 0..g.columns.taps {
            let iy = g.rows.input(row, ky, g.input.h);
            let ix = g.columns.input(column, kx, g.input.w);
            if let (Some(iy), Some(ix)) = (iy, ix) {
                let first = (iy * g.input.w + ix) * g.input.c + group * g.in_c;
                let pixel = args.tensors.x.get(first..)?.get(..g.in_c)?;
                for (four, x) in pixel.chunks(KR).enumerate() {
                    add_four(&mut sum, x, &weights_row(args, at + four)?);
                }
            } else {
                for four in 0..g.fours() {
                    add_four(&mut sum, &[args.outside; KR], &weights_row(args, at + four)?);
                }
            }
            at += g.fours();
        }
    }
    Some(sum)
}

/// `sum[o] += w[o][k] * x[k]`.
fn add_four(sum: &mut Panel, x: &[i8], weights: &[i8; ROW]) {
    for (sum, weights) in sum.iter_mut().zip(weights.as_chunks::<KR>().0) {
        for (&x, &weight) in x.iter().zip(weights) {
            *sum = sum.wrapping_add(i32::from(x) * i32::from(weight));
        }
    }
}

/// Row `at` of all panels.
fn weights_row(args: &Args<'_>, at: usize) -> Option<[i8; ROW]> {
    match args.layout {
        LayoutS8::Nr16Kr4 => args.tensors.weights.get(at * ROW..)?.first_chunk().copied(),
        LayoutS8::Nr16Kr4Bits4 => {
            let bytes = args.tensors.weights.get(at * (ROW / 2)..)?.first_chunk()?;
            Some(pack::unpack_bits4(bytes))
        }
        LayoutS8::Dw16 => None,
    }
}
