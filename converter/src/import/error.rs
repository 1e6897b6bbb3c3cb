//! Every reason for which a model is not imported: what was found, what was expected, what to do.

use std::collections::HashMap;
use std::fmt;

/// Why a model was not imported.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {problem}")]
pub struct ImportError {
    /// The model file.
    pub file: String,
    /// What is wrong with it.
    pub problem: Box<Problem>,
}

/// What is wrong with a model or with the options it was imported with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The file system said no.
    #[error("cannot be read: {0}; check the path")]
    Read(std::io::Error),
    /// No bytes.
    #[error("the file is empty; export or copy the model again")]
    Empty,
    /// Something else than a model.
    #[error(
        "not an ONNX model ({0}); expected a protobuf ModelProto that holds a graph, as torch.onnx.export writes it"
    )]
    NotOnnx(&'static str),
    /// A model whose bytes end early or make no sense.
    #[error(
        "cut short or damaged ({0}); compare the file's size with the original's, or export the model again"
    )]
    Damaged(String),
    /// An operator set that nothing here was written for.
    #[error(
        "uses opset {found}; opsets {oldest} to {newest} are supported: export with opset_version=17, say"
    )]
    Opset {
        /// Version in the file.
        found: i64,
        /// First version supported.
        oldest: i64,
        /// Last version supported.
        newest: i64,
    },
    /// Nodes that cannot be taken as they are: all that were found.
    #[error("{0}")]
    Refused(Refused),
    /// An axis without a length.
    #[error(
        "input `{input}`: axis {axis} has no fixed length ({found}); give the shape, for example --input-shape {example}"
    )]
    DynamicDimension {
        /// The input.
        input: String,
        /// The axis, from 0.
        axis: usize,
        /// What the file says there.
        found: String,
        /// A value for `--input-shape`.
        example: String,
    },
    /// Not even the rank is known.
    #[error("input `{input}` has no shape; give it, for example --input-shape {input}=1,3,224,224")]
    NoShape {
        /// The input.
        input: String,
    },
    /// Something else than floats goes in.
    #[error(
        "input `{input}` holds elements of ONNX type {found}; expected floats (1, 10, 11 or 16): move the conversion out of the model"
    )]
    InputType {
        /// The input.
        input: String,
        /// ONNX's number of the type.
        found: i32,
    },
    /// Integers come out.
    #[error(
        "output `{name}` holds quantized integers; keep the value that they are made of with --outputs, or \
         put a DequantizeLinear behind them"
    )]
    IntegerOutput {
        /// The output.
        name: String,
    },
    /// A batch whose pictures the network does not keep apart.
    #[error(
        "input `{input}` holds {batch} pictures in the file; of one alone, output `{output}` has the shape {found:?}, so they are not independent: give --input-shape {example}"
    )]
    Batch {
        /// The input.
        input: String,
        /// Length of axis 0 in the file.
        batch: usize,
        /// The output.
        output: String,
        /// Its shape where the input holds one picture.
        found: Vec<usize>,
        /// A value for `--input-shape`: the batch as one value.
        example: String,
    },
    /// `--input-shape` for something that is no input.
    #[error("--input-shape names `{name}`, which is no input; the inputs are {}", list(known))]
    UnknownInput {
        /// The name given.
        name: String,
        /// The inputs of the file.
        known: Vec<String>,
    },
    /// `--input-shape` with another number of axes than the file's.
    #[error("--input-shape gives input `{input}` the shape {given:?} of {} axes; the file says {file} axes", given.len())]
    InputRank {
        /// The input.
        input: String,
        /// The shape given.
        given: Vec<usize>,
        /// Number of axes in the file.
        file: usize,
    },
    /// `--input-shape` against a length that the file fixes.
    #[error(
        "--input-shape gives axis {axis} of input `{input}` the length {given}; the file fixes it to {file}"
    )]
    InputConflict {
        /// The input.
        input: String,
        /// The axis, from 0.
        axis: usize,
        /// The length given.
        given: usize,
        /// The length in the file.
        file: usize,
    },
    /// A shape with no elements or too many.
    #[error("input `{input}` would have the shape {shape:?}; expected 1 to {most} elements")]
    InputSize {
        /// The input.
        input: String,
        /// The shape.
        shape: Vec<usize>,
        /// Limit.
        most: usize,
    },
    /// `--outputs` with a name that no node makes.
    #[error(
        "--outputs names `{name}`, which no node makes; the outputs of the file are {}",
        list(known)
    )]
    UnknownOutput {
        /// The name given.
        name: String,
        /// The outputs of the file.
        known: Vec<String>,
    },
    /// Nothing to compute.
    #[error("the graph has no outputs; export the model again, or name values with --outputs")]
    NoOutputs,
    /// An output that is the same for every picture.
    #[error("output `{name}` does not depend on any input; leave it out with --outputs")]
    ConstantOutput {
        /// The output.
        name: String,
    },
    /// A value that nothing makes: weights that were not saved, usually.
    #[error(
        "node `{node}` ({op}) reads `{value}`, which is no input, no initialiser and made by no node: weights are missing; export with export_params=True"
    )]
    MissingValue {
        /// The value.
        value: String,
        /// Its reader.
        node: String,
        /// The reader's operator.
        op: String,
    },
    /// Two definitions of one name.
    #[error(
        "value `{0}` is defined twice; ONNX values have one definition: export the model again"
    )]
    DuplicateValue(String),
    /// A value that depends on itself.
    #[error(
        "node `{0}` depends on its own result; an ONNX graph has no cycles: export the model again"
    )]
    Cycle(String),
    /// A bad initialiser.
    #[error("initialiser `{name}`: {problem}")]
    Tensor {
        /// The initialiser.
        name: String,
        /// What is wrong with it.
        problem: TensorProblem,
    },
    /// `--mean` and `--std` that do not fit.
    #[error("--mean/--std: {0}")]
    Normalise(String),
}

/// Why one node cannot be taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// An operand that the operator cannot do without.
    #[error("{0} is missing; the node is incomplete: export the model again")]
    MissingOperand(&'static str),
    /// An operand that must not depend on the input.
    #[error(
        "{role} is computed by operators that are not folded; expected a constant: fix the shapes before exporting, or simplify the model"
    )]
    NotConstant {
        /// What the operand is for.
        role: &'static str,
    },
    /// An operator that nothing here implements, or not for this use.
    #[error(
        "the operator is not supported{}; replace it before exporting, or cut it off with --outputs",
        if *constants_only { " on values that depend on the input, only on constants" } else { "" }
    )]
    Operator {
        /// Whether it is supported on constants.
        constants_only: bool,
    },
    /// Integers for floats or the reverse.
    #[error("{role} `{name}` does not hold {expected}")]
    ElementType {
        /// What the operand is for.
        role: &'static str,
        /// Its name.
        name: String,
        /// What it should hold.
        expected: &'static str,
    },
    /// NaN or infinity among weights.
    #[error(
        "`{name}` holds {value} at index {index}; weights must be finite: check the training run"
    )]
    NonFinite {
        /// The initialiser, or the value computed from it.
        name: String,
        /// Row-major index.
        index: usize,
        /// What is there.
        value: f32,
    },
    /// A bad parameter.
    #[error("attribute `{name}` is {found}; expected {expected}")]
    Attribute {
        /// The attribute.
        name: &'static str,
        /// Its value.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// A bad shape.
    #[error("{role} has the shape {found:?}; expected {expected}")]
    Shape {
        /// Whose shape.
        role: &'static str,
        /// The shape.
        found: Vec<usize>,
        /// What it should be.
        expected: String,
    },
    /// More elements than a model file can name, or a size that overflows.
    #[error("the result would have the shape {shape:?}; expected at most {most} elements")]
    TooLarge {
        /// The shape.
        shape: Vec<usize>,
        /// Limit.
        most: usize,
    },
    /// Something that the operator may do but this importer does not.
    #[error("{found} is not supported; {remedy}")]
    Unsupported {
        /// What the node asks for.
        found: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A graph that would still train.
    #[error("{0} asks for training behaviour; call model.eval() before exporting")]
    Training(&'static str),
    /// A second result that is read.
    #[error(
        "its extra output `{0}` is read; only the first one is supported: call model.eval() before exporting, or leave its readers out with --outputs"
    )]
    ExtraOutput(String),
    /// A bad constant inside the node.
    #[error("its constant: {0}")]
    Constant(TensorProblem),
}

/// Why the values of a tensor cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TensorProblem {
    /// Complex numbers, strings, unknown types.
    #[error("elements of ONNX type {0} are not supported; expected floats or integers")]
    Type(i32),
    /// Negative or overflowing axis lengths.
    #[error("the shape {0:?} is impossible; export the model again")]
    Shape(Vec<i64>),
    /// Another number of values than the shape says.
    #[error(
        "holds {found} {unit}, its shape needs {expected}; the file is damaged: export the model again"
    )]
    Length {
        /// What is there.
        found: usize,
        /// What the shape needs.
        expected: usize,
        /// Values or bytes.
        unit: &'static str,
    },
    /// An integer beyond 64 bits with sign.
    #[error("holds {0}, which does not fit a signed 64-bit integer")]
    Range(u64),
    /// External data of a model that has no folder.
    #[error(
        "its values are in another file, but the model was not read from a folder; import it by path"
    )]
    NoFolder,
    /// A path that leaves the model's folder.
    #[error(
        "its values are in `{0}`, outside the model's folder; put the file beside the model and export again"
    )]
    Outside(String),
    /// A file that is not there.
    #[error("its values are in `{file}`, which cannot be read ({error}); copy it beside the model")]
    External {
        /// The file's name.
        file: String,
        /// What the file system said.
        error: std::io::Error,
    },
    /// Offset or length that are no numbers or do not fit.
    #[error(
        "its values are in `{file}` at {found}, {expected}; copy the file again or export the model again"
    )]
    Extent {
        /// The file's name.
        file: String,
        /// Offset and length.
        found: String,
        /// What they should be.
        expected: String,
    },
}

/// A node that cannot be taken as it is.
#[derive(Debug)]
pub struct RefusedNode {
    /// The node.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// What is wrong with it.
    pub refusal: Refusal,
}

/// Every node that cannot be taken as it is, as far as shapes are known behind it.
#[derive(Debug)]
pub struct Refused {
    /// At least one, in the order of execution.
    pub nodes: Vec<RefusedNode>,
    /// Every operator that is supported.
    pub supported: Vec<&'static str>,
}

impl Refused {
    /// The names of the nodes that have the same operator and the same fault.
    fn alike(&self) -> Vec<(Vec<String>, &str, String)> {
        let mut places: HashMap<(&str, String), usize> = HashMap::new();
        let mut groups: Vec<(Vec<String>, &str, String)> = Vec::new();
        for RefusedNode { node, op, refusal } in &self.nodes {
            let fault = refusal.to_string();
            let place = *places.entry((op, fault.clone())).or_insert(groups.len());
            match groups.get_mut(place) {
                Some((nodes, ..)) => nodes.push(node.clone()),
                None => groups.push((vec![node.clone()], op, fault)),
            }
        }
        groups
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nodes.len() > 1 {
            write!(f, "{} nodes cannot be imported:\n  ", self.nodes.len())?;
        }
        for (at, (nodes, op, fault)) in self.alike().into_iter().enumerate() {
            let separator = if at > 0 { "\n  " } else { "" };
            let noun = if nodes.len() > 1 { "nodes" } else { "node" };
            write!(f, "{separator}{noun} {} ({op}): {fault}", list(&nodes))?;
        }
        if self.nodes.iter().any(|n| matches!(n.refusal, Refusal::Operator { .. })) {
            write!(f, "\nsupported are {}", self.supported.join(", "))?;
        }
        Ok(())
    }
}

fn list(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|n| format!("`{n}`")).collect();
    quoted.join(", ")
}
