//! What the tests share: random numbers, model generators, the data set, guard bytes.
#![forbid(unsafe_code)]

pub mod affine;
pub mod agreement;
pub mod calibration;
pub mod conv_cases;
pub mod conv_s8_cases;
pub mod dead;
pub mod every_op;
pub mod execute;
pub mod fashion;
pub mod formula;
pub mod gpu;
pub mod graphs;
pub mod kernels;
pub mod mobileone;
pub mod network;
pub mod onnx_file;
pub mod operator_case;
pub mod probe;
pub mod quantized;
pub mod repmlpnet;
pub mod repvgg;
pub mod resnet;
pub mod rng;
pub mod steps;
pub mod strand_builder;
