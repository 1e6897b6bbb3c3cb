//! Biases that give every channel of a quantized layer the mean that it has in the float network.
//!
//! Rounding and clipping, of weights and of what layers before hand on, shift means; through a ReLU the
//! shift grows. The mean error over the calibration data, for each channel and each border class, goes into the
//! bias (Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", 2019, section
//! 4.2, with data in place of batch statistics).

use super::patches::{Patches, replace_operand, weights_of};
use crate::graph::{Graph, Op};
use crate::tensor::Tensor;
use rayon::prelude::*;

/// Sums of what a layer reads, for each border class.
#[derive(Clone, Debug)]
pub(super) struct Means {
    /// Places of each class, on all samples.
    places: Vec<usize>,
    /// `[class][patch]`.
    sums: Vec<f64>,
}

impl Means {
    /// Of a layer on all samples of its input, one behind the other.
    pub(super) fn of(patches: &Patches, input: &[f32]) -> Self {
        let (len, classes) = (patches.len(), patches.classes());
        let one = input.len() / patches.samples(input);
        let none = || Self { places: vec![0; classes], sums: vec![0.0; classes * len] };
        let of_sample = |x: &[f32]| {
            let (mut means, mut patch) = (none(), vec![0.0; len]);
            for place in 0..patches.places() {
                let class = patches.class(place);
                patches.read(x, place, &mut patch);
                let sums = &mut means.sums[class * len..][..len];
                sums.iter_mut().zip(&patch).for_each(|(sum, &x)| *sum += f64::from(x));
                means.places[class] += 1;
            }
            means
        };
        // In order, so that sums do not depend on the number of threads.
        let parts: Vec<Self> = input.par_chunks_exact(one).map(of_sample).collect();
        parts.into_iter().fold(none(), Self::and)
    }

    fn and(mut self, other: Self) -> Self {
        self.places.iter_mut().zip(&other.places).for_each(|(a, b)| *a += b);
        self.sums.iter_mut().zip(&other.sums).for_each(|(a, b)| *a += b);
        self
    }

    /// Mean of the linear part of each output, `[class][output]`.
    fn outputs(&self, weights: &[f32], outputs: usize, groups: usize) -> Vec<f64> {
        let read = weights.len() / outputs;
        let of = |sums: &[f64], places: usize, o: usize| {
            let sums = &sums[o / (outputs / groups) * read..];
            let dot: f64 =
                weights[o * read..][..read].iter().zip(sums).map(|(&w, x)| f64::from(w) * x).sum();
            dot / places.max(1) as f64
        };
        let classes = self.sums.chunks_exact(read * groups).zip(&self.places);
        classes.flat_map(|(sums, &places)| (0..outputs).map(move |o| of(sums, places, o))).collect()
    }
}

/// Changes the biases of node `index` so that it has the means of the float network's.
/// `exact` and `found`: what it reads in the float and in the quantized network. Returns the largest change.
pub(super) fn correct(
    float: &Graph,
    quantized: &mut Graph,
    index: usize,
    exact: &Means,
    found: &Means,
) -> Option<f64> {
    let patches = Patches::of(float, &float.nodes[index])?;
    let weights = |graph: &Graph| {
        graph.constant_f32(weights_of(graph, &graph.nodes[index])?).map(<[f32]>::to_vec)
    };
    let outputs = float.shape(weights_of(float, &float.nodes[index])?)[0];
    let wanted = exact.outputs(&weights(float)?, outputs, patches.groups);
    let given = found.outputs(&weights(quantized)?, outputs, patches.groups);
    // Both biases are the float one: only the linear parts differ.
    let change: Vec<f64> =
        wanted.iter().zip(&given).map(|(wanted, given)| wanted - given).collect();
    set_biases(float, quantized, index, &change);
    Some(change.iter().fold(0.0, |worst, change| change.abs().max(worst)))
}

/// The biases of the float node and these, `[class][output]`.
fn set_biases(float: &Graph, quantized: &mut Graph, index: usize, change: &[f64]) {
    let sum = |old: &[f32]| {
        let old = old.iter().copied().chain(std::iter::repeat(0.0));
        change.iter().zip(old).map(|(change, old)| (f64::from(old) + change) as f32).collect()
    };
    let node = &float.nodes[index];
    if let (Op::Conv(exact), Op::Conv(conv)) = (&node.op, &mut quantized.nodes[index].op)
        && let (Some(exact), Some(border)) = (&exact.border, &mut conv.border)
    {
        let biases = sum(exact.bias.as_f32().unwrap_or_default());
        border.bias = Tensor::f32(exact.bias.shape(), biases).expect("as many as before");
        return;
    }
    let old = node.inputs.get(2).and_then(|&id| float.constant_f32(id));
    let bias = Tensor::vector(sum(old.unwrap_or_default()));
    replace_operand(quantized, index, 2, bias);
}
