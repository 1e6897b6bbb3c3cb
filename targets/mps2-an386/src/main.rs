//! One inference on a Cortex-M4F: the whole path from bytes in flash to scores, in a program in
//! which no panic is reachable.
//!
//! The scores must be the very bits that the host's portable kernels gave. The panic handler calls
//! a symbol that nobody defines: if any panic were reachable, this would not link.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod firmware;

#[cfg(not(target_os = "none"))]
fn main() {}
