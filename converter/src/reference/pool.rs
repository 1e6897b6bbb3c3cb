//! The oracle's pools and padding, plane by plane.

use super::{Array, Geometry};
use crate::graph::{Pad, PadMode};

/// Largest value under each window; padding never wins.
pub(super) fn max(plane: &[f64], geometry: &Geometry) -> Vec<f64> {
    reduce(plane, geometry, f64::NEG_INFINITY, f64::max)
}

/// Mean under each window, over all taps or over those inside the picture.
pub(super) fn average(plane: &[f64], geometry: &Geometry, all_taps: bool) -> Vec<f64> {
    let mut sums = reduce(plane, geometry, 0.0, |sum, x| sum + x);
    let [kh, kw] = geometry.kernel;
    let counts = reduce(&vec![1.0; plane.len()], geometry, 0.0, |n, one| n + one);
    for (sum, inside) in sums.iter_mut().zip(counts) {
        *sum /= if all_taps { (kh * kw) as f64 } else { inside.max(1.0) };
    }
    sums
}

fn reduce(plane: &[f64], g: &Geometry, start: f64, f: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    let mut out = vec![start; g.output[0] * g.output[1]];
    for tap in 0..g.kernel[0] * g.kernel[1] {
        let (ky, kx) = (tap / g.kernel[1], tap % g.kernel[1]);
        let ((y0, y1), (x0, x1)) = (g.inside(0, ky), g.inside(1, kx));
        for y in y0..y1 {
            for x in x0..x1 {
                let at = g.source(0, y, ky) * g.input[1] + g.source(1, x, kx);
                let out = &mut out[y * g.output[1] + x];
                *out = f(*out, plane[at]);
            }
        }
    }
    out
}

/// Pictures with rows and columns around each; `None` where a mode needs more pixels than there are.
pub(super) fn pad(x: &Array, pad: Pad, mode: PadMode) -> Option<Array> {
    let &[n, c, h, w] = &x.shape[..] else { return None };
    let (rows, columns) =
        (sources(h, [pad.top, pad.bottom], mode)?, sources(w, [pad.left, pad.right], mode)?);
    let outside = if let PadMode::Constant(value) = mode { f64::from(value) } else { f64::NAN };
    let mut values = Vec::with_capacity(n * c * rows.len() * columns.len());
    for plane in x.values.chunks_exact((h * w).max(1)) {
        for &y in &rows {
            let pixel = |&x: &Option<usize>| y.zip(x).map_or(outside, |(y, x)| plane[y * w + x]);
            values.extend(columns.iter().map(pixel));
        }
    }
    Array::new(vec![n, c, rows.len(), columns.len()], values)
}

/// For each padded row (or column) the one of the picture that it shows; `None` shows the constant.
fn sources(len: usize, [low, high]: [u32; 2], mode: PadMode) -> Option<Vec<Option<usize>>> {
    let last = len.checked_sub(1)? as i64;
    let source = |at: i64| match mode {
        PadMode::Constant(_) => (0..=last).contains(&at).then_some(at),
        PadMode::Edge => Some(at.clamp(0, last)),
        PadMode::Reflect if at < 0 => Some(-at),
        PadMode::Reflect => Some(if at > last { 2 * last - at } else { at }),
        PadMode::Wrap => Some(at.rem_euclid(last + 1)),
    };
    let sources = (-i64::from(low)..=last + i64::from(high)).map(source);
    let sources: Vec<Option<i64>> = sources.collect();
    let inside = |at: &Option<i64>| at.is_none_or(|at| (0..=last).contains(&at));
    sources.iter().all(inside).then(|| sources.iter().map(|at| at.map(|at| at as usize)).collect())
}
