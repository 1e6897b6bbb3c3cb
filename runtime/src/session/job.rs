//! [`Job`]: one step with its operands in memory, ready for a kernel. The one `match` on [`Op`]
//! that executes.

#[cfg(feature = "full")]
mod full;
mod s8;

use crate::arena::Cut;
use crate::dims::{Dims, Window};
use crate::kernels::{
    Kernels, conv_f32, conv_s8, copy, depthwise_f32, depthwise_s8,
    elementwise_f32::{self, Operation, Pairing},
    linear_f32,
    pool_f32::{self, Pool},
};
use crate::model::{Model, macs};
use crate::quant::quantize;
use crate::span::Span;
use crate::step::{
    Activation, Binary, Conv, ConvS8, Element, Layout, LayoutS8, Linear, Op, PadMode, Source, Step,
};
use bytemuck::Pod;
use core::ops::Range;

/// The feature maps, but for the bytes of one output.
#[derive(Clone, Copy, Debug)]
struct Maps<'a> {
    before: &'a [u8],
    after: &'a [u8],
    /// Where `after` begins.
    end: usize,
}

impl<'a> Maps<'a> {
    /// Takes the bytes of `output` out.
    fn around(maps: &'a mut [u8], output: Span) -> Option<(Self, &'a mut [u8])> {
        let range = output.range()?;
        let (before, rest) = maps.split_at_mut_checked(range.start)?;
        let (output, after) = rest.split_at_mut_checked(range.len())?;
        Some((Self { before, after, end: range.end }, output))
    }

    /// The values of an operand that does not overlap the output.
    fn read<T: Pod>(&self, span: Span) -> Option<&'a [T]> {
        bytemuck::try_cast_slice(self.bytes(span)?).ok()
    }

    fn bytes(&self, span: Span) -> Option<&'a [u8]> {
        let range = span.range()?;
        if range.end <= self.before.len() {
            return self.before.get(range);
        }
        self.after.get(range.start.checked_sub(self.end)?..range.end.checked_sub(self.end)?)
    }
}

/// Operands and contract of one step.
#[derive(Clone, Copy, Debug)]
enum Args<'a> {
    Conv(conv_f32::Args<'a>),
    Depthwise(depthwise_f32::Args<'a>),
    ConvS8(conv_s8::Args<'a>),
    DepthwiseS8(depthwise_s8::Args<'a>),
    Linear(linear_f32::Args<'a>),
    Pool(pool_f32::Args<'a>),
    Elementwise(elementwise_f32::Args<'a>),
    Copy(copy::Args<'a, f32>),
    CopyS8(copy::Args<'a, i8>),
    S8(s8::Args<'a>),
    #[cfg(feature = "full")]
    Full(full::Args<'a>),
}

/// One step, all bounds proved.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job<'a> {
    args: Args<'a>,
    /// Rows of the output, or what the contract cuts instead: panels, runs.
    rows: usize,
    /// Bytes of one of them.
    pub(super) row_len: usize,
    quantum: usize,
    /// About how many multiply-accumulates or moved values.
    work: u64,
}

/// Less work than this is not worth waking a worker: some microseconds.
const MIN_WORK: u64 = 32_768;

impl<'a> Job<'a> {
    /// The job and the memory of its output. `None` where a contract refuses its operands.
    pub(super) fn new(
        step: &Step,
        model: &Model<'a>,
        maps: &'a mut [u8],
    ) -> Option<(Self, &'a mut [u8])> {
        let (maps, y) = Maps::around(maps, step.output.span)?;
        let args = Args::new(step, model, maps)?;
        let (rows, values, quantum) = args.extent(step.output.dims)?;
        let row_len = values.checked_mul(step.output.element.size())?;
        let moved = step.input.dims.elements()?.max(step.output.dims.elements()?);
        let work = macs(step)?.max(u64::try_from(moved).ok()?);
        Some((Self { args, rows, row_len, quantum, work }, y))
    }

    /// How to cut the output for at most `workers` workers.
    pub(super) fn cut(&self, workers: usize) -> Cut {
        let worth = usize::try_from(self.work / MIN_WORK).unwrap_or(usize::MAX);
        Cut::new(self.rows, self.quantum, workers.min(worth.max(1)))
    }

    /// Computes a band. `None` where a kernel refuses, which the proofs rule out.
    pub(super) fn run(
        &self,
        kernels: &Kernels,
        rows: Range<usize>,
        y: &mut [u8],
        scratch: &mut [u8],
    ) -> Option<()> {
        let cpu = kernels.cpu;
        match &self.args {
            Args::Conv(args) => kernels.conv_f32.run_bytes(cpu, args, rows, y, scratch),
            Args::Depthwise(args) => kernels.depthwise_f32.run_bytes(cpu, args, rows, y, scratch),
            Args::ConvS8(args) => {
                kernels.conv_s8(args.prefers_winograd()).run_bytes(cpu, args, rows, y, scratch)
            }
            Args::DepthwiseS8(args) => kernels.depthwise_s8.run_bytes(cpu, args, rows, y, scratch),
            Args::Linear(args) => kernels.linear_f32.run_bytes(cpu, args, rows, y, scratch),
            Args::Pool(args) => kernels.pool_f32.run_bytes(cpu, args, rows, y, scratch),
            Args::Elementwise(args) => {
                kernels.elementwise_f32.run_bytes(cpu, args, rows, y, scratch)
            }
            Args::Copy(args) => copy::run(args, rows, bytemuck::try_cast_slice_mut(y).ok()?),
            Args::CopyS8(args) => copy::run(args, rows, bytemuck::try_cast_slice_mut(y).ok()?),
            Args::S8(args) => args.run(kernels, rows, y, scratch),
            #[cfg(feature = "full")]
            Args::Full(args) => args.run(kernels, rows, y, scratch),
        }
    }
}

impl<'a> Args<'a> {
    fn new(step: &Step, model: &Model<'a>, maps: Maps<'a>) -> Option<Self> {
        match &step.op {
            Op::Conv(conv) => Self::conv(conv, step, model, maps),
            Op::Linear(linear) => Self::linear(linear, step, model, maps),
            Op::MaxPool(window) => Self::pool(Pool::Max, window, step, maps),
            Op::AveragePool { window, count_include_pad } => {
                let pool = Pool::Average { count_include_pad: *count_include_pad };
                Self::pool(pool, window, step, maps)
            }
            Op::GlobalAveragePool => {
                let pool = Pool::Average { count_include_pad: false };
                Self::pool(pool, &whole_picture(step.input.dims), step, maps)
            }
            Op::Binary { function, other, swapped, activation } => {
                let pairing = pairing(*function, other, *swapped, model, maps)?;
                Self::elementwise(Operation::Pair(pairing), *activation, step, model, maps)
            }
            Op::ScaleShift { scale, shift, activation } => {
                let (scale, shift) = (model.weights_f32(*scale), model.weights_f32(*shift));
                let operation = Operation::ScaleShift { scale, shift };
                Self::elementwise(operation, *activation, step, model, maps)
            }
            Op::Activate(activation) => {
                Self::elementwise(Operation::Identity, *activation, step, model, maps)
            }
            Op::Apply(function) => {
                let operation = Operation::Apply(*function);
                Self::elementwise(operation, Activation::None, step, model, maps)
            }
            Op::Softmax => {
                Self::elementwise(Operation::Softmax, Activation::None, step, model, maps)
            }
            Op::CopyInto { .. } | Op::Rearrange(_) | Op::Pad { .. } => Self::copy(step, maps),
            Op::Resample(_) | Op::Reduce(_) | Op::Normalise(_) | Op::MatMul(_) | Op::TopK(_) => {
                Self::beyond_plain(step, model, maps)
            }
            Op::Quantize | Op::Dequantize | Op::PairS8(_) | Op::TableS8(_) => {
                s8::Args::new(step, model, maps).map(Self::S8)
            }
            Op::ConvS8(conv) => Self::conv_s8(conv, step, model, maps),
        }
    }

    #[cfg(feature = "full")]
    fn beyond_plain(step: &Step, model: &Model<'a>, maps: Maps<'a>) -> Option<Self> {
        full::Args::new(step, model, maps).map(Self::Full)
    }

    #[cfg(not(feature = "full"))]
    fn beyond_plain(_: &Step, _: &Model<'a>, _: Maps<'a>) -> Option<Self> {
        None
    }

    fn elementwise(
        operation: Operation<'a>,
        activation: Activation,
        step: &Step,
        model: &Model<'a>,
        maps: Maps<'a>,
    ) -> Option<Self> {
        let x = unless_in_place(step, maps)?;
        let slopes = slopes(&activation, model);
        elementwise_f32::Args::new(operation, step.output.dims, x, activation, slopes)
            .map(Self::Elementwise)
    }

    fn copy(step: &Step, maps: Maps<'a>) -> Option<Self> {
        match step.input.element {
            Element::F32 => Self::copy_of(step, maps, |value| value).map(Self::Copy),
            Element::S8(quantization) => {
                Self::copy_of(step, maps, |value| quantize(value, quantization)).map(Self::CopyS8)
            }
        }
    }

    /// `stored` says what stands for a constant.
    fn copy_of<T: Pod>(
        step: &Step,
        maps: Maps<'a>,
        stored: impl Fn(f32) -> T,
    ) -> Option<copy::Args<'a, T>> {
        let (input, output) = (step.input.dims, step.output.dims);
        let x = maps.read(step.input.span)?;
        match &step.op {
            Op::CopyInto { at } => copy::Args::into(*at, input, output, x),
            Op::Rearrange(view) => copy::Args::rearrange(view, x),
            Op::Pad { pad, mode } => {
                let fill = if let PadMode::Constant(value) = mode { *value } else { 0.0 };
                copy::Args::pad(pad, *mode, stored(fill), (input, output), x)
            }
            _ => None,
        }
    }

    fn pool(pool: Pool, window: &Window, step: &Step, maps: Maps<'a>) -> Option<Self> {
        if step.input.element != Element::F32 {
            return s8::Args::pool(pool, window, step, maps).map(Self::S8);
        }
        let x = maps.read(step.input.span)?;
        pool_f32::Args::new(pool, window, step.input.dims, step.output.dims, x).map(Self::Pool)
    }

    fn conv(conv: &Conv, step: &Step, model: &Model<'a>, maps: Maps<'a>) -> Option<Self> {
        let (input, output) = (step.input.dims, step.output.dims);
        let x = maps.read(step.input.span)?;
        let (weights, bias) = (model.weights_f32(conv.weights), model.weights_f32(conv.bias));
        let slopes = slopes(&conv.activation, model);
        match conv.layout {
            Layout::F32Nr16 => {
                conv_f32::Args::new(conv, input, output, x, weights, bias, slopes).map(Self::Conv)
            }
            Layout::F32Dw16 => {
                depthwise_f32::Args::new(conv, input, output, x, weights, bias, slopes)
                    .map(Self::Depthwise)
            }
        }
    }

    fn conv_s8(conv: &ConvS8, step: &Step, model: &Model<'a>, maps: Maps<'a>) -> Option<Self> {
        let tensors = conv_s8::Tensors {
            x: maps.read(step.input.span)?,
            weights: model.weights_s8(conv.weights),
            bias: model.weights_i32(conv.bias),
            sums: model.weights_i32(conv.sums),
            scale: model.weights_f32(conv.scale),
            negative: model.weights_f32(conv.negative),
        };
        let (input, output) = (&step.input, &step.output);
        match conv.layout {
            LayoutS8::Nr16Kr4 | LayoutS8::Nr16Kr4Bits4 => {
                conv_s8::Args::new(conv, input, output, tensors).map(Self::ConvS8)
            }
            LayoutS8::Dw16 => {
                depthwise_s8::Args::new(conv, input, output, tensors).map(Self::DepthwiseS8)
            }
        }
    }

    fn linear(linear: &Linear, step: &Step, model: &Model<'a>, maps: Maps<'a>) -> Option<Self> {
        let (input, output) = (step.input.dims, step.output.dims);
        let x = maps.read(step.input.span)?;
        let (weights, bias) = (model.weights_f32(linear.weights), model.weights_f32(linear.bias));
        let slopes = slopes(&linear.activation, model);
        linear_f32::Args::new(linear, input, output, x, weights, bias, slopes).map(Self::Linear)
    }

    /// Rows that bands are made of, values in one of them, and their quantum.
    fn extent(&self, output: Dims) -> Option<(usize, usize, usize)> {
        let rows = usize::try_from(output.h).ok()?;
        Some(match self {
            Self::Conv(args) => {
                (rows, args.output_row(), usize::try_from(conv_f32::ROW_QUANTUM).ok()?)
            }
            Self::Depthwise(args) => (rows, args.output_row(), depthwise_f32::ROW_QUANTUM),
            Self::ConvS8(args) => (rows, args.output_row(), args.row_quantum()),
            Self::DepthwiseS8(args) => (rows, args.output_row(), depthwise_s8::ROW_QUANTUM),
            Self::Linear(args) => (args.panels(), conv_f32::NR, 1),
            Self::Pool(args) => (rows, args.output_row(), pool_f32::ROW_QUANTUM),
            Self::Elementwise(args) => (rows, args.output_row(), elementwise_f32::ROW_QUANTUM),
            Self::Copy(args) => (args.rows(), args.output_row(), 1),
            Self::CopyS8(args) => (args.rows(), args.output_row(), 1),
            Self::S8(args) => (rows, args.output_row(), s8::ROW_QUANTUM),
            #[cfg(feature = "full")]
            Self::Full(args) => args.extent(),
        })
    }
}

/// The input; none where the kernel finds the values in the output's memory.
fn unless_in_place<'a, T: Pod>(step: &Step, maps: Maps<'a>) -> Option<Option<&'a [T]>> {
    match step.input.span == step.output.span {
        true => Some(None),
        false => Some(Some(maps.read(step.input.span)?)),
    }
}

fn pairing<'a>(
    function: Binary,
    other: &Source,
    swapped: bool,
    model: &Model<'a>,
    maps: Maps<'a>,
) -> Option<Pairing<'a>> {
    let dims = other.dims();
    Some(Pairing { function, swapped, other: values(other, model, maps)?, dims })
}

/// The values of a second operand.
fn values<'a>(other: &Source, model: &Model<'a>, maps: Maps<'a>) -> Option<&'a [f32]> {
    match other {
        Source::Arena(map) => maps.read(map.span),
        Source::Weights { span, .. } => Some(model.weights_f32(*span)),
    }
}

/// The slopes of a PReLU; other activations have none.
fn slopes<'a>(activation: &Activation, model: &Model<'a>) -> &'a [f32] {
    match activation {
        Activation::PRelu { slopes } => model.weights_f32(*slopes),
        Activation::None | Activation::Clamp { .. } | Activation::LeakyRelu { .. } => &[],
    }
}

/// The window whose mean is the global mean.
fn whole_picture(input: Dims) -> Window {
    let kernel = crate::dims::Hw { h: input.h, w: input.w };
    Window { kernel, ..Window::POINT }
}
