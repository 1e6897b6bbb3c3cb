//! Feature maps for [`crate::network`]: plain f32 arithmetic, just fast enough to send a few small
//! pictures through the largest network while it is generated.

use crate::rng::Random;
use rayon::prelude::*;

/// Feature maps of several pictures: square, NHWC.
#[derive(Clone, Debug)]
pub struct Maps {
    pictures: usize,
    size: usize,
    channels: usize,
    values: Vec<f32>,
}

/// Mean and variance of each channel.
#[derive(Clone, Debug)]
pub struct Statistics {
    /// Means.
    pub mean: Vec<f32>,
    /// Variances.
    pub variance: Vec<f32>,
}

/// Weight of the whole map's variance in a channel's, in pixels. The deepest maps have few
/// pixels, from which alone a variance may come out near zero.
const PRIOR_PIXELS: f64 = 64.0;

impl Maps {
    /// Random pictures with three channels, from coarse waves to pure noise: what tests and benches
    /// feed to generated networks, which have learned nothing and amplify whatever they never saw.
    pub fn random(pictures: usize, size: usize, random: &mut Random) -> Self {
        let values = (0..pictures).flat_map(|picture| {
            let noise = (picture + 1) as f32 / pictures as f32;
            let mut values = random.normals(noise, size * size * 3);
            add_waves(&mut values, size, 1.2 - noise, random);
            values
        });
        let values = values.collect();
        Self { pictures, size, channels: 3, values }
    }

    /// Convolution with "same" padding; weights OIHW of `[O, I/groups, K, K]`.
    pub fn convolved(
        &self,
        weights: &[f32],
        shape: [usize; 4],
        stride: usize,
        groups: usize,
    ) -> Self {
        let [out, per_group, kernel, _] = shape;
        let size = self.size.div_ceil(stride);
        let taps = per_group * kernel * kernel;
        let pixel = |index: usize| {
            let (picture, index) = (index / (size * size), index % (size * size));
            let (y, x) = (index / size * stride, index % size * stride);
            let patch = self.patch(picture, y, x, kernel);
            let group = |o: usize| o / (out / groups) * taps;
            let dot_row = |(o, row)| dot(row, &patch[group(o)..][..taps]);
            weights.chunks_exact(taps).enumerate().map(dot_row).collect::<Vec<f32>>()
        };
        let values =
            (0..self.pictures * size * size).into_par_iter().flat_map_iter(pixel).collect();
        Self { pictures: self.pictures, size, channels: out, values }
    }

    /// What a window around a pixel sees, `[I][K][K]`. The picture goes on at its other side: zeros
    /// would fill most of a small map's windows, and a large picture is mostly not border.
    fn patch(&self, picture: usize, y: usize, x: usize, kernel: usize) -> Vec<f32> {
        let mut patch = vec![0.0; self.channels * kernel * kernel];
        let wrapped = |at: usize, tap: usize| (at + tap + self.size - kernel / 2) % self.size;
        for tap in 0..kernel * kernel {
            let (row, column) = (wrapped(y, tap / kernel), wrapped(x, tap % kernel));
            let start = ((picture * self.size + row) * self.size + column) * self.channels;
            let pixel = &self.values[start..][..self.channels];
            let slots = patch.iter_mut().skip(tap).step_by(kernel * kernel);
            slots.zip(pixel).for_each(|(slot, &value)| *slot = value);
        }
        patch
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Mean of each channel of each picture.
    pub fn means(&self) -> Vec<Vec<f32>> {
        let pixels = self.size * self.size;
        let mean = |picture: &[f32]| {
            let mut mean = vec![0.0; self.channels];
            for pixel in picture.chunks_exact(self.channels) {
                mean.iter_mut().zip(pixel).for_each(|(m, &v)| *m += v / pixels as f32);
            }
            mean
        };
        self.values.chunks_exact(pixels * self.channels).map(mean).collect()
    }

    /// Multiplies each channel of each picture by a number.
    pub fn scale(&mut self, factors: &[Vec<f32>]) {
        let pictures = self.values.chunks_exact_mut(self.size * self.size * self.channels);
        for (picture, factors) in pictures.zip(factors) {
            for pixel in picture.chunks_exact_mut(factors.len()) {
                pixel.iter_mut().zip(factors).for_each(|(v, &factor)| *v *= factor);
            }
        }
    }

    /// Mean of each channel; variance of each channel drawn towards the whole map's.
    pub fn statistics(&self) -> Statistics {
        let pixels = (self.pictures * self.size * self.size) as f64;
        let mut mean = vec![0.0_f64; self.channels];
        let mut variance = vec![0.0_f64; self.channels];
        for pixel in self.values.chunks_exact(self.channels) {
            mean.iter_mut().zip(pixel).for_each(|(m, &v)| *m += f64::from(v) / pixels);
        }
        for pixel in self.values.chunks_exact(self.channels) {
            for ((variance, mean), &value) in variance.iter_mut().zip(&mean).zip(pixel) {
                *variance += (f64::from(value) - mean).powi(2) / pixels;
            }
        }
        let spread =
            |m: &f64, v: &f64| v + (m - mean.iter().sum::<f64>() / mean.len() as f64).powi(2);
        let pooled = mean.iter().zip(&variance).map(|(m, v)| spread(m, v)).sum::<f64>();
        let pooled = pooled / self.channels as f64;
        let drawn = |v: &f64| (v * pixels + pooled * PRIOR_PIXELS) / (pixels + PRIOR_PIXELS);
        Statistics {
            mean: mean.iter().map(|&m| m as f32).collect(),
            variance: variance.iter().map(|v| drawn(v) as f32).collect(),
        }
    }

    /// `(x - mean) / sqrt(variance + eps) * gamma + beta`.
    pub fn normalise(
        &mut self,
        mean: &[f32],
        variance: &[f32],
        gamma: &[f32],
        beta: &[f32],
        eps: f32,
    ) {
        for pixel in self.values.chunks_exact_mut(self.channels) {
            for (c, value) in pixel.iter_mut().enumerate() {
                let scale = gamma[c] / (variance[c] + eps).sqrt();
                *value = (*value - mean[c]) * scale + beta[c];
            }
        }
    }

    /// Adds a map of the same shape.
    pub fn add(&mut self, other: &Self) {
        self.values.iter_mut().zip(&other.values).for_each(|(a, b)| *a += b);
    }

    /// `max(x, 0)`.
    pub fn relu(&mut self) {
        self.values.iter_mut().for_each(|v| *v = v.max(0.0));
    }
}

/// Adds six waves of up to half a radian a pixel.
fn add_waves(values: &mut [f32], size: usize, contrast: f32, random: &mut Random) {
    let waves: Vec<[Vec<f32>; 3]> = (0..6)
        .map(|_| [random.within(-0.5, 0.5, 2), random.vec(3), random.within(0.0, 6.3, 1)])
        .collect();
    for (index, value) in values.iter_mut().enumerate() {
        let (pixel, channel) = (index / 3, index % 3);
        let (y, x) = ((pixel / size) as f32, (pixel % size) as f32);
        for [direction, colour, phase] in &waves {
            let angle = direction[0] * y + direction[1] * x + phase[0];
            *value += contrast * colour[channel] * angle.sin();
        }
    }
}

/// Sum of products with sixteen running sums, so that the compiler may use vector registers.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a, a_rest) = a.as_chunks::<16>();
    let (b, b_rest) = b.as_chunks::<16>();
    let mut sums = [0.0_f32; 16];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..16 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}
