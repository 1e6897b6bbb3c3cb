//! [`Goal`]: how good a quantized network has to be.

use super::activations::Activations;
use super::error::QuantizeError;
use super::judge::Judge;
use super::samples::Samples;
use super::simulate::simulated;
use crate::graph::Graph;
use thiserror::Error;

/// A bound that a network meets with enough of its layers in float.
#[derive(Clone, Debug, PartialEq)]
pub enum Goal {
    /// Signal to noise of the outputs on calibration samples, in decibels.
    MinSqnr(f64),
    /// Of the labelled samples, so many in a hundred may be lost.
    MaxDrop {
        /// Percentage points.
        points: f64,
        /// Samples and their classes.
        labelled: Labelled,
    },
}

/// Samples whose right answers are known.
#[derive(Clone, Debug, PartialEq)]
pub struct Labelled {
    samples: Samples,
    classes: Vec<usize>,
}

/// Labels that do not fit.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum LabelledError {
    /// Another number of labels than samples.
    #[error("{labels} labels for {samples} samples; each sample needs one")]
    Count {
        /// Labels.
        labels: usize,
        /// Samples.
        samples: usize,
    },
    /// A class that the network does not know.
    #[error(
        "sample {sample} (from 0) is of class {class} (from 0), the first output has {classes} values"
    )]
    Class {
        /// Index of the sample.
        sample: usize,
        /// Its label.
        class: usize,
        /// Values of the output.
        classes: usize,
    },
}

impl Labelled {
    /// Samples of a graph whose first output has one value a class.
    ///
    /// # Errors
    /// Another number of labels, or labels that are no classes.
    pub fn new(
        graph: &Graph,
        samples: Samples,
        classes: Vec<usize>,
    ) -> Result<Self, LabelledError> {
        if classes.len() != samples.len() {
            let (labels, samples) = (classes.len(), samples.len());
            return Err(LabelledError::Count { labels, samples });
        }
        let known = graph.outputs.first().map_or(0, |&id| graph.shape(id).iter().product());
        match classes.iter().position(|&class| class >= known) {
            Some(sample) => {
                Err(LabelledError::Class { sample, class: classes[sample], classes: known })
            }
            None => Ok(Self { samples, classes }),
        }
    }

    /// Percentage of samples for which the class with the largest value is right.
    ///
    /// # Errors
    /// When the graph cannot be run.
    pub fn accuracy(&self, graph: &Graph) -> Result<f64, QuantizeError> {
        let outputs =
            Activations::new(&simulated(graph), &graph.outputs[..1])?.all(&self.samples)?;
        let is_right = |(found, class): &(&Vec<Vec<f32>>, &usize)| best(&found[0]) == **class;
        let right = outputs.iter().zip(&self.classes).filter(is_right).count();
        Ok(100.0 * right as f64 / self.classes.len().max(1) as f64)
    }
}

/// The first of the largest values.
fn best(values: &[f32]) -> usize {
    let larger = |best: usize, at: usize| if values[at] > values[best] { at } else { best };
    (0..values.len()).fold(0, larger)
}

/// A goal for one network.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bar<'a> {
    goal: &'a Goal,
    /// Accuracy of the float network, where it matters.
    exact: f64,
}

impl<'a> Bar<'a> {
    /// For the quantized forms of this graph.
    ///
    /// # Errors
    /// When the graph cannot be run.
    pub(super) fn new(goal: &'a Goal, float: &Graph) -> Result<Self, QuantizeError> {
        let exact = match goal {
            Goal::MinSqnr(_) => 0.0,
            Goal::MaxDrop { labelled, .. } => labelled.accuracy(float)?,
        };
        Ok(Self { goal, exact })
    }

    /// Whether a quantized graph is good enough.
    ///
    /// # Errors
    /// When it cannot be run.
    pub(super) fn is_met(self, quantized: &Graph, judge: &Judge) -> Result<bool, QuantizeError> {
        match self.goal {
            Goal::MinSqnr(decibels) => Ok(judge.decibels(quantized)? >= *decibels),
            Goal::MaxDrop { points, labelled } => {
                Ok(self.exact - labelled.accuracy(quantized)? <= *points)
            }
        }
    }
}
