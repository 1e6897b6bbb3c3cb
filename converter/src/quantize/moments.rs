//! Mean and variance of each channel of the operands of layers.

use super::activations::Activations;
use super::error::QuantizeError;
use super::samples::Samples;
use crate::graph::{Graph, ValueId};

/// Of one value, channel by channel (axis 1).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moments {
    /// Number of values of a channel.
    count: f64,
    sums: Vec<f64>,
    squares: Vec<f64>,
}

impl Moments {
    fn of_channels(channels: usize) -> Self {
        Self { count: 0.0, sums: vec![0.0; channels], squares: vec![0.0; channels] }
    }

    fn add(&mut self, values: &[f32]) {
        let pixels = values.len() / self.sums.len().max(1);
        self.count += pixels as f64;
        for (channel, plane) in values.chunks_exact(pixels.max(1)).enumerate() {
            let [mut sum, mut squares] = [0.0; 2];
            for &value in plane {
                sum += f64::from(value);
                squares += f64::from(value) * f64::from(value);
            }
            self.sums[channel] += sum;
            self.squares[channel] += squares;
        }
    }

    fn and(mut self, other: &Self) -> Self {
        self.count += other.count;
        self.sums.iter_mut().zip(&other.sums).for_each(|(a, b)| *a += b);
        self.squares.iter_mut().zip(&other.squares).for_each(|(a, b)| *a += b);
        self
    }

    /// Mean of each channel.
    pub fn means(&self) -> Vec<f64> {
        self.sums.iter().map(|sum| sum / self.count.max(1.0)).collect()
    }

    /// Mean of the squares of each channel.
    pub fn squares(&self) -> Vec<f64> {
        self.squares.iter().map(|sum| sum / self.count.max(1.0)).collect()
    }
}

/// The moments of these values, whose axis 1 counts channels.
///
/// # Errors
/// When the graph cannot be run.
pub fn moments(
    graph: &Graph,
    watched: &[ValueId],
    samples: &Samples,
) -> Result<Vec<Moments>, QuantizeError> {
    let channels = |id: &ValueId| graph.shape(*id).get(1).copied().unwrap_or(1);
    let start = || watched.iter().map(channels).map(Moments::of_channels).collect::<Vec<_>>();
    let add = |moments: &mut Vec<Moments>, values: &[Vec<f32>]| {
        moments.iter_mut().zip(values).for_each(|(moments, values)| moments.add(values));
    };
    let merge = |a: Vec<Moments>, b: Vec<Moments>| {
        a.into_iter().zip(&b).map(|(a, b)| a.and(b)).collect::<Vec<_>>()
    };
    Activations::new(graph, watched)?.each(samples, start, add, merge)
}
