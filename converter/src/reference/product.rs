//! The oracle's products of matrices.

use super::Array;

/// `[A,M,K]` and `[B,K,N]` to `[max(A,B),M,N]`; `None` unless A and B are equal or one of them is 1.
pub(super) fn matrices(a: &Array, b: &Array) -> Option<Array> {
    let (&[a_count, m, k], &[b_count, depth, n]) = (&a.shape[..], &b.shape[..]) else {
        return None;
    };
    let count = a_count.max(b_count);
    if depth != k || ![1, count].contains(&a_count) || ![1, count].contains(&b_count) {
        return None;
    }
    let matrix = |count: usize, at: usize, size: usize| (if count == 1 { 0 } else { at }) * size;
    let mut values = Vec::with_capacity(count * m * n);
    for at in 0..count {
        let left = &a.values[matrix(a_count, at, m * k)..][..m * k];
        let right = &b.values[matrix(b_count, at, k * n)..][..k * n];
        for row in 0..m {
            let cell = |column: usize| {
                (0..k).map(|i| left[row * k + i] * right[i * n + column]).sum::<f64>()
            };
            values.extend((0..n).map(cell));
        }
    }
    Array::new(vec![count, m, n], values)
}
