//! The oracle's choice of the best elements along an axis.

use super::Array;
use std::cmp::Ordering;

/// The best elements, then their indices; `None` if there are not as many.
pub(super) fn best(
    x: &Array,
    axis: usize,
    count: usize,
    largest: bool,
    last: bool,
) -> Option<Array> {
    let length = x.shape.get(axis).copied().filter(|&length| count <= length && count > 0)?;
    let inner: usize = x.shape[axis + 1..].iter().product();
    let outer: usize = x.shape[..axis].iter().product();
    let mut shape = x.shape.clone();
    shape[axis] = 2 * count;
    let mut values = vec![0.0; shape.iter().product()];
    for (block, at) in (0..outer).flat_map(|block| (0..inner).map(move |at| (block, at))) {
        let element = |k: usize| x.values[(block * length + k) * inner + at];
        let mut order: Vec<usize> = (0..length).collect();
        if last {
            order.reverse();
        }
        let compare =
            |a: &usize, b: &usize| element(*a).partial_cmp(&element(*b)).unwrap_or(Ordering::Equal);
        // Sorting keeps the order of equals.
        order.sort_by(|a, b| if largest { compare(b, a) } else { compare(a, b) });
        for (rank, &k) in order.iter().take(count).enumerate() {
            let place = |rank: usize| (block * 2 * count + rank) * inner + at;
            values[place(rank)] = element(k);
            values[place(count + rank)] = k as f64;
        }
    }
    Array::new(shape, values)
}
