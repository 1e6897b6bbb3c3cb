//! What the x86 kernels of depthwise convolutions have.

mod avx2;
mod vnni;

pub(super) use avx2::KERNEL as AVX2;
pub(super) use vnni::KERNEL as VNNI;
