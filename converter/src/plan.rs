//! Graph -> [`Plan`]: spans, packed weights, an arena.
//!
//! ```text
//! Graph ─lower→ steps on buffers ─arena→ offsets ─┐
//!                   └─ pack → weights section ────┴→ Plan
//! ```
//!
//! Here ONNX's axis order ends: feature maps become NHWC, of f32 or 8-bit integers as the graph quantizes
//! them, in 64-byte aligned spans of one arena, weights are packed for the kernels. What the steps cannot express is a [`PlanError`] that lists
//! every such node.

pub mod arena;
mod batch;
mod binary;
mod concat;
mod dense;
mod error;
pub mod facts;
mod lower;
mod matmul;
mod order;
mod pack;
mod pad;
mod parts;
mod pointwise;
mod reduce;
mod resample;
mod s8;
mod spans;
mod view;
mod weights;
mod window;

pub use error::{Kind, PlanError, Problem};

use crate::graph::{Graph, ValueId};
use unbraid_runtime::detect::Head;
use unbraid_runtime::dims::Dims;
use unbraid_runtime::model::macs;
use unbraid_runtime::span::Span;
use unbraid_runtime::step::{Operand, Step};

/// What a plan is optimised for. Any target's file runs everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// What `--target` takes.
    pub name: &'static str,
    /// Number in the header of the file.
    pub number: u32,
    /// Bytes of scratch that a convolution may ask for to stage several output rows at once; one
    /// row gets what it needs.
    pub conv_scratch: u32,
    /// Bytes of scratch that an 8-bit convolution may ask for where Winograd is faster.
    pub winograd_scratch: u32,
}

/// Every target; the first is the default.
pub const TARGETS: &[Target] = &[
    Target { name: "any", number: 0, conv_scratch: 256 << 10, winograd_scratch: 640 << 10 },
    // Microcontrollers count every byte of RAM: stage no more than a row demands.
    Target { name: "cortex-m", number: 1, conv_scratch: 0, winograd_scratch: 0 },
];

impl Target {
    /// The target of this name.
    pub fn named(name: &str) -> Option<Self> {
        TARGETS.iter().copied().find(|target| target.name == name)
    }
}

impl Default for Target {
    fn default() -> Self {
        TARGETS[0]
    }
}

/// How to plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// What to optimise for.
    pub target: Target,
    /// Keep the weights in ONNX's order beside the packed ones, to be packed again on the board.
    pub tunable: bool,
    /// How many regions fusion has replaced; recorded in the file.
    pub fused_regions: u32,
    /// Inputs of scale 1 and zero point -128 are bytes that the caller writes as they are, the pixels of
    /// raw pictures: [`Session::write_pixels`](unbraid_runtime::Session::write_pixels). Otherwise f32
    /// values, which the first step rounds.
    pub pixels: bool,
}

/// An input or output of the network.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedPort {
    /// ONNX name.
    pub name: String,
    /// Where it lies in the arena: rank 4 as NHWC, everything else in ONNX's order.
    pub operand: Operand,
    /// Axis lengths in ONNX's order.
    pub shape: Vec<u32>,
}

/// Everything a `.strand` file says.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What it is optimised for.
    pub target: Target,
    /// For each step the name of the graph value that is complete after it; other steps (partial
    /// or reordered copies) have names that no value has.
    pub names: Vec<String>,
    /// The weights section: little-endian, every tensor 64-byte aligned and filled up to whole words, equal
    /// ones once.
    pub weights: Vec<u8>,
    /// Where the tensors of the weights section lie, in order.
    pub tensors: Vec<Span>,
    /// For a tunable file: the weights of the f32 convolutions, OIHW, in order of the steps.
    pub plain: Option<Vec<f32>>,
    /// What the caller writes.
    pub inputs: Vec<PlannedPort>,
    /// What the caller reads.
    pub outputs: Vec<PlannedPort>,
    /// Bytes of the arena that hold feature maps; a multiple of 64.
    pub arena_base: u32,
    /// Bytes of scratch for each worker; a multiple of 64.
    pub scratch_per_worker: u32,
    /// Multiply-accumulates of convolutions and dense layers.
    pub macs: u64,
    /// The steps in execution order.
    pub steps: Vec<Step>,
    /// How many regions fusion had replaced before.
    pub fused_regions: u32,
    /// What the outputs of a detector mean; planning leaves it open.
    pub head: Option<Head>,
    /// Names of the classes, if they are to be kept; planning leaves them open.
    pub labels: Vec<String>,
}

/// Plans the whole graph.
///
/// # Errors
/// Lists every node that the runtime's steps cannot express, and everything that exceeds 32 bits.
pub fn plan(graph: &Graph, options: &Options) -> Result<Plan, PlanError> {
    let lowered = lower::lower(graph, options)?;
    let spans = spans::assign(&lowered).map_err(|kind| {
        let problem = Problem { node: graph.name.clone(), op: "arena", kind };
        PlanError { problems: vec![problem] }
    })?;
    let port = |(&id, &place): (&ValueId, &lower::Place)| PlannedPort {
        name: graph.get(id).name.clone(),
        operand: port_operand(spans.operand(place), graph.shape(id)),
        // Narrowing is checked: every axis divides a number of bytes that fits 32 bits.
        shape: graph.shape(id).iter().map(|&n| n as u32).collect(),
    };
    let inputs = graph.inputs.iter().zip(&lowered.inputs).map(port).collect();
    let outputs = graph.outputs.iter().zip(&lowered.outputs).map(port).collect();
    let drafts = lowered.drafts.iter().enumerate();
    let steps: Vec<Step> = drafts.map(|(index, draft)| spans.step(index, draft)).collect();
    let (weights, tensors) = lowered.weights.into_parts();
    Ok(Plan {
        target: options.target,
        names: lowered.drafts.into_iter().map(|draft| draft.name).collect(),
        weights,
        tensors,
        plain: lowered.plain,
        inputs,
        outputs,
        arena_base: spans.arena_base,
        scratch_per_worker: spans::scratch(&steps),
        macs: steps.iter().filter_map(macs).sum(),
        steps,
        fused_regions: options.fused_regions,
        head: None,
        labels: vec![],
    })
}

/// Values that are no single picture are a vector in ONNX's order, whatever dims steps see them under.
fn port_operand(operand: Operand, shape: &[usize]) -> Operand {
    match shape {
        [1, _, _, _] => operand,
        _ => Operand {
            dims: Dims::vector(operand.span.len / operand.element.size() as u32),
            ..operand
        },
    }
}
