//! Lowering of pools.

use super::dense::widen;
use super::error::Kind;
use super::lower::Lowering;
use crate::graph::{Node, Pad, Window};
use unbraid_runtime::step;

impl Lowering<'_> {
    pub(super) fn max_pool(&mut self, node: &Node, window: Window) -> Result<(), Kind> {
        let input = self.picture(Self::operand(node, 0)?)?;
        let output = self.new_picture(node.output)?;
        self.push(node, step::Op::MaxPool(window), input, output);
        Ok(())
    }

    pub(super) fn average_pool(
        &mut self,
        node: &Node,
        window: Window,
        count_include_pad: bool,
    ) -> Result<(), Kind> {
        let (source, extra) = self.unpadded(Self::operand(node, 0)?);
        let input = self.picture(source)?;
        let output = self.new_picture(node.output)?;
        let window = Window { pad: widen(window.pad, extra)?, ..window };
        let count_include_pad = count_include_pad || extra != Pad::default();
        self.push(node, step::Op::AveragePool { window, count_include_pad }, input, output);
        Ok(())
    }

    pub(super) fn global_average_pool(&mut self, node: &Node) -> Result<(), Kind> {
        let input = self.picture(Self::operand(node, 0)?)?;
        let output = self.new_picture(node.output)?;
        self.push(node, step::Op::GlobalAveragePool, input, output);
        Ok(())
    }
}
