//! Where a picture is padded with its own pixels, the picture is the centre of the padded one.
//!
//! Padding by reflection, by the edge or by wrapping is linear but no convolution: its node stays. A
//! branch beside it that reads the picture itself (a 1x1 convolution, an identity) has another source
//! than the branch that reads the padded one, unless it reads the centre of that: a crop, which is a
//! map like any other. So readers are led there before regions are sought, and back where the crop
//! did not become part of a convolution.

use super::node_map::Role;
use super::renaming::Renaming;
use super::simplify::{drop_unread, replace_operand};
use crate::graph::{Graph, Node, Op, PadMode, ValueId};
use std::collections::{HashMap, HashSet};

/// Lets the affine readers of each picture that is padded with its own pixels read the centre of the
/// padded one. The padding moves in front of them.
pub(super) fn read_centres(graph: &mut Graph) {
    let nodes = std::mem::take(&mut graph.nodes);
    let mut paddings = HashMap::new();
    for (index, node) in nodes.iter().enumerate().filter(|(_, node)| repeats_pixels(node)) {
        paddings.entry(node.inputs[0]).or_insert(index);
    }
    let mut placed = HashSet::new();
    for (index, mut node) in nodes.iter().cloned().enumerate() {
        let affine = Role::of(graph, &node).is_some();
        for picture in node.inputs.clone().into_iter().filter(|_| affine) {
            let Some(&padding) = paddings.get(&picture) else { continue };
            if placed.insert(padding) {
                graph.nodes.push(nodes[padding].clone());
            }
            let centre = push_centre(graph, &nodes[padding], &node.name);
            replace_operand(&mut node, picture, centre);
        }
        if !repeats_pixels(&node) || placed.insert(index) {
            graph.nodes.push(node);
        }
    }
}

/// Lets whatever still reads the centre of a padded picture read the picture.
pub(super) fn undo_centres(graph: &mut Graph) {
    let producers = graph.producers();
    let mut renaming = Renaming::new(graph);
    for index in 0..graph.nodes.len() {
        let output = graph.nodes[index].output;
        if let Some(picture) = centre_of(graph, &producers, index)
            && !graph.outputs.contains(&output)
        {
            renaming.rename(output, picture);
        }
    }
    renaming.apply(graph);
    drop_unread(graph);
}

/// The picture that a node cuts out of what a padding made of it; `None`: it does something else.
pub(super) fn centre_of(
    graph: &Graph,
    producers: &[Option<usize>],
    index: usize,
) -> Option<ValueId> {
    let node = &graph.nodes[index];
    let padding = &graph.nodes[producers[node.inputs[0].index()]?];
    let picture = padding.inputs[0];
    let whole = graph.shape(node.output) == graph.shape(picture);
    (repeats_pixels(padding) && whole && node.op == centre(padding)?).then_some(picture)
}

fn repeats_pixels(node: &Node) -> bool {
    matches!(node.op, Op::Pad { mode: PadMode::Reflect | PadMode::Edge | PadMode::Wrap, .. })
}

/// The slice that undoes a padding.
fn centre(padding: &Node) -> Option<Op> {
    let Op::Pad { pad, .. } = padding.op else { return None };
    let starts = vec![0, 0, pad.top as usize, pad.left as usize];
    Some(Op::Slice { starts, steps: vec![1; 4] })
}

fn push_centre(graph: &mut Graph, padding: &Node, reader: &str) -> ValueId {
    let name = format!("{reader}.centre");
    let output = graph.value(name.clone(), graph.shape(padding.inputs[0]).to_vec());
    let slice = centre(padding).expect("a padding");
    graph.push(name, slice, vec![padding.output], output);
    output
}
