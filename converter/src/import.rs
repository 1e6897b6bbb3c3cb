//! ONNX file → [`Graph`](crate::graph::Graph).
