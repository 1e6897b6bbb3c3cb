//! What the x86 kernels of depthwise convolutions have.

mod vnni;

pub(super) use vnni::KERNEL as VNNI;
