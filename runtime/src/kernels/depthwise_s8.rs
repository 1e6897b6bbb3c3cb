//! Contract of the s8 depthwise convolution kernels ([`LayoutS8::Dw16`]).
//!
//! `sum[r, c, i] = bias[class(r, c), i] + sum_{ky, kx} W[i, ky, kx] * x[iy, ix, i]` with `iy`, `ix` and what
//! becomes of a sum as in [`conv_s8`](super::conv_s8); taps outside the picture read the input's zero
//! point. All kernels give the same bits.
//!
//! Operands: `x` NHWC; `weights` `[block][kh][kw][16]`; `bias` `[border class][block][16]`; `sums`,
//! `scale` and `negative` `[block][16]`. [`pack`] writes the weights from ONNX order,
//! [`pack_channels`](super::conv_s8::pack_channels) with one group the others.

#[cfg(target_arch = "x86_64")]
mod x86;

use super::axis::{Axis, nonzero};
use super::contract::{Contract, Kernel, Operands};
use super::conv_s8::{NR, Tensors};
use super::requantize::Requantize;
use crate::dims::{Hw, Window};
use crate::step::{Border, ConvS8, LayoutS8, Operand};
use core::ops::Range;

pub use super::depthwise_f32::{bias_len, weights_len};

/// Bands start at multiples of this many output rows.
pub const ROW_QUANTUM: usize = 1;

/// Bytes of scratch: `256 * kw * ceil(kh / 4)`, where kernels keep the weights of 64 channels with the
/// taps of a column side by side. `None` when the product overflows.
pub fn scratch_len(window: &Window) -> Option<usize> {
    let quads = usize::try_from(window.kernel.h).ok()?.div_ceil(4);
    quads.checked_mul(usize::try_from(window.kernel.w).ok()?)?.checked_mul(256)
}

/// Packs `[c][kh][kw]` as `[block][kh][kw][16]`, the last block filled up with zeros.
///
/// `None`, and nothing written, when `taps` (`kh * kw`) is zero, `weights` is not `c * taps` long, or
/// `packed` is not as [`weights_len`] says.
pub fn pack(weights: &[i8], c: usize, taps: usize, packed: &mut [i8]) -> Option<()> {
    let fits = taps > 0
        && weights.len() == c.checked_mul(taps)?
        && packed.len() == c.checked_next_multiple_of(NR)?.checked_mul(taps)?;
    if !fits {
        return None;
    }
    let blocks = packed.chunks_exact_mut(NR * taps);
    for (weights, block) in weights.chunks(NR * taps).zip(blocks) {
        for (tap, row) in block.as_chunks_mut::<NR>().0.iter_mut().enumerate() {
            *row = [0; NR];
            for (value, channel) in row.iter_mut().zip(weights.chunks_exact(taps)) {
                *value = channel.get(tap).copied().unwrap_or(0);
            }
        }
    }
    Some(())
}

/// One depthwise convolution with its operands, bounds proved.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    rows: Axis,
    columns: Axis,
    input: (usize, usize),
    output: (usize, usize),
    channels: usize,
    /// What taps outside the picture read.
    outside: i8,
    scratch: usize,
    tensors: Tensors<'a>,
    requantize: Requantize<'a>,
}

impl<'a> Args<'a> {
    /// Checks every extent against the shapes. Spans of `conv` are not read.
    ///
    /// `None` when the layout is not [`LayoutS8::Dw16`], the input is not s8, groups and channels differ,
    /// a dimension is zero, `output` does not follow from `input`, border classes overlap, or a slice is
    /// not exactly as long as [`Dims::elements`](crate::dims::Dims::elements), [`weights_len`] and
    /// [`bias_len`] say (`negative` may be empty).
    pub fn new(
        conv: &ConvS8,
        input: &Operand,
        output: &Operand,
        tensors: Tensors<'a>,
    ) -> Option<Self> {
        let Window { kernel, stride, dilation, pad } = conv.window;
        let (from, to, border) = (input.dims, output.dims, conv.border);
        let vector = bias_len(Border::default(), to.c)?;
        let fits = matches!(conv.layout, LayoutS8::Dw16)
            && (from.c, conv.groups) == (to.c, to.c)
            && conv.window.output(from.h, from.w)? == (Hw { h: to.h, w: to.w })
            && tensors.x.len() == from.elements()?
            && tensors.weights.len() == weights_len(&conv.window, to.c)?
            && tensors.bias.len() == bias_len(border, to.c)?
            && tensors.sums.len() == vector;
        let (h, w) = (nonzero(to.h)?, nonzero(to.w)?);
        let rows = Axis::new(kernel.h, stride.h, dilation.h, pad.top)?;
        let columns = Axis::new(kernel.w, stride.w, dilation.w, pad.left)?;
        fits.then_some(Self {
            rows: rows.with_border(border.top, border.bottom, h)?,
            columns: columns.with_border(border.left, border.right, w)?,
            input: (nonzero(from.h)?, nonzero(from.w)?),
            output: (h, w),
            channels: nonzero(to.c)?,
            outside: input.element.quantization()?.zero_point,
            scratch: scratch_len(&conv.window)?,
            requantize: Requantize::new(conv, output.element, &tensors, vector)?,
            tensors,
        })
    }

    /// Number of values in one output row.
    pub fn output_row(&self) -> usize {
        self.output.1.saturating_mul(self.channels)
    }
}

impl Operands for Args<'_> {
    fn rows(&self) -> usize {
        self.output.0
    }

    /// Bytes of the rows.
    fn values(&self, rows: &Range<usize>) -> Option<usize> {
        rows.len().checked_mul(self.output_row())?.checked_mul(self.requantize.size())
    }

    /// [`scratch_len`].
    fn min_scratch(&self) -> usize {
        self.scratch
    }
}

/// The contract. Values are the bytes of the output.
#[derive(Clone, Copy, Debug)]
pub struct DepthwiseS8;

impl Contract for DepthwiseS8 {
    type Args<'a> = Args<'a>;
    type Value = u8;
    type Scratch = u8;

    const LIST: &'static [Kernel<Self>] = &[
        #[cfg(target_arch = "x86_64")]
        x86::VNNI,
        #[cfg(target_arch = "x86_64")]
        x86::AVX2,
        *Self::PORTABLE,
    ];

    const PORTABLE: &'static Kernel<Self> =
        &Kernel { name: "depthwise_s8_portable", needs: None, run };
}

fn run(args: &Args<'_>, rows: Range<usize>, y: &mut [u8], _: &mut [u8]) {
    let size = args.requantize.size();
    let pixels = rows.flat_map(|row| (0..args.output.1).map(move |column| (row, column)));
    let mut rest = y;
    for at in pixels {
        let Some((pixel, after)) = rest.split_at_mut_checked(args.channels * size) else { return };
        rest = after;
        // At least 1 anyway; said here, `chunks_mut` needs no panic path.
        for (block, channels) in pixel.chunks_mut((NR * size).max(1)).enumerate() {
            let Some(sums) = sum_taps(args, at, block) else { return };
            if args.requantize.write(&sums, block * NR, channels).is_none() {
                return;
            }
        }
    }
}

/// One block of channels of output pixel `(row, column)`.
fn sum_taps(args: &Args<'_>, (row, column): (usize, usize), block: usize) -> Option<[i32; NR]> {
    let class = args.rows.class(row) * args.columns.class_count() + args.columns.class(column);
    let blocks = args.channels.div_ceil(NR);
    let mut sums = *args.tensors.bias.get((class * blocks + block) * NR..)?.first_chunk()?;
    let taps = block * args.rows.taps * args.columns.taps;
    let mut weights = args.tensors.weights.get(taps * NR..)?;
    for ky in 0..args.rows.taps {
        let iy = args.rows.input(row, ky, args.input.0);
        for kx in 0..args.columns.taps {
            let ix = args.columns.input(column, kx, args.input.1);
            let x = match (iy, ix) {
                (Some(iy), Some(ix)) => pixel_block(args, iy * args.input.1 + ix, block)?,
                _ => [args.outside; NR],
            };
            let (tap, after) = weights.split_first_chunk::<NR>()?;
            weights = after;
            for i in 0..NR {
                sums[i] = sums[i].wrapping_add(i32::from(tap[i]) * i32::from(x[i]));
            }
        }
    }
    Some(sums)
}

/// One block of channels of an input pixel; zeros behind its last channel.
fn pixel_block(args: &Args<'_>, pixel: usize, block: usize) -> Option<[i8; NR]> {
    let x = args.tensors.x.get(pixel * args.channels..)?.get(..args.channels)?;
    let x = x.get(block * NR..)?;
    if let Some(full) = x.first_chunk() {
        return Some(*full);
    }
    let mut part = [0; NR];
    part.iter_mut().zip(x).for_each(|(to, from)| *to = *from);
    Some(part)
}
