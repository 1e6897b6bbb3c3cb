//! Kernels: one contract a file (formula, operands, who proves the bounds), its implementations
//! in the file or the folder of the same name.
//!
//! [`Kernels`] holds the kernel of each contract that a session runs: the best that the CPU
//! admits. The file of a network never names one.

mod activation;
mod arch;
mod area;
mod axis;
#[cfg(target_arch = "x86_64")]
mod blocking;
pub mod contract;
pub mod conv_f32;
pub mod conv_s8;
pub mod convert;
pub mod copy;
pub mod depthwise_f32;
pub mod depthwise_s8;
pub mod elementwise_f32;
#[cfg(feature = "full")]
mod full;
pub mod linear_f32;
pub mod matmul_f32;
pub mod normalise_f32;
pub mod pair_s8;
mod pool;
pub mod pool_f32;
pub mod pool_s8;
pub mod reduce_f32;
mod requantize;
pub mod resample_f32;
pub mod resample_s8;
mod rows;
mod runs;
pub mod table_s8;
pub mod top_k_f32;

use crate::cpu::Cpu;
use crate::step::{Element, Layout, LayoutS8, Op, Step};
use contract::{Kernel, first, select};
use conv_f32::ConvF32;
use conv_s8::ConvolutionS8;
use convert::{DequantizeS8, QuantizeF32};
use depthwise_f32::DepthwiseF32;
use depthwise_s8::DepthwiseS8;
use elementwise_f32::ElementwiseF32;
#[cfg(feature = "full")]
use full::Full;
use linear_f32::LinearF32;
use pair_s8::PairS8;
use pool_f32::PoolF32;
use pool_s8::PoolS8;
use table_s8::TableS8;

/// What stands for the kernel of an operation that this build has none for.
const NOT_COMPILED: &str = "not compiled in";

/// One kernel of each contract.
#[derive(Clone, Copy, Debug)]
pub struct Kernels {
    pub(crate) cpu: Cpu,
    pub(crate) conv_f32: &'static Kernel<ConvF32>,
    pub(crate) depthwise_f32: &'static Kernel<DepthwiseF32>,
    conv_s8: &'static Kernel<ConvolutionS8>,
    winograd_s8: Option<&'static Kernel<ConvolutionS8>>,
    pub(crate) depthwise_s8: &'static Kernel<DepthwiseS8>,
    pub(crate) linear_f32: &'static Kernel<LinearF32>,
    pub(crate) pool_f32: &'static Kernel<PoolF32>,
    pub(crate) elementwise_f32: &'static Kernel<ElementwiseF32>,
    pub(crate) quantize_f32: &'static Kernel<QuantizeF32>,
    pub(crate) dequantize_s8: &'static Kernel<DequantizeS8>,
    pub(crate) pool_s8: &'static Kernel<PoolS8>,
    pub(crate) pair_s8: &'static Kernel<PairS8>,
    pub(crate) table_s8: &'static Kernel<TableS8>,
    #[cfg(feature = "full")]
    pub(crate) full: Full,
}

impl Kernels {
    /// The kernels that run everywhere.
    pub const PORTABLE: Self = Self::new(Cpu::PORTABLE);

    /// The best kernels for `cpu`.
    pub const fn new(cpu: Cpu) -> Self {
        Self {
            cpu,
            conv_f32: select(cpu),
            depthwise_f32: select(cpu),
            conv_s8: select(cpu),
            winograd_s8: first(conv_s8::WINOGRAD, cpu),
            depthwise_s8: select(cpu),
            linear_f32: select(cpu),
            pool_f32: select(cpu),
            elementwise_f32: select(cpu),
            quantize_f32: select(cpu),
            dequantize_s8: select(cpu),
            pool_s8: select(cpu),
            pair_s8: select(cpu),
            table_s8: select(cpu),
            #[cfg(feature = "full")]
            full: Full::new(cpu),
        }
    }

    /// The best kernels for this machine ([`Cpu::detect`]).
    pub fn detect() -> Self {
        Self::new(Cpu::detect())
    }

    /// The CPU features that were asked for.
    pub fn cpu(&self) -> Cpu {
        self.cpu
    }

    /// The kernel of a dense s8 convolution, one that [prefers Winograd](conv_s8::prefers_winograd) or not.
    pub(crate) fn conv_s8(&self, prefers_winograd: bool) -> &'static Kernel<ConvolutionS8> {
        self.winograd_s8.filter(|_| prefers_winograd).unwrap_or(self.conv_s8)
    }

    /// Name of the kernel that executes `step`.
    pub fn name(&self, step: &Step) -> &'static str {
        let is_s8 = step.input.element != Element::F32;
        match &step.op {
            Op::Conv(conv) => match conv.layout {
                Layout::F32Nr16 => self.conv_f32.name,
                Layout::F32Dw16 => self.depthwise_f32.name,
            },
            Op::Linear(_) => self.linear_f32.name,
            Op::MaxPool(_) | Op::AveragePool { .. } | Op::GlobalAveragePool if is_s8 => {
                self.pool_s8.name
            }
            Op::MaxPool(_) | Op::AveragePool { .. } | Op::GlobalAveragePool => self.pool_f32.name,
            Op::Binary { .. }
            | Op::ScaleShift { .. }
            | Op::Activate(_)
            | Op::Apply(_)
            | Op::Softmax => self.elementwise_f32.name,
            Op::CopyInto { .. } | Op::Rearrange(_) | Op::Pad { .. } => copy::NAME,
            Op::Resample(_) | Op::Reduce(_) | Op::Normalise(_) | Op::MatMul(_) | Op::TopK(_) => {
                self.beyond_plain(step).unwrap_or(NOT_COMPILED)
            }
            Op::Quantize => self.quantize_f32.name,
            Op::Dequantize => self.dequantize_s8.name,
            Op::PairS8(_) => self.pair_s8.name,
            Op::TableS8(_) => self.table_s8.name,
            Op::ConvS8(conv) => match conv.layout {
                LayoutS8::Nr16Kr4 | LayoutS8::Nr16Kr4Bits4 => {
                    let (input, output) = (step.input.dims, step.output.dims);
                    self.conv_s8(conv_s8::prefers_winograd(conv, input, output)).name
                }
                LayoutS8::Dw16 => self.depthwise_s8.name,
            },
        }
    }
}

impl Kernels {
    /// Whether this build of the crate has a kernel for `op`: without the feature `full`, for
    /// [plain](Op::is_plain) ones only.
    pub fn has(&self, op: &Op) -> bool {
        cfg!(feature = "full") || op.is_plain()
    }

    #[cfg(feature = "full")]
    fn beyond_plain(&self, step: &Step) -> Option<&'static str> {
        self.full.name(step)
    }

    #[cfg(not(feature = "full"))]
    fn beyond_plain(&self, _: &Step) -> Option<&'static str> {
        None
    }
}

/// 16 values from `at`; zeros behind the end of `values`.
///
/// Of a map, the last block of a pixel may hold channels of the next pixel: they end up in lanes
/// that are not stored.
#[inline(always)]
fn load_block<T: Copy + Default>(values: &[T], at: usize) -> [T; conv_f32::NR] {
    let values = values.get(at..).unwrap_or(&[]);
    if let Some(full) = values.first_chunk() {
        return *full;
    }
    let mut part = [T::default(); conv_f32::NR];
    part.iter_mut().zip(values).for_each(|(to, from)| *to = *from);
    part
}
