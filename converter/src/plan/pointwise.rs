//! Lowering of element-wise operations: activations, sums, and constants a channel.

use super::channelwise::{Channelwise, channelwise};
use super::error::Kind;
use super::lower::{Draft, Lowering, Place};
use super::order::{Order, dims};
use crate::graph::{Activation, Node, ValueId};
use unbraid_runtime::step::{self, Binary, Operand, Source};

impl Lowering<'_> {
    /// `op` on every element, wherever it lies.
    pub(super) fn elementwise(&mut self, node: &Node, op: step::Op) -> Result<(), Kind> {
        let id = Self::operand(node, 0)?;
        let stored = self.stored(id)?;
        let input = self.place(id, stored)?;
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
    fn channel_activation(&mut self, graph: &Activation, c: u32) -> Result<step::Activation, Kind> {
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
        self.push_scale_shift(node, input, output, &scale, &shift, &Activation::None)
    }

    /// Sum of two computed values, or of one and a constant.
    pub(super) fn add(&mut self, node: &Node, activation: &Activation) -> Result<(), Kind> {
        let (left, right) = (Self::operand(node, 0)?, Self::operand(node, 1)?);
        if self.is_constant(left) {
            return self.affine(node, right, left, |c| (1.0, c), activation);
        }
        if self.is_constant(right) {
            return self.affine(node, left, right, |c| (1.0, c), activation);
        }
        let order = match activation {
            Activation::PRelu { .. } => Order::of_picture(self.graph.shape(node.output)),
            _ => self.stored(left)?.order,
        };
        let (input, other) = self.pair(left, right, order)?;
        let activation = self.channel_activation(activation, input.dims.c)?;
        self.push_sum(node, order, input, other, activation)
    }

    /// Two computed values of one shape in the same order. Their shapes may differ by leading ones,
    /// hence the dims of the first for both.
    fn pair(&mut self, a: ValueId, b: ValueId, order: Order) -> Result<(Place, Place), Kind> {
        self.same_shape(a, b)?;
        let (input, other) = (self.ordered(a, order)?, self.ordered(b, order)?);
        Ok((input, Place { buffer: other.buffer, dims: input.dims }))
    }

    fn push_sum(
        &mut self,
        node: &Node,
        order: Order,
        input: Place,
        other: Place,
        activation: step::Activation,
    ) -> Result<(), Kind> {
        let stored = self.store(node.output, order)?;
        self.push_draft(Draft {
            name: self.graph.get(node.output).name.clone(),
            op: step::Op::Binary {
                function: Binary::Add,
                other: Source::Arena(Operand::default()),
                swapped: false,
                activation,
            },
            input,
            other: Some(other),
            output: Place { buffer: stored.buffer, dims: input.dims },
        });
        Ok(())
    }

    pub(super) fn sub(&mut self, node: &Node) -> Result<(), Kind> {
        let (left, right) = (Self::operand(node, 0)?, Self::operand(node, 1)?);
        match (self.is_constant(left), self.is_constant(right)) {
            (false, false) => self.difference(node, left, right),
            (true, _) => self.affine(node, right, left, |c| (-1.0, c), &Activation::None),
            (false, true) => self.affine(node, left, right, |c| (1.0, -c), &Activation::None),
        }
    }

    /// `left + (-1) * right`, which rounds as `left - right` does.
    fn difference(&mut self, node: &Node, left: ValueId, right: ValueId) -> Result<(), Kind> {
        let order = self.stored(left)?.order;
        let (input, other) = self.pair(left, right, order)?;
        let c = input.dims.c as usize;
        let (scale, shift) = (self.weights.add(&vec![-1.0; c])?, self.weights.add(&vec![0.0; c])?);
        let activation = step::Activation::None;
        let negated = Place { buffer: self.scratch_buffer(other.buffer), dims: input.dims };
        self.push_draft(Draft {
            name: format!("{} (negated operand)", self.graph.get(node.output).name),
            op: step::Op::ScaleShift { scale, shift, activation },
            input: other,
            other: None,
            output: negated,
        });
        self.push_sum(node, order, input, negated, activation)
    }

    pub(super) fn mul(&mut self, node: &Node) -> Result<(), Kind> {
        let (left, right) = (Self::operand(node, 0)?, Self::operand(node, 1)?);
        match (self.is_constant(left), self.is_constant(right)) {
            (false, false) => Err(Kind::TwoComputed),
            (true, _) => self.affine(node, right, left, |c| (c, 0.0), &Activation::None),
            (false, true) => self.affine(node, left, right, |c| (c, 0.0), &Activation::None),
        }
    }

    pub(super) fn div(&mut self, node: &Node) -> Result<(), Kind> {
        let (left, right) = (Self::operand(node, 0)?, Self::operand(node, 1)?);
        match (self.is_constant(left), self.is_constant(right)) {
            (false, false) => Err(Kind::TwoComputed),
            (true, _) => Err(Kind::ComputedDivisor),
            (false, true) => self.affine(node, left, right, |c| (1.0 / c, 0.0), &Activation::None),
        }
    }

    fn is_constant(&self, id: ValueId) -> bool {
        self.graph.get(id).constant.is_some()
    }

    /// `x * scale + shift`, where `terms` makes both from an element of the constant.
    fn affine(
        &mut self,
        node: &Node,
        x: ValueId,
        constant: ValueId,
        terms: impl Fn(f32) -> (f32, f32),
        activation: &Activation,
    ) -> Result<(), Kind> {
        self.same_shape(x, node.output)?;
        let broadcast = || Kind::Broadcast {
            left: self.graph.shape(x).to_vec(),
            right: self.graph.shape(constant).to_vec(),
        };
        let tensor = self.graph.get(constant).constant.as_ref();
        let channelwise = tensor.and_then(|t| channelwise(t, self.graph.shape(x)));
        let per_channel = matches!(activation, Activation::PRelu { .. });
        let (order, values) = match channelwise.ok_or_else(broadcast)? {
            Channelwise::Uniform(value) if !per_channel => (self.stored(x)?.order, vec![value]),
            Channelwise::Uniform(value) => (Order::of_picture(self.graph.shape(x)), vec![value]),
            Channelwise::Each(values) => (Order::of_picture(self.graph.shape(x)), values),
        };
        let input = self.ordered(x, order)?;
        let output = self.store(node.output, order)?;
        let output = Place { buffer: output.buffer, dims: input.dims };
        let terms = (0..input.dims.c as usize).map(|k| terms(values[k % values.len()]));
        let (scale, shift): (Vec<f32>, Vec<f32>) = terms.unzip();
        self.push_scale_shift(node, input, output, &scale, &shift, activation)
    }

    fn push_scale_shift(
        &mut self,
        node: &Node,
        input: Place,
        output: Place,
        scale: &[f32],
        shift: &[f32],
        activation: &Activation,
    ) -> Result<(), Kind> {
        let activation = self.channel_activation(activation, input.dims.c)?;
        let (scale, shift) = (self.weights.add(scale)?, self.weights.add(shift)?);
        self.push(node, step::Op::ScaleShift { scale, shift, activation }, input, output);
        Ok(())
    }

    /// Shapes that differ at most by leading ones.
    fn same_shape(&self, left: ValueId, right: ValueId) -> Result<(), Kind> {
        let (left, right) = (self.graph.shape(left), self.graph.shape(right));
        let core = |shape: &[usize]| -> Vec<usize> {
            shape.iter().copied().skip_while(|&n| n == 1).collect()
        };
        if core(left) == core(right) {
            return Ok(());
        }
        Err(Kind::Broadcast { left: left.to_vec(), right: right.to_vec() })
    }

    pub(super) fn softmax(&mut self, node: &Node, axis: usize) -> Result<(), Kind> {
        let id = Self::operand(node, 0)?;
        let shape = self.graph.shape(id);
        let inner: usize = shape.iter().skip(axis + 1).product();
        let (input, order) = if inner == 1 && axis < shape.len() {
            let last = shape[axis];
            let rows = shape[..axis].iter().product();
            let stored = self.ordered(id, Order::RowMajor)?;
            (Place { buffer: stored.buffer, dims: dims(1, rows, last)? }, Order::RowMajor)
        } else if axis == 1 {
            (self.picture(id)?, Order::of_picture(shape))
        } else {
            return Err(Kind::SoftmaxAxis { axis, shape: shape.to_vec() });
        };
        let output = self.store(node.output, order)?;
        let output = Place { buffer: output.buffer, dims: input.dims };
        let name = self.name(node, order, output.dims)?;
        self.push_draft(Draft { name, op: step::Op::Softmax, input, other: None, output });
        Ok(())
    }
}
