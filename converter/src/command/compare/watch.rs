//! [`Observer`]s of a comparison: each sees a step's result while it is still there.

use super::layer::{Layer, Sums};
use super::oracle::Truth;
use crate::command::tensors;
use unbraid_runtime::step::Step;
use unbraid_runtime::{Observer, Values};

/// What the result of a step stands for, channel by channel.
fn values_of(step: &Step, output: Values<'_>) -> Vec<f32> {
    let output: Vec<f32> = output.reals(step.output.element).collect();
    tensors::row_major(&output, step.output.dims)
}

/// Keeps every result.
#[derive(Default)]
pub(super) struct Keep {
    pub(super) results: Vec<Vec<f32>>,
}

impl Observer for Keep {
    fn begin(&mut self, _: usize, _: &Step) {}

    fn end(&mut self, _: usize, step: &Step, _: &'static str, output: Values<'_>) {
        self.results.push(values_of(step, output));
    }
}

/// For each step one factor a channel, where a file has other scales than its model.
pub(super) type Factors = Vec<Option<Vec<f64>>>;

/// Holds every result against the model's value of that name.
pub(super) struct Measure<'a, 't> {
    pub(super) names: &'a [&'a str],
    pub(super) truth: &'a Truth<'t>,
    pub(super) factors: &'a Factors,
    /// What the portable kernels computed.
    pub(super) portable: &'a [Vec<f32>],
    pub(super) layers: &'a mut [Option<Layer>],
}

impl Observer for Measure<'_, '_> {
    fn begin(&mut self, _: usize, _: &Step) {}

    fn end(&mut self, index: usize, step: &Step, kernel: &'static str, output: Values<'_>) {
        let Some(truth) = self.names.get(index).and_then(|name| self.truth.find(name)) else {
            return;
        };
        let found = values_of(step, output);
        if truth.len() != found.len() {
            return;
        }
        let new = || Layer::new(step.op.name(), kernel, step.output.element);
        let layer = self.layers[index].get_or_insert_with(new);
        match &self.factors[index] {
            None => layer.add(truth, &found),
            Some(factors) => layer.add(&scaled(truth, factors), &found),
        }
        let portable = self.portable[index].iter().zip(&found);
        layer.unlike_portable +=
            portable.filter(|(a, b)| a.to_bits() != b.to_bits()).count() as u64;
    }
}

fn scaled(truth: &[f64], factors: &[f64]) -> Vec<f64> {
    let planes = truth.chunks(truth.len() / factors.len()).zip(factors);
    planes.flat_map(|(plane, factor)| plane.iter().map(move |y| y * factor)).collect()
}

/// Learns by which factor each channel of each layer differs from the model's.
///
/// Equalisation divides a channel by a factor which the next layer takes back; the file does not say by
/// which.
pub(super) struct Learn<'a, 't> {
    pub(super) names: &'a [&'a str],
    pub(super) truth: &'a Truth<'t>,
    /// For each step and channel.
    pub(super) sums: &'a mut [Vec<Sums>],
}

impl Observer for Learn<'_, '_> {
    fn begin(&mut self, _: usize, _: &Step) {}

    fn end(&mut self, index: usize, step: &Step, _: &'static str, output: Values<'_>) {
        let Some(truth) = self.names.get(index).and_then(|name| self.truth.find(name)) else {
            return;
        };
        let found = values_of(step, output);
        let channels = step.output.dims.c as usize;
        if truth.len() != found.len() || found.is_empty() {
            return;
        }
        let sums = &mut self.sums[index];
        sums.resize(channels, Sums::default());
        let plane = found.len() / channels;
        let planes = truth.chunks(plane).zip(found.chunks(plane));
        for (sum, (truth, found)) in sums.iter_mut().zip(planes) {
            *sum += Sums::of(truth.iter().copied(), found);
        }
    }
}

/// A noise-to-signal ratio that rounding alone does not reach: 20 dB.
const UNLIKE: f64 = 1e-2;
/// Factors must explain so much of it: 6 dB.
const EXPLAINED: f64 = 0.25;

/// The factors of the channels of one layer (least squares), if they explain most of what is different.
pub(super) fn factors(channels: &[Sums]) -> Option<Vec<f64>> {
    let total = channels.iter().fold(Sums::default(), |sum, &one| sum + one);
    let rest = |sums: &Sums| match sums.signal {
        0.0 => sums.found,
        signal => sums.found - sums.product * sums.product / signal,
    };
    let left: f64 = channels.iter().map(rest).sum();
    let ratio = total.noise_to_signal();
    if ratio <= UNLIKE || left > EXPLAINED * ratio * total.found {
        return None;
    }
    let factor = |sums: &Sums| if sums.product > 0.0 { sums.product / sums.signal } else { 1.0 };
    Some(channels.iter().map(factor).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_are_found_where_channels_are_scaled_and_only_there() {
        let truth = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [0.0; 3]];
        let sums = |factors: [f64; 3], noise: [f64; 3]| -> Vec<Sums> {
            let channel = |((y, f), noise): (([f64; 3], f64), f64)| {
                let found = [0, 1, 2].map(|k| (y[k] * f + noise * [1.0, -1.0, 1.0][k]) as f32);
                Sums::of(y.into_iter(), &found)
            };
            truth.into_iter().zip(factors).zip(noise).map(channel).collect()
        };
        let found = factors(&sums([2.0, 0.25, 1.0], [0.0; 3])).unwrap();
        for (found, expected) in found.iter().zip([2.0, 0.25, 1.0]) {
            assert!((found - expected).abs() < 1e-6, "{found}");
        }
        assert_eq!(factors(&sums([1.0; 3], [0.01, 0.01, 0.0])), None, "as good as equal");
        assert_eq!(factors(&sums([1.0; 3], [2.0, 2.0, 0.0])), None, "noise is no factor");
    }
}
