//! [`GpuError`]: every way in which a GPU can be absent, too small or gone.

use std::fmt;
use unbraid_runtime::span::Span;

/// Where in the network something did not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Before any step: the adapter itself.
    Adapter,
    /// What belongs to no single step, say all activations together.
    Network,
    /// An output of the network, in ONNX order.
    Output(usize),
    /// A step.
    Step {
        /// Which, from 0.
        index: usize,
        /// Name of its operation.
        op: &'static str,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Adapter => f.write_str("the adapter"),
            Self::Network => f.write_str("the network"),
            Self::Output(index) => write!(f, "output {index}"),
            Self::Step { index, op } => write!(f, "step {index} ({op})"),
        }
    }
}

/// Why a network cannot run on a GPU. The CPU can run it in every case.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GpuError {
    /// No Vulkan adapter, or none of the wanted name.
    #[error("no Vulkan adapter{}; found: {}; install a driver or run on the CPU", named(.name), list(.found))]
    NoAdapter {
        /// The name that was asked for, or a part of it.
        name: Option<String>,
        /// The adapters that there are.
        found: Vec<String>,
    },
    /// The driver refused to open the adapter.
    #[error("adapter {adapter} does not open: {source}; run on the CPU")]
    NoDevice {
        /// Name of the adapter.
        adapter: String,
        /// What the driver said.
        source: wgpu::RequestDeviceError,
    },
    /// The GPU is too small.
    #[error("{place} needs {limit} = {needed}, this GPU has {found}: run on the CPU")]
    Limit {
        /// What does not fit.
        place: Place,
        /// Name of the limit in WebGPU.
        limit: &'static str,
        /// What there must be.
        needed: u64,
        /// What there is.
        found: u64,
    },
    /// No row of [`SHADERS`](crate::SHADERS) computes the operation.
    #[error("{place} has no shader: run on the CPU")]
    NoShader {
        /// The step.
        place: Place,
    },
    /// Bytes are read that no one step, and no input, wrote as a whole.
    #[error(
        "{place} reads bytes {} to {} of the arena, which are not the whole output of an earlier \
         step: run on the CPU",
        .span.offset, u64::from(.span.offset) + u64::from(.span.len)
    )]
    PartialRead {
        /// Who reads.
        place: Place,
        /// What is read.
        span: Span,
    },
    /// Another number of inputs than the network has.
    #[error("{found} inputs given, the network has {needed}")]
    InputCount {
        /// Inputs given.
        found: usize,
        /// Inputs of the network.
        needed: usize,
    },
    /// An input of another length than the network's.
    #[error("input {index} has {found} values, the network needs {needed} (NHWC)")]
    InputLength {
        /// Which input, in ONNX order.
        index: usize,
        /// Values given.
        found: usize,
        /// Values needed.
        needed: usize,
    },
    /// The GPU's memory is full.
    #[error("out of GPU memory: use a smaller network or run on the CPU")]
    OutOfMemory,
    /// The driver reset the device or took it away.
    #[error("the GPU was lost ({0}): make a new Gpu or run on the CPU")]
    Lost(String),
    /// The driver or wgpu refused a call: a defect of this crate or of the driver.
    #[error("the GPU refused a call: {0}; run on the CPU and report this")]
    Refused(String),
}

fn named(name: &Option<String>) -> String {
    name.as_ref().map_or_else(String::new, |name| format!(" named {name:?}"))
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
