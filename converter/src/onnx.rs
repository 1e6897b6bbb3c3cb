//! The ONNX messages that are read and written, by hand for prost: no protoc, no build script.
