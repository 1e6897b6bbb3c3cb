//! Executes `.strand` networks with WGSL compute shaders: the same steps as the runtime, on a GPU.
//!
//! ```text
//! Gpu::new(&model, None)  adapter, weights, pipelines, bind groups  -> GpuError
//! gpu.run(&input)         one submission a frame, then the outputs  -> GpuError
//! ```
//!
//! [`SHADERS`] is the one list of kernels; each is a file in `wgsl/` that is valid as it stands. They
//! stay within a floor that small drivers have (256 invocations and 16 KiB of memory a workgroup,
//! 8 storage buffers, no optional feature), and the device is requested with just that floor, so
//! that a kernel which needs more fails on every machine.
#![forbid(unsafe_code)]

mod activations;
mod adapter;
mod bind;
mod dispatch;
mod error;
mod gpu;
mod params;
mod pipelines;
mod shader;
mod weights;

pub use adapter::adapter_names;
pub use error::{GpuError, Place};
pub use gpu::Gpu;
pub use shader::{Binding, SHADERS, Shader, Variant};
