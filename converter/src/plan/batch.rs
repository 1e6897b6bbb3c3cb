//! Steps on several pictures, which lie one above the other: as one tall picture where no window
//! reaches from one into the next, otherwise picture by picture.

use super::error::Kind;
use super::lower::{Lowering, Place};
use super::view::view;
use crate::graph::{Node, Window};
use unbraid_runtime::dims::Dims;
use unbraid_runtime::step::{self, Border};

/// How many pictures of `h` rows a window must take one at a time: 1 if all of them can be one.
///
/// The windows of one picture must fill its rows, side by side or with gaps at their end, without
/// any padding or border.
pub(super) fn apart(pictures: usize, h: usize, window: &Window, border: Border) -> usize {
    let stride = window.stride.h as usize;
    let extent = (window.kernel.h as usize - 1) * window.dilation.h as usize + 1;
    let bare = window.pad.top == 0 && window.pad.bottom == 0;
    let plain = border.top == 0 && border.bottom == 0;
    if bare && plain && extent <= stride && h.is_multiple_of(stride) { 1 } else { pictures }
}

/// Dims of one of so many pictures.
pub(super) fn one_of(dims: Dims, pictures: usize) -> Dims {
    Dims { h: dims.h / pictures as u32, ..dims }
}

impl Lowering<'_> {
    /// Appends the step, or one for each of several pictures between copies, that completes the
    /// node's output.
    pub(super) fn push_each(
        &mut self,
        node: &Node,
        op: step::Op,
        (input, output): (Place, Place),
        pictures: usize,
    ) -> Result<(), Kind> {
        if pictures == 1 {
            self.push(node, op, input, output);
            return Ok(());
        }
        let (x, y) = (one_of(input.dims, pictures), one_of(output.dims, pictures));
        let elements = x.elements().unwrap_or(0);
        let (whole, name) = (self.name(node, output.dims), self.value_name(node.output));
        for picture in 0..pictures {
            let cut = view([(elements, 1)], picture * elements);
            let cut = cut.ok_or_else(|| Kind::TooLarge { shape: vec![pictures, elements] })?;
            let mut part_of = |whole: Place, dims: Dims| {
                let shape = [dims.h, dims.w, dims.c].map(|n| n as usize);
                Ok(Place { buffer: self.buffer_for(&shape, self.element(whole.buffer))?, dims })
            };
            let (from, to) = (part_of(input, x)?, part_of(output, y)?);
            let part = |what: &str| format!("{name} ({what} {picture})");
            let last = picture + 1 == pictures;
            let at = [picture as u32 * y.h, 0, 0];
            let into = step::Op::CopyInto { at };
            self.push_named(part("operand"), step::Op::Rearrange(cut), input, from);
            self.push_named(part("picture"), op, from, to);
            let name = if last { whole.clone() } else { part("copied picture") };
            self.push_named(name, into, to, output);
        }
        Ok(())
    }
}
