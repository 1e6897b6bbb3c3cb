//! The oracle's pools and padding, plane by plane.

use super::{Array, Geometry};
use crate::graph::Pad;

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

/// Pictures with rows and columns of a constant around each.
pub(super) fn pad(x: &Array, pad: Pad, value: f64) -> Array {
    let [n, c, h, w] = x.shape[..] else { unreachable!("the caller checked the rank") };
    let (top, left) = (pad.top as usize, pad.left as usize);
    let (oh, ow) = (h + top + pad.bottom as usize, w + left + pad.right as usize);
    let mut values = vec![value; n * c * oh * ow];
    for (row, line) in x.values.chunks_exact(w.max(1)).enumerate() {
        let (k, y) = (row / h, row % h);
        values[(k * oh + y + top) * ow + left..][..w].copy_from_slice(line);
    }
    Array::new(vec![n, c, oh, ow], values).expect("every value was written")
}
