//! The steps that only 8-bit networks have, but for the convolutions.

use super::{Maps, unless_in_place};
use crate::dims::Window;
use crate::kernels::{Kernels, convert, pair_s8, pool_f32::Pool, pool_s8, table_s8};
use crate::model::Model;
use crate::step::{Op, Operand, Source, Step};
use core::ops::Range;

/// Bands start at multiples of this many rows.
pub(super) const ROW_QUANTUM: usize = 1;

/// Operands and contract of one step.
#[derive(Clone, Copy, Debug)]
pub(super) enum Args<'a> {
    Quantize(convert::Args<'a, f32>),
    Dequantize(convert::Args<'a, i8>),
    Pair(pair_s8::Args<'a>),
    Table(table_s8::Args<'a>),
    Pool(pool_s8::Args<'a>),
}

impl<'a> Args<'a> {
    pub(super) fn new(step: &Step, model: &Model<'a>, maps: Maps<'a>) -> Option<Self> {
        let (input, output) = (step.input, step.output);
        match &step.op {
            Op::Quantize => {
                let (quantization, x) = (output.element.quantization()?, maps.read(input.span)?);
                convert::Args::new(quantization, output.dims, x).map(Self::Quantize)
            }
            Op::Dequantize => {
                let (quantization, x) = (input.element.quantization()?, maps.read(input.span)?);
                convert::Args::new(quantization, output.dims, x).map(Self::Dequantize)
            }
            Op::PairS8(pair) => {
                let x = unless_in_place(step, maps)?;
                let other = match pair.other {
                    Source::Arena(map) => maps.read(map.span)?,
                    Source::Weights { span, .. } => model.weights_s8(span),
                };
                pair_s8::Args::new(pair, output.dims, x, other).map(Self::Pair)
            }
            Op::TableS8(table) => {
                let x = unless_in_place(step, maps)?;
                table_s8::Args::new(model.weights_s8(*table), output.dims, x).map(Self::Table)
            }
            _ => None,
        }
    }

    /// `None` where input or output are f32.
    pub(super) fn pool(pool: Pool, window: &Window, step: &Step, maps: Maps<'a>) -> Option<Self> {
        let dims_of = |operand: Operand| Some((operand.dims, operand.element.quantization()?));
        let (input, output) = (dims_of(step.input)?, dims_of(step.output)?);
        let x = maps.read(step.input.span)?;
        pool_s8::Args::new(pool, window, input, output, x).map(Self::Pool)
    }

    pub(super) fn run(
        &self,
        kernels: &Kernels,
        rows: Range<usize>,
        y: &mut [u8],
        scratch: &mut [u8],
    ) -> Option<()> {
        let cpu = kernels.cpu;
        match self {
            Self::Quantize(args) => kernels.quantize_f32.run_bytes(cpu, args, rows, y, scratch),
            Self::Dequantize(args) => kernels.dequantize_s8.run_bytes(cpu, args, rows, y, scratch),
            Self::Pair(args) => kernels.pair_s8.run_bytes(cpu, args, rows, y, scratch),
            Self::Table(args) => kernels.table_s8.run_bytes(cpu, args, rows, y, scratch),
            Self::Pool(args) => kernels.pool_s8.run_bytes(cpu, args, rows, y, scratch),
        }
    }

    /// Values in an output row.
    pub(super) fn output_row(&self) -> usize {
        match self {
            Self::Quantize(args) => args.output_row(),
            Self::Dequantize(args) => args.output_row(),
            Self::Pair(args) => args.output_row(),
            Self::Table(args) => args.output_row(),
            Self::Pool(args) => args.output_row(),
        }
    }
}
