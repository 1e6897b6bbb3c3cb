//! [`Array`]: a computed value of the oracle, and what needs only its shape.

use crate::resize::Taps;
use crate::tensor::elements;

/// Values in row-major order under a shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Axis lengths.
    pub shape: Vec<usize>,
    /// As many values as the product of the axis lengths.
    pub values: Vec<f64>,
}

impl Array {
    /// `None` if the shape does not hold exactly these values.
    pub fn new(shape: Vec<usize>, values: Vec<f64>) -> Option<Self> {
        (elements(&shape)? == values.len()).then_some(Self { shape, values })
    }

    pub(super) fn map(mut self, f: impl Fn(f64) -> f64) -> Self {
        self.values.iter_mut().for_each(|v| *v = f(*v));
        self
    }

    /// Softmax along one axis, in place; false if there is no such axis.
    pub(super) fn softmax(&mut self, axis: usize) -> bool {
        let Some(&n) = self.shape.get(axis) else { return false };
        let inner: usize = self.shape[axis + 1..].iter().product();
        for block in self.values.chunks_exact_mut((n * inner).max(1)) {
            for at in 0..inner {
                let line = |k: usize| at + k * inner;
                let top = (0..n).map(|k| block[line(k)]).fold(f64::NEG_INFINITY, f64::max);
                (0..n).for_each(|k| block[line(k)] = (block[line(k)] - top).exp());
                let sum: f64 = (0..n).map(|k| block[line(k)]).sum();
                (0..n).for_each(|k| block[line(k)] /= sum);
            }
        }
        true
    }

    /// Weighted sums of runs along one axis, which there is.
    pub(super) fn resampled(&self, axis: usize, taps: &Taps) -> Self {
        let inner: usize = self.shape[axis + 1..].iter().product();
        let mut shape = self.shape.clone();
        shape[axis] = taps.first.len();
        let mut values = Vec::with_capacity(elements(&shape).unwrap_or(0));
        for block in self.values.chunks_exact((self.shape[axis] * inner).max(1)) {
            for (first, weights) in taps.runs() {
                // Elements of weight 0 are not read: they may be infinite.
                let used = || weights.iter().enumerate().filter(|(_, weight)| **weight != 0.0);
                let sum = |at: usize| {
                    used().map(|(k, weight)| weight * block[(first + k) * inner + at]).sum::<f64>()
                };
                values.extend((0..inner).map(sum));
            }
        }
        Self { shape, values }
    }

    /// All parts one after the other along an axis; `None` if other axes differ.
    pub(super) fn concat(parts: &[&Self], axis: usize) -> Option<Self> {
        let mut shape = parts.first()?.shape.clone();
        let agrees = |k: usize, part: &Self| k == axis || part.shape[k] == shape[k];
        let beside = |part: &&Self| {
            part.shape.len() == shape.len() && (0..shape.len()).all(|k| agrees(k, part))
        };
        if axis >= shape.len() || !parts.iter().all(beside) {
            return None;
        }
        let inner: usize = shape[axis + 1..].iter().product();
        let outer: usize = shape[..axis].iter().product();
        let mut values = Vec::new();
        for block in 0..outer {
            for part in parts {
                let len = part.shape[axis] * inner;
                values.extend_from_slice(&part.values[block * len..(block + 1) * len]);
            }
        }
        shape[axis] = parts.iter().map(|part| part.shape[axis]).sum();
        Self::new(shape, values)
    }
}

/// How two shapes meet under ONNX's multidirectional broadcasting.
pub(super) struct Broadcast {
    shape: Vec<usize>,
    a: Vec<usize>,
    b: Vec<usize>,
}

impl Broadcast {
    /// `None` if an axis differs and neither is 1.
    pub(super) fn new(a: &[usize], b: &[usize]) -> Option<Self> {
        let rank = a.len().max(b.len());
        let align = |s: &[usize]| [vec![1; rank - s.len()], s.to_vec()].concat();
        let (a, b) = (align(a), align(b));
        let join = |(&a, &b): (&usize, &usize)| match (a, b) {
            (a, b) if a == b => Some(a),
            (1, n) | (n, 1) => Some(n),
            _ => None,
        };
        let shape: Option<Vec<usize>> = a.iter().zip(&b).map(join).collect();
        Some(Self { shape: shape?, a: strides(&a), b: strides(&b) })
    }

    /// Applies `f` to every pair.
    pub(super) fn apply(&self, a: &[f64], b: &[f64], f: impl Fn(f64, f64) -> f64) -> Array {
        let len: usize = self.shape.iter().product();
        let mut values = Vec::with_capacity(len);
        let columns = self.shape.last().copied().unwrap_or(1).max(1);
        let (sa, sb) = (self.a.last().copied().unwrap_or(0), self.b.last().copied().unwrap_or(0));
        for row in 0..len / columns {
            let (oa, ob) = self.row_offsets(row);
            values.extend((0..columns).map(|x| f(a[oa + x * sa], b[ob + x * sb])));
        }
        Array::new(self.shape.clone(), values).expect("rows * columns values")
    }

    /// Where row number `row` of the result begins in either operand.
    fn row_offsets(&self, mut row: usize) -> (usize, usize) {
        let (mut oa, mut ob) = (0, 0);
        for axis in (0..self.shape.len().saturating_sub(1)).rev() {
            let at = row % self.shape[axis];
            row /= self.shape[axis];
            oa += at * self.a[axis];
            ob += at * self.b[axis];
        }
        (oa, ob)
    }
}

/// Distance between neighbours along each axis; 0 where an axis of length 1 is repeated.
fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![0; shape.len()];
    let mut step = 1;
    for axis in (0..shape.len()).rev() {
        strides[axis] = if shape[axis] == 1 { 0 } else { step };
        step *= shape[axis];
    }
    strides
}
