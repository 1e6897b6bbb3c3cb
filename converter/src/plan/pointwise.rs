//! Lowering of what each value, or each channel, goes through alone. Of integers, functions are tables and
//! what differs from channel to channel is a convolution (`s8`).

use super::error::Kind;
use super::lower::{Lowering, Place};
use super::order::{Order, dims};
use super::s8::Channels;
use crate::graph::{Activation, Function, Node};
use crate::reference;
use crate::tensor::elements;
use unbraid_runtime::step;

impl Lowering<'_> {
    pub(super) fn unary(&mut self, node: &Node, function: Function) -> Result<(), Kind> {
        if self.table(node, Self::operand(node, 0)?, |x| reference::apply(function, x))? {
            return Ok(());
        }
        self.elementwise(node, step::Op::Apply(function))
    }

    /// `op` on every element, wherever it lies.
    fn elementwise(&mut self, node: &Node, op: step::Op) -> Result<(), Kind> {
        let id = Self::operand(node, 0)?;
        let stored = self.stored(id)?;
        let input = self.place(id, &stored)?;
        let input = self.real(id, input)?;
        let output = self.store(node.output, stored.order)?;
        let output = Place { buffer: output.buffer, dims: input.dims };
        self.push(node, op, input, output);
        Ok(())
    }

    pub(super) fn activation(&mut self, node: &Node, activation: &Activation) -> Result<(), Kind> {
        let id = Self::operand(node, 0)?;
        match activation {
            Activation::None => self.alias(node),
            Activation::PRelu { slope } => {
                let (factors, shifts) = (vec![1.0; slope.len()], vec![0.0; slope.len()]);
                if self.channels_s8(node, id, &Channels { factors, shifts, activation })? {
                    return Ok(());
                }
                let input = self.picture(id)?;
                let input = self.real(id, input)?;
                let activation = self.channel_activation(activation, input.dims.c)?;
                let output = self.new_picture(node.output)?;
                self.push(node, step::Op::Activate(activation), input, output);
                Ok(())
            }
            Activation::Clamp { .. } | Activation::LeakyRelu { .. } => {
                if self.table(node, id, |x| reference::activate(x, activation, 0))? {
                    return Ok(());
                }
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
        let id = Self::operand(node, 0)?;
        let c = self.graph.shape(id).get(1).copied().unwrap_or(0);
        for statistics in [gamma, beta, mean, var] {
            if statistics.len() != c {
                let (what, found) = ("BatchNormalization statistics", vec![statistics.len()]);
                return Err(Kind::Shape { what, found, expected: vec![c] });
            }
        }
        let factor = |k: usize| f64::from(gamma[k]) / (f64::from(var[k]) + f64::from(eps)).sqrt();
        let shift = |k: usize| f64::from(beta[k]) - f64::from(mean[k]) * factor(k);
        let factors: Vec<f64> = (0..c).map(factor).collect();
        let shifts: Vec<f32> = (0..c).map(|k| shift(k) as f32).collect();
        let activation = &Activation::None;
        let channels = Channels { factors, shifts, activation };
        if self.channels_s8(node, id, &channels)? {
            return Ok(());
        }
        let input = self.picture(id)?;
        let input = self.real(id, input)?;
        let scale: Vec<f32> = channels.factors.iter().map(|&factor| factor as f32).collect();
        let output = self.new_picture(node.output)?;
        let (scale, shift) = (self.weights.add(&scale)?, self.weights.add(&channels.shifts)?);
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
        let input = self.real(id, input)?;
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
        let input = self.ordered(id, &Order::with_innermost(shape, axis))?;
        let input = self.real(id, input)?;
        let rows = elements(shape).unwrap_or(0) / from;
        let input = Place { dims: dims(rows, 1, from)?, ..input };
        let buffer = self.store(node.output, Order::with_innermost(result, axis))?.buffer;
        let output = Place { buffer, dims: dims(rows, 1, to)? };
        let top = step::TopK { count: output.dims.c / 2, largest, last };
        self.push(node, step::Op::TopK(top), input, output);
        Ok(())
    }
}
