//! Two graphs that use every operation: what export must write and other runtimes must read.

use crate::graphs::{Builder, square};
use unbraid_converter::graph::{
    Activation, Border, BorderBias, Conv, Function, Graph, Hw, Op, Pad, Reduction, ValueId, Window,
};
use unbraid_converter::resize::{Coordinates, Interpolation, Resize, ResizedAxis};
use unbraid_converter::tensor::Tensor;

/// A graph in which every operation has what only fusion gives it.
pub fn fused() -> Graph {
    let (mut net, x) = Builder::new(1, 3, [7, 8]);
    let slopes = Tensor::vector(vec![0.1, -0.2, 0.3, 0.4]);
    let activations = [
        Activation::None,
        Activation::Clamp { lo: 0.0, hi: f32::INFINITY },
        Activation::Clamp { lo: -0.25, hi: 0.5 },
        Activation::Clamp { lo: f32::NEG_INFINITY, hi: 0.5 },
        Activation::LeakyRelu { slope: 0.2 },
        Activation::PRelu { slope: slopes },
    ];
    let mut sums = vec![];
    for activation in activations {
        let y = bordered(&mut net, x, activation.clone());
        let shape = net.graph.shape(y).to_vec();
        let z = net.node(Op::Activation(activation.clone()), vec![y], &shape);
        sums.push(net.node(Op::Add { activation }, vec![y, z], &shape));
    }
    let all = net.concat(&sums);
    let flat = net.graph.shape(all).iter().product();
    let flat = net.node(Op::Reshape, vec![all], &[1, flat]);
    let dense = dense(&mut net, flat, 4);
    let shape = net.graph.shape(all).to_vec();
    let soft = net.node(Op::Softmax { axis: 1 }, vec![all], &shape);
    net.finish(&[dense, soft])
}

/// A 3x3 convolution whose bias depends on the border.
fn bordered(net: &mut Builder, x: ValueId, activation: Activation) -> ValueId {
    let (window, shape) = (square(3, 1, 1), [1, 4, 7, 8]);
    let classes = Border { top: 1, left: 1, bottom: 1, right: 2 };
    let bias = net.random.tensor(&[12, 4], -1.0, 1.0);
    let weight = net.random.tensor(&[4, 3, 3, 3], -0.3, 0.3);
    let weight = net.graph.constant(format!("w{}", net.graph.values.len()), weight);
    let border = Some(BorderBias { classes, bias });
    net.node(Op::Conv(Conv { window, groups: 1, border, activation }), vec![x, weight], &shape)
}

fn dense(net: &mut Builder, x: ValueId, out: usize) -> ValueId {
    let depth = net.graph.shape(x)[1];
    let weight = net.random.tensor(&[out, depth], -0.1, 0.1);
    let weight = net.graph.constant("dense.weight", weight);
    let activation = Activation::Clamp { lo: 0.0, hi: f32::INFINITY };
    net.node(Op::Linear { activation }, vec![x, weight], &[1, out])
}

/// A graph of pools (with this dilation), padding and element-wise operations.
pub fn plain(dilation: u32) -> Graph {
    let (mut net, x) = Builder::new(2, 3, [9, 10]);
    let pad = Pad { top: 1, left: 0, bottom: 1, right: 1 };
    let window = Window { pad, dilation: Hw::square(dilation), ..square(2, 2, 0) };
    let average = net.average(x, window, true);
    let excluding = net.average(x, window, false);
    let shape = net.graph.shape(average).to_vec();
    let largest = net.node(Op::MaxPool(window), vec![x], &shape);
    let product = net.node(Op::Mul, vec![average, excluding], &shape);
    let difference = net.node(Op::Sub, vec![largest, product], &shape);
    let logistic = net.node(Op::Unary(Function::Sigmoid), vec![difference], &shape);
    let quotient = net.with_constant(Op::Div, logistic, 1.0, 2.0);
    let padded = net.pad(quotient, 1, -0.5);
    let normal = net.batch_norm(padded);
    let mean = net.node(Op::GlobalAveragePool, vec![normal], &[1, 3, 1, 1]);
    let shape = net.graph.shape(normal).to_vec();
    let axes = vec![1];
    let layer = Op::Normalise { axes: axes.clone(), centred: true, eps: 0.1 };
    let layer = net.node(layer, vec![normal], &shape);
    let top = Op::Reduce { function: Reduction::Max, axes };
    let top = net.node(top, vec![layer], &[1, 1, shape[2], shape[3]]);
    let gated = net.node(Op::Mul, vec![normal, top], &shape);
    let larger = doubled(&mut net, gated);
    net.finish(&[mean, larger])
}

/// A picture with twice as many rows and columns.
fn doubled(net: &mut Builder, x: ValueId) -> ValueId {
    let mut shape = net.graph.shape(x).to_vec();
    shape[2..].iter_mut().for_each(|length| *length *= 2);
    let axis = |axis| ResizedAxis { axis, scale: Some(2.0), crop: [0.0, 1.0] };
    let resize = Resize {
        axes: vec![axis(2), axis(3)],
        interpolation: Interpolation::Linear,
        coordinates: Coordinates::HalfPixel,
        exclude_outside: false,
        antialias: false,
    };
    net.node(Op::Resize(resize), vec![x], &shape)
}
