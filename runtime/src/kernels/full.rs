//! [`Full`]: the kernels of the steps that plain networks do not have, compiled in by the feature `full`.

use super::contract::{Kernel, select};
use super::matmul_f32::MatMulF32;
use super::normalise_f32::NormaliseF32;
use super::reduce_f32::ReduceF32;
use super::resample_f32::ResampleF32;
use super::resample_s8::ResampleS8;
use super::top_k_f32::TopKF32;
use crate::cpu::Cpu;
use crate::step::{Element, Op, Step};

/// One kernel of each contract that [`Op::is_plain`] leaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Full {
    pub(crate) resample_f32: &'static Kernel<ResampleF32>,
    pub(crate) resample_s8: &'static Kernel<ResampleS8>,
    pub(crate) reduce_f32: &'static Kernel<ReduceF32>,
    pub(crate) normalise_f32: &'static Kernel<NormaliseF32>,
    pub(crate) matmul_f32: &'static Kernel<MatMulF32>,
    pub(crate) top_k_f32: &'static Kernel<TopKF32>,
}

impl Full {
    pub(super) const fn new(cpu: Cpu) -> Self {
        Self {
            resample_f32: select(cpu),
            resample_s8: select(cpu),
            reduce_f32: select(cpu),
            normalise_f32: select(cpu),
            matmul_f32: select(cpu),
            top_k_f32: select(cpu),
        }
    }

    /// Name of the kernel that executes `step`, if it is none of a plain network.
    pub(super) fn name(&self, step: &Step) -> Option<&'static str> {
        match &step.op {
            Op::Resample(_) => Some(match step.input.element {
                Element::F32 => self.resample_f32.name,
                Element::S8(_) => self.resample_s8.name,
            }),
            Op::Reduce(_) => Some(self.reduce_f32.name),
            Op::Normalise(_) => Some(self.normalise_f32.name),
            Op::MatMul(_) => Some(self.matmul_f32.name),
            Op::TopK(_) => Some(self.top_k_f32.name),
            _ => None,
        }
    }
}
