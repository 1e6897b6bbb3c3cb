//! Functions of one integer: 256 values in the file, which the oracle's rounding has made.

use super::super::error::Kind;
use super::super::lower::{Lowering, Place};
use crate::graph::{Node, Quantization, ValueId};
use unbraid_runtime::step::{self, Element, Op};

impl Lowering<'_> {
    /// Appends the table of a function, if the operand lies as integers and the result is to. Returns
    /// whether.
    pub(in crate::plan) fn table(
        &mut self,
        node: &Node,
        id: ValueId,
        f: impl Fn(f64) -> f64,
    ) -> Result<bool, Kind> {
        let Some([from, to]) = self.grids(id, node.output) else { return Ok(false) };
        let stored = self.stored(id)?;
        let input = self.place(id, &stored)?;
        let output = self.store_in(node.output, stored.order, Element::S8(to))?;
        let output = Place { buffer: output.buffer, dims: input.dims };
        let table = self.weights.add_s8(&tabulated(from, to, f))?;
        self.push(node, Op::TableS8(table), input, output);
        Ok(true)
    }
}

/// What a function makes of each integer, from -128 on: computed in f64 and rounded once.
pub(super) fn tabulated(
    from: step::Quantization,
    to: step::Quantization,
    f: impl Fn(f64) -> f64,
) -> [i8; 256] {
    let [from, to] =
        [from, to].map(|grid| Quantization::of_activation(grid.scale, grid.zero_point));
    std::array::from_fn(|index| to.nearest(f(from.real((index as i16 - 128) as i8))))
}
