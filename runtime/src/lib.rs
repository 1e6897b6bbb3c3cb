//! Executes `.strand` networks: no heap, no std, no panics, caller-owned memory.
//!
//! ```text
//! Model::new(bytes)  proves the file      -> FormatError
//! Session::new(..)   proves RAM, kernels  -> SessionError
//! session.run()      cannot fail
//! ```
//!
//! Feature `full` (on by default) has the kernels of all operations; without it a session runs
//! [plain](step::Op::is_plain) ones only, and firmware is half as large.
//!
//! This crate owns the vocabulary (steps, spans, dims, layouts) *and* the file format
//! (`FORMAT.md`); the converter writes with the very types that are read here.
#![no_std]
#![deny(unsafe_code)]

#[cfg(feature = "std")]
extern crate std;

#[cfg(target_endian = "big")]
compile_error!("weights are used where they lie: only little-endian machines are supported");

mod arena;
pub mod cpu;
pub mod detect;
pub mod dims;
mod error;
pub mod kernels;
pub mod model;
mod observer;
pub mod quant;
mod session;
pub mod span;
pub mod step;
mod workers;

#[cfg(target_has_atomic = "8")]
pub use arena::Arena;
pub use arena::MAX_WORKERS;
pub use cpu::Cpu;
pub use error::{
    FormatError, PortFault, Region, Role, SectionFault, SessionError, SparseFault, StepFault,
};
pub use kernels::Kernels;
pub use model::header::{arena_len, expanded_len};
pub use model::{Aligned, Model, Port};
pub use observer::{Observer, Values};
pub use session::{PortKey, Session};
pub use workers::{Serial, Workers};
