//! Executes `.strand` networks: no heap, no std, no panics, caller-owned memory.
//!
//! ```text
//! Model::new(bytes)  proves the file      -> FormatError
//! Session::new(..)   proves RAM, kernels  -> SessionError
//! session.run()      cannot fail
//! ```
//!
//! This crate owns the vocabulary (steps, spans, dims, layouts) *and* the file format
//! (`FORMAT.md`); the converter writes with the very types that are read here.
#![no_std]
#![deny(unsafe_code)]

#[cfg(feature = "std")]
extern crate std;

pub mod cpu;
pub mod dims;
pub mod kernels;
pub mod span;
pub mod step;
