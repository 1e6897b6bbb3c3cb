//! [`Report`]: the facts of a conversion, for people (`Display`, a page) and programs (JSON).

mod drawing;
mod html;
mod layers;
mod memory;
mod network;
mod pruning;
mod quantization;
mod svg;
mod text;

pub use layers::{LayerFacts, Layers};
pub use memory::StepMemory;
pub use network::{Network, NodeFacts, PortFacts};

use crate::fuse::{Fused, Recognised, Refusal, Region};
use crate::graph::{Graph, Op};
use crate::plan::{Plan, facts};
use crate::prune::Pruning;
use crate::quantize::Account;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// What a graph is made of and what it costs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GraphFacts {
    /// Number of nodes of each operation.
    pub nodes: BTreeMap<&'static str, usize>,
    /// Convolutions among them.
    pub convs: usize,
    /// Weights and biases, BatchNorm's gamma and beta, slopes, constant operands.
    pub params: u64,
    /// Multiply-accumulates of convolutions and dense layers.
    pub macs: u64,
    /// Bytes of feature maps that one inference writes.
    pub activation_bytes: u64,
    /// Bytes of feature maps that are needed at once, at the least.
    pub peak_activation_bytes: u64,
    /// Every node, and what reads what.
    pub network: Network,
}

impl GraphFacts {
    /// The facts of a graph, before or after fusion.
    pub fn new(graph: &Graph) -> Self {
        let mut nodes = BTreeMap::new();
        for node in &graph.nodes {
            *nodes.entry(node.op.name()).or_insert(0) += 1;
        }
        let is_view = |op: &Op| matches!(op, Op::Reshape);
        let written = graph.nodes.iter().filter(|node| !is_view(&node.op));
        let bytes = written.map(|node| facts::value_bytes(graph, node.output));
        Self {
            convs: graph.nodes.iter().filter(|node| matches!(node.op, Op::Conv(_))).count(),
            nodes,
            params: facts::params(graph),
            macs: facts::macs(graph),
            activation_bytes: bytes.sum(),
            peak_activation_bytes: facts::peak_activation_bytes(graph),
            network: Network::new(graph),
        }
    }
}

/// Bytes of memory that an inference needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ArenaBytes {
    /// For feature maps.
    pub activations: u32,
    /// For staged rows, for each worker.
    pub scratch_per_worker: u32,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FileFacts {
    /// Steps of the plan.
    pub steps: usize,
    /// Memory of an inference.
    pub arena_bytes: ArenaBytes,
    /// Bytes of the file.
    pub file_bytes: usize,
}

/// What fusion saves; negative where it costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Saved {
    /// Multiply-accumulates for one picture.
    pub macs: i128,
    /// Learned numbers.
    pub params: i128,
    /// Bytes of f32 feature maps that are no longer written.
    pub activation_bytes: i128,
}

impl Saved {
    /// What one region saves.
    pub fn by(region: &Region) -> Self {
        let difference = |before: u64, after: u64| i128::from(before) - i128::from(after);
        Self {
            macs: difference(region.before.macs, region.after.macs),
            params: difference(region.params_before, region.params_after),
            activation_bytes: region.activation_bytes_saved.into(),
        }
    }

    /// What all regions save together.
    pub fn by_all(regions: &[Region]) -> Self {
        regions.iter().map(Self::by).fold(Self::default(), |sum, one| Self {
            macs: sum.macs + one.macs,
            params: sum.params + one.params,
            activation_bytes: sum.activation_bytes + one.activation_bytes,
        })
    }
}

/// Everything worth knowing about one conversion.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Name of the model.
    pub model: String,
    /// The graph as imported.
    pub before: GraphFacts,
    /// The graph as planned.
    pub after: GraphFacts,
    /// What became one convolution, with its certificate.
    pub regions: Vec<Region>,
    /// What all regions save together.
    pub saved: Saved,
    /// What stayed as it was, and why.
    pub refused: Vec<Refusal>,
    /// Channels that carried nothing and are gone.
    pub pruned: Pruning,
    /// What became integers, and how.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantized: Option<Account>,
    /// Element-wise nodes that became one function.
    pub functions: Vec<Recognised>,
    /// Memory in use, step by step.
    pub memory: Vec<StepMemory>,
    /// The result.
    pub file: FileFacts,
}

impl Report {
    /// Puts together what the stages of a conversion have found.
    pub fn new(before: GraphFacts, fused: &Fused, plan: &Plan, file_bytes: usize) -> Self {
        Self {
            model: fused.graph.name.clone(),
            before,
            after: GraphFacts::new(&fused.graph),
            regions: fused.regions.clone(),
            saved: Saved::by_all(&fused.regions),
            refused: fused.refused.clone(),
            pruned: Pruning::default(),
            quantized: None,
            functions: fused.functions.clone(),
            memory: memory::timeline(plan),
            file: FileFacts {
                steps: plan.steps.len(),
                arena_bytes: ArenaBytes {
                    activations: plan.arena_base,
                    scratch_per_worker: plan.scratch_per_worker,
                },
                file_bytes,
            },
        }
    }

    /// The report of a conversion that has pruned too.
    pub fn with_pruning(self, pruned: Pruning) -> Self {
        Self { pruned, ..self }
    }

    /// The report of a conversion that has quantized too, if it has.
    pub fn with_quantization(self, quantized: Option<Account>) -> Self {
        Self { quantized, ..self }
    }

    /// The report as indented JSON with a line feed at the end.
    pub fn to_json(&self) -> String {
        let json = serde_json::to_string_pretty(self);
        json.expect("maps have string keys, and nothing else can fail") + "\n"
    }
}

/// A figure of the network as it was and as it is.
struct Total {
    name: &'static str,
    /// Counts some of the nodes that the total above it counts.
    part: bool,
    before: u64,
    after: u64,
}

impl Report {
    /// The rows of the table of totals.
    fn totals(&self) -> Vec<Total> {
        let (before, after) = (&self.before, &self.after);
        let total = |part: bool, name: &'static str, of: &dyn Fn(&GraphFacts) -> u64| Total {
            name,
            part,
            before: of(before),
            after: of(after),
        };
        let count = |facts: &GraphFacts| facts.nodes.values().sum::<usize>() as u64;
        let mut totals = vec![total(false, "nodes", &count)];
        let ops: BTreeSet<_> = before.nodes.keys().chain(after.nodes.keys()).copied().collect();
        totals.extend(
            ops.into_iter().map(|op| {
                total(true, op, &|facts| facts.nodes.get(op).copied().unwrap_or(0) as u64)
            }),
        );
        let (written, at_once) =
            ("bytes of feature maps, written", "bytes of feature maps, at once");
        totals.extend([
            total(false, "parameters", &|facts| facts.params),
            total(false, "multiply-accumulates", &|facts| facts.macs),
            total(false, written, &|facts| facts.activation_bytes),
            total(false, at_once, &|facts| facts.peak_activation_bytes),
        ]);
        totals
    }
}

/// Why a region has more than one bias vector, if it has.
fn border_note(region: &Region) -> Option<String> {
    let vectors = region.bias_vectors;
    (vectors > 1)
        .then(|| format!("{vectors} bias vectors: near the border, zero padding meets a bias"))
}
