//! Rows of weights so small that they count as zero.
//!
//! `ResRep` (Ding et al., ICCV 2021) drops the rows of a compactor whose norm is below 1e-5. Its
//! compactors begin as identities, so their living rows have norms near 1; after fusion a row has
//! whatever scale the layer has. The same number is therefore taken relative to the layer's largest
//! row: a layer that is small as a whole keeps its rows. Rows of exact zeros need no threshold.

use super::channels::Channels;
use crate::graph::{Graph, Node, Op};
use crate::tensor::Tensor;
use std::collections::HashMap;

/// Norm of a row below which it counts as zero, relative to the layer's largest row.
pub const NEAR_ZERO: f64 = 1e-5;

/// Replaces near-zero rows by zeros, except where the channel must stay anyway. Returns how many a
/// node, by its name.
pub(super) fn zeroed(graph: &mut Graph, channels: &Channels) -> HashMap<String, usize> {
    let mut rows_of = HashMap::new();
    for index in 0..graph.nodes.len() {
        let node = &graph.nodes[index];
        let rows = near_zero_rows(graph, node, channels);
        if rows.is_empty() {
            continue;
        }
        let (name, zeroed) = (node.name.clone(), without_rows(graph, node, &rows));
        let constant = graph.constant(format!("{name}.zeroed"), zeroed);
        rows_of.insert(name, rows.len());
        graph.nodes[index].inputs[1] = constant;
    }
    rows_of
}

fn near_zero_rows(graph: &Graph, node: &Node, channels: &Channels) -> Vec<usize> {
    let classes = channels.classes(node.output);
    let layer = matches!(node.op, Op::Conv(_) | Op::Linear { .. });
    if !layer || classes.iter().all(|&class| channels.is_pinned(class)) {
        return Vec::new();
    }
    let norms = row_norms(graph, node, classes.len());
    let limit = NEAR_ZERO * norms.iter().copied().fold(0.0, f64::max);
    let small = |&row: &usize| {
        (0.0 < norms[row] && norms[row] < limit) && !channels.is_pinned(classes[row])
    };
    (0..norms.len()).filter(small).collect()
}

/// The Euclidean norm of each row of a layer's weights; `outputs`: how many there are.
pub(super) fn row_norms(graph: &Graph, node: &Node, outputs: usize) -> Vec<f64> {
    let weights = graph.constant_f32(node.inputs[1]).unwrap_or(&[]);
    let rows = weights.chunks_exact((weights.len() / outputs).max(1));
    rows.map(|row| row.iter().map(|&w| f64::from(w).powi(2)).sum::<f64>().sqrt()).collect()
}

fn without_rows(graph: &Graph, node: &Node, rows: &[usize]) -> Tensor {
    let weight = graph.get(node.inputs[1]).constant.as_ref().expect("learned weights");
    let mut values = weight.as_f32().expect("learned weights are floats").to_vec();
    let len = values.len() / weight.shape()[0];
    rows.iter().for_each(|&row| values[row * len..][..len].fill(0.0));
    Tensor::f32(weight.shape(), values).expect("the same shape")
}
