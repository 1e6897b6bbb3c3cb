//! 8-bit values and steps.
//!
//! A value that the graph quantizes lies in memory as the integers that stand for it. Steps that only
//! move values take them as they lie. An operation runs on integers where a step does it and the graph
//! has said how its operands (and weights) and its result are rounded; the files here say when, one
//! kind of operation each. Everything else runs in f32, between steps that turn integers into reals and
//! back: [`Lowering::real`] and what follows a node that left reals where integers are wanted.

mod channels;
mod convert;
mod dense;
mod pair;
mod table;
mod taps;

pub(super) use channels::Channels;
pub(super) use pair::Pairing;
pub(super) use taps::table as integer_table;

use super::lower::Lowering;
use crate::graph::{Quantization, ValueId};
use unbraid_runtime::step::{self, Element};

/// An element as a key: the bits of the scale, and the zero point.
pub(super) type Grid = Option<(u32, i8)>;

/// How integers stand for the bytes of a raw picture: `q + 128` itself.
pub(super) const PIXELS: step::Quantization = step::Quantization { scale: 1.0, zero_point: -128 };

impl Lowering<'_> {
    /// The element that the graph wants a value to have.
    pub(super) fn wanted(&self, id: ValueId) -> Element {
        let quantization = self.graph.get(id).quantization.as_ref();
        quantization.and_then(Quantization::per_tensor).map_or(Element::F32, Element::S8)
    }

    /// The integers that an operand lies as and those that the result is to have, where both are.
    pub(super) fn grids(
        &self,
        operand: ValueId,
        result: ValueId,
    ) -> Option<[step::Quantization; 2]> {
        Some([self.kept(operand).quantization()?, self.wanted(result).quantization()?])
    }
}
