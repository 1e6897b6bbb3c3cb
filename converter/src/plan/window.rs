//! Lowering of pools. The largest value is one of the operand's as it lies; means of integers are rounded to
//! the grid of the result.

use super::batch::apart;
use super::dense::widen;
use super::error::Kind;
use super::lower::{Lowering, Place};
use crate::graph::{Border, Hw, Node, Pad, ValueId, Window};
use unbraid_runtime::step::{self, Element};

impl Lowering<'_> {
    pub(super) fn max_pool(&mut self, node: &Node, window: Window) -> Result<(), Kind> {
        let id = Self::operand(node, 0)?;
        let input = self.picture(id)?;
        let output = self.new_picture_in(node.output, self.element(input.buffer))?;
        let (places, pictures) = ((input, output), self.apart(id, &window));
        self.push_each(node, step::Op::MaxPool(window), places, pictures)
    }

    pub(super) fn average_pool(
        &mut self,
        node: &Node,
        window: Window,
        count_include_pad: bool,
    ) -> Result<(), Kind> {
        let (source, extra) = self.unpadded(Self::operand(node, 0)?);
        let places = self.averaged(node, source)?;
        let window = Window { pad: widen(window.pad, extra)?, ..window };
        let count_include_pad = count_include_pad || extra != Pad::default();
        let pictures = self.apart(source, &window);
        let op = step::Op::AveragePool { window, count_include_pad };
        self.push_each(node, op, places, pictures)
    }

    /// Several pictures are one tall one, which a window of one picture walks down.
    pub(super) fn global_average_pool(&mut self, node: &Node) -> Result<(), Kind> {
        let id = Self::operand(node, 0)?;
        let (input, output) = self.averaged(node, id)?;
        let pictures = output.dims.h;
        let op = if pictures == 1 {
            step::Op::GlobalAveragePool
        } else {
            let kernel = Hw { h: input.dims.h / pictures, w: input.dims.w };
            let window = Window { kernel, stride: kernel, ..Window::POINT };
            step::Op::AveragePool { window, count_include_pad: true }
        };
        self.push(node, op, input, output);
        Ok(())
    }

    /// Operand and result of a mean: both integers, or both f32.
    fn averaged(&mut self, node: &Node, id: ValueId) -> Result<(Place, Place), Kind> {
        let input = self.picture(id)?;
        match self.grids(id, node.output) {
            Some([_, to]) => Ok((input, self.new_picture_in(node.output, Element::S8(to))?)),
            None => Ok((self.real(id, input)?, self.new_picture(node.output)?)),
        }
    }

    /// How many pictures of a value a window must take one at a time.
    fn apart(&self, id: ValueId, window: &Window) -> usize {
        match *self.graph.shape(id) {
            [pictures, _, h, _] => apart(pictures, h, window, Border::default()),
            _ => 1,
        }
    }
}
