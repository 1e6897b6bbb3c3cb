//! `ConvTranspose` as a convolution of stride 1 whose channels become squares of pixels.
//!
//! Along one axis, with stride s and K taps (dilation filled up with zeros), pixel `q s + p` of the
//! uncropped result is `sum over t of x[q - t] w[p + s t]`: each phase p is an ordinary convolution
//! with T = ceil(K / s) taps in reverse order. The phases are channels of one convolution, which
//! depth-to-space puts beside each other; pads are cut off (Shi et al., "Is the deconvolution layer
//! the same as a convolutional layer?", 2016). No product is wasted where s divides K.
//!
//! The channels of one phase follow one another, so that a pixel's are moved as one run; in groups,
//! whose channels belong together, the phases of one channel do.

use super::build::{Builder, Stage, finite};
use super::call::{Call, Operand, shape_refusal};
use super::conv::{groups, kernel_agrees};
use super::error::Refusal;
use super::window::{AutoPad, Picture, Settings, picture};
use crate::graph::{Activation, Conv, DepthOrder, Hw, Op, Pad, ValueId, Window};
use crate::tensor::{Tensor, elements};

/// x `[N,C,H,W]`, constant w `[C,O/g,Kh,Kw]`, optional constant b `[O]`, or all without H and Kh.
pub(super) fn conv_transpose(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let (input, weight) = (call.operand(0, "its input")?, call.operand(1, "its weight")?);
    let x = picture(input.shape())?;
    let &[channels, per_group, ref kernel @ ..] = weight.shape() else {
        return Err(shape_refusal("its weight", weight.shape(), "[C, O/groups, ...]"));
    };
    let groups = groups(call, x.c, x.c)?;
    if channels != x.c {
        let expected = format!("{} channels on its first axis", x.c);
        return Err(shape_refusal("its weight", weight.shape(), expected));
    }
    kernel_agrees(call, kernel)?;
    let [rows, columns] = axes(call, kernel, x)?;
    let out = per_group.saturating_mul(groups);
    let order = if groups == 1 { DepthOrder::SquareFirst } else { DepthOrder::ChannelFirst };
    let filters = Filters { rows, columns, channels, per_group, groups, order };
    let operands = filters.operands(call, builder)?;
    let first = builder.value(input, "its input")?;
    builder.chain(call, first, filters.stages(x, out, operands, input.shape().len()))
}

/// Channels `[O, row phase, column phase]`, or O last, as pixels.
fn beside_each_other(
    n: usize,
    out: usize,
    [h, w]: [usize; 2],
    [sh, sw]: [usize; 2],
    order: DepthOrder,
) -> Vec<Stage> {
    let shape = vec![n, out, h.saturating_mul(sh), w.saturating_mul(sw)];
    if sh == sw {
        let op = Op::DepthToSpace { block: sh, order };
        return if sh == 1 { Vec::new() } else { vec![Stage::new(op, shape)] };
    }
    let (apart, perm) = match order {
        DepthOrder::ChannelFirst => ([n, out, sh, sw, h, w], vec![0, 1, 4, 2, 5, 3]),
        DepthOrder::SquareFirst => ([n, sh, sw, out, h, w], vec![0, 3, 4, 1, 5, 2]),
    };
    vec![
        Stage::reshape(apart),
        Stage::new(Op::Transpose { perm }, [n, out, h, sh, w, sw]),
        Stage::reshape(shape),
    ]
}

/// One axis of the transposed convolution as a convolution.
#[derive(Clone, Copy, Debug)]
struct Axis {
    /// Taps of the transposed kernel, and the distance between them.
    kernel: usize,
    dilation: usize,
    /// Phases.
    stride: usize,
    /// Taps of the convolution.
    taps: usize,
    /// Its pads.
    before: u32,
    after: u32,
    /// Pixels of its result.
    positions: usize,
    /// First pixel of the result among the phases beside each other, and the result's length.
    cut: usize,
    length: usize,
}

impl Axis {
    /// `None` if a number overflows or nothing is left of the result.
    fn new(len: u32, (kernel, dilation, stride): (usize, u32, u32), given: Given) -> Option<Self> {
        let (len, d, s) = (i64::from(len), i64::from(dilation), i64::from(stride));
        let extent = i64::try_from(kernel).ok()?.checked_sub(1)?.checked_mul(d)?.checked_add(1)?;
        let whole = len.checked_sub(1)?.checked_mul(s)?.checked_add(extent)?;
        let (begin, length) = given.place(whole, len.checked_mul(s)?)?;
        let taps = extent.checked_add(s)?.checked_sub(1)?.checked_div(s)?;
        // The first and last position of which a phase is left.
        let first = begin.checked_div(s)?;
        let last = length.checked_add(begin)?.checked_sub(1)?.checked_div(s)?;
        let before = taps.checked_sub(1)?.checked_sub(first)?.max(0);
        let after = last.checked_sub(len.checked_sub(1)?)?.max(0);
        let start = taps.checked_sub(1)?.checked_sub(before)?;
        let positions = [len, before, after, 1].iter().try_fold(0_i64, |n, &d| n.checked_add(d))?;
        Some(Self {
            kernel,
            dilation: usize::try_from(dilation).ok()?,
            stride: usize::try_from(stride).ok()?,
            taps: usize::try_from(taps).ok()?,
            before: u32::try_from(before).ok()?,
            after: u32::try_from(after).ok()?,
            positions: usize::try_from(positions.checked_sub(taps)?).ok()?,
            cut: usize::try_from(begin.checked_sub(start.checked_mul(s)?)?).ok()?,
            length: usize::try_from(length).ok().filter(|&n| n > 0)?,
        })
    }

    /// Which tap of the transposed kernel a tap of the convolution has in a phase.
    fn tap(&self, phase: usize, tap: usize) -> Option<usize> {
        let reversed = self.taps.checked_sub(1)?.checked_sub(tap)?;
        let place = reversed.checked_mul(self.stride)?.checked_add(phase)?;
        let at = place.checked_div(self.dilation)?;
        (place.is_multiple_of(self.dilation) && at < self.kernel).then_some(at)
    }
}

/// What a node says about the ends of an axis.
#[derive(Clone, Copy, Debug)]
struct Given {
    auto: AutoPad,
    pads: (u32, u32),
    output_padding: i64,
    length: Option<i64>,
}

impl Given {
    /// How much is cut off before the result, and its length, of `whole` pixels; `same` is the
    /// length that the `auto_pad`s that are called so ask for.
    fn place(self, whole: i64, same: i64) -> Option<(i64, i64)> {
        let is_same = matches!(self.auto, AutoPad::SameUpper | AutoPad::SameLower);
        let total = whole.checked_add(self.output_padding)?;
        let Some(length) = self.length.or(is_same.then_some(same)) else {
            let (begin, end) = match self.auto {
                AutoPad::Valid => (0, 0),
                _ => (i64::from(self.pads.0), i64::from(self.pads.1)),
            };
            return Some((begin, total.checked_sub(begin)?.checked_sub(end)?));
        };
        let cut = total.checked_sub(length)?.max(0);
        let less = cut.checked_div(2)?;
        let begin = if self.auto == AutoPad::SameUpper { less } else { cut.checked_sub(less)? };
        Some((begin, length))
    }
}

/// Rows and columns.
fn axes(call: &Call<'_>, kernel: &[usize], x: Picture) -> Result<[Axis; 2], Refusal> {
    let Settings { kernel: [kh, kw], strides, dilations, pads, auto } = Settings::of(call, kernel)?;
    let both = |name: &'static str, missing: i64| match (call.ints(name)?, kernel.len()) {
        (None, _) => Ok([missing; 2]),
        (Some(&[w]), 1) => Ok([missing, w]),
        (Some(&[h, w]), 2) => Ok([h, w]),
        (Some(found), axes) => Err(Refusal::Attribute {
            name,
            found: format!("{found:?}"),
            expected: format!("{axes} numbers"),
        }),
    };
    let [more_rows, more_columns] = both("output_padding", 0)?;
    let [height, width] = both("output_shape", 0)?;
    let given = |pads, output_padding, length: i64| {
        let length = Some(length).filter(|&length| length > 0);
        Given { auto, pads, output_padding, length }
    };
    let [top, left, bottom, right] = pads;
    let rows = given((top, bottom), more_rows, height);
    let columns = given((left, right), more_columns, width);
    let rows = Axis::new(x.h, (kh, dilations.h, strides.h), rows);
    let columns = Axis::new(x.w, (kw, dilations.w, strides.w), columns);
    let wrong =
        || shape_refusal("its input", &x.shape(), "pixels that its pads leave something of");
    Ok([rows.ok_or_else(wrong)?, columns.ok_or_else(wrong)?])
}

/// The filter bank of the convolution.
#[derive(Clone, Copy, Debug)]
struct Filters {
    rows: Axis,
    columns: Axis,
    /// Of the input.
    channels: usize,
    /// Output channels of a group.
    per_group: usize,
    groups: usize,
    /// Of its output channels.
    order: DepthOrder,
}

impl Filters {
    /// The convolution, its phases beside each other, what is left of them.
    fn stages(self, x: Picture, out: usize, operands: Vec<ValueId>, rank: usize) -> Vec<Stage> {
        let Self { rows, columns, groups, order, .. } = self;
        let phases = rows.stride.saturating_mul(columns.stride);
        let pixels = [rows.positions, columns.positions];
        let conv = vec![x.n, out.saturating_mul(phases), rows.positions, columns.positions];
        let window = Window {
            kernel: Hw { h: rows.taps as u32, w: columns.taps as u32 },
            pad: Pad {
                top: rows.before,
                left: columns.before,
                bottom: rows.after,
                right: columns.after,
            },
            ..Window::POINT
        };
        let op = Op::Conv(Conv { window, groups, border: None, activation: Activation::None });
        let mut stages = vec![Stage::reshape(x.shape()), Stage::new(op, conv).with(operands)];
        stages.extend(beside_each_other(x.n, out, pixels, [rows.stride, columns.stride], order));
        let whole = [rows, columns].map(|axis| axis.positions.saturating_mul(axis.stride));
        let left = [rows.length, columns.length];
        let cut = vec![x.n, out, rows.length, columns.length];
        if whole != left {
            let starts = vec![0, 0, rows.cut, columns.cut];
            stages.push(Stage::new(Op::Slice { starts, steps: vec![1; 4] }, cut.clone()));
        }
        let own = if rank == 3 { vec![x.n, out, columns.length] } else { cut };
        stages.push(Stage::reshape(own));
        stages
    }

    /// The weights `[O phases, C/g, taps]`, and the bias of each phase.
    fn operands(&self, call: &Call<'_>, builder: &mut Builder) -> Result<Vec<ValueId>, Refusal> {
        let weight = call.operand(1, "its weight")?;
        let (name, _) = weight.constant("its weight")?;
        let values = weight.floats("its weight")?;
        finite(name, values)?;
        let wrong = || shape_refusal("its weight", weight.shape(), "fewer elements");
        let filters = self.reordered(values).ok_or_else(wrong)?;
        let mut operands = vec![builder.made(&format!("{name}_in_phases"), filters)?];
        if let Some(bias) = call.optional(2) {
            let (name, _) = bias.constant("its bias")?;
            let values = bias.floats("its bias")?;
            let out = self.per_group.saturating_mul(self.groups);
            if values.len() != out {
                return Err(shape_refusal("its bias", bias.shape(), format!("[{out}]")));
            }
            let phases = self.rows.stride.saturating_mul(self.columns.stride);
            let repeated = match self.order {
                DepthOrder::SquareFirst => values.repeat(phases),
                DepthOrder::ChannelFirst => {
                    values.iter().flat_map(|&b| std::iter::repeat_n(b, phases)).collect()
                }
            };
            operands.push(builder.made(&format!("{name}_in_phases"), Tensor::vector(repeated))?);
        }
        Ok(operands)
    }

    /// `[C, O/g, Kh, Kw]` as `[O * phases, C/g, taps, taps]`; `None` if that is too large.
    fn reordered(&self, values: &[f32]) -> Option<Tensor> {
        let Self { rows, columns, channels, per_group, groups, order } = *self;
        let inside = channels.checked_div(groups)?;
        let phases = rows.stride.checked_mul(columns.stride)?;
        let out = per_group.checked_mul(groups)?;
        let outputs = out.checked_mul(phases)?;
        let shape = [outputs, inside, rows.taps, columns.taps];
        let mut filters = Vec::with_capacity(elements(&shape).filter(|&n| n <= MOST)?);
        for output in 0..outputs {
            let (channel, phase) = match order {
                DepthOrder::ChannelFirst => {
                    (output.checked_div(phases)?, output.checked_rem(phases)?)
                }
                DepthOrder::SquareFirst => (output.checked_rem(out)?, output.checked_div(out)?),
            };
            let (group, o) = (channel.checked_div(per_group)?, channel.checked_rem(per_group)?);
            let (py, px) = (phase.checked_div(columns.stride)?, phase.checked_rem(columns.stride)?);
            for i in 0..inside {
                let row = group.checked_mul(inside)?.checked_add(i)?.checked_mul(per_group)?;
                filters.extend(self.window(values, row.checked_add(o)?, (py, px)));
            }
        }
        Tensor::f32(shape, filters)
    }

    /// The taps that a pair of channels has in a phase, zeros between them; `pair` is its number.
    fn window(
        self,
        values: &[f32],
        pair: usize,
        (py, px): (usize, usize),
    ) -> impl Iterator<Item = f32> {
        let Self { rows, columns, .. } = self;
        let taps = (0..rows.taps).flat_map(move |ty| (0..columns.taps).map(move |tx| (ty, tx)));
        taps.map(move |(ty, tx)| {
            let (ky, kx) = (rows.tap(py, ty), columns.tap(px, tx));
            let row = ky.and_then(|ky| pair.checked_mul(rows.kernel)?.checked_add(ky));
            let at =
                row.zip(kx).and_then(|(row, kx)| row.checked_mul(columns.kernel)?.checked_add(kx));
            at.and_then(|at| values.get(at).copied()).unwrap_or(0.0)
        })
    }
}

/// Most weights of one layer.
const MOST: usize = super::build::MAX_ELEMENTS;
