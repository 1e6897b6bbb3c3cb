//! What needs no kernel: identities, padding before pools, scales before averages, reshapes,
//! activations, and what nobody reads.

use super::form::Form;
use super::node_map::{Role, form_of};
use super::renaming::Renaming;
use crate::graph::{Activation, Graph, Node, Op, Pad, PadMode, ValueId};
use std::collections::{HashMap, HashSet};

/// Removes identities and dropout at inference: readers read what the identity reads. An identity
/// between an input and an output of the graph stays, because both have a name to keep.
pub(super) fn drop_identities(graph: &mut Graph) {
    let identity = Op::Activation(Activation::None);
    let producers = graph.producers();
    let mut renaming = Renaming::new(graph);
    for index in 0..graph.nodes.len() {
        if graph.nodes[index].op != identity {
            continue;
        }
        let (from, to) = (renaming.of(graph.nodes[index].inputs[0]), graph.nodes[index].output);
        if !graph.outputs.contains(&to) {
            renaming.rename(to, from);
            continue;
        }
        if let Some(producer) = producers[from.index()].filter(|_| !graph.outputs.contains(&from)) {
            graph.nodes[producer].output = to;
            renaming.rename(from, to);
            // Now nobody reads the identity: it goes with what nobody needs.
            graph.nodes[index].output = from;
        }
    }
    renaming.apply(graph);
    drop_unread(graph);
}

/// A zero padding before an average pool without padding of its own becomes the pool's padding:
/// older exporters write `count_include_pad` so.
pub(super) fn merge_pads_into_pools(graph: &mut Graph) {
    let (producers, consumers) = (graph.producers(), graph.consumers());
    for index in 0..graph.nodes.len() {
        let operand = graph.nodes[index].inputs[0];
        let Some(before) = producers[operand.index()].map(|k| &graph.nodes[k]) else { continue };
        let Op::Pad { pad, mode: PadMode::Constant(0.0) } = before.op else { continue };
        let (source, shared) = (before.inputs[0], consumers[operand.index()].len() > 1);
        if shared || graph.outputs.contains(&operand) {
            continue;
        }
        let node = &mut graph.nodes[index];
        if let Op::AveragePool { window, count_include_pad } = &mut node.op
            && window.pad == Pad::default()
        {
            window.pad = pad;
            *count_include_pad = true;
            node.inputs[0] = source;
        }
    }
    drop_unread(graph);
}

/// Moves factors and summands of channels from before an average to behind it, where they meet the
/// dense layer that reads it: the average of `s * x + t` is `s` times that of `x`, plus `t`, if no
/// padding is counted.
pub(super) fn move_scales_behind_averages(graph: &mut Graph) {
    loop {
        let found = scales_before_averages(graph);
        for &(scale, average, source) in &found {
            let between = graph.nodes[scale].output;
            let output = std::mem::replace(&mut graph.nodes[average].output, between);
            graph.nodes[scale].output = output;
            replace_operand(&mut graph.nodes[scale], source, between);
            replace_operand(&mut graph.nodes[average], between, source);
            graph.values[between.index()].shape = graph.shape(output).to_vec();
            graph.nodes.swap(scale, average);
        }
        if found.is_empty() {
            return;
        }
    }
}

/// Scales, the average that alone reads each and leads to a dense layer, and what is scaled. No node
/// is part of two.
fn scales_before_averages(graph: &Graph) -> Vec<(usize, usize, ValueId)> {
    let (producers, consumers) = (graph.producers(), graph.consumers());
    let mut taken = HashSet::new();
    let found = graph.nodes.iter().enumerate().filter_map(|(average, node)| {
        let operand = node.inputs[0];
        let alone = consumers[operand.index()].len() == 1 && !graph.outputs.contains(&operand);
        if !alone || !averages(&node.op) || !leads_to_dense(graph, &consumers, node.output) {
            return None;
        }
        let scale = producers[operand.index()]?;
        let source = scaled_operand(graph, &graph.nodes[scale])?;
        (taken.insert(scale) && taken.insert(average)).then_some((scale, average, source))
    });
    found.collect()
}

/// Whether an operation gives averages of pixels of one channel, padding not counted.
fn averages(op: &Op) -> bool {
    match op {
        Op::GlobalAveragePool => true,
        Op::AveragePool { window, count_include_pad } => {
            !count_include_pad || window.pad == Pad::default()
        }
        _ => false,
    }
}

/// What a node scales and shifts channel by channel.
fn scaled_operand(graph: &Graph, node: &Node) -> Option<ValueId> {
    let Some(Role::Map(operand)) = Role::of(graph, node) else { return None };
    form_of(graph, node, operand).filter(Form::is_diagonal).map(|_| operand)
}

/// Whether a value is read by one convolution or dense layer alone, reshapes and scales aside.
fn leads_to_dense(graph: &Graph, consumers: &[Vec<usize>], mut value: ValueId) -> bool {
    while let [reader] = consumers[value.index()][..] {
        let node = &graph.nodes[reader];
        match node.op {
            Op::Conv(_) | Op::Linear { .. } => return true,
            Op::Reshape => value = node.output,
            _ if scaled_operand(graph, node).is_some() => value = node.output,
            _ => return false,
        }
    }
    false
}

/// Lets a node read another value.
pub(super) fn replace_operand(node: &mut Node, old: ValueId, new: ValueId) {
    node.inputs.iter_mut().filter(|input| **input == old).for_each(|input| *input = new);
}

/// Transpositions that only move axes of length 1 move no number: they become reshapes.
pub(super) fn reshape_by_transposing(graph: &mut Graph) {
    for index in 0..graph.nodes.len() {
        let Op::Transpose { perm } = &graph.nodes[index].op else { continue };
        let shape = graph.shape(graph.nodes[index].inputs[0]);
        if perm.iter().filter(|&&axis| shape[axis] > 1).is_sorted() {
            graph.nodes[index].op = Op::Reshape;
        }
    }
}

/// Drops reshapes that lead back to a shape that the same numbers had before.
pub(super) fn drop_round_trips(graph: &mut Graph) {
    let producers = graph.producers();
    for index in 0..graph.nodes.len() {
        let to = graph.nodes[index].output;
        let before = |&id: &ValueId| {
            let node = &graph.nodes[producers[id.index()]?];
            (node.op == Op::Reshape).then(|| node.inputs[0])
        };
        let same = |id: &ValueId| graph.shape(*id) == graph.shape(to);
        if let Some(from) = std::iter::successors(before(&to), before).find(same) {
            graph.nodes[index].inputs = vec![from];
            graph.nodes[index].op = Op::Activation(Activation::None);
        }
    }
    drop_identities(graph);
}

/// Lets reshapes that cut the same numbers into equally many rows read the first of them. That they
/// hold the same rows then shows: regions see through a reshape that keeps axis 0, and no other.
pub(super) fn chain_equal_rows(graph: &mut Graph) {
    let mut origins: HashMap<ValueId, ValueId> = HashMap::new();
    let mut first_cuts = HashMap::new();
    for index in 0..graph.nodes.len() {
        let node = &graph.nodes[index];
        if node.op != Op::Reshape {
            continue;
        }
        let (input, output) = (node.inputs[0], node.output);
        let origin = origins.get(&input).copied().unwrap_or(input);
        origins.insert(output, origin);
        let rows = |id| graph.shape(id).first().copied();
        if rows(input) != rows(output) {
            let first = *first_cuts.entry((origin, rows(output))).or_insert(output);
            if first != output {
                graph.nodes[index].inputs = vec![first];
            }
        }
    }
}

/// Lets a reshape of a reshape read what the first one reads.
pub(super) fn merge_reshapes(graph: &mut Graph) {
    let producers = graph.producers();
    for index in 0..graph.nodes.len() {
        let before = producers[graph.nodes[index].inputs[0].index()].map(|k| &graph.nodes[k]);
        if let Some(from) = before.filter(|node| node.op == Op::Reshape).map(|node| node.inputs[0])
            && graph.nodes[index].op == Op::Reshape
        {
            graph.nodes[index].inputs = vec![from];
        }
    }
    drop_unread(graph);
}

/// Moves activations into the convolution, dense layer or sum before them, if nobody else reads it;
/// where every channel has the same activation, also across what only moves numbers.
pub(super) fn fuse_activations(graph: &mut Graph) {
    let (producers, consumers) = (graph.producers(), graph.consumers());
    let mut gone = HashSet::new();
    for index in 0..graph.nodes.len() {
        let Op::Activation(activation) = graph.nodes[index].op.clone() else { continue };
        let alone = |id: ValueId| {
            let alone = consumers[id.index()].len() == 1 && !graph.outputs.contains(&id);
            // What is rounded first is another number.
            let exact = graph.get(id).quantization.is_none();
            producers[id.index()].filter(|_| alone && exact)
        };
        let (operand, output) = (graph.nodes[index].inputs[0], graph.nodes[index].output);
        let Some(last) = alone(operand) else { continue };
        let mut before = Some(last);
        while let Some(view) = before.filter(|&k| moves_only(&graph.nodes[k].op)) {
            let uniform = !matches!(activation, Activation::PRelu { .. });
            before = alone(graph.nodes[view].inputs[0]).filter(|_| uniform);
        }
        let Some(before) = before else { continue };
        if let Some(none @ Activation::None) = activation_of(&mut graph.nodes[before]) {
            *none = activation;
            graph.nodes[last].output = output;
            gone.insert(index);
        }
    }
    let mut index = 0..;
    graph.nodes.retain(|_| !gone.contains(&index.next().expect("endless")));
}

/// Whether an operation gives numbers that it reads, each at most once.
fn moves_only(op: &Op) -> bool {
    let moved = matches!(op, Op::Slice { .. } | Op::DepthToSpace { .. } | Op::SpaceToDepth { .. });
    moved || matches!(op, Op::Reshape | Op::Transpose { .. })
}

fn activation_of(node: &mut Node) -> Option<&mut Activation> {
    match &mut node.op {
        Op::Conv(conv) => Some(&mut conv.activation),
        Op::Linear { activation } | Op::Add { activation } => Some(activation),
        _ => None,
    }
}

/// Removes nodes whose results nobody reads.
pub(super) fn drop_unread(graph: &mut Graph) {
    let mut read = vec![false; graph.values.len()];
    graph.outputs.iter().for_each(|id| read[id.index()] = true);
    let mut keep = vec![false; graph.nodes.len()];
    for (index, node) in graph.nodes.iter().enumerate().rev() {
        keep[index] = read[node.output.index()];
        if keep[index] {
            node.inputs.iter().for_each(|id| read[id.index()] = true);
        }
    }
    let mut kept = keep.iter();
    graph.nodes.retain(|_| *kept.next().expect("one flag a node"));
}

/// Removes values that no node, input or output names, and numbers the others anew.
pub(crate) fn drop_unnamed(graph: &mut Graph) {
    let mut named = vec![false; graph.values.len()];
    let of_nodes = graph.nodes.iter().flat_map(|node| node.inputs.iter().chain([&node.output]));
    for id in of_nodes.chain(&graph.inputs).chain(&graph.outputs) {
        named[id.index()] = true;
    }
    let mut next = 0;
    let place = |&named: &bool| {
        let id = ValueId(next);
        next += u32::from(named);
        id
    };
    let places: Vec<ValueId> = named.iter().map(place).collect();
    let of_nodes =
        graph.nodes.iter_mut().flat_map(|node| node.inputs.iter_mut().chain([&mut node.output]));
    for id in of_nodes.chain(&mut graph.inputs).chain(&mut graph.outputs) {
        *id = places[id.index()];
    }
    let mut named = named.iter();
    graph.values.retain(|_| *named.next().expect("one flag a value"));
}
