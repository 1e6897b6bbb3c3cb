//! The steps that plain networks do not have, compiled in by the feature `full`.

use super::{Maps, unless_in_place, values};
use crate::kernels::contract::Operands;
use crate::kernels::{
    Kernels, matmul_f32, normalise_f32, reduce_f32, resample_f32, resample_s8, top_k_f32,
};
use crate::model::Model;
use crate::step::{Element, Op, Step, Taps};
use core::ops::Range;

/// Operands and contract of one step.
#[derive(Clone, Copy, Debug)]
pub(super) enum Args<'a> {
    Resample(resample_f32::Args<'a>),
    ResampleS8(resample_s8::Args<'a>),
    Reduce(reduce_f32::Args<'a>),
    Normalise(normalise_f32::Args<'a>),
    MatMul(matmul_f32::Args<'a>),
    TopK(top_k_f32::Args<'a>),
}

impl<'a> Args<'a> {
    pub(super) fn new(step: &Step, model: &Model<'a>, maps: Maps<'a>) -> Option<Self> {
        let (input, output) = (step.input.dims, step.output.dims);
        let x = || maps.read(step.input.span);
        match &step.op {
            Op::Resample(resample) if step.input.element != Element::F32 => {
                let table = |taps: &Taps| model.weights_i32(taps.table);
                let (tables, x) = (
                    (table(&resample.rows), table(&resample.columns)),
                    maps.read(step.input.span)?,
                );
                resample_s8::Args::new(resample, input, output, x, tables).map(Self::ResampleS8)
            }
            Op::Resample(resample) => {
                let table = |taps: &Taps| model.weights_f32(taps.table);
                let tables = (table(&resample.rows), table(&resample.columns));
                resample_f32::Args::new(resample, input, output, x()?, tables).map(Self::Resample)
            }
            Op::Reduce(function) => {
                reduce_f32::Args::new(*function, input, output, x()?).map(Self::Reduce)
            }
            Op::Normalise(normalise) => {
                let x = unless_in_place(step, maps)?;
                normalise_f32::Args::new(*normalise, output, x).map(Self::Normalise)
            }
            Op::MatMul(matmul) => {
                let other = values(&matmul.other, model, maps)?;
                matmul_f32::Args::new(matmul, input, output, x()?, other).map(Self::MatMul)
            }
            Op::TopK(top) => top_k_f32::Args::new(*top, input, output, x()?).map(Self::TopK),
            _ => None,
        }
    }

    pub(super) fn run(
        &self,
        kernels: &Kernels,
        rows: Range<usize>,
        y: &mut [u8],
        scratch: &mut [u8],
    ) -> Option<()> {
        let (cpu, kernels) = (kernels.cpu, &kernels.full);
        match self {
            Self::Resample(args) => kernels.resample_f32.run_bytes(cpu, args, rows, y, scratch),
            Self::ResampleS8(args) => kernels.resample_s8.run_bytes(cpu, args, rows, y, scratch),
            Self::Reduce(args) => kernels.reduce_f32.run_bytes(cpu, args, rows, y, scratch),
            Self::Normalise(args) => kernels.normalise_f32.run_bytes(cpu, args, rows, y, scratch),
            Self::MatMul(args) => kernels.matmul_f32.run_bytes(cpu, args, rows, y, scratch),
            Self::TopK(args) => kernels.top_k_f32.run_bytes(cpu, args, rows, y, scratch),
        }
    }

    /// Rows that bands are made of, values in one of them, and their quantum.
    pub(super) fn extent(&self) -> (usize, usize, usize) {
        match self {
            Self::Resample(args) => (args.rows(), args.output_row(), resample_f32::ROW_QUANTUM),
            Self::ResampleS8(args) => (args.rows(), args.output_row(), resample_s8::ROW_QUANTUM),
            Self::Reduce(args) => (args.rows(), args.output_row(), reduce_f32::ROW_QUANTUM),
            Self::Normalise(args) => (args.parts(), args.part_len(), 1),
            Self::MatMul(args) => (args.rows(), args.output_row(), matmul_f32::ROW_QUANTUM),
            Self::TopK(args) => (args.rows(), args.output_row(), top_k_f32::ROW_QUANTUM),
        }
    }
}
