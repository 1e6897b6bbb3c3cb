//! Weights of layers -> scales and integers.
//!
//! Symmetric, one scale an output channel (or one a layer, for comparison). The scale that reaches to the
//! largest weight is the best only for the largest weight; the search takes the one with the smallest
//! squared error, each weight's error weighed with the mean square of what it is multiplied by: that
//! is the error of the sum, if inputs are independent.

use super::account::Noise;
use super::moments::Moments;
use super::options::{Options, largest_weight};
use crate::graph::{Conv, Graph, Node, Op, Quantization, ValueId};
use crate::tensor::Tensor;

/// Scales that are tried: this many, from the one of the largest weight downwards.
const TRIALS: usize = 80;
/// The smallest scale that is tried, relative to the one of the largest weight, for 8 and for 4 bits.
const SMALLEST: [f64; 2] = [0.6, 0.2];
/// The largest integer that a bias may become.
const LARGEST_BIAS: f64 = (1 << 30) as f64;
/// What the bias of a channel without weights becomes, at least: enough for any step of the result.
const BIAS_STEPS: f64 = (1 << 20) as f64;

/// What the scales of a layer's weights depend on beside the weights.
#[derive(Clone, Debug)]
pub(super) struct Context<'a> {
    /// Of the layer's operand.
    pub(super) moments: &'a Moments,
    /// Distance of neighbouring values of the operand.
    pub(super) input_scale: f32,
}

/// What rounding did to the weights of a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rounded {
    pub(super) noise: Noise,
    /// Channels whose bias is so large that their weights are coarser for it.
    pub(super) huge_biases: usize,
}

/// The rows of a layer's weights: one an output channel.
struct Rows<'a> {
    weights: &'a [f32],
    /// For each weight of a row the input channel it is multiplied by, relative to the row's group.
    taps: usize,
    /// Input channels of a group.
    inputs: usize,
    /// Output channels of a group.
    outputs: usize,
    /// Mean squares of all input channels.
    squares: Vec<f64>,
}

impl<'a> Rows<'a> {
    fn of(graph: &'a Graph, node: &Node, moments: &Moments) -> Option<Self> {
        let id = node.inputs[1];
        let shape = graph.shape(id);
        let groups = if let Op::Conv(conv) = &node.op { conv.groups } else { 1 };
        Some(Self {
            weights: graph.constant_f32(id)?,
            taps: shape.iter().skip(2).product(),
            inputs: *shape.get(1)?,
            outputs: shape.first()? / groups.max(1),
            squares: moments.squares(),
        })
    }

    fn len(&self) -> usize {
        (self.inputs * self.taps).max(1)
    }

    fn row(&self, output: usize) -> &'a [f32] {
        &self.weights[output * self.len()..][..self.len()]
    }

    /// The mean square that each weight of a row is weighed with.
    fn importance(&self, output: usize) -> impl Iterator<Item = f64> {
        let first = output / self.outputs * self.inputs;
        // What is always zero may not be so on other data.
        let floor = self.squares.iter().sum::<f64>() / self.squares.len() as f64 * 1e-3;
        let channels = self.squares.iter().skip(first).take(self.inputs);
        channels.flat_map(move |square| std::iter::repeat_n(square.max(floor), self.taps))
    }

    /// Squared error of a row with a scale, each weight weighed.
    fn error(&self, output: usize, scale: f64, largest: f64) -> f64 {
        let pairs = self.row(output).iter().zip(self.importance(output));
        let error = |(&weight, importance): (&f32, f64)| {
            let weight = f64::from(weight);
            let integer = (weight / scale).round_ties_even().clamp(-largest, largest);
            (weight - integer * scale).powi(2) * importance
        };
        pairs.map(error).sum()
    }

    /// The scale with the smallest error over some rows.
    fn searched(&self, rows: std::ops::Range<usize>, full: f64, bits: u8) -> f64 {
        let smallest = SMALLEST[usize::from(bits == 4)];
        let largest = f64::from(largest_weight(bits));
        let trial = |k: usize| full * (1.0 - (1.0 - smallest) * k as f64 / TRIALS as f64);
        let error = |scale: f64| rows.clone().map(|o| self.error(o, scale, largest)).sum::<f64>();
        let trials = (0..=TRIALS).map(trial).map(|scale| (error(scale), scale));
        trials.min_by(|a, b| a.0.total_cmp(&b.0)).map_or(full, |(_, scale)| scale)
    }
}

/// Rounds the weights of one layer and gives them their quantization.
pub(super) fn quantize_layer(
    graph: &mut Graph,
    index: usize,
    context: &Context<'_>,
    options: &Options,
) -> Option<Rounded> {
    let node = graph.nodes[index].clone();
    let (scales, huge_biases) = scales(graph, &node, context, options)?;
    let id = node.inputs[1];
    let exact = graph.constant_f32(id)?.to_vec();
    let quantization = Quantization { scales, zero_point: 0, bits: options.weight_bits };
    let rounded = nearest(&exact, &quantization);
    let mut noise = Noise::default();
    noise.add(&exact, &rounded);
    let shape = graph.shape(id).to_vec();
    let value = &mut graph.values[id.index()];
    value.constant = Tensor::f32(shape, rounded);
    value.quantization = Some(quantization);
    Some(Rounded { noise, huge_biases })
}

/// The nearest weights that the scales have.
fn nearest(exact: &[f32], quantization: &Quantization) -> Vec<f32> {
    let run = exact.len() / quantization.scales.len();
    let largest = largest_weight(quantization.bits);
    let rounded = |(weight, scale): (&f32, &f32)| {
        (weight / scale).round_ties_even().clamp(-largest, largest) * scale
    };
    let rows = exact.chunks_exact(run.max(1)).zip(&quantization.scales);
    rows.flat_map(|(row, scale)| row.iter().map(move |weight| rounded((weight, scale)))).collect()
}

/// The scale of each output channel, and for how many of them the bias demanded a larger one.
fn scales(
    graph: &Graph,
    node: &Node,
    context: &Context<'_>,
    options: &Options,
) -> Option<(Vec<f32>, usize)> {
    let rows = Rows::of(graph, node, context.moments)?;
    let count = rows.weights.len() / rows.len();
    let biases = largest_biases(graph, node, count);
    let largest = f64::from(options.largest_weight());
    let reach = |o: usize| {
        rows.row(o).iter().fold(0.0_f64, |most, &w| most.max(f64::from(w).abs())) / largest
    };
    let reaches: Vec<f64> = (0..count).map(reach).collect();
    let widest = reaches.iter().fold(0.0_f64, |most, &reach| most.max(reach));
    let common = match (options.per_tensor, options.clip_weights) {
        (true, true) => rows.searched(0..count, widest, options.weight_bits),
        _ => widest,
    };
    let mut huge = 0;
    let scale = |o: usize| {
        let own = match (options.per_tensor, options.clip_weights) {
            (true, _) => common,
            (false, true) => rows.searched(o..o + 1, reaches[o], options.weight_bits),
            (false, false) => reaches[o],
        };
        let bias = biases[o] / f64::from(context.input_scale);
        let needed = bias / LARGEST_BIAS;
        let own = if own > 0.0 { own } else { bias / BIAS_STEPS };
        huge += usize::from(needed > own);
        usable(own.max(needed))
    };
    let scales = (0..count).map(scale).collect();
    Some((scales, huge))
}

/// A scale as f32: normal, where nothing asks for any.
fn usable(scale: f64) -> f32 {
    let scale = scale as f32;
    if scale.is_normal() { scale } else { 1.0 }
}

/// The largest magnitude among the biases of each output channel.
fn largest_biases(graph: &Graph, node: &Node, count: usize) -> Vec<f64> {
    let border = match &node.op {
        Op::Conv(Conv { border: Some(border), .. }) => border.bias.as_f32(),
        _ => None,
    };
    let bias = |id: &ValueId| graph.constant_f32(*id);
    let biases = border.or_else(|| node.inputs.get(2).and_then(bias)).unwrap_or_default();
    let mut largest = vec![0.0_f64; count];
    for vector in biases.chunks_exact(count.max(1)) {
        let pairs = largest.iter_mut().zip(vector);
        pairs.for_each(|(most, &bias)| *most = most.max(f64::from(bias).abs()));
    }
    largest
}
