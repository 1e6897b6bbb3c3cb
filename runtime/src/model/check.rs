//! Proves that a step touches only memory that is its own and computes what its shapes say.
//!
//! Everything is derived again from the operation and the input's dims; nothing that the file says
//! twice is believed once. What passes here, the kernels' own bounds checks accept.
//!
//! Not proved: that a value read was written before. An unwritten value is an arbitrary f32,
//! which every operation takes.

mod arrange;
mod conv_s8;
mod integers;

use super::{ALIGN, Header};
use crate::dims::{Dims, Hw, Window};
use crate::kernels::{conv_f32, depthwise_f32, linear_f32, matmul_f32, resample_f32, table_s8};
use crate::span::Span;
use crate::step::{
    Activation, Border, Conv, ConvS8, Function, Layout, Linear, MatMul, Normalise, Op, Operand,
    Resample, Source, Step, TopK,
};

/// What a span of a step is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The step's input.
    Input,
    /// The step's output.
    Output,
    /// Second operand.
    Other,
    /// Packed weights.
    Weights,
    /// Bias vectors.
    Bias,
    /// Slopes of a PReLU.
    Slopes,
    /// Sums of integer weights.
    Sums,
    /// Factors.
    Scale,
    /// Factors of negative sums.
    Negative,
    /// Summands of a scale and shift.
    Shift,
    /// Runs and weights of a resampling, or values of a function.
    Table,
}

/// What is wrong with a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StepFault {
    /// The record cannot be decoded.
    Undecodable,
    /// A span does not start at a multiple of 64.
    Unaligned {
        /// Which.
        role: Role,
    },
    /// A span ends outside the arena or the weights.
    OutOfBounds {
        /// Which.
        role: Role,
    },
    /// A span has another length than dims or layout demand.
    Length {
        /// Which.
        role: Role,
        /// Bytes that it must have.
        expected: usize,
    },
    /// No elements, or more than can be addressed.
    Empty {
        /// Which.
        role: Role,
    },
    /// The output overlaps an operand that is read.
    Overlap {
        /// Which.
        role: Role,
    },
    /// The output has another shape than input and operation give.
    Shape {
        /// The right one.
        expected: Dims,
    },
    /// An axis of the second operand has neither the input's length nor 1.
    Broadcast,
    /// No channels to be chosen, more than there are, or of more than f32 can count.
    Count,
    /// Factors of a product that do not fit each other.
    Factors,
    /// A box of the output that ends outside it.
    Box,
    /// A view that reads outside its input, or has not as many values as the output.
    View,
    /// More padding than the mode can fill, or padding that is no number.
    Pad,
    /// A parameter of a function that is no finite number.
    Function,
    /// A window that cannot be, or does not fit.
    Window,
    /// Groups that do not divide the channels, or that the layout cannot have.
    Groups,
    /// More border classes than output rows or columns.
    Border,
    /// A bound or slope that is no number, bounds in the wrong order, or bounds of s8 values that are none.
    Activation,
    /// Scratch below the layout's minimum, or above the header's.
    Scratch {
        /// The minimum in bytes.
        needed: usize,
    },
    /// Runs with no rows or columns, or with more than the input has.
    Taps,
    /// The number of multiply-accumulates overflows.
    Macs,
    /// More products than a 32-bit sum can hold.
    Products {
        /// The most.
        most: usize,
    },
    /// Values of another type than the operation takes, or than those it puts them beside.
    Element {
        /// Whose.
        role: Role,
    },
    /// Integers of an 8-bit step: multipliers that are all 0, a shift above 31, bounds in the wrong
    /// order, or sums that may leave 32 bits.
    Integers,
    /// A scale that is not normal and positive.
    Quantization {
        /// Whose.
        role: Role,
    },
}

/// The memory that steps may name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Bytes of feature maps.
    pub(super) arena: u32,
    /// Bytes of scratch of one worker.
    pub(super) scratch: u32,
    /// Bytes of the weights section.
    pub(super) weights: usize,
}

impl Bounds {
    pub(super) fn new(header: &Header, weights: &[f32]) -> Self {
        Self {
            arena: header.arena_base,
            scratch: header.scratch_per_worker,
            weights: size_of_val(weights),
        }
    }

    /// Proves one step and counts its multiply-accumulates.
    pub(super) fn check(&self, step: &Step) -> Result<u64, StepFault> {
        self.operand(&step.input, Role::Input)?;
        self.operand(&step.output, Role::Output)?;
        let in_place = step.op.in_place() && step.output.span == step.input.span;
        if !in_place && step.output.span.overlaps(step.input.span) {
            return Err(StepFault::Overlap { role: Role::Input });
        }
        integers::check_elements(step)?;
        let expected = self.op(step)?;
        if step.output.dims != expected {
            return Err(StepFault::Shape { expected });
        }
        macs(step).ok_or(StepFault::Macs)
    }

    /// Proves what only this operation has; the dims that its output must have.
    fn op(&self, step: &Step) -> Result<Dims, StepFault> {
        let input = step.input.dims;
        match &step.op {
            Op::Conv(conv) => self.conv(conv, input, step.output.dims),
            Op::Linear(linear) => self.linear(linear, input, step.output.dims),
            Op::MaxPool(window) => slide(window, input, input.c),
            Op::AveragePool { window, .. } => {
                integers::check_mean(step.input.element, window.kernel)?;
                slide(window, input, input.c)
            }
            Op::GlobalAveragePool => {
                let picture = Hw { h: input.h, w: input.w };
                integers::check_mean(step.input.element, picture).map(|()| Dims::vector(input.c))
            }
            Op::Binary { other, activation, .. } => {
                self.second(other, step)?;
                self.activation(activation, channels(input.c)).map(|()| input)
            }
            Op::ScaleShift { scale, shift, activation } => {
                self.weights(*scale, Role::Scale, channels(input.c))?;
                self.weights(*shift, Role::Shift, channels(input.c))?;
                self.activation(activation, channels(input.c)).map(|()| input)
            }
            Op::Activate(activation) => {
                self.activation(activation, channels(input.c)).map(|()| input)
            }
            Op::Apply(function) => check_function(*function).map(|()| input),
            Op::PairS8(pair) => {
                integers::check_pair(pair)?;
                self.second(&pair.other, step).map(|()| input)
            }
            Op::TableS8(table) => {
                check_span(*table, Role::Table, table_s8::LEN, self.weights).map(|()| input)
            }
            Op::ConvS8(conv) => self.conv_s8(conv, &step.input, &step.output),
            Op::Softmax | Op::Quantize | Op::Dequantize => Ok(input),
            Op::CopyInto { at } => arrange::copy_into(*at, input, step.output.dims),
            Op::Rearrange(view) => arrange::rearrange(view, input, step.output.dims),
            Op::Pad { pad, mode } => arrange::pad(pad, *mode, input),
            Op::Resample(resample) => self.resample(resample, step),
            Op::MatMul(matmul) => self.matmul(matmul, step),
            Op::TopK(top) => chosen(*top, input),
            Op::Reduce(_) => reduced(input, step.output.dims),
            Op::Normalise(Normalise { epsilon, .. }) => {
                match (0.0..f32::INFINITY).contains(epsilon) {
                    true => Ok(input),
                    false => Err(StepFault::Function),
                }
            }
        }
    }

    fn conv(&self, conv: &Conv, input: Dims, output: Dims) -> Result<Dims, StepFault> {
        let expected = slide(&conv.window, input, output.c)?;
        if output != expected {
            return Err(StepFault::Shape { expected });
        }
        check_border(conv.border, output)?;
        let sizes = conv_sizes(conv, input, output).ok_or(StepFault::Groups)?;
        self.weights(conv.weights, Role::Weights, Some(sizes.weights))?;
        self.weights(conv.bias, Role::Bias, Some(sizes.bias))?;
        self.activation(&conv.activation, Some(sizes.slopes))?;
        self.stated_scratch(conv.scratch, sizes.scratch.saturating_mul(4))?;
        Ok(expected)
    }

    /// Scratch that the step states: at least `needed` bytes, and no more than a worker has.
    fn stated_scratch(&self, stated: u32, needed: usize) -> Result<(), StepFault> {
        let enough = usize::try_from(stated).is_ok_and(|stated| stated >= needed);
        if enough && stated <= self.scratch {
            return Ok(());
        }
        Err(StepFault::Scratch { needed })
    }

    fn linear(&self, linear: &Linear, input: Dims, output: Dims) -> Result<Dims, StepFault> {
        let bias = linear_f32::bias_len(output);
        self.weights(linear.weights, Role::Weights, linear_f32::weights_len(input, output))?;
        self.weights(linear.bias, Role::Bias, bias)?;
        self.activation(&linear.activation, bias)?;
        Ok(Dims::vector(output.c))
    }

    fn resample(&self, resample: &Resample, step: &Step) -> Result<Dims, StepFault> {
        let (input, output) = (step.input.dims, step.output.dims);
        let axes = [(resample.rows, input.h, output.h), (resample.columns, input.w, output.w)];
        for (taps, from, to) in axes {
            if !(1..=from).contains(&taps.count) {
                return Err(StepFault::Taps);
            }
            self.weights(taps.table, Role::Table, resample_f32::table_len(&taps, to))?;
        }
        self.scratch(step)?;
        Ok(Dims { c: input.c, ..output })
    }

    /// Scratch that follows from the dims, where a worker has as much.
    fn scratch(&self, step: &Step) -> Result<(), StepFault> {
        let needed = scratch_bytes(step);
        if needed.is_some_and(|needed| needed <= self.scratch) {
            return Ok(());
        }
        let needed = needed.and_then(|needed| usize::try_from(needed).ok());
        Err(StepFault::Scratch { needed: needed.unwrap_or(usize::MAX) })
    }

    fn matmul(&self, matmul: &MatMul, step: &Step) -> Result<Dims, StepFault> {
        self.source(&matmul.other, step)?;
        let (input, other) = (step.input.dims, matmul.other.dims());
        let depth = if matmul.transposed { other.c } else { other.w };
        if depth != input.c || (other.h != 1 && other.h != input.h) {
            return Err(StepFault::Factors);
        }
        self.scratch(step)?;
        Ok(Dims { c: if matmul.transposed { other.w } else { other.c }, ..input })
    }

    /// The second operand of a step, repeated where it is shorter than the input.
    fn second(&self, other: &Source, step: &Step) -> Result<(), StepFault> {
        self.source(other, step)?;
        let (own, input) = (other.dims(), step.input.dims);
        let repeats = |own: u32, len: u32| own == len || own == 1;
        let fits = repeats(own.h, input.h) && repeats(own.w, input.w) && repeats(own.c, input.c);
        if fits { Ok(()) } else { Err(StepFault::Broadcast) }
    }

    /// The bytes of a second operand, values like those of the first.
    fn source(&self, other: &Source, step: &Step) -> Result<(), StepFault> {
        let size = step.input.element.size();
        match other {
            Source::Arena(map) => {
                self.operand(map, Role::Other)?;
                if map.element.size() != size {
                    return Err(StepFault::Element { role: Role::Other });
                }
                if step.output.span.overlaps(map.span) {
                    return Err(StepFault::Overlap { role: Role::Other });
                }
            }
            Source::Weights { span, dims } => {
                let elements = dims.elements().filter(|&elements| elements > 0);
                let bytes = elements.and_then(|elements| elements.checked_mul(size));
                let expected = bytes.ok_or(StepFault::Empty { role: Role::Other })?;
                check_span(*span, Role::Other, expected, self.weights)?;
            }
        }
        Ok(())
    }

    /// A feature map: aligned, in the arena, as long as its dims demand.
    pub(super) fn operand(&self, operand: &Operand, role: Role) -> Result<(), StepFault> {
        let elements = operand.dims.elements().filter(|&elements| elements > 0);
        let bytes = elements.and_then(|elements| elements.checked_mul(operand.element.size()));
        let scale = operand.element.quantization().map_or(1.0, |quantization| quantization.scale);
        if !(scale.is_normal() && scale > 0.0) {
            return Err(StepFault::Quantization { role });
        }
        let expected = bytes.ok_or(StepFault::Empty { role })?;
        let arena = usize::try_from(self.arena).unwrap_or(0);
        check_span(operand.span, role, expected, arena)
    }

    /// `len` values of the weights section; `None` is more than can be addressed.
    fn weights(&self, span: Span, role: Role, len: Option<usize>) -> Result<(), StepFault> {
        self.bytes(span, role, len.and_then(|len| len.checked_mul(4)))
    }

    /// `len` bytes of the weights section; `None` is more than can be addressed.
    fn bytes(&self, span: Span, role: Role, len: Option<usize>) -> Result<(), StepFault> {
        check_span(span, role, len.ok_or(StepFault::Empty { role })?, self.weights)
    }

    fn activation(&self, activation: &Activation, slopes: Option<usize>) -> Result<(), StepFault> {
        match *activation {
            Activation::None => Ok(()),
            Activation::Clamp { lo, hi } if lo <= hi => Ok(()),
            Activation::LeakyRelu { slope } if slope.is_finite() => Ok(()),
            Activation::PRelu { slopes: span } => self.weights(span, Role::Slopes, slopes),
            _ => Err(StepFault::Activation),
        }
    }
}

fn check_span(span: Span, role: Role, expected: usize, room: usize) -> Result<(), StepFault> {
    let range = span.range().ok_or(StepFault::OutOfBounds { role })?;
    if range.len() != expected {
        return Err(StepFault::Length { role, expected });
    }
    if !span.offset.is_multiple_of(ALIGN) {
        return Err(StepFault::Unaligned { role });
    }
    if range.end > room {
        return Err(StepFault::OutOfBounds { role });
    }
    Ok(())
}

fn check_function(function: Function) -> Result<(), StepFault> {
    let finite = match function {
        Function::HardSigmoid { alpha, beta } => alpha.is_finite() && beta.is_finite(),
        Function::Elu { alpha } => alpha.is_finite(),
        _ => true,
    };
    if finite { Ok(()) } else { Err(StepFault::Function) }
}

/// Values and channels of the best of each pixel.
fn chosen(top: TopK, input: Dims) -> Result<Dims, StepFault> {
    let fits = (1..=input.c).contains(&top.count) && input.c <= TopK::MAX_CHANNELS;
    let c = top.count.checked_mul(2).filter(|_| fits);
    c.map(|c| Dims { c, ..input }).ok_or(StepFault::Count)
}

/// Dims of which each axis is the input's or 1.
fn reduced(input: Dims, output: Dims) -> Result<Dims, StepFault> {
    let axis = |from: u32, to: u32| if to == 1 { 1 } else { from };
    let (h, w, c) = (axis(input.h, output.h), axis(input.w, output.w), axis(input.c, output.c));
    Ok(Dims { h, w, c })
}

fn check_border(border: Border, output: Dims) -> Result<(), StepFault> {
    let fits = |lo: u32, hi: u32, len: u32| lo.checked_add(hi).is_some_and(|sum| sum <= len);
    let fits =
        fits(border.top, border.bottom, output.h) && fits(border.left, border.right, output.w);
    if fits { Ok(()) } else { Err(StepFault::Border) }
}

/// Output dims of a window over `input`, with `c` channels.
fn slide(window: &Window, input: Dims, c: u32) -> Result<Dims, StepFault> {
    let hw = window.output(input.h, input.w).ok_or(StepFault::Window)?;
    Ok(Dims { h: hw.h, w: hw.w, c })
}

fn channels(c: u32) -> Option<usize> {
    usize::try_from(c).ok()
}

/// Lengths, in values, that the layout of a convolution demands.
struct ConvSizes {
    weights: usize,
    bias: usize,
    slopes: usize,
    scratch: usize,
}

/// `None` where the groups do not fit, or a length cannot be addressed.
fn conv_sizes(conv: &Conv, input: Dims, output: Dims) -> Option<ConvSizes> {
    let Conv { window, groups, border, .. } = conv;
    match conv.layout {
        Layout::F32Nr16 => Some(ConvSizes {
            weights: conv_f32::weights_len(window, *groups, input.c, output.c)?,
            bias: conv_f32::bias_len(*border, *groups, output.c)?,
            slopes: conv_f32::bias_len(Border::default(), *groups, output.c)?,
            scratch: conv_f32::scratch_len(window, input, output, 1)?,
        }),
        Layout::F32Dw16 if input.c == output.c && *groups == input.c => Some(ConvSizes {
            weights: depthwise_f32::weights_len(window, output.c)?,
            bias: depthwise_f32::bias_len(*border, output.c)?,
            slopes: depthwise_f32::bias_len(Border::default(), output.c)?,
            scratch: 0,
        }),
        Layout::F32Dw16 => None,
    }
}

/// Bytes of scratch that a worker needs for the step. `None` when their number does not fit.
pub fn scratch_bytes(step: &Step) -> Option<u32> {
    let floats = match &step.op {
        Op::Conv(conv) => return Some(conv.scratch),
        Op::ConvS8(conv) => return Some(conv.scratch),
        Op::Resample(resample) => resample_f32::scratch_len(resample, step.input.dims)?,
        Op::MatMul(_) => matmul_f32::scratch_len(step.input.dims)?,
        _ => 0,
    };
    u32::try_from(floats.checked_mul(size_of::<f32>())?).ok()
}

/// Multiply-accumulates: one for each weight and output value that it takes part in, padding
/// included. Operations without weights have none. `None` when the number overflows.
pub fn macs(step: &Step) -> Option<u64> {
    let product = |factors: &[u32]| {
        factors.iter().try_fold(1u64, |product, &factor| product.checked_mul(factor.into()))
    };
    let (input, output) = (step.input.dims, step.output.dims);
    match &step.op {
        Op::Conv(Conv { window, groups, .. }) | Op::ConvS8(ConvS8 { window, groups, .. }) => {
            let depth = input.c.checked_div(*groups)?;
            product(&[output.h, output.w, output.c, window.kernel.h, window.kernel.w, depth])
        }
        Op::Linear(_) | Op::MatMul(_) => product(&[input.h, input.w, input.c, output.c]),
        _ => Some(0),
    }
}
