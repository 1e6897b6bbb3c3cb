//! Lowering of what only moves elements: transposes and pixel shuffles, slices, values in another
//! order than they lie in.

use super::error::Kind;
use super::lower::{Buffer, Lowering, Place, Stored};
use super::order::Order;
use crate::graph::{Node, ValueId};
use crate::rearrange::Rearrange;
use unbraid_runtime::step::{self, View};

impl Lowering<'_> {
    /// A transpose or pixel shuffle: the same bytes, their numbers exchanged.
    pub(super) fn exchange(&mut self, node: &Node) -> Result<(), Kind> {
        let id = Self::operand(node, 0)?;
        let (input, output) = (self.graph.shape(id), self.graph.shape(node.output));
        let moved = Rearrange::of(&node.op, input, output).ok_or_else(|| Kind::Shape {
            what: "the operand and the result",
            found: input.to_vec(),
            expected: output.to_vec(),
        })?;
        let stored = self.stored(id)?;
        if let Some(order) = stored.order.moved(&moved) {
            self.store_as(node.output, Stored { order, ..stored });
            return Ok(());
        }
        // Every axis of a row-major value is a digit.
        let (stored, buffer) = self.row_major(id)?;
        let order = stored.moved(&moved).ok_or_else(|| self.too_many_axes(node.output))?;
        self.store_as(node.output, Stored { buffer, order });
        Ok(())
    }

    /// Every axis of the result in the order in which it lies in the operand, without gaps.
    pub(super) fn slice(
        &mut self,
        node: &Node,
        starts: &[usize],
        steps: &[i64],
    ) -> Result<(), Kind> {
        let id = Self::operand(node, 0)?;
        let (shape, output) = (self.graph.shape(id), self.graph.shape(node.output));
        let stored = self.stored(id)?;
        let single = |order: &Order| {
            let axes = order.axes(shape)?;
            axes.into_iter().map(|axis| (axis.len() <= 1).then(|| axis.first().copied())).collect()
        };
        let (axes, buffer): (Vec<_>, _) = match single(&stored.order) {
            Some(axes) => (axes, stored.buffer),
            None => {
                let (order, buffer) = self.row_major(id)?;
                (single(&order).ok_or_else(|| self.too_many_axes(id))?, buffer)
            }
        };
        let strides: Vec<usize> =
            axes.iter().map(|axis| axis.map_or(0, |digit| digit.stride)).collect();
        let mut memory: Vec<usize> = (0..shape.len()).collect();
        memory.sort_by_key(|&axis| std::cmp::Reverse(strides[axis]));
        let offset: usize = starts.iter().zip(&strides).map(|(start, stride)| start * stride).sum();
        let along = |&axis: &usize| (output[axis], steps[axis] * strides[axis] as i64);
        let view = view(memory.iter().map(along), offset);
        let view = view.ok_or_else(|| self.too_many_axes(node.output))?;
        let order = Order::of_axes(output, memory);
        let stored = self.store_in(node.output, order, self.element(buffer))?;
        let output = self.place(node.output, &stored)?;
        self.push(node, step::Op::Rearrange(view), self.whole(buffer), output);
        Ok(())
    }

    /// A computed operand in ONNX's order.
    fn row_major(&mut self, id: ValueId) -> Result<(Order, Buffer), Kind> {
        let order = Order::row_major(self.graph.shape(id));
        let place = self.ordered(id, &order)?;
        Ok((order, place.buffer))
    }

    /// The buffer that holds the value in the order `to`.
    pub(super) fn reordered(&mut self, id: ValueId, to: &Order) -> Result<Buffer, Kind> {
        let Stored { buffer, order } = self.stored(id)?;
        self.reorder(id, (buffer, &order), to)
    }

    fn reorder(
        &mut self,
        id: ValueId,
        (buffer, from): (Buffer, &Order),
        to: &Order,
    ) -> Result<Buffer, Kind> {
        if from == to {
            return Ok(buffer);
        }
        let signed = |(extent, stride)| (extent, stride as i64);
        let axes = from.seen_from(to);
        if let Some(view) = axes.and_then(|axes| view(axes.into_iter().map(signed), 0)) {
            return Ok(self.viewed(id, buffer, view));
        }
        let between = Order::row_major(self.graph.shape(id));
        if between == *from || between == *to {
            return Err(self.too_many_axes(id));
        }
        let buffer = self.reorder(id, (buffer, from), &between)?;
        self.reorder(id, (buffer, &between), to)
    }

    /// The buffer that holds a view of all elements of another one.
    fn viewed(&mut self, id: ValueId, from: Buffer, view: View) -> Buffer {
        if let Some(&buffer) = self.views.get(&(from, view)) {
            return buffer;
        }
        let buffer = self.buffer_like(from);
        self.views.insert((from, view), buffer);
        let name = format!("{} (reordered)", self.value_name(id));
        self.push_named(name, step::Op::Rearrange(view), self.whole(from), self.whole(buffer));
        buffer
    }

    /// The value repeated along the axes of `shape` that it lacks or has once, in the order `to`.
    pub(super) fn repeated(
        &mut self,
        id: ValueId,
        shape: &[usize],
        to: &Order,
    ) -> Result<Place, Kind> {
        let own = aligned(self.graph.shape(id), shape.len());
        let (order, from) = self.row_major(id)?;
        let digits = order.axes(&own).ok_or_else(|| self.too_many_axes(id))?;
        let stride = |axis: usize| digits[axis].first().map_or(0, |digit| digit.stride as i64);
        let mut pieces: Vec<(usize, (usize, i64))> = Vec::new();
        for (axis, places) in
            to.axes(shape).ok_or_else(|| self.too_many_axes(id))?.iter().enumerate()
        {
            let mut step = stride(axis);
            for place in places.iter().rev() {
                pieces.push((place.stride, (place.extent, step)));
                step *= place.extent as i64;
            }
        }
        pieces.sort_by_key(|&(place, _)| std::cmp::Reverse(place));
        let view = view(pieces.into_iter().map(|(_, axis)| axis), 0);
        let view = view.ok_or_else(|| self.too_many_axes(id))?;
        let buffer = self.buffer_for(shape, self.element(from))?;
        let name = format!("{} (repeated)", self.value_name(id));
        self.push_named(name, step::Op::Rearrange(view), self.whole(from), self.whole(buffer));
        Ok(Place { buffer, dims: to.dims(shape)? })
    }

    /// The operand repeated: pictures pixel by pixel, everything else in ONNX's order.
    pub(super) fn expand(&mut self, node: &Node) -> Result<(), Kind> {
        let shape = self.graph.shape(node.output);
        let order = if shape.len() == 4 { Order::natural(shape) } else { Order::row_major(shape) };
        let place = self.repeated(Self::operand(node, 0)?, shape, &order)?;
        self.store_as(node.output, Stored { buffer: place.buffer, order });
        Ok(())
    }

    fn too_many_axes(&self, id: ValueId) -> Kind {
        Kind::Axes { shape: self.graph.shape(id).to_vec() }
    }
}

/// A shape with leading ones, so that it has `rank` axes.
pub(super) fn aligned(shape: &[usize], rank: usize) -> Vec<usize> {
    let missing = rank.saturating_sub(shape.len());
    [&vec![1; missing][..], shape].concat()
}

/// Axes `(extent, stride)`, outermost first, as a view: neighbours that are one run become one
/// axis. `None` if more than [`View::RANK`] are left, or a number does not fit.
pub(super) fn view(axes: impl IntoIterator<Item = (usize, i64)>, offset: usize) -> Option<View> {
    let mut merged: Vec<(usize, i64)> = Vec::new();
    for (extent, stride) in axes.into_iter().filter(|&(extent, _)| extent != 1) {
        match merged.last_mut() {
            Some(outer) if outer.1 == stride * extent as i64 => {
                *outer = (outer.0 * extent, stride);
            }
            _ => merged.push((extent, stride)),
        }
    }
    let first = View::RANK.checked_sub(merged.len())?;
    let mut view = View {
        extent: [1; View::RANK],
        strides: [0; View::RANK],
        offset: u32::try_from(offset).ok()?,
    };
    for (k, (extent, stride)) in merged.into_iter().enumerate() {
        view.extent[first + k] = u32::try_from(extent).ok()?;
        view.strides[first + k] = i32::try_from(stride).ok()?;
    }
    Some(view)
}
