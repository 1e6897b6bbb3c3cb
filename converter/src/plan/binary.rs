//! Lowering of sums, differences, products and quotients, with ONNX's broadcasting.

use super::error::Kind;
use super::lower::{Draft, Lowering, Place};
use super::order::{Order, dims, picture_dims};
use super::s8::Pairing;
use super::view::aligned;
use crate::graph::{Activation, Node, ValueId};
use crate::tensor::elements;
use unbraid_runtime::dims::Dims;
use unbraid_runtime::step::{self, Binary, Element, Operand, Source};

/// How two operands meet: the first under dims of its own, the second under dims of which some are
/// 1, and the order that it must have for that.
struct Meeting {
    input: Dims,
    other: Dims,
    order: Order,
}

impl Lowering<'_> {
    /// `function` of two operands, at least one of them computed.
    pub(super) fn binary(
        &mut self,
        node: &Node,
        function: Binary,
        activation: &Activation,
    ) -> Result<(), Kind> {
        let operands = (Self::operand(node, 0)?, Self::operand(node, 1)?);
        let roles = self.roles(node, operands)?;
        if self.with_constant_s8(node, function, roles, activation)? {
            return Ok(());
        }
        let (first, second, swapped) = roles;
        let pairing = self.pairing(node, function, roles, activation);
        let shape = self.graph.shape(node.output);
        let per_channel = matches!(activation, Activation::PRelu { .. });
        let full = elements(self.graph.shape(first)) == elements(shape);
        let order = match (per_channel, full) {
            (false, true) => self.stored(first)?.order,
            (true, _) => Order::of_picture(shape),
            (false, false) => Order::natural(shape),
        };
        // Axes of which the other operand has one element must be told apart.
        let order = if order.axes(shape).is_none()
            && elements(self.graph.shape(second)) != elements(shape)
        {
            Order::natural(shape)
        } else {
            order
        };
        let mut input =
            if full { self.ordered(first, &order)? } else { self.repeated(first, shape, &order)? };
        if pairing.is_none() {
            input = self.real(first, input)?;
        }
        let second_shape = aligned(self.graph.shape(second), shape.len());
        let meeting = meeting(&order, shape, &second_shape, per_channel)?;
        let (source, other) = self.second(second, &meeting, &order, (shape, pairing))?;
        let op = match pairing.and_then(|pairing| pairing.step(source)) {
            Some(pair) => step::Op::PairS8(pair),
            None => {
                let activation = self.channel_activation(activation, meeting.input.c)?;
                step::Op::Binary { function, other: source, swapped, activation }
            }
        };
        let element = pairing.map_or(Element::F32, |pairing| pairing.output());
        let output = self.store_in(node.output, order, element)?.buffer;
        let [input, output] =
            [input.buffer, output].map(|buffer| Place { buffer, dims: meeting.input });
        let name = self.name(node, output.dims);
        self.push_draft(Draft { name, op, input, other, output });
        Ok(())
    }

    /// Which operand is the step's input, which the other one, and whether they change places: the
    /// input is computed and, if one of them is, as large as the result.
    fn roles(
        &self,
        node: &Node,
        (left, right): (ValueId, ValueId),
    ) -> Result<(ValueId, ValueId, bool), Kind> {
        let shape = self.graph.shape(node.output);
        let repeats = |id: ValueId| {
            let own = aligned(self.graph.shape(id), shape.len());
            own.len() == shape.len() && own.iter().zip(shape).all(|(&o, &s)| o == s || o == 1)
        };
        if !(repeats(left) && repeats(right)) {
            return Err(Kind::Broadcast {
                left: self.graph.shape(left).to_vec(),
                right: self.graph.shape(right).to_vec(),
                result: shape.to_vec(),
            });
        }
        let constant = |id: ValueId| self.graph.get(id).constant.is_some();
        let full = |id: ValueId| elements(self.graph.shape(id)) == elements(shape);
        let swapped = constant(left) || !constant(right) && !full(left) && full(right);
        Ok(if swapped { (right, left, true) } else { (left, right, false) })
    }

    /// The other operand as a constant, or as what an earlier step leaves.
    fn second(
        &mut self,
        id: ValueId,
        meeting: &Meeting,
        order: &Order,
        (shape, pairing): (&[usize], Option<Pairing>),
    ) -> Result<(Source, Option<Place>), Kind> {
        let dims = meeting.other;
        if let Some(constant) = &self.graph.get(id).constant {
            let input = || self.graph.get(id).name.clone();
            let values = constant.as_f32().ok_or_else(|| Kind::NotConstant { input: input() })?;
            let own = aligned(constant.shape(), shape.len());
            let mut data = vec![0.0; dims.elements().unwrap_or(0)];
            let repeat = repetition(&own, shape, data.len() > values.len());
            for number in 0..data.len() {
                data[meeting.order.place(number)] = values[repeat(number)];
            }
            let span = match pairing {
                Some(pairing) => self.weights.add_s8(&pairing.integers(&data))?,
                None => self.weights.add(&data)?,
            };
            return Ok((Source::Weights { span, dims }, None));
        }
        let mut place = if dims.elements() == elements(self.graph.shape(id)) {
            self.ordered(id, &meeting.order)?
        } else {
            self.repeated(id, shape, order)?
        };
        if pairing.is_none() {
            place = self.real(id, place)?;
        }
        Ok((Source::Arena(Operand::default()), Some(Place { dims, ..place })))
    }
}

/// For the number of an element of `shape`, or of `own` itself, the number in `own`.
fn repetition<'a>(
    own: &'a [usize],
    shape: &'a [usize],
    repeats: bool,
) -> impl Fn(usize) -> usize + 'a {
    move |number| {
        if !repeats {
            return number;
        }
        let (mut rest, mut at, mut step) = (number, 0, 1);
        for (&length, &own) in shape.iter().zip(own).rev() {
            at += if own == 1 { 0 } else { rest % length * step };
            rest /= length;
            step *= own;
        }
        at
    }
}

/// How an operand of shape `own` meets one that fills `shape` in this order. Operands that the
/// step's three axes cannot repeat are to be repeated before: then both are as large.
fn meeting(
    order: &Order,
    shape: &[usize],
    own: &[usize],
    per_channel: bool,
) -> Result<Meeting, Kind> {
    if own == shape {
        let input = order.dims(shape)?;
        return Ok(Meeting { input, other: input, order: order.clone() });
    }
    let as_picture = *order == Order::of_picture(shape) && picture_dims(shape).is_ok();
    let runs = if as_picture { picture_runs(shape, own) } else { None };
    let runs = runs.or_else(|| if per_channel { None } else { memory_runs(order, shape, own) });
    let Some([h, w, c]) = runs else {
        let input = order.dims(shape)?;
        return Ok(Meeting { input, other: input, order: order.clone() });
    };
    let other = |(extent, present): (usize, bool)| if present { extent } else { 1 };
    Ok(Meeting {
        input: dims(h.0, w.0, c.0)?,
        other: dims(other(h), other(w), other(c))?,
        order: restricted(order, shape, own),
    })
}

/// An axis of a step: its extent, and whether the second operand has it.
pub(super) type Run = (usize, bool);

/// Rows, columns and channels, unless pictures and their rows differ.
fn picture_runs(shape: &[usize], own: &[usize]) -> Option<[Run; 3]> {
    let run = |axis: usize| match shape.get(axis) {
        Some(&extent) => (extent, extent == 1 || own[axis] != 1),
        None => (1, true),
    };
    let (pictures, channels) = (run(0), run(1));
    let (rows, columns) = if shape.len() == 4 { (run(2), run(3)) } else { ((1, true), run(2)) };
    let present = match (pictures, rows) {
        ((1, _), (_, present)) | ((_, present), (1, _)) => present,
        ((_, a), (_, b)) if a == b => a,
        _ => return None,
    };
    Some([(pictures.0 * rows.0, present), columns, channels])
}

/// Runs of memory that the second operand has or lacks as a whole, if there are at most three.
pub(super) fn memory_runs(order: &Order, shape: &[usize], own: &[usize]) -> Option<[Run; 3]> {
    let mut pieces: Vec<(usize, Run)> = Vec::new();
    for (axis, digits) in order.axes(shape)?.into_iter().enumerate() {
        pieces.extend(digits.into_iter().map(|d| (d.stride, (d.extent, own[axis] != 1))));
    }
    pieces.sort_by_key(|&(stride, _)| std::cmp::Reverse(stride));
    let mut runs: Vec<Run> = Vec::new();
    for (_, (extent, present)) in pieces {
        match runs.last_mut() {
            Some(run) if run.1 == present => run.0 *= extent,
            _ => runs.push((extent, present)),
        }
    }
    let missing = 3_usize.checked_sub(runs.len())?;
    let mut padded = [(1, true); 3];
    padded[missing..].copy_from_slice(&runs);
    Some(padded)
}

/// The order of an operand of shape `own` whose elements follow one another as in `order`.
pub(super) fn restricted(order: &Order, shape: &[usize], own: &[usize]) -> Order {
    let axes = order.axes(shape).unwrap_or_default();
    let present = axes.into_iter().zip(own).filter(|&(_, &length)| length != 1);
    let digits: Vec<_> = present.flat_map(|(digits, _)| digits).collect();
    let mut memory: Vec<(usize, usize, usize)> =
        digits.iter().enumerate().map(|(rank, d)| (d.stride, rank, d.extent)).collect();
    memory.sort_by_key(|&(stride, ..)| std::cmp::Reverse(stride));
    Order::packed(&memory.iter().map(|&(_, rank, extent)| (rank, extent)).collect::<Vec<_>>())
}
