//! [`Survey`]: what is legal in data and hardly meant, found while the samples pass.

use super::Port;
use std::fmt;

/// Something about data that makes what is learned from them doubtful.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// One sample.
    One,
    /// All samples are the same.
    Equal {
        /// How many there are.
        samples: usize,
    },
    /// Many samples have one value throughout.
    Flat {
        /// How many.
        flat: usize,
        /// Of so many.
        samples: usize,
    },
    /// Many pictures have neighbours that know nothing of each other.
    Noise {
        /// How many.
        noisy: usize,
        /// Of so many.
        samples: usize,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One => write!(
                f,
                "one sample only: what is measured on it says little about others; give some hundred"
            ),
            Self::Equal { samples } => write!(
                f,
                "all {samples} samples are the same: they say no more than one; give different ones"
            ),
            Self::Flat { flat, samples } => write!(
                f,
                "{flat} of {samples} samples have one value throughout; are these the right files?"
            ),
            Self::Noise { noisy, samples } => write!(
                f,
                "{noisy} of {samples} pictures look like noise: a network behaves differently on \
                 what it is made for; give pictures as it will meet them"
            ),
        }
    }
}

/// Remembers of the samples that pass what [`Warning`] is about.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    samples: usize,
    first: Option<Vec<Vec<f32>>>,
    all_equal: bool,
    flat: usize,
    noisy: usize,
}

/// A part of the samples with a property that is worth a warning.
const MANY: f64 = 0.25;

impl Survey {
    /// Looks at one more sample: values for each of these inputs of a network.
    pub fn add(&mut self, inputs: &[Vec<f32>], ports: &[Port]) {
        match &self.first {
            None => (self.first, self.all_equal) = (Some(inputs.to_vec()), true),
            Some(first) => self.all_equal &= first == inputs,
        }
        self.samples += 1;
        let flat = |values: &Vec<f32>| values.iter().all(|value| *value == values[0]);
        self.flat += usize::from(inputs.iter().all(flat));
        let mut pairs = inputs.iter().zip(ports);
        self.noisy += usize::from(pairs.any(|(values, port)| is_noise(values, &port.shape)));
    }

    /// What was found.
    pub fn warnings(&self) -> Vec<Warning> {
        let Self { samples, flat, noisy, .. } = *self;
        let many = |part: usize| part > 0 && part as f64 >= MANY * samples as f64;
        let found = [
            (samples == 1, Warning::One),
            (samples > 1 && self.all_equal, Warning::Equal { samples }),
            (many(flat), Warning::Flat { flat, samples }),
            (many(noisy), Warning::Noise { noisy, samples }),
        ];
        found.into_iter().filter(|(is, _)| *is).map(|(_, warning)| warning).collect()
    }
}

/// Fewer pixels than this along an axis tell nothing.
const SMALLEST: usize = 8;
/// Neighbours of white noise differ by twice its variance on average; of pictures, by far less.
const NOISE: f64 = 0.7 * 2.0;

/// Whether the values of a picture `[1, C, H, W]` are as independent of their neighbours as of any others:
/// the mean square of their differences beside the variance (von Neumann's ratio, 1941).
fn is_noise(values: &[f32], shape: &[usize]) -> bool {
    let [1, _, h, w] = *shape else { return false };
    if h < SMALLEST || w < SMALLEST {
        return false;
    }
    let square = |a: f32, b: f32| (f64::from(a) - f64::from(b)).powi(2);
    let (mut differences, mut variances) = (0.0, 0.0);
    for plane in values.chunks_exact(h * w) {
        let mean = plane.iter().map(|&v| f64::from(v)).sum::<f64>() / (h * w) as f64;
        let variance = plane.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>();
        variances += variance / (h * w) as f64;
        let across: f64 =
            plane.chunks_exact(w).flat_map(|row| row.windows(2)).map(|p| square(p[0], p[1])).sum();
        let down: f64 = plane.iter().zip(&plane[w..]).map(|(&a, &b)| square(a, b)).sum();
        differences += (across + down) / (h * (w - 1) + (h - 1) * w) as f64;
    }
    variances > 0.0 && differences >= NOISE * variances
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDE: usize = 16;

    fn survey(pictures: &[Vec<f32>]) -> Vec<Warning> {
        let port = Port { name: "x".to_owned(), shape: vec![1, 1, SIDE, SIDE] };
        let mut survey = Survey::default();
        for picture in pictures {
            survey.add(std::slice::from_ref(picture), std::slice::from_ref(&port));
        }
        survey.warnings()
    }

    fn noise(seed: u64) -> Vec<f32> {
        let mut state = seed;
        (0..SIDE * SIDE).map(|_| (super::super::split_mix(&mut state) >> 56) as f32).collect()
    }

    /// Brighter to one side, and a square.
    fn scene(at: usize) -> Vec<f32> {
        let pixel = |p: usize| {
            let (y, x) = (p / SIDE, p % SIDE);
            let inside = (at..at + 5).contains(&y) && (at..at + 5).contains(&x);
            (x * 3 + y) as f32 + if inside { 90.0 } else { 0.0 }
        };
        (0..SIDE * SIDE).map(pixel).collect()
    }

    #[test]
    fn pictures_pass_and_what_is_hardly_meant_is_named() {
        let scenes: Vec<_> = (0..8).map(scene).collect();
        assert_eq!(survey(&scenes), []);
        assert_eq!(survey(&scenes[..1]), [Warning::One]);
        assert_eq!(survey(&[scene(1), scene(1)]), [Warning::Equal { samples: 2 }]);
        let noisy: Vec<_> = (0..8).map(noise).collect();
        assert_eq!(survey(&noisy), [Warning::Noise { noisy: 8, samples: 8 }]);
        let flat = [vec![0.0; SIDE * SIDE], vec![3.0; SIDE * SIDE], scene(2)];
        assert_eq!(survey(&flat), [Warning::Flat { flat: 2, samples: 3 }]);
    }
}
