//! Channels scaled so that layers and feature maps lose less when they become integers.
//!
//! A channel that is divided by `s` where it is made and multiplied by `s` where it is read leaves the
//! network as it is, but moves ranges between rows of one layer's weights, the channel, and columns of the
//! next (Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", 2019, section
//! 4.1). Which channels can be scaled is not a matter of known patterns: see `Sets`. The factors balance
//! weights, or feature maps (whose channels share one scale), or both; which of them serves the network is
//! left to a measurement.

use super::activations::Activations;
use super::error::QuantizeError;
use super::homogeneous::{Sets, activation_of};
use super::patches::{replace_operand, weights_of};
use super::samples::Samples;
use crate::graph::{Activation, Graph, Node, Op, ValueId};
use crate::tensor::Tensor;

/// Rounds in which the ranges of weights are balanced.
const SWEEPS: usize = 20;
/// Largest factor, and the inverse of the smallest.
const LARGEST: f64 = 64.0;
/// How near to an upper bound a channel may be scaled.
const HEADROOM: f64 = 0.9;

/// What the factors balance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Balance {
    /// The largest weights of rows and columns that share a channel.
    pub weights: bool,
    /// Power of a channel's largest value that it is divided by, 0 to 1: with 1 all channels of a map
    /// become equal.
    pub maps: f64,
}

/// What is worth a measurement.
pub const BALANCES: [Balance; 5] = [
    Balance { weights: false, maps: 0.4 },
    Balance { weights: false, maps: 0.7 },
    Balance { weights: true, maps: 0.0 },
    Balance { weights: true, maps: 0.25 },
    Balance { weights: true, maps: 0.5 },
];

/// A graph whose channels can be scaled.
#[derive(Clone, Debug)]
pub struct Equaliser<'a> {
    graph: &'a Graph,
    sets: Sets,
    /// By set: largest magnitude on the samples in the values that layers make, relative to the largest of
    /// the value; 0 where nothing was seen.
    extents: Vec<f64>,
    /// By set: what it may be multiplied by before it reaches an upper bound.
    growth: Vec<f64>,
}

impl<'a> Equaliser<'a> {
    /// Finds the channels and runs the graph on the samples.
    ///
    /// # Errors
    /// When the graph cannot be run.
    pub fn new(graph: &'a Graph, samples: &Samples) -> Result<Self, QuantizeError> {
        let sets = Sets::of(graph);
        let is_free = |id: &ValueId| sets.of_value(*id).any(|set| set.is_some());
        let computed = graph.nodes.iter().filter(|node| makes_channels(graph, node));
        let watched: Vec<ValueId> = computed.map(|node| node.output).filter(is_free).collect();
        let largest = largest_by_channel(graph, &watched, samples)?;
        let (extents, growth) = (vec![0.0; sets.len()], vec![f64::INFINITY; sets.len()]);
        let mut equaliser = Self { graph, sets, extents, growth };
        for (&id, largest) in watched.iter().zip(&largest) {
            equaliser.see(id, largest);
        }
        Ok(equaliser)
    }

    /// Whether any channel can be scaled.
    pub fn has_sets(&self) -> bool {
        self.extents.iter().any(|&extent| extent > 0.0)
    }

    /// Takes in the largest magnitudes of a value's channels.
    fn see(&mut self, id: ValueId, largest: &[f32]) {
        let most = f64::from(largest.iter().fold(0.0_f32, |most, &v| most.max(v)));
        let bound =
            self.graph.nodes.iter().find(|node| node.output == id).map_or(f64::INFINITY, |node| {
                match activation_of(&node.op) {
                    Activation::Clamp { hi, .. } => f64::from(*hi),
                    _ => f64::INFINITY,
                }
            });
        let pairs: Vec<_> = self.sets.of_value(id).zip(largest).collect();
        for (set, &largest) in pairs {
            let (Some(set), largest) = (set, f64::from(largest)) else { continue };
            if most > 0.0 {
                self.extents[set] = self.extents[set].max(largest / most);
            }
            let room = if largest > 0.0 { bound * HEADROOM / largest } else { f64::INFINITY };
            // Where the bound is reached the channel stays as it is.
            let room = if largest >= bound { 0.0 } else { room };
            self.growth[set] = self.growth[set].min(room);
        }
    }

    /// The graph with channels scaled. The same function in exact arithmetic, as long as no value that
    /// stayed below an upper bound on the samples goes beyond it.
    pub fn equalised(&self, balance: Balance) -> Graph {
        let mut factors = vec![1.0; self.sets.len()];
        if balance.weights {
            for _ in 0..SWEEPS {
                self.balance_weights(&mut factors);
            }
        }
        if balance.maps > 0.0 {
            self.balance_maps(balance.maps, &mut factors);
        }
        for (factor, &growth) in factors.iter_mut().zip(&self.growth) {
            *factor = if growth == 0.0 { 1.0 } else { factor.clamp(1.0 / LARGEST, LARGEST) };
            // Channels are divided by the factor.
            *factor = factor.max(1.0 / growth.max(1.0));
        }
        self.scaled(&factors)
    }

    /// One round: the largest weight of each channel's rows becomes that of its columns.
    fn balance_weights(&self, factors: &mut [f64]) {
        let (mut rows, mut columns) = (vec![0.0_f64; factors.len()], vec![0.0_f64; factors.len()]);
        for node in &self.graph.nodes {
            let Some(layer) = Scaled::of(self.graph, node, &self.sets) else { continue };
            for (at, &weight) in layer.weights.iter().enumerate() {
                let (from, to) = layer.sets_of(at);
                let weight = f64::from(weight.abs()) * factor(factors, from) / factor(factors, to);
                to.into_iter().for_each(|set| rows[set] = rows[set].max(weight));
                from.into_iter().for_each(|set| columns[set] = columns[set].max(weight));
            }
        }
        for ((factor, row), column) in factors.iter_mut().zip(rows).zip(columns) {
            if row > 0.0 && column > 0.0 {
                *factor = (*factor * (row / column).sqrt()).clamp(1.0 / LARGEST, LARGEST);
            }
        }
    }

    /// Divides each channel by a power of its extent, relative to the mean one.
    fn balance_maps(&self, power: f64, factors: &mut [f64]) {
        let mut extents: Vec<f64> = self.extents.clone();
        for (extent, factor) in extents.iter_mut().zip(factors.iter()) {
            *extent /= factor;
        }
        let seen = extents.iter().filter(|&&extent| extent > 0.0);
        let (count, sum) = seen.fold((0.0, 0.0), |(n, sum), extent| (n + 1.0, sum + extent.ln()));
        let mean = if count > 0.0 { sum / count } else { 0.0 };
        for (factor, extent) in factors.iter_mut().zip(extents) {
            if extent > 0.0 {
                *factor *= (power * (extent.ln() - mean)).exp();
            }
        }
    }

    /// The graph with each channel divided by its factor.
    fn scaled(&self, factors: &[f64]) -> Graph {
        let mut graph = self.graph.clone();
        for (index, node) in self.graph.nodes.iter().enumerate() {
            let Some(layer) = Scaled::of(self.graph, node, &self.sets) else { continue };
            if layer.rows.iter().chain(&layer.columns).all(Option::is_none) {
                continue;
            }
            let weight = |(at, &weight): (usize, &f32)| {
                let (from, to) = layer.sets_of(at);
                (f64::from(weight) * factor(factors, from) / factor(factors, to)) as f32
            };
            let weights = layer.weights.iter().enumerate().map(weight).collect();
            let shape = self.graph.shape(node.inputs[1]).to_vec();
            let weights = Tensor::f32(shape, weights).expect("as many as before");
            replace_operand(&mut graph, index, 1, weights);
            scale_biases(&mut graph, index, &layer.rows, factors);
        }
        graph
    }
}

/// What a set's channels are divided by.
fn factor(factors: &[f64], set: Option<usize>) -> f64 {
    set.map_or(1.0, |set| factors[set])
}

/// Whether a node makes new channels, or a new range of known ones.
fn makes_channels(graph: &Graph, node: &Node) -> bool {
    weights_of(graph, node).is_some() || matches!(node.op, Op::Add { .. } | Op::Activation(_))
}

/// Largest magnitude of each channel of some values.
fn largest_by_channel(
    graph: &Graph,
    watched: &[ValueId],
    samples: &Samples,
) -> Result<Vec<Vec<f32>>, QuantizeError> {
    if watched.is_empty() {
        return Ok(Vec::new());
    }
    // Values of a channel in a row.
    let inner = |id: &ValueId| graph.shape(*id).iter().skip(2).product::<usize>().max(1);
    let channels = |id: &ValueId| graph.shape(*id).get(1).copied().unwrap_or(1).max(1);
    let start = || watched.iter().map(|id| vec![0.0_f32; channels(id)]).collect::<Vec<_>>();
    let add = |all: &mut Vec<Vec<f32>>, values: &[Vec<f32>]| {
        for ((largest, values), id) in all.iter_mut().zip(values).zip(watched) {
            for (at, plane) in values.chunks_exact(inner(id)).enumerate() {
                let own = &mut largest[at % channels(id)];
                *own = plane.iter().fold(*own, |most, v| most.max(v.abs()));
            }
        }
    };
    let merge = |mut a: Vec<Vec<f32>>, b: Vec<Vec<f32>>| {
        let pairs = a.iter_mut().flatten().zip(b.into_iter().flatten());
        pairs.for_each(|(a, b)| *a = a.max(b));
        a
    };
    Activations::new(graph, watched)?.each(samples, start, add, merge)
}

/// A layer whose weights are to be scaled.
struct Scaled<'a> {
    weights: &'a [f32],
    /// Sets of its output channels.
    rows: Vec<Option<usize>>,
    /// Sets of its input channels.
    columns: Vec<Option<usize>>,
    groups: usize,
}

impl<'a> Scaled<'a> {
    fn of(graph: &'a Graph, node: &Node, sets: &Sets) -> Option<Self> {
        let weights = graph.constant_f32(weights_of(graph, node)?)?;
        let groups = if let Op::Conv(conv) = &node.op { conv.groups } else { 1 };
        let rows = sets.of_value(node.output).collect();
        let columns = sets.of_value(node.inputs[0]).collect();
        Some(Self { weights, rows, columns, groups })
    }

    /// The sets of the channels that weight number `at` reads and makes.
    fn sets_of(&self, at: usize) -> (Option<usize>, Option<usize>) {
        let row = self.weights.len() / self.rows.len();
        let inputs = self.columns.len() / self.groups;
        let output = at / row;
        let group = output / (self.rows.len() / self.groups);
        (self.columns[group * inputs + at % row / (row / inputs)], self.rows[output])
    }
}

/// Divides the biases of a layer, one vector or several, as the channels that they are added to.
fn scale_biases(graph: &mut Graph, index: usize, rows: &[Option<usize>], factors: &[f64]) {
    let scaled = |biases: &Tensor| {
        let pairs = biases.as_f32().unwrap_or_default().iter().zip(rows.iter().cycle());
        let values = pairs.map(|(&bias, &set)| (f64::from(bias) / factor(factors, set)) as f32);
        Tensor::f32(biases.shape(), values.collect()).expect("as many as before")
    };
    if let Op::Conv(conv) = &mut graph.nodes[index].op
        && let Some(border) = &mut conv.border
    {
        border.bias = scaled(&border.bias);
    }
    let bias = graph.nodes[index].inputs.get(2).and_then(|id| graph.get(*id).constant.as_ref());
    if let Some(bias) = bias.map(scaled) {
        replace_operand(graph, index, 2, bias);
    }
}
