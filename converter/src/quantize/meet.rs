//! Mixed precision: layers go back to float until the network meets a goal.

use super::Work;
use super::error::QuantizeError;
use super::goal::{Bar, Goal};
use super::rounding::Fit;
use super::sensitivity::Mixed;
use crate::graph::Graph;

impl Work<'_> {
    /// Leaves the cheapest layers in float with which the goal is met, and measures what each does.
    pub(super) fn meet(&mut self, goal: &Goal) -> Result<(), QuantizeError> {
        let (layers, float) = (&self.calibrated.selection.layers[..], &self.calibrated.float);
        let mixed = Mixed { float, quantized: &self.graph, layers, options: self.options };
        let bar = Bar::new(goal, float)?;
        let is_met = |graph: &Graph| bar.is_met(graph, &self.judge);
        let sensitivity = mixed.sensitivities(&self.judge)?;
        let chosen = mixed.cheapest(&sensitivity, self.decibels, is_met)?;
        // Without any integer there is no difference: all layers are always enough.
        let chosen = chosen.unwrap_or_else(|| (0..layers.len()).collect());
        let graph = mixed.with_float(&chosen);
        let decibels = self.judge.decibels(&graph)?;
        // Fitted to each other once more, the layers left may be better still.
        let fit = Fit { rounding: self.options.rounding, bias: self.options.correct_bias };
        let (again, found) = self.fitted(graph.clone(), fit)?;
        let better = !chosen.is_empty() && found > decibels && is_met(&again)?;
        (self.graph, self.decibels) = if better { (again, found) } else { (graph, decibels) };
        self.sensitivity = sensitivity;
        self.leave_in_float(&chosen);
        Ok(())
    }

    /// Books layers (numbers in the selection, ascending) as float.
    fn leave_in_float(&mut self, chosen: &[usize]) {
        let selection = &mut self.calibrated.selection;
        for &k in chosen.iter().rev() {
            self.rounded.remove(k);
            let reason = "with its integers the outputs would be too far off";
            selection.float_layers.push((selection.layers.remove(k), reason));
        }
        selection.float_layers.sort_unstable();
    }
}
