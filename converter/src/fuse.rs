//! Affine regions of a graph → one convolution each, with a certificate.
//!
//! Nothing here knows a block of any paper. Every node that is affine in what it reads is a kernel
//! map ([`kernel_map`]); maps compose, add and stack; where reshapes lead from pixels to dense
//! layers, they unfold into maps of whole patches. A region becomes one convolution where that is
//! exact ([`form`]) and costs nothing (the cheapest cut), and only after both have been executed
//! side by side ([`certificate`]).

mod blocks;
mod centre;
pub mod certificate;
mod cover;
mod flow;
pub mod form;
mod function;
mod interpret;
pub mod kernel_map;
mod node_map;
mod patch_map;
mod region_map;
mod regroup;
mod renaming;
mod reshaped;
mod rounded;
mod shuffled;
mod simplify;
mod transposed;
mod wrap;

pub use certificate::{Certificate, Errors};
pub(crate) use cover::BIAS_VECTORS;
pub use function::Recognised;
pub(crate) use simplify::drop_unnamed;

use crate::graph::{Graph, Op, ValueId};
use cover::{Candidate, Declined};
use flow::Flow;
use node_map::Role;
use region_map::region_map;
use rounded::{Rewritten, Rounded};
use serde::{Serialize, Serializer};
use std::collections::HashMap;

/// What to fuse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FuseMode {
    /// Branches stay. BatchNorm, constants and activations still move into the convolution beside
    /// them, as every runtime does on loading a model.
    Off,
    /// What costs neither multiplications nor weights.
    #[default]
    Free,
    /// Whatever is exact, at any cost.
    All,
}

/// How far [`fuse`] has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// Regions done.
    pub done: usize,
    /// Regions in all.
    pub total: usize,
    /// Node that the next region becomes.
    pub name: &'a str,
}

/// A fused graph and the account of it.
#[derive(Clone, Debug)]
pub struct Fused {
    /// The same function with fewer nodes.
    pub graph: Graph,
    /// What became one node, in execution order.
    pub regions: Vec<Region>,
    /// What could have been one node and why it is not.
    pub refused: Vec<Refusal>,
    /// Element-wise nodes that became one function, in execution order.
    pub functions: Vec<Recognised>,
}

/// Work and weights of nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// Multiply-accumulates for one picture.
    pub macs: u64,
    /// Weights, biases not counted.
    pub weights: u64,
}

impl Cost {
    /// Every weight once at each of these positions: pixels of all rows.
    fn of_weights(weights: usize, positions: usize) -> Self {
        let weights = weights as u64;
        Self { macs: weights * positions as u64, weights }
    }

    fn plus(self, other: Self) -> Self {
        Self { macs: self.macs + other.macs, weights: self.weights + other.weights }
    }
}

/// Nodes that became one node.
#[derive(Clone, Debug, Serialize)]
pub struct Region {
    /// The new node: it has the name of the last one it replaces.
    pub name: String,
    /// The nodes it replaces, in execution order.
    pub nodes: Vec<String>,
    /// Value that the region reads.
    pub source: String,
    /// Value that it gives.
    pub output: String,
    /// The nodes together.
    pub before: Cost,
    /// The new node.
    pub after: Cost,
    /// Learned numbers of the nodes: weights, biases, scales and shifts.
    pub params_before: u64,
    /// Weights and biases of the new node.
    pub params_after: u64,
    /// Bytes of f32 feature maps that are no longer written.
    pub activation_bytes_saved: u64,
    /// Bias vectors: 1, or one a class of border pixels where zero padding and a bias met.
    pub bias_vectors: usize,
    /// Proof by execution.
    pub certificate: Certificate,
}

/// Nodes that stay as they are although one map of them could exist.
#[derive(Clone, Debug, Serialize)]
pub struct Refusal {
    /// The nodes, in execution order.
    pub nodes: Vec<String>,
    /// Why.
    #[serde(serialize_with = "as_text")]
    pub reason: Reason,
}

fn as_text<S: Serializer>(reason: &Reason, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(reason)
}

/// Why nodes do not become one convolution.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Reason {
    /// R5 violated: a window that reads several pixels, then padding, then another window.
    #[error(
        "the padding lies between two windows of which the first reads several pixels or pads \
         with its bias: no single kernel is right at the border"
    )]
    PaddingBetween,
    /// Branches that step differently.
    #[error("the branches have different strides")]
    StridesDiffer,
    /// A padding would have to be negative.
    #[error("one convolution would have to cut off rows or columns of the picture")]
    Cropped,
    /// Beyond what is planned.
    #[error("the kernel would have {rows}x{columns} taps")]
    KernelTooLarge {
        /// Rows of taps.
        rows: usize,
        /// Columns of taps.
        columns: usize,
    },
    /// Beyond what is held.
    #[error(
        "as one dense map from patch to patch it would have {found} weights of at most {limit}"
    )]
    TooManyWeights {
        /// Weights of the dense map.
        found: u128,
        /// What is allowed.
        limit: u128,
    },
    /// Exact, but with too many classes of border pixels.
    #[error("the border would need {found} bias vectors, more than {limit} (--fuse=all allows it)")]
    BiasVectors {
        /// What it needs.
        found: usize,
        /// What is allowed.
        limit: usize,
    },
    /// Exact, but not free.
    #[error(
        "one convolution would cost {} MACs and {} weights instead of {} and {} \
         (--fuse=all does it anyway)",
        after.macs, after.weights, before.macs, before.weights
    )]
    CostsMore {
        /// The nodes.
        before: Cost,
        /// One convolution.
        after: Cost,
    },
    /// A value inside is needed by others too.
    #[error("a value between them is read elsewhere too and is computed once")]
    SeveralReaders,
    /// [`FuseMode::Off`].
    #[error("fusion of convolutions is switched off")]
    SwitchedOff,
    /// Overflow in f32, division by zero, NaN weights.
    #[error("a weight or bias of the fused kernel is not a finite f32")]
    NotFinite,
    /// The oracle could not run the region.
    #[error("the region could not be executed for its certificate: {error}")]
    NotExecutable {
        /// What the oracle said.
        error: String,
    },
    /// The certificate failed.
    #[error("before and after differ: {exact:.1e} in f64, {rounded:.1e} as f32 (relative)")]
    Differs {
        /// Largest relative difference of the f64 kernel.
        exact: f64,
        /// Largest relative difference of the f32 kernel.
        rounded: f64,
    },
}

/// Fuses what is exact and, as `mode` says, free. The result computes the same outputs from the
/// same inputs, under the same names; every fused region has been executed before and after.
///
/// Kernels are folded in f64 and rounded once, to f32.
///
/// A graph that is quantized already keeps its nodes, but for activations that follow a value of f32: a
/// value that is rounded must be computed, and rounded where it was.
pub fn fuse(mut graph: Graph, mode: FuseMode, progress: &mut dyn FnMut(Progress<'_>)) -> Fused {
    simplify::drop_unread(&mut graph);
    if graph.is_quantized() {
        simplify::fuse_activations(&mut graph);
        drop_unnamed(&mut graph);
        let (regions, refused, functions) = (Vec::new(), Vec::new(), Vec::new());
        return Fused { graph, regions, refused, functions };
    }
    simplify::drop_identities(&mut graph);
    renaming::merge_equal_nodes(&mut graph);
    simplify::reshape_by_transposing(&mut graph);
    reshaped::sink_reshapes(&mut graph);
    transposed::sink_transposes(&mut graph);
    simplify::drop_round_trips(&mut graph);
    simplify::merge_pads_into_pools(&mut graph);
    wrap::pad_by_wrapping(&mut graph);
    simplify::move_scales_behind_averages(&mut graph);
    shuffled::move_norms_before_shuffles(&mut graph);
    if mode != FuseMode::Off {
        simplify::chain_equal_rows(&mut graph);
        centre::read_centres(&mut graph);
        regroup::regroup_sums(&mut graph);
    }
    let functions = function::recognise(&mut graph);
    let flow = Flow::of(&graph, mode != FuseMode::Off);
    let (candidates, declined) = cover::cheapest(&graph, &flow, mode);
    let mut work = Work::new(graph, flow, declined);
    let total = candidates.len();
    for (done, candidate) in candidates.into_iter().enumerate() {
        let name = &work.graph.nodes[*candidate.nodes.last().expect("not empty")].name;
        progress(Progress { done, total, name });
        work.replace(candidate);
    }
    Fused { functions, ..work.finish() }
}

/// The graph while regions are replaced one by one.
struct Work {
    graph: Graph,
    flow: Flow,
    /// Nodes that are gone (`None`), or what they became and read.
    rewritten: HashMap<usize, Option<(ValueId, Rewritten)>>,
    /// By value: nodes left that read it.
    readers: Vec<usize>,
    regions: Vec<Region>,
    refused: Vec<Refusal>,
}

impl Work {
    fn new(graph: Graph, flow: Flow, declined: Vec<Declined>) -> Self {
        let readers = flow.consumers.iter().map(Vec::len).collect();
        let (regions, refused) = (Vec::new(), Vec::new());
        let mut work = Self { graph, flow, rewritten: HashMap::new(), readers, regions, refused };
        work.refused = declined.into_iter().filter_map(|declined| work.refusal(declined)).collect();
        work
    }

    /// What the model's author is told; `None` where only the way round a padding was declined.
    fn refusal(&self, declined: Declined) -> Option<Refusal> {
        let Declined { nodes, reason } = declined;
        let names = self.names(&nodes);
        let round = names.len() < nodes.len();
        let told = !round || !matches!(reason, Reason::Cropped | Reason::PaddingBetween);
        told.then_some(Refusal { nodes: names, reason })
    }

    /// Names of those nodes that are the model's own.
    fn names(&self, nodes: &[usize]) -> Vec<String> {
        let own = |&&k: &&usize| centre::centre_of(&self.graph, &self.flow.producers, k).is_none();
        nodes.iter().filter(own).map(|&k| self.graph.nodes[k].name.clone()).collect()
    }

    /// Computes, proves and books one region; if the proof fails, its nodes stay.
    fn replace(&mut self, candidate: Candidate) {
        match self.proved(&candidate) {
            Ok((node, certificate)) => {
                let region = self.region(&candidate, &node, certificate);
                self.regions.push(region);
                self.book(&candidate, node);
            }
            Err(reason) => {
                self.refused.push(Refusal { nodes: self.names(&candidate.nodes), reason });
            }
        }
    }

    fn proved(&self, candidate: &Candidate) -> Result<(Rewritten, Certificate), Reason> {
        let map = region_map(&self.graph, &self.flow, candidate)?;
        let map = map.trimmed().grouped(candidate.form.groups);
        let rounded = Rounded::new(&map, candidate.patch)?;
        let certificate = certificate::certify(&self.graph, candidate, &map, &rounded)?;
        let [source, output] = [candidate.source, candidate.output].map(|id| self.graph.shape(id));
        Ok((rounded.node(source, output)?, certificate))
    }

    fn region(&self, candidate: &Candidate, node: &Rewritten, certificate: Certificate) -> Region {
        let graph = &self.graph;
        let (last, between) = candidate.nodes.split_last().expect("not empty");
        let written =
            between.iter().filter(|&&k| !matches!(self.flow.roles[k], Some(Role::View(_))));
        let bytes = |&k: &usize| 4 * graph.shape(graph.nodes[k].output).iter().product::<usize>();
        Region {
            name: graph.nodes[*last].name.clone(),
            nodes: self.names(&candidate.nodes),
            source: graph.get(candidate.source).name.clone(),
            output: graph.get(candidate.output).name.clone(),
            before: candidate.before,
            after: node.cost(),
            params_before: candidate.nodes.iter().map(|&k| self.params(k)).sum(),
            params_after: node.params(),
            activation_bytes_saved: written.map(bytes).sum::<usize>() as u64,
            bias_vectors: node.bias_vectors,
            certificate,
        }
    }

    /// Learned numbers of a node: its constants without the statistics of a BatchNorm.
    fn params(&self, index: usize) -> u64 {
        let node = &self.graph.nodes[index];
        let learned = if matches!(node.op, Op::BatchNorm { .. }) { 3 } else { usize::MAX };
        let constants = node.inputs.iter().take(learned);
        constants
            .filter_map(|&id| self.graph.get(id).constant.as_ref())
            .map(|t| t.len() as u64)
            .sum()
    }

    /// Marks the nodes as replaced and frees the constants that only they read.
    fn book(&mut self, candidate: &Candidate, node: Rewritten) {
        for &index in &candidate.nodes {
            for &input in &self.graph.nodes[index].inputs {
                self.readers[input.index()] -= 1;
                if self.readers[input.index()] == 0 {
                    self.graph.values[input.index()].constant = None;
                }
            }
            self.rewritten.insert(index, None);
        }
        let last = *candidate.nodes.last().expect("not empty");
        self.rewritten.insert(last, Some((candidate.source, node)));
    }

    fn finish(mut self) -> Fused {
        let nodes = std::mem::take(&mut self.graph.nodes);
        for (index, node) in nodes.into_iter().enumerate() {
            match self.rewritten.remove(&index) {
                None => self.graph.nodes.push(node),
                Some(None) => {}
                Some(Some((source, new))) => {
                    new.push(&mut self.graph, &node.name, source, node.output);
                }
            }
        }
        centre::undo_centres(&mut self.graph);
        simplify::drop_round_trips(&mut self.graph);
        simplify::merge_reshapes(&mut self.graph);
        simplify::fuse_activations(&mut self.graph);
        simplify::drop_unread(&mut self.graph);
        drop_unnamed(&mut self.graph);
        Fused {
            graph: self.graph,
            regions: self.regions,
            refused: self.refused,
            functions: Vec::new(),
        }
    }
}
