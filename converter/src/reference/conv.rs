//! The oracle's convolution: f64, any padding (negative padding crops), fast enough to check whole
//! models with.
//!
//! For a few input channels at a time, the pixels that each tap reads are written out as one
//! contiguous column as long as the output plane; every output channel then adds its weighted
//! columns. The inner loop runs over contiguous pixels without a branch.

use crate::graph::Border;
use rayon::prelude::*;

/// Geometry of a sliding window with all sizes known; pairs are (rows, columns).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Geometry {
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) dilation: [usize; 2],
    /// Zeros above and to the left; negative: rows and columns that no window reads.
    pub(crate) pad: [i64; 2],
    pub(crate) input: [usize; 2],
    pub(crate) output: [usize; 2],
}

/// Columns held at a time, in values: they stay in the second-level cache.
const COLUMN_VALUES: usize = 1 << 16;
/// Multiplications from which other threads are worth waking.
const PARALLEL_MACS: usize = 1 << 20;

impl Geometry {
    /// Outputs `from .. to` along an axis for which a tap lies inside the input.
    pub(super) fn inside(&self, axis: usize, tap: usize) -> (usize, usize) {
        let stride = self.stride[axis] as i64;
        let first = (tap * self.dilation[axis]) as i64 - self.pad[axis];
        let from = div_up((-first).max(0), stride);
        let to = div_up((self.input[axis] as i64 - first).max(0), stride);
        let clip = |v: i64| (v as usize).min(self.output[axis]);
        (clip(from), clip(to).max(clip(from)))
    }

    /// Input coordinate that output `at` and `tap` read; only meaningful inside.
    pub(super) fn source(&self, axis: usize, at: usize, tap: usize) -> usize {
        let at = (at * self.stride[axis] + tap * self.dilation[axis]) as i64 - self.pad[axis];
        at as usize
    }

    /// What one tap reads of one input plane, for every output pixel; zero outside.
    fn column(&self, plane: &[f64], tap: [usize; 2], column: &mut [f64]) {
        column.fill(0.0);
        let (y0, y1) = self.inside(0, tap[0]);
        let (x0, x1) = self.inside(1, tap[1]);
        if x0 == x1 {
            return;
        }
        for y in y0..y1 {
            let row = &plane[self.source(0, y, tap[0]) * self.input[1]..][..self.input[1]];
            let from = self.source(1, x0, tap[1]);
            let pixels = row[from..].iter().step_by(self.stride[1]);
            let out = &mut column[y * self.output[1]..][x0..x1];
            out.iter_mut().zip(pixels).for_each(|(c, &x)| *c = x);
        }
    }
}

/// Non-negative division, rounded up.
fn div_up(value: i64, by: i64) -> i64 {
    (value + by - 1) / by
}

/// `y[o] = sum W[o, i, ky, kx] * x[i]`, NCHW and OIHW, without bias. Returns `outputs` planes.
///
/// The caller has checked that the weights hold `outputs * inputs / groups * taps` values.
pub(crate) fn convolve(
    x: &[f64],
    weights: &[f64],
    geometry: &Geometry,
    groups: usize,
    outputs: usize,
) -> Vec<f64> {
    let pixels = geometry.output[0] * geometry.output[1];
    let plane = geometry.input[0] * geometry.input[1];
    let mut y = vec![0.0; outputs * pixels];
    if pixels == 0 || outputs == 0 {
        return y;
    }
    let per_group = outputs / groups;
    let inputs = x.len() / plane.max(1) / groups * plane;
    let rows = weights.len() / outputs;
    let parallel = weights.len() * pixels >= PARALLEL_MACS;
    let group = |(g, y): (usize, &mut [f64])| {
        let weights = &weights[g * per_group * rows..][..per_group * rows];
        convolve_group(&x[g * inputs..][..inputs], weights, geometry, y, parallel);
    };
    if parallel && groups > 1 {
        y.par_chunks_mut(per_group * pixels).enumerate().for_each(group);
    } else {
        y.chunks_mut(per_group * pixels).enumerate().for_each(group);
    }
    y
}

fn convolve_group(x: &[f64], weights: &[f64], g: &Geometry, y: &mut [f64], parallel: bool) {
    let pixels = g.output[0] * g.output[1];
    let plane = g.input[0] * g.input[1];
    let taps = g.kernel[0] * g.kernel[1];
    let rows = weights.len() / (y.len() / pixels);
    let channels = (COLUMN_VALUES / (pixels * taps).max(1)).max(1);
    let mut columns = Vec::new();
    for (block, x) in x.chunks(channels * plane).enumerate() {
        columns.resize(x.len() / plane * taps * pixels, 0.0);
        for (k, column) in columns.chunks_exact_mut(pixels).enumerate() {
            let tap = [k % taps / g.kernel[1], k % g.kernel[1]];
            g.column(&x[k / taps * plane..][..plane], tap, column);
        }
        let accumulate = |(o, y): (usize, &mut [f64])| {
            let weights = &weights[o * rows + block * channels * taps..];
            weighted_columns(y, &columns, &weights[..columns.len() / pixels]);
        };
        if parallel {
            y.par_chunks_mut(pixels).enumerate().with_min_len(4).for_each(accumulate);
        } else {
            y.chunks_mut(pixels).enumerate().for_each(accumulate);
        }
    }
}

/// `y += sum_k weights[k] * columns[k]`, four columns at a time.
fn weighted_columns(y: &mut [f64], columns: &[f64], weights: &[f64]) {
    let n = y.len();
    let blocks = columns.chunks_exact(4 * n).zip(weights.chunks_exact(4));
    for (columns, w) in blocks {
        let (a, rest) = columns.split_at(n);
        let (b, rest) = rest.split_at(n);
        let (c, d) = rest.split_at(n);
        for ((((y, a), b), c), d) in y.iter_mut().zip(a).zip(b).zip(c).zip(d) {
            *y += w[0] * a + w[1] * b + (w[2] * c + w[3] * d);
        }
    }
    let done = weights.len() / 4 * 4;
    for (column, w) in columns[done * n..].chunks_exact(n).zip(&weights[done..]) {
        y.iter_mut().zip(column).for_each(|(y, x)| *y += w * x);
    }
}

/// Adds the bias vector of each pixel's border class; `None` if sizes disagree.
pub(super) fn add_border_bias(
    y: &mut [f64],
    g: &Geometry,
    border: Border,
    bias: &[f32],
) -> Option<()> {
    let (rows, columns) = border.classes();
    let [h, w] = g.output;
    let channels = y.len() / (h * w).max(1);
    let fits = (border.top + border.bottom) as usize <= h
        && (border.left + border.right) as usize <= w
        && bias.len() == rows as usize * columns as usize * channels;
    if !fits {
        return None;
    }
    for (at, v) in y.iter_mut().enumerate() {
        let (o, row, column) = (at / (h * w), at / w % h, at % w);
        let class = class(row, h, border.top, border.bottom) * columns as usize
            + class(column, w, border.left, border.right);
        *v += f64::from(bias[class * channels + o]);
    }
    Some(())
}

/// Class of a row or column: the first `lo` in order, then all between, then the last `hi`.
pub(crate) fn class(at: usize, len: usize, lo: u32, hi: u32) -> usize {
    let (lo, hi) = (lo as usize, hi as usize);
    if at < lo {
        at
    } else if at + hi >= len {
        at + hi + lo + 1 - len
    } else {
        lo
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The formula, tap by tap.
    fn naive(x: &[f64], w: &[f64], g: &Geometry, groups: usize, outputs: usize) -> Vec<f64> {
        let ([h, wd], [oh, ow], [kh, kw]) = (g.input, g.output, g.kernel);
        let per_group = x.len() / (h * wd) / groups;
        let mut y = vec![0.0; outputs * oh * ow];
        for (at, y) in y.iter_mut().enumerate() {
            let (o, row, column) = (at / (oh * ow), at / ow % oh, at % ow);
            let first = o / (outputs / groups) * per_group;
            for k in 0..per_group * kh * kw {
                let (i, ky, kx) = (k / (kh * kw), k / kw % kh, k % kw);
                let iy = (row * g.stride[0] + ky * g.dilation[0]) as i64 - g.pad[0];
                let ix = (column * g.stride[1] + kx * g.dilation[1]) as i64 - g.pad[1];
                let inside = (0..h as i64).contains(&iy) && (0..wd as i64).contains(&ix);
                if inside {
                    let x = x[((first + i) * h + iy as usize) * wd + ix as usize];
                    *y += w[o * per_group * kh * kw + k] * x;
                }
            }
        }
        y
    }

    #[test]
    fn columns_agree_with_the_formula() {
        let noise = |n: usize| (0..n).map(|k| (k as f64 * 1.7).sin()).collect::<Vec<_>>();
        for case in 0..96 {
            let pick = |divisor: usize, n: usize| case / divisor % n;
            let groups = [1, 2, 4][pick(1, 3)];
            let geometry = Geometry {
                kernel: [1 + pick(3, 3), 1 + pick(2, 4)],
                stride: [1 + pick(1, 2), 1 + pick(5, 2)],
                dilation: [1 + pick(7, 2), 1 + pick(4, 2)],
                pad: [pick(2, 5) as i64 - 2, pick(6, 5) as i64 - 2],
                input: [7, 6],
                output: [4, 3],
            };
            let x = noise(8 * 7 * 6);
            let w = noise(12 * 8 / groups * geometry.kernel[0] * geometry.kernel[1]);
            let fast = convolve(&x, &w, &geometry, groups, 12);
            let slow = naive(&x, &w, &geometry, groups, 12);
            let error = fast.iter().zip(&slow).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(error < 1e-12, "{geometry:?} {groups} groups: {error:e}");
        }
    }

    #[test]
    fn border_classes_are_first_rows_then_the_rest_then_last_rows() {
        let classes: Vec<usize> = (0..6).map(|at| class(at, 6, 2, 1)).collect();
        assert_eq!(classes, [0, 1, 2, 2, 2, 3]);
        assert_eq!((0..3).map(|at| class(at, 3, 3, 0)).collect::<Vec<_>>(), [0, 1, 2]);
    }
}
