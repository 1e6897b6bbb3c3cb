//! [`Sample`]: durations of the same thing, measured again and again.

use std::time::Duration;

/// Durations in ascending order, at least one.
#[derive(Debug)]
pub(crate) struct Sample {
    sorted: Vec<Duration>,
}

impl Sample {
    /// At least one duration.
    pub(crate) fn new(mut durations: Vec<Duration>) -> Self {
        assert!(!durations.is_empty(), "nothing was measured");
        durations.sort_unstable();
        Self { sorted: durations }
    }

    /// The smallest duration that at least `percent` of all do not exceed (nearest rank), in ms.
    pub(crate) fn percentile_ms(&self, percent: usize) -> f64 {
        let rank = (self.sorted.len() * percent).div_ceil(100).max(1);
        milliseconds(self.sorted[rank - 1])
    }

    /// The middle one, or the mean of the two in the middle, in ms.
    pub(crate) fn median_ms(&self) -> f64 {
        let n = self.sorted.len();
        let (low, high) = (self.sorted[(n - 1) / 2], self.sorted[n / 2]);
        milliseconds((low + high) / 2)
    }

    /// Mean in ms.
    pub(crate) fn mean_ms(&self) -> f64 {
        milliseconds(self.sorted.iter().sum()) / self.sorted.len() as f64
    }

    /// The shortest, in ms.
    pub(crate) fn min_ms(&self) -> f64 {
        milliseconds(self.sorted[0])
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.sorted.len()
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(ms: impl IntoIterator<Item = u64>) -> Sample {
        Sample::new(ms.into_iter().map(Duration::from_millis).collect())
    }

    #[test]
    fn percentiles_are_measured_durations_and_the_median_lies_between() {
        let hundred = sample((1..=100).rev());
        assert_eq!((hundred.percentile_ms(90), hundred.percentile_ms(99)), (90.0, 99.0));
        assert_eq!((hundred.median_ms(), hundred.mean_ms(), hundred.min_ms()), (50.5, 50.5, 1.0));
        let five = sample([7, 1, 9, 3, 5]);
        assert_eq!((five.median_ms(), five.percentile_ms(90), five.mean_ms()), (5.0, 9.0, 5.0));
        let one = sample([4]);
        assert_eq!((one.median_ms(), one.percentile_ms(99), one.len()), (4.0, 4.0, 1));
    }
}
