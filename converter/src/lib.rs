//! ```text
//! model.onnx ─import→ Graph ─fuse→ Graph ─plan→ Plan ─write→ model.strand
//!                       └── reference.rs (f64) interprets any Graph: the oracle
//!                                └─ export: the fused graph as ONNX, for other runtimes
//! ```
//!
//! One [`graph::Graph`] throughout; each stage removes one kind of question for good: import
//! removes names and unknown shapes, fuse removes branches, plan removes tensors and layouts.
#![forbid(unsafe_code)]

pub mod annotate;
pub mod data;
pub mod detector;
pub mod export;
pub mod fuse;
pub mod graph;
pub mod import;
pub mod npy;
pub mod onnx;
pub mod picture;
pub mod plan;
pub mod prune;
pub mod quantize;
pub mod rearrange;
pub mod reference;
pub mod report;
pub mod resize;
pub mod tensor;
pub mod write;
