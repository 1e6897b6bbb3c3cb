//! Buffers that lie inside others: concatenations and slices without copies.
//!
//! Where a part of a concatenation is one run of its bytes, whoever computes the part writes it there;
//! where a slice is one run of the value's bytes, readers of the slice read it there. Both need the run
//! to begin at a whole cache line, as everything in the arena does.

use super::arena::ALIGN;
use super::lower::{Buffer, Draft, Lowered, Memory, Place};
use std::collections::{HashMap, HashSet};
use unbraid_runtime::step::{Op, View};

/// Where a buffer lies inside another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// The other one.
    pub(super) whole: Buffer,
    /// First byte in it.
    pub(super) offset: u64,
}

/// Takes copies out that leave every value where it is, and says what lies where instead.
pub(super) fn join(lowered: &mut Lowered) -> HashMap<Buffer, Part> {
    let (mut parts, mut wholes) = (HashMap::new(), HashSet::new());
    let ports = lowered.inputs.iter().chain(&lowered.outputs).map(|place| place.buffer);
    let ports: HashSet<Buffer> = ports.collect();
    let copies = copies_of(&lowered.drafts);
    lowered.drafts.retain(|draft| {
        let found =
            concatenated(draft, &lowered.buffers).or_else(|| sliced(draft, &lowered.buffers));
        let Some((buffer, part)) = found else { return true };
        // A buffer lies in one place, and a step that copies it must not read what it writes.
        let free = !parts.contains_key(&buffer)
            && !ports.contains(&buffer)
            && !wholes.contains(&buffer)
            && !parts.contains_key(&part.whole);
        let once = copies.get(&(buffer, part.whole)).is_none_or(|&count| count == 1);
        let joins = free && once && part.offset.is_multiple_of(ALIGN);
        if joins {
            parts.insert(buffer, part);
            wholes.insert(part.whole);
        }
        !joins
    });
    parts
}

/// How often each buffer is copied into each other one.
fn copies_of(drafts: &[Draft]) -> HashMap<(Buffer, Buffer), usize> {
    let mut copies = HashMap::new();
    for draft in drafts.iter().filter(|draft| matches!(draft.op, Op::CopyInto { .. })) {
        *copies.entry((draft.input.buffer, draft.output.buffer)).or_insert(0) += 1;
    }
    copies
}

/// The part that a step copies to one run of bytes.
fn concatenated(draft: &Draft, buffers: &[Memory]) -> Option<(Buffer, Part)> {
    let Op::CopyInto { at: [row, column, channel] } = draft.op else { return None };
    let (part, whole) = (draft.input.dims, draft.output.dims);
    let pixels = u64::from(whole.w) * u64::from(whole.c);
    let values = match (column, channel) {
        (0, 0) if (part.w, part.c) == (whole.w, whole.c) => u64::from(row) * pixels,
        (_, 0) if whole.h == 1 && part.c == whole.c => u64::from(column) * u64::from(whole.c),
        _ if (whole.h, whole.w) == (1, 1) => u64::from(channel),
        _ => return None,
    };
    let part = Part { whole: draft.output.buffer, offset: values * size_of_value(buffers, draft) };
    Some((draft.input.buffer, part))
}

/// The slice that a step takes from one run of bytes.
fn sliced(draft: &Draft, buffers: &[Memory]) -> Option<(Buffer, Part)> {
    let Op::Rearrange(view) = draft.op else { return None };
    let Place { buffer: whole, .. } = draft.input;
    let shorter = buffers[draft.output.buffer].bytes < buffers[whole].bytes;
    let part = Part { whole, offset: u64::from(view.offset) * size_of_value(buffers, draft) };
    (shorter && is_run(&view)).then_some((draft.output.buffer, part))
}

/// Bytes of one value of the step's input.
fn size_of_value(buffers: &[Memory], draft: &Draft) -> u64 {
    buffers[draft.input.buffer].element.size() as u64
}

/// Whether a view shows values in the order in which they lie, without gaps.
fn is_run(view: &View) -> bool {
    let mut next = 1;
    view.extent.iter().zip(view.strides).rev().all(|(&extent, stride)| {
        let follows = extent == 1 || i64::from(stride) == next;
        next *= i64::from(extent);
        follows
    })
}
