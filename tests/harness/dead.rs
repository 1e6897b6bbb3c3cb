//! Networks with channels that carry nothing: edits of single rows and columns of weights, and
//! random networks full of them.
//!
//! All numbers of the random networks are small multiples of a quarter, so that constants pushed
//! from layer to layer are exact in f32 and pruning must not change a single bit of an f64 result.

use crate::graphs::{Builder, Layer, square};
use crate::rng::Random;
use unbraid_converter::graph::{Activation, Graph, Node, Op, ValueId};
use unbraid_converter::tensor::Tensor;

/// Changes constant operand `at` of the node that computes `y`.
///
/// # Panics
/// When `y` is not computed, or the operand is no constant.
pub fn edit(graph: &mut Graph, y: ValueId, at: usize, change: impl FnOnce(&mut [f32])) {
    let producer = graph.producers()[y.index()].expect("a computed value");
    let operand = graph.nodes[producer].inputs[at];
    let tensor = graph.values[operand.index()].constant.as_mut().expect("a constant");
    let mut values = tensor.as_f32().expect("floats").to_vec();
    change(&mut values);
    *tensor = Tensor::f32(tensor.shape(), values).expect("the same shape");
}

/// Rows and columns of a layer's weights, and values of one tap after the other.
fn extent(graph: &Graph, y: ValueId) -> [usize; 3] {
    let producer = graph.producers()[y.index()].expect("a computed value");
    let shape = graph.shape(graph.nodes[producer].inputs[1]);
    [shape[0], shape[1], shape[2..].iter().product()]
}

/// Multiplies the weights of some output channels of the layer that computes `y`; zero makes them
/// constants.
pub fn scale_rows(graph: &mut Graph, y: ValueId, rows: &[usize], factor: f32) {
    let [_, columns, taps] = extent(graph, y);
    edit(graph, y, 1, |weights| {
        for &row in rows {
            weights[row * columns * taps..][..columns * taps].iter_mut().for_each(|w| *w *= factor);
        }
    });
}

/// Sets the weights of some input channels of the layer that computes `y` to zero.
pub fn zero_columns(graph: &mut Graph, y: ValueId, columns: &[usize]) {
    let [rows, width, taps] = extent(graph, y);
    edit(graph, y, 1, |weights| {
        for row in 0..rows {
            columns.iter().for_each(|c| weights[(row * width + c) * taps..][..taps].fill(0.0));
        }
    });
}

/// Sets biases of the layer that computes `y`.
pub fn set_bias(graph: &mut Graph, y: ValueId, rows: &[usize], bias: f32) {
    edit(graph, y, 2, |biases| rows.iter().for_each(|&row| biases[row] = bias));
}

/// A random network of everything that pruning sees through, in which about a third of the rows of
/// weights and some columns are zero. Activations are nodes of their own.
pub fn random_network(seed: u64) -> Graph {
    let (mut net, x) = Builder::new(seed, 3, [8, 8]);
    let mut values = vec![net.conv(x, Layer::of(6, 3, 1, 1).biased())];
    for _ in 0..net.random.pick(&[4, 6, 8, 10]) {
        let recent = values.len().saturating_sub(3);
        let x = net.random.pick(&values[recent..]);
        values.push(random_node(&mut net, x, &values));
    }
    let last = *values.last().expect("not empty");
    let vector = vector(&mut net, last);
    let hidden = net.linear(vector, 5);
    let hidden = activated(&mut net, hidden);
    let y = net.linear(hidden, 3);
    let mut graph = net.finish(&[y]);
    drop_unread(&mut graph);
    round_constants(&mut graph);
    let mut random = Random(!seed);
    let layers: Vec<ValueId> =
        graph.nodes.iter().filter(|node| is_layer(node)).map(|node| node.output).collect();
    for y in layers {
        let [rows, columns, _] = extent(&graph, y);
        let rows: Vec<usize> = (0..rows).filter(|_| random.unit() < 0.35).collect();
        let columns: Vec<usize> = (0..columns).filter(|_| random.unit() < 0.15).collect();
        scale_rows(&mut graph, y, &rows, 0.0);
        zero_columns(&mut graph, y, &columns);
    }
    graph
}

/// Whether the node is a convolution or a dense layer.
pub fn is_layer(node: &Node) -> bool {
    matches!(node.op, Op::Conv(_) | Op::Linear { .. })
}

fn random_node(net: &mut Builder, x: ValueId, values: &[ValueId]) -> ValueId {
    let (channels, shape) = (net.channels(x), net.graph.shape(x).to_vec());
    match net.random.bits() % 12 {
        0..=2 => {
            let (k, pad) = net.random.pick(&[(3, 1), (3, 0), (1, 0), (1, 1)]);
            let k = if shape[2] < 3 { 1 } else { k };
            let outputs = net.random.pick(&[4, 6]);
            net.conv(x, Layer::of(outputs, k, 1, 1).padded(pad).biased())
        }
        3 | 4 => net.conv(x, Layer::of(channels, 3, 1, channels).biased()),
        5 if channels % 2 == 0 => net.conv(x, Layer::of(6, 3, 1, 2).biased()),
        5 | 6 => activated(net, x),
        7 => {
            let alike = |&&other: &&ValueId| net.graph.shape(other) == shape;
            let others: Vec<ValueId> = values.iter().filter(alike).copied().collect();
            let other = net.random.pick(&others);
            net.add(x, other)
        }
        8 if channels <= 6 => {
            // Not with itself: equal and opposite weights would cancel.
            let other = net.relu(x);
            net.concat(&[x, other])
        }
        8 => net.batch_norm(x),
        9 if shape[2] >= 4 && shape[2] % 2 == 0 => net.average(x, square(2, 2, 0), true),
        9 => net.pad(x, 1, 0.5),
        10 if shape[2] >= 4 => {
            let half = [1, channels, shape[2] / 2, shape[3] / 2];
            net.node(Op::MaxPool(square(2, 2, 0)), vec![x], &half)
        }
        10 => net.with_constant(Op::Mul, x, 0.5, 1.5),
        _ => activated(net, x),
    }
}

/// One of the activations, as a node.
fn activated(net: &mut Builder, x: ValueId) -> ValueId {
    let shape = net.graph.shape(x).to_vec();
    let slope = net.random.tensor(&[shape[1]], 0.0, 1.0);
    let activation = match net.random.bits() % 4 {
        0 | 1 => Activation::Clamp { lo: 0.0, hi: f32::INFINITY },
        2 => Activation::Clamp { lo: 0.0, hi: 6.0 },
        _ => Activation::PRelu { slope: rounded(&slope) },
    };
    net.node(Op::Activation(activation), vec![x], &shape)
}

/// The picture flattened, or its mean where that is exact.
fn vector(net: &mut Builder, x: ValueId) -> ValueId {
    let shape = net.graph.shape(x).to_vec();
    let pixels = shape[2] * shape[3];
    if pixels.is_power_of_two() && net.random.pick(&[true, false]) {
        let mean = net.node(Op::GlobalAveragePool, vec![x], &[1, shape[1], 1, 1]);
        return net.node(Op::Reshape, vec![mean], &[1, shape[1]]);
    }
    net.node(Op::Reshape, vec![x], &[1, shape[1] * pixels])
}

/// Removes nodes that do not lead to an output, as fusion does.
fn drop_unread(graph: &mut Graph) {
    let mut read = graph.outputs.clone();
    let mut nodes = std::mem::take(&mut graph.nodes);
    while let Some(node) = nodes.pop() {
        if read.contains(&node.output) {
            read.extend(&node.inputs);
            graph.nodes.insert(0, node);
        }
    }
}

/// Rounds all constants to quarters; variances to 1.
fn round_constants(graph: &mut Graph) {
    for value in &mut graph.values {
        value.constant = value.constant.as_ref().map(rounded);
    }
    for node in &mut graph.nodes {
        if let Op::BatchNorm { eps } = &mut node.op {
            *eps = 0.0;
            let variance = &mut graph.values[node.inputs[4].index()].constant;
            let ones = vec![1.0; variance.as_ref().map_or(0, Tensor::len)];
            *variance = Some(Tensor::vector(ones));
        }
    }
}

/// To the nearest quarter, but not to zero.
fn rounded(tensor: &Tensor) -> Tensor {
    let values = tensor.as_f32().expect("floats").iter();
    let quarter = |v: &f32| ((v * 4.0).round() / 4.0 + 0.0).abs().max(0.25).copysign(*v);
    Tensor::f32(tensor.shape(), values.map(quarter).collect()).expect("the same shape")
}
