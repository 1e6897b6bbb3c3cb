//! ONNX file → [`Graph`]: names, operator versions, layouts of operands and unknown shapes end here.
//!
//! A model file is untrusted: sizes are checked before anything is allocated, nothing is indexed
//! without a check, nothing recurses, and weights are read from nowhere but the model's folder.
//!
//! Steps: decode the protobuf; find the nodes that the kept outputs need (`order`); then import node
//! by node (`nodes`), and list all that cannot be taken at once. An operand is either a value of the
//! graph, a constant, or a rearrangement of both (`view`); nodes whose operands are all constant are
//! computed (`fold`), the others go through `OPERATORS` or, with several results, through `SEVERAL`.
//! Adding an operator is one function and one line there.
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "untrusted bytes"
)]

mod activation;
mod arithmetic;
mod build;
mod call;
mod conv;
mod conv_transpose;
mod dense;
mod error;
mod expand;
mod external;
mod fold;
mod function;
mod inputs;
mod logic;
mod nodes;
mod normalise;
mod order;
mod pad;
mod pick;
mod pool;
mod product;
mod quantized;
mod reduce;
mod resize;
mod session;
mod shape;
mod split;
mod view;
mod weights;
mod window;

pub use error::{ImportError, Problem, Refusal, Refused, RefusedNode, TensorProblem};
pub use nodes::operators;

use crate::graph::{Function, Graph, Reduction};
use crate::onnx::{Bytes, ModelProto};
use build::Builder;
use call::{Call, Operand};
use prost::Message;
use std::path::Path;

/// What the caller says about a model beyond the file.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Shapes of inputs (`--input-shape`); they complete the file's and must not contradict it,
    /// except for the batch size.
    pub input_shapes: Vec<(String, Vec<usize>)>,
    /// Values to keep as outputs (`--outputs`); what only others need is dropped.
    pub outputs: Option<Vec<String>>,
    /// Mean and standard deviation per channel (`--mean`, `--std`): the first picture input takes raw
    /// values, and `x * (1 / std) - mean / std` follows it.
    pub normalise: Option<(Vec<f32>, Vec<f32>)>,
}

/// Oldest version of the standard operators that is understood.
pub const OLDEST_OPSET: i64 = 7;
/// Newest version of the standard operators that is understood.
pub const NEWEST_OPSET: i64 = 28;

/// Imports one node whose operands are resolved.
type ImportFn = fn(&Call<'_>, &mut Builder) -> Result<Operand, Refusal>;

/// Imports one node of several results: the first of them, as many as are supported.
type SeveralFn = fn(&Call<'_>, &mut Builder) -> Result<Vec<Operand>, Refusal>;

/// Every operator with several results that a model may run.
const SEVERAL: &[(&str, SeveralFn)] =
    &[("LayerNormalization", normalise::layer), ("Split", split::split), ("TopK", pick::top_k)];

/// Every operator with one result that a model may run.
const OPERATORS: &[(&str, ImportFn)] = &[
    ("Abs", |call, builder| function::of(call, builder, Function::Abs)),
    ("Add", arithmetic::add),
    ("And", logic::and),
    ("ArgMax", pick::arg_max),
    ("ArgMin", pick::arg_min),
    ("AveragePool", pool::average_pool),
    ("BatchNormalization", conv::batch_norm),
    ("Cast", activation::cast),
    ("Ceil", |call, builder| function::of(call, builder, Function::Ceil)),
    ("Celu", function::celu),
    ("Clip", activation::clip),
    ("Concat", shape::concat),
    ("Conv", conv::conv),
    ("ConvTranspose", conv_transpose::conv_transpose),
    ("DepthToSpace", shape::depth_to_space),
    ("DequantizeLinear", quantized::dequantize),
    ("Div", arithmetic::div),
    ("Dropout", activation::dropout),
    ("Elu", function::elu),
    ("Equal", logic::equal),
    ("Erf", |call, builder| function::of(call, builder, Function::Erf)),
    ("Exp", |call, builder| function::of(call, builder, Function::Exp)),
    ("Expand", expand::expand),
    ("Flatten", shape::flatten),
    ("Floor", |call, builder| function::of(call, builder, Function::Floor)),
    ("Gather", pick::gather),
    ("Gelu", function::gelu),
    ("Gemm", dense::gemm),
    ("GlobalAveragePool", pool::global_average_pool),
    ("GlobalMaxPool", reduce::global_max),
    ("Greater", logic::greater),
    ("GreaterOrEqual", logic::greater_or_equal),
    ("GroupNormalization", normalise::group),
    ("HardSigmoid", function::hard_sigmoid),
    ("HardSwish", |call, builder| function::of(call, builder, Function::HardSwish)),
    ("Identity", activation::identity),
    ("InstanceNormalization", normalise::instance),
    ("LeakyRelu", activation::leaky_relu),
    ("Less", logic::less),
    ("LessOrEqual", logic::less_or_equal),
    ("Log", |call, builder| function::of(call, builder, Function::Log)),
    ("LogSoftmax", activation::log_softmax),
    ("MatMul", product::matmul),
    ("Max", arithmetic::max),
    ("MaxPool", pool::max_pool),
    ("Mean", arithmetic::mean),
    ("Min", arithmetic::min),
    ("Mish", |call, builder| function::of(call, builder, Function::Mish)),
    ("Mul", arithmetic::mul),
    ("Neg", |call, builder| function::of(call, builder, Function::Neg)),
    ("Not", logic::not),
    ("Or", logic::or),
    ("PRelu", activation::prelu),
    ("Pad", pad::pad),
    ("Pow", arithmetic::pow),
    ("QLinearConv", quantized::qlinear_conv),
    ("QLinearMatMul", quantized::qlinear_matmul),
    ("QuantizeLinear", quantized::quantize),
    ("RMSNormalization", normalise::rms),
    ("Reciprocal", |call, builder| function::of(call, builder, Function::Reciprocal)),
    ("ReduceL1", reduce::l1),
    ("ReduceL2", reduce::l2),
    ("ReduceLogSum", reduce::log_sum),
    ("ReduceLogSumExp", reduce::log_sum_exp),
    ("ReduceMax", |call, builder| reduce::of(call, builder, Reduction::Max)),
    ("ReduceMean", reduce::mean),
    ("ReduceMin", |call, builder| reduce::of(call, builder, Reduction::Min)),
    ("ReduceProd", |call, builder| reduce::of(call, builder, Reduction::Product)),
    ("ReduceSum", |call, builder| reduce::of(call, builder, Reduction::Sum)),
    ("ReduceSumSquare", reduce::sum_square),
    ("Relu", activation::relu),
    ("Reshape", shape::reshape),
    ("Resize", resize::resize),
    ("Round", |call, builder| function::of(call, builder, Function::Round)),
    ("ScatterND", view::scatter_nd),
    ("Selu", function::selu),
    ("Sigmoid", |call, builder| function::of(call, builder, Function::Sigmoid)),
    ("Sign", |call, builder| function::of(call, builder, Function::Sign)),
    ("Slice", view::slice),
    ("Softmax", activation::softmax),
    ("Softplus", |call, builder| function::of(call, builder, Function::Softplus)),
    ("Softsign", function::softsign),
    ("SpaceToDepth", shape::space_to_depth),
    ("Sqrt", |call, builder| function::of(call, builder, Function::Sqrt)),
    ("Squeeze", shape::squeeze),
    ("Sub", arithmetic::sub),
    ("Sum", arithmetic::sum),
    ("Swish", function::swish),
    ("Tanh", |call, builder| function::of(call, builder, Function::Tanh)),
    ("ThresholdedRelu", function::thresholded_relu),
    ("Tile", expand::tile),
    ("Transpose", view::transpose),
    ("Unsqueeze", shape::unsqueeze),
    ("Upsample", resize::resize),
    ("Where", logic::select),
];

/// Imports a model file; external weights are read from its folder.
///
/// # Errors
/// Everything in [`Problem`]; the file is named.
pub fn load(path: &Path, options: &Options) -> Result<Graph, ImportError> {
    let file = path.display().to_string();
    let folder = path.parent().map(|f| if f.as_os_str().is_empty() { Path::new(".") } else { f });
    let stem = path.file_stem().map_or_else(String::new, |s| s.to_string_lossy().into_owned());
    let bytes = std::fs::read(path).map_err(Problem::Read);
    let graph = bytes.and_then(|bytes| import(bytes, folder, &stem, options));
    graph.map_err(|problem| ImportError { file, problem: Box::new(problem) })
}

/// Imports a model from memory; there is no folder for external weights then.
///
/// # Errors
/// Everything in [`Problem`].
pub fn from_bytes(bytes: Vec<u8>, options: &Options) -> Result<Graph, ImportError> {
    let named =
        |problem| ImportError { file: "model in memory".to_owned(), problem: Box::new(problem) };
    import(bytes, None, "model", options).map_err(named)
}

fn import(
    bytes: Vec<u8>,
    folder: Option<&Path>,
    stem: &str,
    options: &Options,
) -> Result<Graph, Problem> {
    let model = decode(bytes)?;
    let opset = opset(&model)?;
    let graph = model.graph.as_ref().ok_or(Problem::NotOnnx("it holds no graph"))?;
    let name = if graph.name.is_empty() { stem } else { &graph.name };
    session::Session { file: graph, opset, folder, options }.run(name)
}

fn decode(bytes: Vec<u8>) -> Result<ModelProto, Problem> {
    // ModelProto's first field, ir_version, is written first by every exporter: tag 1, varint.
    const IR_VERSION: u8 = 0x08;
    match bytes.first() {
        None => return Err(Problem::Empty),
        Some(&IR_VERSION) => {}
        Some(_) => return Err(Problem::NotOnnx("it does not begin with ir_version")),
    }
    let model = ModelProto::decode(Bytes::from(bytes));
    let model = model.map_err(|error| Problem::Damaged(error.to_string()))?;
    match (&model.graph, model.opset_import.is_empty()) {
        (None, _) => Err(Problem::Damaged("it holds no graph".to_owned())),
        (_, true) => Err(Problem::Damaged("it names no operator set".to_owned())),
        (Some(_), false) => Ok(model),
    }
}

/// Whether a domain is that of the standard operators.
fn is_standard(domain: &str) -> bool {
    domain.is_empty() || domain == "ai.onnx"
}

fn opset(model: &ModelProto) -> Result<i64, Problem> {
    let standard = model.opset_import.iter().find(|o| is_standard(&o.domain));
    let found = standard.map_or(0, |o| o.version);
    if (OLDEST_OPSET..=NEWEST_OPSET).contains(&found) {
        return Ok(found);
    }
    Err(Problem::Opset { found, oldest: OLDEST_OPSET, newest: NEWEST_OPSET })
}
