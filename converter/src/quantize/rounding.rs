//! Layer by layer: weights rounded by least squares, biases that correct the means.
//!
//! Two walks go through the float and the quantized network side by side, so that each layer is fitted to
//! what the layers before it, already treated, really hand on, and to what the float network makes
//! of it ("asymmetric" reconstruction: Nagel et al., 2020, "Up or Down?", section 3.3).

use super::bias::{self, Means};
use super::error::QuantizeError;
use super::least_squares::{BATCH, DAMPING, Grid, Sums};
use super::options::largest_weight;
use super::patches::{Patches, weights_of};
use super::samples::Samples;
use super::walk::Walk;
use crate::graph::{Graph, Quantization};
use crate::tensor::Tensor;
use rayon::prelude::*;
use serde::Serialize;

/// Places that a layer is fitted to, for each weight of an output, and at least.
const PLACES: (usize, usize) = (3, 4096);
/// Values that both walks may hold: 1 GiB.
const HELD: usize = 1 << 28;

/// What to do to each layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    /// Round weights by least squares.
    pub rounding: bool,
    /// Correct the means.
    pub bias: bool,
}

/// What became of a layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fitted {
    /// Name of the node.
    pub name: String,
    /// By how much the mean square of the output's error fell with the new integers, in decibels of the
    /// error with integers rounded to the nearest; only where weights were rounded.
    pub gain: Option<f64>,
    /// Largest change of a bias; only where means were corrected.
    pub bias_change: Option<f64>,
}

/// Fits the layers of `quantized`, a graph with ranges and scales, to those of `float`, from which it was
/// made: same nodes, same values. Weights stay on the grids that they are on.
///
/// # Errors
/// When a part of a network cannot be planned, or there is not enough memory.
pub fn fit(
    float: &Graph,
    quantized: &mut Graph,
    samples: &Samples,
    fit: Fit,
) -> Result<Vec<Fitted>, QuantizeError> {
    let samples = samples.spread(affordable(float));
    let mut exact = Walk::new(float, &samples);
    let mut found = Walk::new(quantized, &samples);
    let mut fitted = Vec::new();
    for (index, node) in float.nodes.iter().enumerate() {
        let Some(patches) = Patches::of(float, node) else { continue };
        exact.advance(float, index)?;
        found.advance(quantized, index)?;
        let read = (exact.value(node.inputs[0]), found.value(node.inputs[0]));
        let (Some(exact), Some(found)) = read else { continue };
        let layer = Layer { float, index, patches, exact, found };
        fitted.push(layer.fit(quantized, fit));
    }
    Ok(fitted)
}

/// How many samples can be held.
fn affordable(graph: &Graph) -> usize {
    let len = |id| graph.shape(id).iter().product::<usize>();
    let computed = graph.nodes.iter().map(|node| len(node.output) + len(node.inputs[0]));
    (HELD / 2 / computed.max().unwrap_or(1).max(1)).max(1)
}

/// A layer and what it reads in either network, on all samples.
struct Layer<'a> {
    float: &'a Graph,
    index: usize,
    patches: Patches,
    exact: &'a [f32],
    found: &'a [f32],
}

impl Layer<'_> {
    fn fit(&self, quantized: &mut Graph, fit: Fit) -> Fitted {
        let name = self.float.nodes[self.index].name.clone();
        let gain = if fit.rounding { self.round(quantized, fit.bias) } else { None };
        let bias_change = fit.bias.then(|| {
            let means = |input| Means::of(&self.patches, input);
            bias::correct(self.float, quantized, self.index, &means(self.exact), &means(self.found))
        });
        Fitted { name, gain, bias_change: bias_change.flatten() }
    }

    /// Replaces the weights; the gain in decibels. `None` where the layer keeps its weights: they are
    /// float or shared with another layer, or no others are better.
    fn round(&self, quantized: &mut Graph, centred: bool) -> Option<f64> {
        let id = weights_of(quantized, &quantized.nodes[self.index])?;
        let readers = quantized.nodes.iter().filter(|node| node.inputs.contains(&id)).count();
        let quantization = quantized.get(id).quantization.clone().filter(|_| readers == 1)?;
        let weights = self.weights()?;
        let (shape, nearest) = (quantized.shape(id).to_vec(), quantized.constant_f32(id)?);
        let part = weights.len() / self.patches.groups;
        let scales = scales(&quantization, shape[0]);
        let largest = largest_weight(quantization.bits);
        let groups = weights.chunks_exact(part).zip(nearest.chunks_exact(part));
        let groups = groups.zip(scales.chunks_exact(shape[0] / self.patches.groups));
        let (mut rounded, mut before, mut after) = (Vec::with_capacity(weights.len()), 0.0, 0.0);
        for (((weights, nearest), scales), halves) in groups.zip(self.halves(weights)) {
            let group = Group { grid: Grid { weights, scales, largest }, nearest, centred };
            let (errors, kept) = group.round(halves);
            before += errors.0;
            after += errors.1;
            rounded.extend(kept);
        }
        quantized.values[id.index()].constant = Tensor::f32(shape, rounded);
        (after < before).then(|| 10.0 * (before / after.max(f64::MIN_POSITIVE)).log10())
    }

    /// The float weights.
    fn weights(&self) -> Option<&[f32]> {
        self.float.constant_f32(weights_of(self.float, &self.float.nodes[self.index])?)
    }

    /// What is known of each group of the layer, from one half of the samples and from the other.
    fn halves(&self, weights: &[f32]) -> Vec<[Sums; 2]> {
        let places = self.chosen(self.patches.len() / self.patches.groups);
        let (first, second) = places.split_at(places.len() / 2);
        let halves = self.sums(weights, first).into_iter().zip(self.sums(weights, second));
        halves.map(|(first, second)| [first, second]).collect()
    }

    /// What is known of each group of the layer from these places.
    fn sums(&self, weights: &[f32], places: &[usize]) -> Vec<Sums> {
        let (len, groups) = (self.patches.len(), self.patches.groups);
        let read = len / groups;
        let outputs = weights.len() / read / groups;
        let mut sums = vec![Sums::new(read, outputs); groups];
        for places in places.chunks(BATCH) {
            let found = self.patches.read_all(self.found, places);
            let exact = self.patches.read_all(self.exact, places);
            let add = |(group, sums): (usize, &mut Sums)| {
                let weights = &weights[group * outputs * read..][..outputs * read];
                sums.add(weights, (&found, &exact), (group * read, len));
            };
            sums.par_iter_mut().enumerate().for_each(add);
        }
        sums
    }

    /// The places that the layer is fitted to, spread over all samples; one in each of equal parts, not
    /// always at the same distance: rows and columns of pictures must not be in step with them.
    fn chosen(&self, read: usize) -> Vec<usize> {
        let all = self.patches.samples(self.found) * self.patches.places();
        let count = all.min((PLACES.0 * read).max(PLACES.1));
        let jitter = |k: usize| ((k as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33) as usize;
        let part = |k: usize| k * all / count..(k + 1) * all / count;
        (0..count)
            .map(part)
            .enumerate()
            .map(|(k, part)| part.start + jitter(k) % part.len())
            .collect()
    }
}

/// The weights of one group of a layer.
struct Group<'a> {
    grid: Grid<'a>,
    /// On the grid, each the nearest to the float weight.
    nearest: &'a [f32],
    /// Whether biases will be corrected.
    centred: bool,
}

impl Group<'_> {
    /// Weights on the grid, and the errors of the nearest ones and of these.
    ///
    /// How far they may go from the float weights is what serves best on samples that they were not fitted
    /// to: few samples of many weights would else be learned by heart.
    fn round(&self, [mut fitted, mut held]: [Sums; 2]) -> ((f64, f64), Vec<f32>) {
        let mut whole = fitted.clone();
        whole.join(&held);
        if self.centred {
            [&mut fitted, &mut held, &mut whole].into_iter().for_each(Sums::centre);
        }
        let nearest = (whole.error(self.nearest), self.nearest.to_vec());
        let error = |share: f64| Some((held.error(&fitted.solve(self.grid, share)?), share));
        let tried = DAMPING.into_iter().filter_map(error);
        let best = tried.min_by(|a, b| a.0.total_cmp(&b.0));
        let best = best.filter(|(error, _)| *error < held.error(self.nearest));
        let new = best.and_then(|(_, share)| whole.solve(self.grid, share));
        let new = new.map(|new| (whole.error(&new), new));
        let kept = new.filter(|(error, _)| *error < nearest.0).unwrap_or(nearest.clone());
        ((nearest.0, kept.0), kept.1)
    }
}

/// The scale of each output channel.
fn scales(quantization: &Quantization, outputs: usize) -> Vec<f32> {
    quantization.scales.iter().copied().cycle().take(outputs).collect()
}
