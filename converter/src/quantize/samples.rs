//! [`Samples`]: what the network is calibrated on.

use crate::graph::{Graph, ValueId};
use crate::tensor::elements;
use thiserror::Error;

/// Values for every input of a graph, once for each run of the network.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples {
    /// For each input of the graph all samples, one behind the other, each row-major in ONNX's order.
    inputs: Vec<Vec<f32>>,
    count: usize,
}

/// Why values are no samples of a graph.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum SamplesError {
    /// Values for another number of inputs than the graph has.
    #[error("the network has {expected} inputs, calibration data came for {found}")]
    Inputs {
        /// Inputs of the graph.
        expected: usize,
        /// Inputs with data.
        found: usize,
    },
    /// Not one sample.
    #[error("there is no calibration data for input \"{input}\"; give 100 to 1000 real pictures")]
    Empty {
        /// Name of the input.
        input: String,
    },
    /// Not a whole number of samples.
    #[error(
        "{found} values for input \"{input}\" are no whole number of samples of shape {shape:?}"
    )]
    Length {
        /// Name of the input.
        input: String,
        /// Its shape.
        shape: Vec<usize>,
        /// Values that came for it.
        found: usize,
    },
    /// Inputs with different numbers of samples.
    #[error("{found} samples for input \"{input}\", {expected} for the one before it")]
    Count {
        /// Name of the input.
        input: String,
        /// Samples of the inputs before it.
        expected: usize,
        /// Samples of this one.
        found: usize,
    },
    /// A value that is no finite number.
    #[error(
        "sample {sample} (from 0) of input \"{input}\" holds {value}; leave it out of the \
         calibration data, or find out how it came there"
    )]
    NotFinite {
        /// Name of the input.
        input: String,
        /// Index of the sample.
        sample: usize,
        /// An infinity, or NaN.
        value: f32,
    },
}

impl Samples {
    /// `values[k]` holds samples of `graph.inputs[k]`, one behind the other, each row-major in ONNX's
    /// order; as many for each input.
    ///
    /// # Errors
    /// See [`SamplesError`]: nothing there, lengths that do not fit, values that are no numbers.
    pub fn new(graph: &Graph, values: Vec<Vec<f32>>) -> Result<Self, SamplesError> {
        if values.len() != graph.inputs.len() {
            let (expected, found) = (graph.inputs.len(), values.len());
            return Err(SamplesError::Inputs { expected, found });
        }
        let mut count = None;
        for (&id, values) in graph.inputs.iter().zip(&values) {
            let found = counted(graph, id, values)?;
            if let Some(expected) = count.replace(found)
                && expected != found
            {
                let input = graph.get(id).name.clone();
                return Err(SamplesError::Count { input, expected, found });
            }
        }
        Ok(Self { inputs: values, count: count.unwrap_or(0) })
    }

    /// How many there are; at least one, unless the graph has no input.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The values of one sample, for each input of the graph.
    pub fn get(&self, index: usize) -> impl Iterator<Item = &[f32]> {
        self.inputs.iter().map(move |values| {
            let one = values.len() / self.count;
            &values[index * one..][..one]
        })
    }

    /// All samples of one input of the graph, in order.
    pub fn of_input(&self, input: usize) -> impl Iterator<Item = &[f32]> {
        let values = &self.inputs[input];
        values.chunks_exact((values.len() / self.count.max(1)).max(1))
    }

    /// `count` samples, or all if there are fewer, at equal distances: files come sorted by class.
    #[must_use]
    pub fn spread(&self, count: usize) -> Self {
        let count = count.min(self.count);
        let chosen = |values: &Vec<f32>| {
            let one = values.len() / self.count.max(1);
            let sample = |k: usize| &values[k * self.count / count * one..][..one];
            (0..count).flat_map(|k| sample(k).iter().copied()).collect()
        };
        Self { inputs: self.inputs.iter().map(chosen).collect(), count }
    }
}

/// The number of samples of one input.
fn counted(graph: &Graph, id: ValueId, values: &[f32]) -> Result<usize, SamplesError> {
    let value = graph.get(id);
    let (input, shape) = (value.name.clone(), value.shape.clone());
    let one = elements(&shape).unwrap_or(usize::MAX).max(1);
    if values.is_empty() {
        return Err(SamplesError::Empty { input });
    }
    if !values.len().is_multiple_of(one) {
        return Err(SamplesError::Length { input, shape, found: values.len() });
    }
    match values.iter().position(|value| !value.is_finite()) {
        Some(at) => Err(SamplesError::NotFinite { input, sample: at / one, value: values[at] }),
        None => Ok(values.len() / one),
    }
}

#[cfg(test)]
mod tests {
    use super::{Samples, SamplesError};
    use crate::graph::Graph;

    fn graph() -> Graph {
        let mut graph = Graph::default();
        graph.inputs = vec![graph.value("a", [1, 2]), graph.value("b", [1])];
        graph
    }

    #[test]
    fn samples_come_back_one_by_one() {
        let values = vec![vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], vec![7.0, 8.0, 9.0]];
        let samples = Samples::new(&graph(), values).unwrap();
        assert_eq!(samples.len(), 3);
        assert_eq!(samples.get(1).collect::<Vec<_>>(), [&[3.0, 4.0][..], &[8.0]]);
        assert_eq!(samples.of_input(0).last(), Some(&[5.0, 6.0][..]));
        assert_eq!(samples.spread(1).get(0).next(), Some(&[1.0, 2.0][..]));
        assert_eq!(samples.spread(9), samples);
    }

    #[test]
    fn what_does_not_fit_the_inputs_is_refused() {
        let refused = |values: Vec<Vec<f32>>| Samples::new(&graph(), values).unwrap_err();
        assert!(matches!(refused(vec![vec![1.0]]), SamplesError::Inputs { found: 1, .. }));
        assert!(matches!(refused(vec![vec![], vec![]]), SamplesError::Empty { .. }));
        let odd = refused(vec![vec![1.0; 3], vec![1.0]]);
        assert!(matches!(odd, SamplesError::Length { found: 3, .. }));
        let fewer = refused(vec![vec![1.0; 4], vec![1.0]]);
        assert!(matches!(fewer, SamplesError::Count { expected: 2, found: 1, .. }));
        let nan = refused(vec![vec![1.0, 1.0, 1.0, f32::NAN], vec![1.0; 2]]);
        assert!(matches!(nan, SamplesError::NotFinite { sample: 1, .. }));
    }
}
