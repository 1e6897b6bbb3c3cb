//! [`Case`]: one of ONNX's own operator tests, as `tests/models/operator_tests.py` writes them.

use prost::Message;
use std::io;
use std::path::{Path, PathBuf};
use unbraid_converter::onnx::{
    AttributeProto, Bytes, DataType, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto,
};

/// Name of the input that [`Case::model`] adds, of one element.
pub const PROBE: &str = "probe";

/// A model of one node, what goes in and what must come out.
#[derive(Clone, Debug)]
pub struct Case {
    /// ONNX's name of the test.
    pub name: String,
    model: ModelProto,
    /// Values of the model's inputs, in its order.
    inputs: Vec<TensorProto>,
    /// What the operator's definition demands.
    pub outputs: Vec<TensorProto>,
}

/// Where `tests/setup.sh` puts the cases.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/onnx-operators")
}

/// Every case in the folder, by name.
///
/// # Errors
/// A folder or file is missing or damaged; says how to make them.
pub fn cases(folder: &Path) -> io::Result<Vec<Case>> {
    let named = |path: &Path, error: io::Error| {
        let hint = "sh tests/setup.sh writes them";
        io::Error::new(error.kind(), format!("{}: {error}; {hint}", path.display()))
    };
    let mut folders = Vec::new();
    for entry in folder.read_dir().map_err(|error| named(folder, error))? {
        folders.push(entry?.path());
    }
    folders.retain(|path| path.is_dir());
    folders.sort();
    folders.iter().map(|path| Case::read(path).map_err(|error| named(path, error))).collect()
}

impl Case {
    fn read(folder: &Path) -> io::Result<Self> {
        let model = ModelProto::decode(Bytes::from(std::fs::read(folder.join("model.onnx"))?))?;
        let graph = model.graph.as_ref().ok_or(io::ErrorKind::InvalidData)?;
        let tensors = |kind: &str, count: usize| {
            let file = |k| std::fs::read(folder.join(format!("{kind}_{k}.pb")));
            let tensor = |k| Ok(TensorProto::decode(Bytes::from(file(k)?))?);
            (0..count).map(tensor).collect::<io::Result<Vec<_>>>()
        };
        let inputs = tensors("input", graph.input.len())?;
        let outputs = tensors("output", graph.output.len())?;
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { name, model, inputs, outputs })
    }

    fn graph(&self) -> &GraphProto {
        self.model.graph.as_ref().expect("checked when read")
    }

    fn node(&self) -> &NodeProto {
        &self.graph().node[0]
    }

    /// The operator.
    pub fn op(&self) -> &str {
        &self.node().op_type
    }

    /// The node's float operands but those at `weights`, by name: what a model may compute.
    pub fn computable(&self, weights: &[usize]) -> Vec<String> {
        let operands = self.node().input.iter().enumerate();
        let is_float = |name: &String| {
            self.inputs
                .iter()
                .any(|t| t.name == *name && is_float(t.data_type) && !t.dims.contains(&0))
        };
        let chosen = operands.filter(|(at, name)| !weights.contains(at) && is_float(name));
        let mut names: Vec<String> = chosen.map(|(_, name)| name.clone()).collect();
        names.dedup();
        names
    }

    /// The model with all inputs but the `computed` ones as initialisers of the test's values.
    /// Outputs come from a cast to float and the addition of the input [`PROBE`] where they are
    /// integers, or computed from nothing else, because networks return floats that depend on
    /// their inputs.
    pub fn model(&self, computed: &[String]) -> ModelProto {
        let mut model = self.model.clone();
        let graph = model.graph.as_mut().expect("checked when read");
        for tensor in self.inputs.iter().filter(|t| !computed.contains(&t.name)) {
            graph.initializer.push(tensor.clone());
        }
        graph.input.retain(|info| computed.contains(&info.name));
        let float =
            |name: &str| self.outputs.iter().any(|o| o.name == name && is_float(o.data_type));
        let probed = computed.is_empty() || graph.output.iter().any(|o| !float(&o.name));
        if probed {
            graph.input.push(ValueInfoProto::floats(PROBE, &[1]));
            let outputs: Vec<String> = graph.output.drain(..).map(|o| o.name).collect();
            for name in outputs {
                let (cast, sum) = (format!("{name}_float"), format!("{name}_probed"));
                let to = AttributeProto::int("to", DataType::Float as i64);
                graph.node.push(NodeProto::new("Cast", "", &[&name], &cast).with(to));
                graph.node.push(NodeProto::new("Add", "", &[&cast, PROBE], &sum));
                graph.output.push(ValueInfoProto { name: sum, r#type: None });
            }
        }
        model
    }

    /// Shape and values of an input of the [`Case::model`].
    pub fn input(&self, name: &str) -> Option<(Vec<usize>, Vec<f32>)> {
        if name == PROBE {
            return Some((vec![1], vec![0.0]));
        }
        let tensor = self.inputs.iter().find(|t| t.name == name)?;
        Some((shape(tensor), values(tensor)?.into_iter().map(|v| v as f32).collect()))
    }
}

/// Whether these are floats of any width that networks are given as f32.
fn is_float(kind: i32) -> bool {
    [DataType::Float, DataType::Float16, DataType::Bfloat16, DataType::Double]
        .iter()
        .any(|&k| i32::from(k) == kind)
}

/// Axis lengths.
pub fn shape(tensor: &TensorProto) -> Vec<usize> {
    tensor.dims.iter().map(|&d| d as usize).collect()
}

/// Significant bits of a tensor's values, or of what f32 leaves of them.
pub fn precision(tensor: &TensorProto) -> i32 {
    match DataType::try_from(tensor.data_type) {
        Ok(DataType::Float16) => 11,
        Ok(DataType::Bfloat16) => 8,
        _ => 24,
    }
}

/// The values; `None` if they are no numbers of a whole number of bytes.
pub fn values(tensor: &TensorProto) -> Option<Vec<f64>> {
    use DataType as T;
    let raw = &tensor.raw_data[..];
    Some(match T::try_from(tensor.data_type).ok()? {
        T::Float => each(raw, |b| f32::from_le_bytes(b).into()),
        T::Double => each(raw, f64::from_le_bytes),
        T::Float16 => each(raw, |b| half(u16::from_le_bytes(b))),
        T::Bfloat16 => each(raw, |b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16).into()),
        T::Uint8 | T::Bool => each(raw, |b| u8::from_le_bytes(b).into()),
        T::Int8 => each(raw, |b| i8::from_le_bytes(b).into()),
        T::Uint16 => each(raw, |b| u16::from_le_bytes(b).into()),
        T::Int16 => each(raw, |b| i16::from_le_bytes(b).into()),
        T::Uint32 => each(raw, |b| u32::from_le_bytes(b).into()),
        T::Int32 => each(raw, |b| i32::from_le_bytes(b).into()),
        T::Uint64 => each(raw, |b| u64::from_le_bytes(b) as f64),
        T::Int64 => each(raw, |b| i64::from_le_bytes(b) as f64),
        T::Undefined | T::String | T::Complex64 | T::Complex128 => return None,
    })
}

fn each<const N: usize>(bytes: &[u8], convert: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    bytes.as_chunks::<N>().0.iter().map(|&chunk| convert(chunk)).collect()
}

/// IEEE 754 binary16 from its bits.
fn half(bits: u16) -> f64 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let fraction = f64::from(bits & 0x3ff) / 1024.0;
    sign * match i32::from(bits >> 10 & 0x1f) {
        0 => fraction * 2_f64.powi(-14),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        exponent => (1.0 + fraction) * 2_f64.powi(exponent - 15),
    }
}
