//! Kernels: one contract a file (formula, operands, who proves the bounds), its implementations
//! in the folder of the same name.

mod arch;
pub mod conv_f32;
pub mod depthwise_f32;
