//! Values as another element: the steps between integers and reals, and between two kinds of integers.

use super::super::error::Kind;
use super::super::lower::{Lowering, Place};
use super::Grid;
use super::table::tabulated;
use crate::graph::ValueId;
use unbraid_runtime::step::{Element, Op};

impl Lowering<'_> {
    /// The operand as f32: as it lies, or what its integers stand for.
    pub(in crate::plan) fn real(&mut self, id: ValueId, place: Place) -> Result<Place, Kind> {
        self.as_element(id, place, Element::F32)
    }

    /// The operand as a certain element.
    pub(in crate::plan) fn as_element(
        &mut self,
        id: ValueId,
        place: Place,
        element: Element,
    ) -> Result<Place, Kind> {
        let kind = if element == Element::F32 { "f32" } else { "s8" };
        let name = format!("{} ({kind})", self.value_name(id));
        self.converted(name, place, element)
    }

    /// All values of a buffer as an element: where they lie, if they lie as it, or where an earlier step
    /// has put them, or where a step of this name puts them.
    pub(in crate::plan) fn converted(
        &mut self,
        name: String,
        from: Place,
        element: Element,
    ) -> Result<Place, Kind> {
        let own = self.element(from.buffer);
        if own == element {
            return Ok(from);
        }
        let key = (from.buffer, grid(element));
        if let Some(&buffer) = self.conversions.get(&key) {
            return Ok(Place { buffer, ..from });
        }
        let shape = [from.dims.h, from.dims.w, from.dims.c].map(|n| n as usize);
        let to = Place { buffer: self.buffer_for(&shape, element)?, ..from };
        let op = match (own, element) {
            (Element::F32, _) => Op::Quantize,
            (Element::S8(_), Element::F32) => Op::Dequantize,
            (Element::S8(own), Element::S8(other)) => {
                Op::TableS8(self.weights.add_s8(&tabulated(own, other, |v| v))?)
            }
        };
        self.push_named(name, op, from, to);
        self.conversions.insert(key, to.buffer);
        Ok(to)
    }
}

fn grid(element: Element) -> Grid {
    element.quantization().map(|grid| (grid.scale.to_bits(), grid.zero_point))
}
