//! [`Graph`](crate::graph::Graph) → ONNX file.
