//! What is measured of one layer while both networks run, sample by sample.

use std::ops::{Add, AddAssign};
use unbraid_runtime::step::{Element, Quantization};

/// Sums over values `y` of the model and values `x` that stand for them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sums {
    /// `Σ y²`.
    pub(super) signal: f64,
    /// `Σ (x - y)²`.
    pub(super) noise: f64,
    /// `Σ x y`.
    pub(super) product: f64,
    /// `Σ x²`.
    pub(super) found: f64,
}

impl Add for Sums {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            signal: self.signal + other.signal,
            noise: self.noise + other.noise,
            product: self.product + other.product,
            found: self.found + other.found,
        }
    }
}

impl AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sums {
    /// Of two tensors. What is no number is infinitely wrong.
    pub(super) fn of(truth: impl Iterator<Item = f64>, found: &[f32]) -> Self {
        let mut sums = Self::default();
        for (y, &x) in truth.zip(found) {
            let x = f64::from(x);
            let difference = if x.is_nan() { f64::INFINITY } else { x - y };
            sums += Self {
                signal: y * y,
                noise: difference * difference,
                product: if x.is_nan() { 0.0 } else { x * y },
                found: if x.is_nan() { 0.0 } else { x * x },
            };
        }
        sums
    }

    /// Noise beside the signal, in power.
    pub(super) fn noise_to_signal(&self) -> f64 {
        if self.noise > 0.0 { self.noise / self.signal } else { 0.0 }
    }

    /// Signal to noise in dB; infinite where nothing differs.
    pub(super) fn decibels(&self) -> f64 {
        if self.noise > 0.0 { -10.0 * self.noise_to_signal().log10() } else { f64::INFINITY }
    }

    /// Cosine of the angle between both; 1 for two zeros.
    pub(super) fn cosine(&self) -> f64 {
        match (self.signal * self.found).sqrt() {
            0.0 => 1.0,
            lengths => (self.product / lengths).clamp(-1.0, 1.0),
        }
    }
}

/// What the integers of a layer alone do to the model's values.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Grid {
    /// Squares of what rounding changes values by, within the range.
    pub(super) rounding: f64,
    /// Squares of what lies beyond the range.
    pub(super) clipping: f64,
    /// Values beyond the range by more than rounding would take them.
    pub(super) cut: u64,
    /// All values.
    pub(super) values: u64,
}

impl Grid {
    /// Adds one tensor of the model.
    pub(super) fn add(&mut self, truth: impl Iterator<Item = f64>, of: Quantization) {
        let scale = f64::from(of.scale);
        let bound = |q: i8| (f64::from(q) - f64::from(of.zero_point)) * scale;
        let (lo, hi) = (bound(i8::MIN), bound(i8::MAX));
        for y in truth {
            self.values += 1;
            if y < lo - scale / 2.0 || y > hi + scale / 2.0 {
                self.cut += 1;
                self.clipping += (y - y.clamp(lo, hi)).powi(2);
            } else {
                let nearest = ((y / scale).round_ties_even() * scale).clamp(lo, hi);
                self.rounding += (y - nearest).powi(2);
            }
        }
    }

    pub(super) fn noise(&self) -> f64 {
        self.rounding + self.clipping
    }

    /// Share of values that are cut off.
    pub(super) fn share(&self) -> f64 {
        self.cut as f64 / self.values.max(1) as f64
    }
}

/// A layer on all samples so far.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) op: &'static str,
    pub(super) kernel: &'static str,
    pub(super) element: Element,
    /// For each sample.
    pub(super) samples: Vec<Sums>,
    pub(super) grid: Grid,
    pub(super) max_abs: f64,
    pub(super) max_rel: f64,
    /// Values other than those of the portable kernels.
    pub(super) unlike_portable: u64,
}

impl Layer {
    /// Nothing measured yet.
    pub(super) fn new(op: &'static str, kernel: &'static str, element: Element) -> Self {
        let (samples, grid) = (Vec::new(), Grid::default());
        Self { op, kernel, element, samples, grid, max_abs: 0.0, max_rel: 0.0, unlike_portable: 0 }
    }

    /// Adds one sample: the model's values as this layer stands for them, and the layer's.
    pub(super) fn add(&mut self, truth: &[f64], found: &[f32]) {
        let (mut worst, mut largest) = (0.0_f64, 0.0_f64);
        for (&y, &x) in truth.iter().zip(found) {
            let difference = (f64::from(x) - y).abs();
            let difference = if difference.is_nan() { f64::INFINITY } else { difference };
            (worst, largest) = (worst.max(difference), largest.max(y.abs()));
        }
        self.max_abs = self.max_abs.max(worst);
        self.max_rel = self.max_rel.max(if worst > 0.0 { worst / largest } else { 0.0 });
        self.samples.push(Sums::of(truth.iter().copied(), found));
        if let Some(quantization) = self.element.quantization() {
            self.grid.add(truth.iter().copied(), quantization);
        }
    }

    /// Over all samples.
    pub(super) fn sums(&self) -> Sums {
        self.samples.iter().fold(Sums::default(), |sum, &one| sum + one)
    }

    /// The integers alone, in dB.
    pub(super) fn grid_decibels(&self) -> f64 {
        Sums { noise: self.grid.noise(), ..self.sums() }.decibels()
    }

    /// The sample with the smallest ratio, and that.
    pub(super) fn worst(&self) -> Option<(usize, f64)> {
        let ratios = self.samples.iter().map(Sums::decibels).enumerate();
        ratios.min_by(|a, b| a.1.total_cmp(&b.1)).filter(|(_, ratio)| ratio.is_finite())
    }

    /// The ratio that half of the samples reach.
    pub(super) fn median(&self) -> f64 {
        let mut ratios: Vec<f64> = self.samples.iter().map(Sums::decibels).collect();
        ratios.sort_by(f64::total_cmp);
        ratios.get(ratios.len() / 2).copied().unwrap_or(f64::INFINITY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_the_formulas() {
        let sums = Sums::of([3.0, 4.0].into_iter(), &[3.0, 3.5]);
        assert_eq!((sums.signal, sums.noise, sums.decibels()), (25.0, 0.25, 20.0));
        assert!((sums.cosine() - 23.0 / (5.0 * 21.25_f64.sqrt())).abs() < 1e-12);
        assert_eq!(Sums::default().cosine(), 1.0);
        assert_eq!(Sums::of([1.0].into_iter(), &[f32::NAN]).decibels(), f64::NEG_INFINITY);
        assert_eq!(Sums::of([1.0].into_iter(), &[1.0]).decibels(), f64::INFINITY);
    }

    #[test]
    fn the_grid_separates_rounding_from_clipping() {
        // The range is -128 to 127 times 0.5, moved by 64 to both sides of zero: -96 to 31.5.
        let of = Quantization { scale: 0.5, zero_point: 64 };
        let mut grid = Grid::default();
        grid.add([0.0, 0.1, 31.7, 33.5, -97.0].into_iter(), of);
        assert_eq!((grid.cut, grid.values, grid.share()), (2, 5, 0.4));
        assert!((grid.rounding - (0.01 + 0.04)).abs() < 1e-9);
        assert!((grid.clipping - (4.0 + 1.0)).abs() < 1e-9);
    }

    #[test]
    fn the_worst_sample_and_the_largest_errors_are_kept() {
        let mut layer = Layer::new("conv", "portable", Element::F32);
        layer.add(&[2.0, -4.0], &[2.0, -4.5]);
        layer.add(&[1.0, 0.0], &[1.25, 0.0]);
        layer.add(&[1.0, 0.0], &[1.0, 0.0]);
        assert_eq!((layer.max_abs, layer.max_rel), (0.5, 0.25));
        assert_eq!(layer.worst().map(|(at, _)| at), Some(1));
        assert!((layer.median() - 10.0 * (20.0_f64 / 0.25).log10()).abs() < 1e-9);
        layer.add(&[1.0, 0.0], &[f32::NAN, 0.0]);
        assert_eq!((layer.max_abs, layer.max_rel), (f64::INFINITY, f64::INFINITY));
    }
}
