//! Memory access of SIMD kernels: views whose constructors prove the extent, one file an
//! architecture. The arithmetic stays with the kernels, in safe code.

#[cfg(target_arch = "x86_64")]
pub(crate) mod x86_64;
