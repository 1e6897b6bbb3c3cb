//! [`Port`]: a named input or output of the network.

use crate::step::Operand;
use serde::{Deserialize, Serialize};

/// Most axes a [`Port`] can have.
pub const MAX_RANK: usize = 5;

/// An input or output: its name and shape in ONNX, and where it lies in the arena.
///
/// The values lie there in NHWC order. A shape `[1, C, H, W]` has `dims` `{ h: H, w: W, c: C }`;
/// of other shapes, batches too, only the number of values is fixed, and their order is that of
/// ONNX.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Port<'a> {
    /// Name of the graph input or output in ONNX; not empty, no control characters.
    #[serde(borrow)]
    pub name: &'a str,
    /// An output, not an input.
    pub is_output: bool,
    /// Where it lies in the arena. Inputs are overwritten by an inference.
    pub operand: Operand,
    /// Number of axes, at most [`MAX_RANK`].
    pub rank: u8,
    /// Axis lengths in ONNX order; 0 behind the rank.
    pub shape: [u32; MAX_RANK],
}

impl Port<'_> {
    /// The axis lengths that count.
    pub fn axes(&self) -> &[u32] {
        self.shape.get(..usize::from(self.rank)).unwrap_or(&self.shape)
    }
}

/// What is wrong with a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PortFault {
    /// The record cannot be decoded.
    Undecodable,
    /// The name is empty or has control characters.
    Name,
    /// An input comes behind an output.
    Order,
    /// Its bytes are not aligned, not inside the arena, or not as many as its dims demand.
    Operand,
    /// Rank and shape do not name as many values as the dims, or not the same ones.
    Shape,
}

/// Decodes consecutive port records.
#[derive(Clone, Debug)]
pub(super) struct Ports<'m> {
    pub(super) rest: &'m [u8],
}

impl<'m> Iterator for Ports<'m> {
    type Item = Port<'m>;

    fn next(&mut self) -> Option<Port<'m>> {
        let (port, rest) = postcard::take_from_bytes(self.rest).ok()?;
        self.rest = rest;
        Some(port)
    }
}
