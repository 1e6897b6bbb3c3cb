//! Histogram -> the range that 256 integers should cover, by each method.

use super::histogram::{BINS, Histogram};
use crate::quantize::options::RangeMethod;

/// Share of values that [`RangeMethod::Percentile`] leaves outside at both ends together.
const OUTSIDE: f64 = 1e-4;
/// Bins between two ranges that are tried.
const STRIDE: usize = 16;
/// Steps between the smallest and the largest integer.
const STEPS: f64 = 255.0;

/// The range by a method, which is not a search; always with zero in it.
pub(super) fn range(histogram: &Histogram, method: RangeMethod) -> [f32; 2] {
    match method {
        RangeMethod::MinMax | RangeMethod::Search => histogram.range,
        RangeMethod::Percentile => percentile(histogram, OUTSIDE),
        RangeMethod::Mse => mse(histogram),
        RangeMethod::Kl => kl(histogram),
    }
}

/// The smallest range with at most `outside` of the values outside, half of them at each end.
pub(super) fn percentile(histogram: &Histogram, outside: f64) -> [f32; 2] {
    let allowed = (histogram.total() as f64 * outside / 2.0) as u64;
    let end = |bins: &mut dyn Iterator<Item = usize>| {
        let mut seen = 0;
        bins.take_while(|&bin| {
            seen += histogram.bins[bin];
            seen <= allowed
        })
        .count()
    };
    let (first, last) = (end(&mut (0..BINS)), BINS - end(&mut (0..BINS).rev()));
    between(histogram, first, last)
}

/// The range from the beginning of bin `first` to the beginning of bin `last`, zero in it.
fn between(histogram: &Histogram, first: usize, last: usize) -> [f32; 2] {
    let [lo, hi] = histogram.range;
    let edge = |bin: usize| (f64::from(lo) + bin as f64 * histogram.width()) as f32;
    let first = if first == 0 { lo } else { edge(first).min(0.0) };
    let last = if last == BINS { hi } else { edge(last).max(0.0) };
    if first < last { [first, last] } else { [lo, hi] }
}

/// The range with the smallest mean squared error: a value inside is wrong by a twelfth of the squared
/// step on average, one outside by its distance.
fn mse(histogram: &Histogram) -> [f32; 2] {
    let sums = Sums::of(histogram);
    let ends = || (0..=BINS).step_by(STRIDE);
    let ranges = ends().flat_map(|first| ends().map(move |last| (first, last)));
    let ranges = ranges.map(|(first, last)| between(histogram, first, last));
    let error = |range: &[f32; 2]| sums.error(histogram, *range);
    ranges.min_by(|a, b| error(a).total_cmp(&error(b))).unwrap_or(histogram.range)
}

/// For each bin the sums of `1`, `x` and `x^2` over all bins before it.
struct Sums(Vec<[f64; 3]>);

impl Sums {
    fn of(histogram: &Histogram) -> Self {
        let mut sums = vec![[0.0; 3]];
        for (bin, &count) in histogram.bins.iter().enumerate() {
            let (x, n, before) = (histogram.centre(bin), count as f64, sums[bin]);
            sums.push([before[0] + n, before[1] + n * x, before[2] + n * x * x]);
        }
        Self(sums)
    }

    /// Sum of squared errors with the range `[lo, hi]`.
    fn error(&self, histogram: &Histogram, [lo, hi]: [f32; 2]) -> f64 {
        let (lo, hi) = (f64::from(lo), f64::from(hi));
        let bin = |x: f64| ((x - f64::from(histogram.range[0])) / histogram.width()).round();
        let [first, last] = [bin(lo), bin(hi)].map(|bin| (bin as usize).min(BINS));
        let from = |a: usize, b: usize, bound: f64| {
            let [n, x, xx] = [0, 1, 2].map(|k| self.0[b][k] - self.0[a][k]);
            xx - 2.0 * bound * x + bound * bound * n
        };
        let step = (hi - lo) / STEPS;
        let inside = self.0[last][0] - self.0[first][0];
        from(0, first, lo) + from(last, BINS, hi) + inside * step * step / 12.0
    }
}

/// The range whose rounded histogram diverges least from the exact one, of values and their negatives if
/// there are any below zero (Migacz, "8-bit Inference with `TensorRT`", GTC 2017).
fn kl(histogram: &Histogram) -> [f32; 2] {
    let [lo, hi] = histogram.range;
    let largest = hi.max(-lo);
    let levels = if lo < 0.0 { 128 } else { 256 };
    let magnitudes = magnitudes(histogram, f64::from(largest));
    let ends = (levels..=BINS).step_by(STRIDE);
    let divergence = |end: &usize| divergence(&magnitudes, *end, levels);
    let best = ends.min_by(|a, b| divergence(a).total_cmp(&divergence(b))).unwrap_or(BINS);
    let bound = (f64::from(largest) * best as f64 / BINS as f64) as f32;
    [lo.max(-bound), hi.min(bound)]
}

/// The histogram of magnitudes up to `largest`.
fn magnitudes(histogram: &Histogram, largest: f64) -> Vec<f64> {
    let mut magnitudes = vec![0.0; BINS];
    for (bin, &count) in histogram.bins.iter().enumerate() {
        let at = histogram.centre(bin).abs() / largest * BINS as f64;
        magnitudes[(at as usize).min(BINS - 1)] += count as f64;
    }
    magnitudes
}

/// Divergence of the first `end` bins, what lies beyond in the last of them, from themselves in as many
/// `levels`, each spread evenly over its bins that hold anything.
fn divergence(bins: &[f64], end: usize, levels: usize) -> f64 {
    let mut exact = bins[..end].to_vec();
    exact[end - 1] += bins[end..].iter().sum::<f64>();
    let mut rounded = vec![0.0; end];
    for level in 0..levels {
        let run = level * end / levels..(level + 1) * end / levels;
        let filled = bins[run.clone()].iter().filter(|&&count| count > 0.0).count();
        let mean = bins[run.clone()].iter().sum::<f64>() / filled.max(1) as f64;
        run.filter(|&bin| bins[bin] > 0.0).for_each(|bin| rounded[bin] = mean);
    }
    let [all_exact, all_rounded] = [&exact, &rounded].map(|bins| bins.iter().sum::<f64>());
    if all_rounded == 0.0 {
        return f64::INFINITY;
    }
    // A bin that only rounding emptied counts as one that is nearly empty.
    let term = |(&p, &q): (&f64, &f64)| {
        let (p, q) = (p / all_exact, (q / all_rounded).max(1e-9));
        if p > 0.0 { p * (p / q).ln() } else { 0.0 }
    };
    exact.iter().zip(&rounded).map(term).sum()
}
