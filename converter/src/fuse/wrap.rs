//! Padding by wrapping, written as concatenations.
//!
//! Where the operator set has no such mode, exporters join the last rows of a picture, the picture and
//! its first rows, and then the same of columns. Seen as one padding, other branches can read its centre
//! ([`super::centre`]).

use super::simplify::drop_unread;
use crate::graph::{Graph, Op, Pad, PadMode, ValueId};

/// Turns concatenations of a picture with its own last and first rows or columns into paddings, and a
/// padding of columns behind one of rows, or the reverse, into one.
pub(super) fn pad_by_wrapping(graph: &mut Graph) {
    let producers = graph.producers();
    for index in 0..graph.nodes.len() {
        if let Some((picture, pad)) = wrapped(graph, &producers, index) {
            graph.nodes[index].op = Op::Pad { pad, mode: PadMode::Wrap };
            graph.nodes[index].inputs = vec![picture];
        }
    }
    drop_unread(graph);
    merge_axes(graph);
}

/// The picture that a concatenation continues by its own rows or columns, and how far.
fn wrapped(graph: &Graph, producers: &[Option<usize>], index: usize) -> Option<(ValueId, Pad)> {
    let node = &graph.nodes[index];
    let Op::Concat { axis: axis @ 2..=3 } = node.op else { return None };
    (0..node.inputs.len()).find_map(|at| {
        let picture = node.inputs[at];
        let &[_, _, rows, columns] = graph.shape(picture) else { return None };
        let size = if axis == 2 { rows } else { columns };
        let cut = |id| strip(graph, producers, id, picture, axis);
        let (before, after) = match (&node.inputs[..at], &node.inputs[at + 1..]) {
            ([], &[first]) => (None, Some(cut(first)?)),
            (&[last], []) => (Some(cut(last)?), None),
            (&[last], &[first]) => (Some(cut(last)?), Some(cut(first)?)),
            _ => return None,
        };
        let ends = before.is_none_or(|[start, len]| start + len == size);
        let starts = after.is_none_or(|[start, _]| start == 0);
        let len = |strip: Option<[usize; 2]>| strip.map_or(0, |[_, len]| len as u32);
        let pad = match axis {
            2 => Pad { top: len(before), bottom: len(after), ..Pad::default() },
            _ => Pad { left: len(before), right: len(after), ..Pad::default() },
        };
        (ends && starts).then_some((picture, pad))
    })
}

/// First row or column and number of them, if a value is these of a picture and nothing else.
fn strip(
    graph: &Graph,
    producers: &[Option<usize>],
    value: ValueId,
    picture: ValueId,
    axis: usize,
) -> Option<[usize; 2]> {
    let node = &graph.nodes[producers[value.index()]?];
    let Op::Slice { starts, steps } = &node.op else { return None };
    let (part, whole) = (graph.shape(value), graph.shape(picture));
    let along = node.inputs[0] == picture && steps.iter().all(|&step| step == 1);
    let only = (0..4).all(|k| k == axis || part[k] == whole[k]);
    (along && only).then(|| [starts[axis], part[axis]])
}

/// Lets a padding by wrapping that alone reads another one, of the other axis, do both.
fn merge_axes(graph: &mut Graph) {
    let (producers, consumers) = (graph.producers(), graph.consumers());
    for index in 0..graph.nodes.len() {
        let Some(outer) = wrapping(graph, index) else { continue };
        let between = graph.nodes[index].inputs[0];
        let alone = consumers[between.index()].len() == 1 && !graph.outputs.contains(&between);
        let Some(before) = producers[between.index()].filter(|_| alone) else { continue };
        let Some(inner) = wrapping(graph, before) else { continue };
        let rows = |pad: Pad| pad.top + pad.bottom > 0;
        let columns = |pad: Pad| pad.left + pad.right > 0;
        if (rows(inner) && rows(outer)) || (columns(inner) && columns(outer)) {
            continue;
        }
        let pad = Pad {
            top: inner.top + outer.top,
            bottom: inner.bottom + outer.bottom,
            left: inner.left + outer.left,
            right: inner.right + outer.right,
        };
        graph.nodes[index].op = Op::Pad { pad, mode: PadMode::Wrap };
        graph.nodes[index].inputs = graph.nodes[before].inputs.clone();
    }
    drop_unread(graph);
}

fn wrapping(graph: &Graph, index: usize) -> Option<Pad> {
    match graph.nodes[index].op {
        Op::Pad { pad, mode: PadMode::Wrap } => Some(pad),
        _ => None,
    }
}
