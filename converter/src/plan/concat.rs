//! Lowering of concatenation.

use super::error::Kind;
use super::lower::{Lowering, Place};
use super::order::{Order, dims, picture_dims};
use crate::graph::Node;
use unbraid_runtime::dims::Dims;
use unbraid_runtime::step::{self, Element};

impl Lowering<'_> {
    /// One copy an operand, into its box of the result.
    pub(super) fn concat(&mut self, node: &Node, axis: usize) -> Result<(), Kind> {
        let graph = self.graph;
        let shape = graph.shape(node.output);
        let element = self.joined(node);
        let mut copies = Vec::with_capacity(node.inputs.len());
        let mut offset = 0;
        for &id in &node.inputs {
            let operand = graph.shape(id);
            let place = self.ordered(id, &Order::natural(operand))?;
            let buffer = self.as_element(id, place, element)?.buffer;
            let (dims, place) = boxed(operand, axis)?;
            let mut at = [0; 3];
            at[place] = offset as u32;
            copies.push((at, Place { buffer, dims }));
            offset += operand.get(axis).copied().unwrap_or(0);
        }
        let buffer = self.store_in(node.output, Order::natural(shape), element)?.buffer;
        let output = Place { buffer, dims: boxed(shape, axis)?.0 };
        let name = self.name(node, output.dims);
        let last = copies.len().saturating_sub(1);
        for (k, (at, input)) in copies.into_iter().enumerate() {
            // Only the last copy completes the value.
            let name = if k == last { name.clone() } else { format!("{name} (operand {k})") };
            self.push_named(name, step::Op::CopyInto { at }, input, output);
        }
        Ok(())
    }

    /// What all operands are to lie as: what the result does, or what they do already, if it is one and the
    /// same.
    fn joined(&self, node: &Node) -> Element {
        let wanted = self.wanted(node.output);
        let mut kept = node.inputs.iter().map(|&id| self.kept(id));
        let first = kept.next().filter(|_| wanted == Element::F32).unwrap_or(wanted);
        if wanted != first && kept.all(|other| other == first) { first } else { wanted }
    }
}

/// Dims of a value in its natural order of which one axis is `axis`, and which one: rows, columns
/// or channels.
fn boxed(shape: &[usize], axis: usize) -> Result<(Dims, usize), Kind> {
    let natural = Order::natural_axes(shape);
    match (shape, axis) {
        ([1, _, _, _], 1..) => Ok((picture_dims(shape)?, [2, 0, 1][axis - 1])),
        ([1, _, _], 1..) => Ok((picture_dims(shape)?, [2, 1][axis - 1])),
        _ => {
            let at = natural.iter().position(|&own| own == axis);
            let at = at.ok_or_else(|| Kind::NotPicture { shape: shape.to_vec() })?;
            let run = |axes: &[usize]| axes.iter().map(|&axis| shape[axis]).product();
            let (before, after) = (run(&natural[..at]), run(&natural[at + 1..]));
            match before {
                1 => Ok((dims(shape[axis], 1, after)?, 0)),
                _ => Ok((dims(before, shape[axis], after)?, 1)),
            }
        }
    }
}
