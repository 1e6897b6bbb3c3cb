//! What goes on in each channel alone, on integers: a depthwise convolution of one tap, whose factor and bias
//! a channel is as exact as that of any other convolution.

use super::super::dense::{Filters, Layer, flattened};
use super::super::error::Kind;
use super::super::lower::Lowering;
use super::dense::{Integers, Quantized};
use crate::graph::{Activation, Node, ValueId, Window};
use unbraid_runtime::step::Border;

/// The integer that every factor is: the largest there is.
const FACTOR: i8 = 127;

/// `act(x * factor + shift)` of each channel.
#[derive(Clone, Debug)]
pub(in crate::plan) struct Channels<'a> {
    pub(in crate::plan) factors: Vec<f64>,
    pub(in crate::plan) shifts: Vec<f32>,
    pub(in crate::plan) activation: &'a Activation,
}

impl Channels<'_> {
    /// Factors as integers with scales of their own.
    fn integers(&self) -> Integers {
        let sign = |&factor: &f64| if factor < 0.0 { -FACTOR } else { FACTOR };
        Integers {
            values: self.factors.iter().map(sign).collect(),
            scales: self.factors.iter().map(|factor| factor.abs() / f64::from(FACTOR)).collect(),
            bits: 8,
        }
    }
}

impl Lowering<'_> {
    /// Appends the step, if the operand lies as integers and has these channels. Returns whether.
    pub(in crate::plan) fn channels_s8(
        &mut self,
        node: &Node,
        id: ValueId,
        channels: &Channels<'_>,
    ) -> Result<bool, Kind> {
        let count = channels.factors.len();
        let Some(input) = self.kept(id).quantization() else { return Ok(false) };
        if !matches!(self.graph.shape(id), [_, c, ..] if *c == count) {
            return Ok(false);
        }
        let output = self.wanted(node.output);
        let places = (self.picture(id)?, self.new_picture_in(node.output, output)?);
        let (window, border) = (Window::POINT, Border::default());
        let filters = Filters::of_channels(count);
        let Channels { shifts, activation, .. } = channels;
        let layer = Layer { filters, window, border, bias: shifts, activation };
        let quantized = Quantized { weights: channels.integers(), input, output };
        let places = flattened(&window, border, places)?;
        self.push_conv_s8(node, &layer, &quantized, (places, 1))?;
        Ok(true)
    }
}
