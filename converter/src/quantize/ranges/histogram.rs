//! [`Extent`] and [`Histogram`]: what two passes over the samples leave of the values of a grid.

/// Bins of a histogram: eight for each integer, where the range is that of the values.
pub(super) const BINS: usize = 2048;

/// Smallest and largest value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Extent {
    pub(crate) lo: f32,
    pub(crate) hi: f32,
    /// Samples that were added.
    samples: usize,
    /// The first value that is no finite number: its sample and what it is.
    pub(crate) broken: Option<(usize, f32)>,
}

impl Extent {
    /// Of no values.
    pub(super) const EMPTY: Self =
        Self { lo: f32::INFINITY, hi: f32::NEG_INFINITY, samples: 0, broken: None };

    /// With the values of one more sample.
    pub(super) fn add(&mut self, values: &[f32]) {
        for &value in values {
            self.lo = self.lo.min(value);
            self.hi = self.hi.max(value);
        }
        if self.broken.is_none() {
            let broken = values.iter().find(|value| !value.is_finite());
            self.broken = broken.map(|&value| (self.samples, value));
        }
        self.samples += 1;
    }

    /// With what comes after it: the next samples.
    pub(super) fn then(self, next: Self) -> Self {
        let later = next.broken.map(|(sample, value)| (self.samples + sample, value));
        let samples = self.samples + next.samples;
        Self { samples, broken: self.broken.or(later), ..self.and(next) }
    }

    /// Of both, on the same samples.
    pub(super) fn and(self, other: Self) -> Self {
        let broken = self.broken.or(other.broken);
        Self { lo: self.lo.min(other.lo), hi: self.hi.max(other.hi), broken, ..self }
    }

    /// The extent with zero in it: zero has an integer, since borders and biases are made of it.
    pub(super) fn with_zero(self) -> [f32; 2] {
        [self.lo.min(0.0), self.hi.max(0.0)]
    }
}

/// How often values occur.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Histogram {
    /// Where the first bin begins and the last one ends.
    pub(super) range: [f32; 2],
    pub(super) bins: Vec<u64>,
    /// Values that are exactly 0, which every range represents exactly; in no bin.
    pub(super) zeros: u64,
}

impl Histogram {
    /// Of no values yet.
    pub(super) fn new(extent: Extent) -> Self {
        Self { range: extent.with_zero(), bins: vec![0; BINS], zeros: 0 }
    }

    /// Adds values inside the range.
    pub(super) fn add(&mut self, values: &[f32]) {
        let [lo, hi] = self.range;
        let factor = BINS as f32 / (hi - lo);
        for &value in values {
            if value == 0.0 {
                self.zeros += 1;
            } else {
                self.bins[(((value - lo) * factor) as usize).min(BINS - 1)] += 1;
            }
        }
    }

    /// Of the values of both, which have the same range.
    pub(super) fn and(mut self, other: &Self) -> Self {
        self.bins.iter_mut().zip(&other.bins).for_each(|(bin, more)| *bin += more);
        self.zeros += other.zeros;
        self
    }

    /// Number of values.
    pub(super) fn total(&self) -> u64 {
        self.zeros + self.bins.iter().sum::<u64>()
    }

    /// Width of a bin.
    pub(super) fn width(&self) -> f64 {
        (f64::from(self.range[1]) - f64::from(self.range[0])) / BINS as f64
    }

    /// The middle of a bin.
    pub(super) fn centre(&self, bin: usize) -> f64 {
        f64::from(self.range[0]) + (bin as f64 + 0.5) * self.width()
    }

    /// Share of the values that lie outside `lo..=hi`.
    pub(super) fn outside(&self, [lo, hi]: [f32; 2]) -> f64 {
        let is_outside = |&bin: &usize| {
            let centre = self.centre(bin);
            centre < f64::from(lo) || centre > f64::from(hi)
        };
        let outside: u64 = (0..BINS).filter(is_outside).map(|bin| self.bins[bin]).sum();
        outside as f64 / self.total().max(1) as f64
    }
}
