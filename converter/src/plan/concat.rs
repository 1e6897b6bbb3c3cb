//! Lowering of concatenation.

use super::error::Kind;
use super::lower::{Draft, Lowering, Place};
use super::order::{Order, dims};
use crate::graph::Node;
use unbraid_runtime::dims::Dims;
use unbraid_runtime::step;

impl Lowering<'_> {
    /// One copy an operand. Copies see memory: the axes before the concatenated one count pixels,
    /// those from it on are one run of "channels" a pixel.
    pub(super) fn concat(&mut self, node: &Node, axis: usize) -> Result<(), Kind> {
        let graph = self.graph;
        let shape = graph.shape(node.output);
        let mut copies = Vec::with_capacity(node.inputs.len());
        let mut at = 0;
        for &id in &node.inputs {
            let operand = graph.shape(id);
            let input = self.ordered(id, order_for(operand, axis))?;
            let dims = runs(operand, axis)?;
            copies.push((at, Place { buffer: input.buffer, dims }));
            at += dims.c;
        }
        let order = order_for(shape, axis);
        let stored = self.store(node.output, order)?;
        let output = Place { buffer: stored.buffer, dims: runs(shape, axis)? };
        let name = self.name(node, order, output.dims)?;
        let last = copies.len().saturating_sub(1);
        for (k, (at, input)) in copies.into_iter().enumerate() {
            // Only the last copy completes the value.
            self.push_draft(Draft {
                name: if k == last { name.clone() } else { format!("{name} (operand {k})") },
                op: step::Op::CopyInto { at: [0, 0, at] },
                input,
                other: None,
                output,
            });
        }
        Ok(())
    }
}

/// The order in which concatenation along an axis copies runs.
fn order_for(shape: &[usize], axis: usize) -> Order {
    if shape.len() == 3 && axis == 1 { Order::of_picture(shape) } else { Order::of_port(shape) }
}

/// A value of [`order_for`]'s order as pixels with runs that begin at `axis`.
fn runs(shape: &[usize], axis: usize) -> Result<Dims, Kind> {
    let not_picture = || Kind::NotPicture { shape: shape.to_vec() };
    match *shape {
        [1, c, h, w] => match axis {
            1 => dims(h, w, c),
            2 => dims(1, 1, h * w * c),
            3 => dims(1, h, w * c),
            _ => Err(not_picture()),
        },
        [_, _, _, _] => Err(not_picture()),
        [1, c, w] if axis == 1 => dims(1, w, c),
        _ if axis < shape.len() => {
            dims(1, shape[..axis].iter().product(), shape[axis..].iter().product())
        }
        _ => Err(not_picture()),
    }
}
