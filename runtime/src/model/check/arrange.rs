//! Proofs of the steps that only move values: each gives the dims that the output must have.

use super::{Role, StepFault};
use crate::dims::{Dims, Pad};
use crate::step::{PadMode, View};

/// A box of the output that begins at `at`, as large as the input.
pub(super) fn copy_into(at: [u32; 3], input: Dims, output: Dims) -> Result<Dims, StepFault> {
    let [y, x, c] = at;
    let inside = |at: u32, len: u32, room: u32| at.checked_add(len).is_some_and(|end| end <= room);
    let fits = inside(y, input.h, output.h)
        && inside(x, input.w, output.w)
        && inside(c, input.c, output.c);
    fits.then_some(output).ok_or(StepFault::Box)
}

/// As many values as the output has, all of them inside the input.
pub(super) fn rearrange(view: &View, input: Dims, output: Dims) -> Result<Dims, StepFault> {
    let room = input.elements().and_then(|count| u64::try_from(count).ok());
    let inside = view.reach().zip(room).is_some_and(|(reach, room)| reach.end <= room);
    let fills = view.elements().is_some_and(|count| Some(count) == output.elements());
    (inside && fills).then_some(output).ok_or(StepFault::View)
}

/// The padded picture.
pub(super) fn pad(pad: &Pad, mode: PadMode, input: Dims) -> Result<Dims, StepFault> {
    let most = |len: u32| match mode {
        PadMode::Constant(_) | PadMode::Edge => u32::MAX,
        PadMode::Reflect => len.saturating_sub(1),
        PadMode::Wrap => len,
    };
    let is_number = !matches!(mode, PadMode::Constant(value) if value.is_nan());
    let fits = |lo: u32, hi: u32, len: u32| lo.max(hi) <= most(len);
    if !(is_number && fits(pad.top, pad.bottom, input.h) && fits(pad.left, pad.right, input.w)) {
        return Err(StepFault::Pad);
    }
    let sum = |len: u32, lo: u32, hi: u32| len.checked_add(lo)?.checked_add(hi);
    let h = sum(input.h, pad.top, pad.bottom);
    let w = sum(input.w, pad.left, pad.right);
    h.zip(w).map(|(h, w)| Dims { h, w, c: input.c }).ok_or(StepFault::Empty { role: Role::Output })
}
