//! [`Calibrated`]: a float graph, what of it becomes integers, and what that holds on the samples.

use super::error::QuantizeError;
use super::grids::{Grid, Selection};
use super::moments::{Moments, moments};
use super::options::Options;
use super::ranges::{Ranged, ranged, raw_pixels};
use super::samples::Samples;
use super::search::{Choice, apply};
use super::weights::{Context, Rounded, quantize_layer};
use crate::graph::{Graph, ValueId};

/// A float graph and what calibration found out about it.
#[derive(Clone, Debug)]
pub(super) struct Calibrated {
    pub(super) float: Graph,
    pub(super) selection: Selection,
    pub(super) ranged: Vec<Ranged>,
    /// Grids that hold nothing but zeros.
    pub(super) empty: Vec<Grid>,
    /// Of the operands of layers, in order of the layers.
    moments: Vec<Moments>,
}

impl Calibrated {
    /// Runs the graph on the samples.
    ///
    /// # Errors
    /// When the graph cannot be run, or computes what is no finite number.
    pub(super) fn new(
        float: Graph,
        samples: &Samples,
        options: &Options,
    ) -> Result<Self, QuantizeError> {
        let mut selection = Selection::of(&float, options);
        let (mut ranged, empty) = ranged(&float, &mut selection, samples)?;
        let pixels = float.inputs.first().filter(|_| options.raw_pixels);
        for ranged in &mut ranged {
            if pixels.is_some_and(|id| ranged.grid.values.contains(id)) {
                ranged.fixed = Some(raw_pixels());
            }
        }
        selection.leave_out_unasked(&float, "its operand is zero on all calibration data");
        let operand = |&index: &usize| float.nodes[index].inputs[0];
        let operands: Vec<ValueId> = selection.layers.iter().map(operand).collect();
        let mut watched = operands.clone();
        watched.sort_unstable();
        watched.dedup();
        let found = moments(&float, &watched, samples)?;
        let of = |id: &ValueId| watched.binary_search(id).map(|at| found[at].clone());
        let moments = operands.iter().filter_map(|id| of(id).ok()).collect();
        Ok(Self { float, selection, ranged, empty, moments })
    }

    /// The graph with these quantizations of its grids, and its weights rounded to the nearest.
    pub(super) fn graph(&self, choices: &[Choice], options: &Options) -> (Graph, Vec<Rounded>) {
        let mut graph = self.float.clone();
        apply(&mut graph, &self.ranged, choices);
        let mut rounded = Vec::with_capacity(self.moments.len());
        for (&index, moments) in self.selection.layers.iter().zip(&self.moments) {
            let operand = graph.get(graph.nodes[index].inputs[0]);
            let scales = operand.quantization.as_ref().map(|quantization| quantization.scales[0]);
            let context = Context { moments, input_scale: scales.unwrap_or(1.0) };
            rounded.extend(quantize_layer(&mut graph, index, &context, options));
        }
        (graph, rounded)
    }
}
