//! [`Tensor`]: a constant of the graph, row-major in ONNX's axis order, shared by reference.

use std::sync::Arc;

/// The values of a [`Tensor`].
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Weights and activations.
    F32(Vec<f32>),
    /// Shapes, axes, indices.
    I64(Vec<i64>),
}

/// A constant: shape and values. Cloning shares the values.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Arc<Data>,
}

impl Tensor {
    /// A float constant; `None` if the shape does not hold exactly the values.
    pub fn f32(shape: impl Into<Vec<usize>>, values: Vec<f32>) -> Option<Self> {
        let shape = shape.into();
        (elements(&shape)? == values.len())
            .then(|| Self { shape, data: Arc::new(Data::F32(values)) })
    }

    /// An integer constant; `None` if the shape does not hold exactly the values.
    pub fn i64(shape: impl Into<Vec<usize>>, values: Vec<i64>) -> Option<Self> {
        let shape = shape.into();
        (elements(&shape)? == values.len())
            .then(|| Self { shape, data: Arc::new(Data::I64(values)) })
    }

    /// A vector of floats.
    pub fn vector(values: Vec<f32>) -> Self {
        Self { shape: vec![values.len()], data: Arc::new(Data::F32(values)) }
    }

    /// Axis lengths; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        match &*self.data {
            Data::F32(v) => v.len(),
            Data::I64(v) => v.len(),
        }
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// The values if they are floats.
    pub fn as_f32(&self) -> Option<&[f32]> {
        match &*self.data {
            Data::F32(v) => Some(v),
            Data::I64(_) => None,
        }
    }

    /// The values if they are integers.
    pub fn as_i64(&self) -> Option<&[i64]> {
        match &*self.data {
            Data::I64(v) => Some(v),
            Data::F32(_) => None,
        }
    }

    /// The same values under another shape; `None` if the counts differ.
    pub fn reshaped(&self, shape: impl Into<Vec<usize>>) -> Option<Self> {
        let shape = shape.into();
        (elements(&shape)? == self.len()).then(|| Self { shape, data: Arc::clone(&self.data) })
    }
}

/// Number of values of a shape; `None` when it overflows.
pub fn elements(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |n, &d| n.checked_mul(d))
}
