//! Where values lie: buffers, the order and the element of what they hold.

use super::super::error::Kind;
use super::super::order::{Order, picture_dims};
use super::super::view::view;
use super::Lowering;
use crate::graph::{Node, ValueId};
use crate::tensor::Tensor;
use unbraid_runtime::dims::Dims;
use unbraid_runtime::step::{self, Binary, Element, Source};

/// Index into [`Lowering::buffers`].
pub(in crate::plan) type Buffer = usize;

/// What a buffer takes.
#[derive(Clone, Copy, Debug)]
pub(in crate::plan) struct Memory {
    /// Size in bytes.
    pub(in crate::plan) bytes: u64,
    /// What its values are.
    pub(in crate::plan) element: Element,
}

impl Memory {
    /// Number of values.
    pub(in crate::plan) fn values(self) -> u64 {
        self.bytes / self.element.size() as u64
    }
}

/// A value in memory.
#[derive(Clone, Debug)]
pub(in crate::plan) struct Stored {
    /// Where.
    pub(in crate::plan) buffer: Buffer,
    /// In which order.
    pub(in crate::plan) order: Order,
}

/// A value as a step sees it.
#[derive(Clone, Copy, Debug)]
pub(in crate::plan) struct Place {
    /// Where.
    pub(in crate::plan) buffer: Buffer,
    /// Under which shape.
    pub(in crate::plan) dims: Dims,
}

impl Lowering<'_> {
    /// Where an operand lies, as whatever element; steps that write it go first if it is a constant.
    pub(in crate::plan) fn stored(&mut self, id: ValueId) -> Result<Stored, Kind> {
        if self.stored[id.index()].is_none() {
            self.write_constant(id)?;
        }
        let input = || self.graph.get(id).name.clone();
        self.stored[id.index()].clone().ok_or_else(|| Kind::Unfilled { input: input() })
    }

    /// Puts a constant where steps read what others compute: the network's first value, repeated,
    /// clamped to zero, plus the constant.
    fn write_constant(&mut self, id: ValueId) -> Result<(), Kind> {
        let value = self.graph.get(id);
        let Some(constant) = value.constant.as_ref().and_then(Tensor::as_f32) else {
            return Ok(());
        };
        let input = || value.name.clone();
        let port = self.graph.inputs.first().and_then(|port| self.stored[port.index()].clone());
        let port = port.ok_or_else(|| Kind::IsConstant { input: input() })?;
        let repeat = view([(constant.len(), 0)], 0);
        let repeat = repeat.ok_or_else(|| Kind::TooLarge { shape: value.shape.clone() })?;
        let repeated = self.buffer_for(&value.shape, Element::F32)?;
        let zeros = self.buffer_like(repeated);
        let from = self.whole(port.buffer);
        let from = self.real(self.graph.inputs[0], from)?;
        let stored = self.store(id, Order::row_major(&value.shape))?;
        let [repeated, zeros, to] = [repeated, zeros, stored.buffer].map(|b| self.whole(b));
        let clamp = step::Activation::Clamp { lo: 0.0, hi: 0.0 };
        let other = Source::Weights { span: self.weights.add(constant)?, dims: to.dims };
        let (function, activation) = (Binary::Add, step::Activation::None);
        let add = step::Op::Binary { function, other, swapped: false, activation };
        let part = |what: &str| format!("{} ({what})", value.name);
        self.push_named(part("any value"), step::Op::Rearrange(repeat), from, repeated);
        self.push_named(part("zeros"), step::Op::Activate(clamp), repeated, zeros);
        self.push_named(part("constant"), add, zeros, to);
        Ok(())
    }

    /// Gives a value a buffer of its own, of f32.
    pub(in crate::plan) fn store(&mut self, id: ValueId, order: Order) -> Result<Stored, Kind> {
        self.store_in(id, order, Element::F32)
    }

    /// Gives a value a buffer of its own.
    pub(in crate::plan) fn store_in(
        &mut self,
        id: ValueId,
        order: Order,
        element: Element,
    ) -> Result<Stored, Kind> {
        let buffer = self.buffer_for(self.graph.shape(id), element)?;
        let stored = Stored { buffer, order };
        self.stored[id.index()] = Some(stored.clone());
        Ok(stored)
    }

    /// The value is these bytes.
    pub(in crate::plan) fn store_as(&mut self, id: ValueId, stored: Stored) {
        self.stored[id.index()] = Some(stored);
    }

    /// A buffer for a value of this shape.
    pub(in crate::plan) fn buffer_for(
        &mut self,
        shape: &[usize],
        element: Element,
    ) -> Result<Buffer, Kind> {
        let bytes = crate::tensor::elements(shape).and_then(|n| n.checked_mul(element.size()));
        let fits = |&bytes: &usize| bytes > 0 && u32::try_from(bytes).is_ok();
        let bytes = bytes.filter(fits).ok_or_else(|| Kind::TooLarge { shape: shape.to_vec() })?;
        self.buffers.push(Memory { bytes: bytes as u64, element });
        Ok(self.buffers.len() - 1)
    }

    /// A buffer as large as another one.
    pub(in crate::plan) fn buffer_like(&mut self, like: Buffer) -> Buffer {
        self.buffers.push(self.buffers[like]);
        self.buffers.len() - 1
    }

    /// What an operand lies as; a constant that no step has written yet is f32.
    pub(in crate::plan) fn kept(&self, id: ValueId) -> Element {
        self.stored[id.index()].as_ref().map_or(Element::F32, |stored| self.element(stored.buffer))
    }

    /// What the values of a buffer are.
    pub(in crate::plan) fn element(&self, buffer: Buffer) -> Element {
        self.buffers[buffer].element
    }

    /// All elements of a buffer as a vector.
    pub(in crate::plan) fn whole(&self, buffer: Buffer) -> Place {
        // No buffer has more than 2^32 bytes.
        Place { buffer, dims: Dims::vector(self.buffers[buffer].values() as u32) }
    }

    /// The dims under which a stored value lies.
    pub(in crate::plan) fn place(&self, id: ValueId, stored: &Stored) -> Result<Place, Kind> {
        Ok(Place { buffer: stored.buffer, dims: stored.order.dims(self.graph.shape(id))? })
    }

    /// A computed operand in a certain order, as the element that it lies as; a step that copies goes
    /// first when it has another order.
    pub(in crate::plan) fn ordered(&mut self, id: ValueId, order: &Order) -> Result<Place, Kind> {
        let buffer = self.reordered(id, order)?;
        self.place(id, &Stored { buffer, order: order.clone() })
    }

    /// A computed operand whose axis 1 counts channels, as NHWC, as the element that it lies as.
    pub(in crate::plan) fn picture(&mut self, id: ValueId) -> Result<Place, Kind> {
        let shape = self.graph.shape(id);
        picture_dims(shape)?;
        self.ordered(id, &Order::of_picture(shape))
    }

    /// A buffer of its own for a result whose axis 1 counts channels, as NHWC f32.
    pub(in crate::plan) fn new_picture(&mut self, id: ValueId) -> Result<Place, Kind> {
        self.new_picture_in(id, Element::F32)
    }

    /// A buffer of its own for a result whose axis 1 counts channels, as NHWC.
    pub(in crate::plan) fn new_picture_in(
        &mut self,
        id: ValueId,
        element: Element,
    ) -> Result<Place, Kind> {
        let shape = self.graph.shape(id);
        picture_dims(shape)?;
        let stored = self.store_in(id, Order::of_picture(shape), element)?;
        self.place(id, &stored)
    }

    /// The value of an input or a node, rounded to the grid that the graph wants, if it is not yet.
    pub(super) fn settle(&mut self, id: ValueId) -> Result<(), Kind> {
        let (element, stored) = (self.wanted(id), self.stored[id.index()].clone());
        let Some(Stored { buffer, order }) = stored else { return Ok(()) };
        // What no quantization asks to be rounded may well lie as integers: they stand for its values.
        if element == Element::F32 || element == self.element(buffer) {
            return Ok(());
        }
        let place = self.place(id, &Stored { buffer, order: order.clone() })?;
        let name = self.name_of(id, place.dims);
        if let Some(last) = self.drafts.last_mut().filter(|last| last.name == name) {
            last.name = format!("{name} (not rounded)");
        }
        let buffer = self.converted(name, place, element)?.buffer;
        self.store_as(id, Stored { buffer, order });
        Ok(())
    }

    /// The node's output is its first input's bytes.
    pub(in crate::plan) fn alias(&mut self, node: &Node) -> Result<(), Kind> {
        let stored = self.stored(Self::operand(node, 0)?)?;
        self.store_as(node.output, stored);
        Ok(())
    }
}
