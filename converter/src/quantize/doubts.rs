//! What the samples themselves give reason to doubt.
//!
//! Noise is told from pictures by what neighbouring pixels have to do with each other. In photographs their
//! correlation is about 0.9 at every size, since the power of natural images falls with the square
//! of the frequency (Field, "Relations between the statistics of natural images and the response
//! properties of cortical cells", 1987); in noise it is 0. Noise that was enlarged or blurred has
//! smooth neighbours too, but not after its pictures have been halved a few times: so the smallest
//! correlation over all sizes counts.

use super::samples::Samples;
use super::warning::Warning;
use crate::graph::{Graph, ValueId};
use std::collections::HashSet;

/// Below this correlation pictures are noise.
const NOISE: f64 = 0.2;
/// Fewer samples are a reason for doubt.
const FEW: usize = 16;
/// Rows and columns of the smallest picture whose neighbours are compared.
const SMALLEST: usize = 7;
/// As many samples are looked at for noise.
const LOOKED_AT: usize = 64;

/// Everything that is doubtful about `samples` of the inputs of `graph`.
pub(super) fn doubts(graph: &Graph, samples: &Samples, raw_pixels: bool) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if samples.len() < FEW {
        warnings.push(Warning::Few { found: samples.len() });
    }
    let (all, copies) = (samples.len(), copies(samples));
    if copies * 10 > all {
        warnings.push(Warning::Copies { found: copies, all });
    }
    for (index, &id) in graph.inputs.iter().enumerate() {
        warnings.extend(flat(graph, samples, (index, id)));
        warnings.extend(noise(graph, samples, (index, id)));
    }
    if let Some(&id) = graph.inputs.first() {
        let input = graph.get(id).name.clone();
        warnings.extend(match raw_pixels {
            true => not_pixels(input, samples),
            false => pixels(input, graph.shape(id), samples),
        });
    }
    warnings
}

/// Samples that are the same as an earlier one.
fn copies(samples: &Samples) -> usize {
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    let sample = |index| samples.get(index).map(bits).collect::<Vec<_>>();
    let mut seen = HashSet::new();
    (0..samples.len()).filter(|&index| !seen.insert(sample(index))).count()
}

fn flat(graph: &Graph, samples: &Samples, (index, id): (usize, ValueId)) -> Option<Warning> {
    let is_flat = |values: &&[f32]| values.len() > 1 && values.iter().all(|v| *v == values[0]);
    let found = samples.of_input(index).filter(is_flat).count();
    let input = graph.get(id).name.clone();
    (found > 0).then_some(Warning::Flat { input, found, all: samples.len() })
}

fn not_pixels(input: String, samples: &Samples) -> Option<Warning> {
    let values = || samples.of_input(0).flatten().copied();
    let (lo, hi) = (values().fold(f32::INFINITY, f32::min), values().fold(f32::MIN, f32::max));
    let is_pixels = lo >= 0.0 && hi <= 255.0 && hi > 8.0;
    (!is_pixels).then_some(Warning::NotPixels { input, lo, hi })
}

fn pixels(input: String, shape: &[usize], samples: &Samples) -> Option<Warning> {
    let is_pixel = |value: &f32| (0.0..=255.0).contains(value) && value.fract() == 0.0;
    let bright = samples.of_input(0).flatten().any(|&value| value > 8.0);
    let all = shape.len() == 4 && bright && samples.of_input(0).flatten().all(is_pixel);
    all.then_some(Warning::Pixels { input })
}

fn noise(graph: &Graph, samples: &Samples, (index, id): (usize, ValueId)) -> Option<Warning> {
    let &[1, channels, h, w] = graph.shape(id) else { return None };
    let stride = samples.len().div_ceil(LOOKED_AT).max(1);
    let pictures = samples.of_input(index).step_by(stride).flat_map(|sample| {
        sample.chunks_exact(h * w).take(channels).map(|plane| Plane::new([h, w], plane))
    });
    let mut planes: Vec<Plane> = pictures.collect();
    let mut smallest: Option<f64> = None;
    while planes.iter().all(|plane| plane.size.iter().all(|&length| length >= SMALLEST)) {
        let found = correlation(&planes);
        smallest = found.map(|found| smallest.map_or(found, |known| known.min(found))).or(smallest);
        planes = planes.iter().map(Plane::halved).collect();
    }
    let correlation = smallest.filter(|&correlation| correlation < NOISE)?;
    Some(Warning::Noise { input: graph.get(id).name.clone(), correlation })
}

/// Correlation of neighbouring pixels over all planes, along rows or columns, whichever is larger: lines of
/// text alternate along one of them. `None` if nothing varies.
fn correlation(planes: &[Plane]) -> Option<f64> {
    let mut along = [[0.0; 2]; 2];
    for plane in planes {
        for (axis, sums) in along.iter_mut().enumerate() {
            let [product, square] = plane.products(axis);
            sums[0] += product;
            sums[1] += square;
        }
    }
    let ratio = |[product, square]: [f64; 2]| if square > 0.0 { product / square } else { 0.0 };
    (along[0][1] > 0.0).then(|| ratio(along[0]).max(ratio(along[1])))
}

/// One channel of a picture, its mean subtracted.
struct Plane {
    size: [usize; 2],
    values: Vec<f64>,
}

impl Plane {
    fn new(size: [usize; 2], values: &[f32]) -> Self {
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64;
        Self { size, values: values.iter().map(|&v| f64::from(v) - mean).collect() }
    }

    /// Means of two by two pixels.
    fn halved(&self) -> Self {
        let [h, w] = self.size.map(|length| length / 2);
        let at = |y: usize, x: usize| self.values[y * self.size[1] + x];
        let mean =
            |y: usize, x: usize| (at(y, x) + at(y, x + 1) + at(y + 1, x) + at(y + 1, x + 1)) / 4.0;
        let values = (0..h).flat_map(|y| (0..w).map(move |x| mean(2 * y, 2 * x))).collect();
        Self { size: [h, w], values }
    }

    /// Sums of products of neighbours along an axis, and of the mean of their squares.
    fn products(&self, axis: usize) -> [f64; 2] {
        let [h, w] = self.size;
        let (next, [h, w]) = if axis == 0 { (w, [h - 1, w]) } else { (1, [h, w - 1]) };
        let mut sums = [0.0; 2];
        for at in (0..h).flat_map(|y| (0..w).map(move |x| y * self.size[1] + x)) {
            let [a, b] = [self.values[at], self.values[at + next]];
            sums[0] += a * b;
            sums[1] += (a * a + b * b) / 2.0;
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pseudo-random numbers of 0 to 1 (Knuth's MMIX generator, upper bits).
    fn noise(count: usize) -> Vec<f32> {
        let mut state = 1_u64;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 24) as f32
        };
        (0..count).map(|_| next()).collect()
    }

    fn warned(side: usize, pictures: Vec<f32>) -> bool {
        let mut graph = Graph::default();
        graph.inputs = vec![graph.value("picture", [1, 1, side, side])];
        let samples = Samples::new(&graph, vec![pictures]).unwrap();
        doubts(&graph, &samples, false)
            .iter()
            .any(|warning| matches!(warning, Warning::Noise { .. }))
    }

    #[test]
    fn noise_is_told_from_pictures_at_any_enlargement() {
        for factor in [1, 2, 3, 4] {
            let (small, side) = (noise(20 * 32 * 32), 32 * factor);
            let pixel = |at: usize| {
                let (picture, y, x) = (at / (side * side), at / side % side, at % side);
                small[picture * 32 * 32 + y / factor * 32 + x / factor]
            };
            assert!(warned(side, (0..20 * side * side).map(pixel).collect()), "{factor}");
        }
    }

    #[test]
    fn shapes_gradients_and_stripes_are_no_noise() {
        let disc = |x: f32, y: f32| f32::from((x - 0.5).hypot(y - 0.5) < 0.3);
        let stripes = |_: f32, y: f32| f32::from((y * 24.0) as u8 % 2);
        let gradient = |x: f32, y: f32| x * 0.7 + y * 0.3;
        for picture in [disc, stripes, gradient] {
            let pixel = |at: usize| picture((at % 48) as f32 / 48.0, (at / 48 % 48) as f32 / 48.0);
            assert!(!warned(48, (0..48 * 48).map(pixel).collect()));
        }
    }
}
