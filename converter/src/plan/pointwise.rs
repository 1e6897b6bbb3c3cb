//! Lowering of what each value, or each channel, goes through alone.

use super::error::Kind;
use super::lower::{Lowering, Place};
use super::order::{Order, dims};
use crate::graph::{Activation, Node};
use crate::tensor::elements;
use unbraid_runtime::step;

impl Lowering<'_> {
    /// `op` on every element, wherever it lies.
    pub(super) fn elementwise(&mut self, node: &Node, op: step::Op) -> Result<(), Kind> {
        let id = Self::operand(node, 0)?;
        let stored = self.stored(id)?;
        let input = self.place(id, &stored)?;
        let output = self.store(node.output, stored.order)?;
        let output = Place { buffer: output.buffer, dims: input.dims };
        self.push(node, op, input, output);
        Ok(())
    }

    pub(super) fn activation(&mut self, node: &Node, activation: &Activation) -> Result<(), Kind> {
        match activation {
            Activation::None => self.alias(node),
            Activation::PRelu { .. } => {
                let input = self.picture(Self::operand(node, 0)?)?;
                let activation = self.channel_activation(activation, input.dims.c)?;
                let output = self.new_picture(node.output)?;
                self.push(node, step::Op::Activate(activation), input, output);
                Ok(())
            }
            Activation::Clamp { .. } | Activation::LeakyRelu { .. } => {
                let activation = self.channel_activation(activation, 0)?;
                self.elementwise(node, step::Op::Activate(activation))
            }
        }
    }

    /// An activation with PReLU slopes stored as `[c]`.
    pub(super) fn channel_activation(
        &mut self,
        graph: &Activation,
        c: u32,
    ) -> Result<step::Activation, Kind> {
        self.stored_activation(graph, c as usize, |slopes| Some(slopes.to_vec()))
    }

    /// An activation with PReLU slopes stored as `pack` orders them.
    pub(super) fn stored_activation(
        &mut self,
        activation: &Activation,
        channels: usize,
        pack: impl FnOnce(&[f32]) -> Option<Vec<f32>>,
    ) -> Result<step::Activation, Kind> {
        Ok(match activation {
            Activation::None => step::Activation::None,
            Activation::Clamp { lo, hi } => step::Activation::Clamp { lo: *lo, hi: *hi },
            Activation::LeakyRelu { slope } => step::Activation::LeakyRelu { slope: *slope },
            Activation::PRelu { slope } => {
                let slopes = slope.as_f32().filter(|s| s.len() == channels).and_then(pack);
                let slopes = slopes.ok_or_else(|| Kind::Shape {
                    what: "PReLU slopes",
                    found: slope.shape().to_vec(),
                    expected: vec![channels],
                })?;
                step::Activation::PRelu { slopes: self.weights.add(&slopes)? }
            }
        })
    }

    pub(super) fn batch_norm(&mut self, node: &Node, eps: f32) -> Result<(), Kind> {
        let channel = |at| self.constant(Self::operand(node, at)?);
        let (gamma, beta, mean, var) = (channel(1)?, channel(2)?, channel(3)?, channel(4)?);
        let input = self.picture(Self::operand(node, 0)?)?;
        let c = input.dims.c as usize;
        for statistics in [gamma, beta, mean, var] {
            if statistics.len() != c {
                let (what, found) = ("BatchNormalization statistics", vec![statistics.len()]);
                return Err(Kind::Shape { what, found, expected: vec![c] });
            }
        }
        let factor = |k: usize| f64::from(gamma[k]) / (f64::from(var[k]) + f64::from(eps)).sqrt();
        let shift = |k: usize| f64::from(beta[k]) - f64::from(mean[k]) * factor(k);
        let scale: Vec<f32> = (0..c).map(|k| factor(k) as f32).collect();
        let shift: Vec<f32> = (0..c).map(|k| shift(k) as f32).collect();
        let output = self.new_picture(node.output)?;
        let (scale, shift) = (self.weights.add(&scale)?, self.weights.add(&shift)?);
        let activation = step::Activation::None;
        self.push(node, step::Op::ScaleShift { scale, shift, activation }, input, output);
        Ok(())
    }

    /// Softmax along any axis: the operand is ordered so that it lies innermost.
    pub(super) fn softmax(&mut self, node: &Node, axis: usize) -> Result<(), Kind> {
        let id = Self::operand(node, 0)?;
        let shape = self.graph.shape(id);
        let missing = || Kind::SoftmaxAxis { axis, shape: shape.to_vec() };
        let length = *shape.get(axis).ok_or_else(missing)?;
        let order = Order::with_innermost(shape, axis);
        let input = self.ordered(id, &order)?;
        let dims = match input.dims.c as usize == length {
            true => input.dims,
            false => dims(1, elements(shape).unwrap_or(0) / length.max(1), length)?,
        };
        let output = Place { buffer: self.store(node.output, order)?.buffer, dims };
        self.push(node, step::Op::Softmax, Place { dims, ..input }, output);
        Ok(())
    }

    /// The best elements along any axis: the operand is ordered so that it lies innermost, and every
    /// other element is a row.
    pub(super) fn top_k(
        &mut self,
        node: &Node,
        axis: usize,
        (largest, last): (bool, bool),
    ) -> Result<(), Kind> {
        let id = Self::operand(node, 0)?;
        let (shape, result) = (self.graph.shape(id), self.graph.shape(node.output));
        let length = |shape: &[usize]| {
            let missing = || Kind::SoftmaxAxis { axis, shape: shape.to_vec() };
            shape.get(axis).copied().filter(|&length| length > 0).ok_or_else(missing)
        };
        let (from, to) = (length(shape)?, length(result)?);
        let buffer = self.ordered(id, &Order::with_innermost(shape, axis))?.buffer;
        let rows = elements(shape).unwrap_or(0) / from;
        let input = Place { buffer, dims: dims(rows, 1, from)? };
        let buffer = self.store(node.output, Order::with_innermost(result, axis))?.buffer;
        let output = Place { buffer, dims: dims(rows, 1, to)? };
        let top = step::TopK { count: output.dims.c / 2, largest, last };
        self.push(node, step::Op::TopK(top), input, output);
        Ok(())
    }
}
