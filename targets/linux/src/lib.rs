//! What a Linux process adds to the runtime: a thread pool and mapped files.
//!
//! The runtime creates no threads and opens no files; a program on Linux hands it a [`Pool`] and
//! the bytes of a [`MappedFile`]. Unsafe code is confined to `sys`; everything else is safe.
#![deny(unsafe_code)]

mod mapped;
mod pool;
mod sys;

pub use mapped::{MapError, MappedFile};
pub use pool::Pool;
