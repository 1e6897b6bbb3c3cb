//! The runtime computes what the oracle computes: every operation, every way in which a plan lays
//! out, shares and reorders memory, on every set of CPU features.
#![forbid(unsafe_code)]

use unbraid_converter::fuse::{FuseMode, fuse};
use unbraid_converter::graph::{
    Activation, Border, BorderBias, Conv, Function, Hw, Op, Pad, PadMode, ValueId, Window,
};
use unbraid_converter::tensor::Tensor;
use unbraid_tests::agreement::{check, check_names};
use unbraid_tests::graphs::{Builder, Layer, RELU, around, random_affine, random_views, square};

/// A net of one node between two convolutions, so that its operand is computed and its result is read.
fn check_between(
    channels: usize,
    size: [usize; 2],
    node: impl Fn(&mut Builder, ValueId) -> ValueId,
) {
    let (mut net, x) = Builder::new(1, 3, size);
    let y = net.conv(x, Layer::of(channels, 3, 1, 1).biased());
    let y = node(&mut net, y);
    let z = match net.graph.shape(y).len() {
        4 => net.conv(y, Layer::of(5, 1, 1, 1).biased()),
        _ => y,
    };
    let graph = net.finish(&[z]);
    check(&graph);
    check_names(&graph);
}

fn unary(net: &mut Builder, op: Op, x: ValueId) -> ValueId {
    let shape = net.graph.shape(x).to_vec();
    net.node(op, vec![x], &shape)
}

fn random_constant(net: &mut Builder, shape: &[usize]) -> ValueId {
    let tensor = net.random.tensor(shape, 0.5, 2.0);
    net.constant(tensor)
}

#[test]
fn convolutions_of_every_geometry() {
    let strides = [Hw::square(1), Hw::square(2), Hw { h: 1, w: 3 }];
    let pads = [Pad::default(), around(1), Pad { top: 2, left: 0, bottom: 1, right: 3 }];
    for (k, (stride, pad)) in strides.into_iter().flat_map(|s| pads.map(|p| (s, p))).enumerate() {
        for (channels, outputs, groups) in
            [(4, 6, 1), (4, 24, 2), (20, 20, 20), (3, 6, 3), (1, 1, 1)]
        {
            let kernel = [Hw::square(3), Hw::square(1), Hw { h: 2, w: 4 }][k % 3];
            let dilation = [Hw::square(1), Hw { h: 2, w: 1 }][k % 2];
            let window = Window { kernel, stride, dilation, pad };
            let (mut net, x) = Builder::new(k as u64, channels, [9, 11]);
            let y = net.conv(x, Layer { outputs, window, groups, biased: k % 2 == 0 });
            check(&net.finish(&[y]));
        }
    }
}

fn activations(net: &mut Builder, channels: usize) -> Vec<Activation> {
    vec![
        RELU,
        Activation::Clamp { lo: -0.25, hi: 0.5 },
        Activation::LeakyRelu { slope: 0.1 },
        Activation::PRelu { slope: net.random.tensor(&[channels], -0.5, 0.5) },
    ]
}

#[test]
fn activations_alone_and_inside_what_precedes_them() {
    for (groups, channels) in [(1, 20), (2, 20), (20, 20)] {
        for k in 0..4 {
            let (mut net, x) = Builder::new(2, 20, [6, 5]);
            let activation = activations(&mut net, channels).swap_remove(k);
            let a = net.conv(x, Layer::of(channels, 3, 1, groups).biased());
            let b = unary(&mut net, Op::Activation(activation.clone()), a);
            let c =
                net.node(Op::Add { activation: activation.clone() }, vec![b, x], &[1, 20, 6, 5]);
            let window = square(3, 1, 1);
            let conv = Conv { window, groups, border: None, activation: activation.clone() };
            let operands = net.graph.nodes[0].inputs[1..].iter().copied();
            let operands = [c].into_iter().chain(operands).collect();
            let d = net.node(Op::Conv(conv), operands, &[1, 20, 6, 5]);
            let flat = net.node(Op::Reshape, vec![d], &[1, 600]);
            let e = net.linear(flat, 20);
            if let Some(Op::Linear { activation: inside }) =
                net.graph.nodes.last_mut().map(|n| &mut n.op)
            {
                *inside = activation;
            }
            check(&net.finish(&[b, c, d, e]));
        }
    }
}

#[test]
fn border_biases() {
    for groups in [1, 6] {
        let (mut net, x) = Builder::new(3, 6, [5, 7]);
        let y = net.conv(x, Layer::of(6, 3, 1, groups));
        let classes = Border { top: 1, left: 2, bottom: 1, right: 0 };
        let bias = net.random.tensor(&[9, 6], -2.0, 2.0);
        if let Op::Conv(conv) = &mut net.graph.nodes[0].op {
            conv.border = Some(BorderBias { classes, bias });
        }
        check(&net.finish(&[y]));
    }
}

#[test]
fn padding_that_no_convolution_can_take_over() {
    let pad = Pad { top: 1, left: 0, bottom: 2, right: 3 };
    for value in [0.0, -1.5] {
        for channels in [2, 17] {
            let (mut net, x) = Builder::new(4, channels, [4, 5]);
            let padded = net.node(
                Op::Pad { pad, mode: PadMode::Constant(value) },
                vec![x],
                &[1, channels, 7, 8],
            );
            let a = net.average(padded, square(2, 1, 0), false);
            check(&net.finish(&[padded, a]));
            let (mut net, x) = Builder::new(5, channels, [4, 5]);
            let padded = net.node(
                Op::Pad { pad, mode: PadMode::Constant(value) },
                vec![x],
                &[1, channels, 7, 8],
            );
            let y = net.conv(padded, Layer::of(4, 3, 1, 1).biased());
            check(&net.finish(&[y]));
        }
    }
}

#[test]
fn pools_of_every_kind() {
    for window in [square(2, 2, 0), square(3, 2, 1), square(3, 1, 1)] {
        check_between(18, [9, 8], |net, x| net.average(x, window, false));
        check_between(18, [9, 8], |net, x| net.average(x, window, true));
        check_between(18, [9, 8], |net, x| {
            let out = window.output(9, 8).expect("it fits");
            net.node(Op::MaxPool(window), vec![x], &[1, 18, out.h as usize, out.w as usize])
        });
    }
    check_between(18, [9, 8], |net, x| net.node(Op::GlobalAveragePool, vec![x], &[1, 18, 1, 1]));
    check_between(18, [9, 8], |net, x| {
        let padded = net.pad(x, 1, 0.0);
        net.average(padded, square(3, 2, 0), false)
    });
}

#[test]
fn constants_one_a_channel_under_every_shape() {
    let shapes: [&[usize]; 6] = [&[], &[1], &[6, 1, 1], &[1, 6, 1, 1], &[1, 1, 1, 1], &[6, 1, 4]];
    for shape in shapes {
        for op in [Op::Add { activation: RELU }, Op::Sub, Op::Mul, Op::Div] {
            for flipped in [false, true] {
                if flipped && op == Op::Div {
                    continue;
                }
                check_between(6, [5, 4], |net, x| {
                    let mut constant = random_constant(net, shape);
                    if shape == [6, 1, 4] {
                        // Full width, but one value a channel all the same.
                        let values = (0..24).map(|k| (k / 4) as f32 + 0.5).collect();
                        constant = net.constant(Tensor::f32(shape, values).expect("24 values"));
                    }
                    let operands = if flipped { vec![constant, x] } else { vec![x, constant] };
                    let shape = net.graph.shape(x).to_vec();
                    net.node(op.clone(), operands, &shape)
                });
            }
        }
    }
}

#[test]
fn scales_and_differences_of_computed_values() {
    check_between(18, [5, 4], Builder::batch_norm);
    check_between(18, [5, 4], |net, x| unary(net, Op::Unary(Function::Sigmoid), x));
    check_between(3, [5, 4], |net, x| {
        let input = net.graph.inputs[0];
        net.node(Op::Sub, vec![input, x], &[1, 3, 5, 4])
    });
    check_between(3, [5, 4], |net, x| net.add(x, x));
    check_between(3, [5, 4], |net, x| net.node(Op::Sub, vec![x, x], &[1, 3, 5, 4]));
}

#[test]
fn vectors_take_constants_and_normalisation() {
    check_between(4, [3, 2], |net, x| {
        let flat = net.node(Op::Reshape, vec![x], &[1, 24]);
        let each = random_constant(net, &[24]);
        let scaled = net.node(Op::Mul, vec![flat, each], &[1, 24]);
        let normal = net.batch_norm(scaled);
        let bent = unary(net, Op::Activation(RELU), normal);
        net.linear(bent, 7)
    });
}

#[test]
fn softmax_along_channels_and_the_last_axis() {
    check_between(5, [4, 3], |net, x| unary(net, Op::Softmax { axis: 1 }, x));
    check_between(5, [4, 3], |net, x| unary(net, Op::Softmax { axis: 3 }, x));
    check_between(5, [4, 3], |net, x| {
        let flat = net.node(Op::Reshape, vec![x], &[1, 60]);
        unary(net, Op::Softmax { axis: 1 }, flat)
    });
    check_between(5, [4, 3], |net, x| {
        let planes = net.node(Op::Reshape, vec![x], &[1, 5, 12]);
        unary(net, Op::Softmax { axis: 2 }, planes)
    });
}

#[test]
fn concatenation_along_every_axis() {
    for axis in 1..4 {
        check_between(4, [5, 6], |net, x| {
            let other = unary(net, Op::Unary(Function::Sigmoid), x);
            let mut shape = [1, 4, 5, 6];
            shape[axis] *= 3;
            net.node(Op::Concat { axis }, vec![x, other, x], &shape)
        });
    }
    for axis in 1..3 {
        check_between(4, [5, 6], |net, x| {
            let planes = net.node(Op::Reshape, vec![x], &[1, 4, 30]);
            let mut shape = [1, 4, 30];
            shape[axis] *= 2;
            net.node(Op::Concat { axis }, vec![planes, planes], &shape)
        });
    }
}

#[test]
fn reshapes_that_cut_through_pictures() {
    let shapes: [&[usize]; 6] =
        [&[1, 4, 30], &[1, 120], &[120], &[1, 8, 3, 5], &[1, 2, 2, 5, 6], &[1, 30, 2, 2]];
    for shape in shapes {
        check_between(4, [5, 6], |net, x| net.node(Op::Reshape, vec![x], shape));
        check_between(4, [5, 6], |net, x| {
            let y = net.node(Op::Reshape, vec![x], shape);
            let y = unary(net, Op::Unary(Function::Sigmoid), y);
            let y = net.add(y, y);
            net.node(Op::Reshape, vec![y], &[1, 4, 5, 6])
        });
    }
}

#[test]
fn values_of_different_orders_meet() {
    check_between(4, [5, 6], |net, x| {
        let planes = net.node(Op::Reshape, vec![x], &[1, 8, 15]);
        let twice = net.node(Op::Concat { axis: 2 }, vec![planes, planes], &[1, 8, 30]);
        let flat = net.node(Op::Reshape, vec![twice], &[1, 240]);
        let pictures = net.node(Op::Concat { axis: 1 }, vec![x, x], &[1, 8, 5, 6]);
        let others = net.node(Op::Reshape, vec![pictures], &[1, 240]);
        let sum = net.add(flat, others);
        let sum = net.add(others, sum);
        net.node(Op::Reshape, vec![sum], &[1, 8, 5, 6])
    });
}

#[test]
fn linear_layers_read_flattened_pictures_where_they_lie() {
    check_between(7, [5, 6], |net, x| {
        let flat = net.node(Op::Reshape, vec![x], &[1, 210]);
        net.linear(flat, 33)
    });
}

#[test]
fn random_networks_before_and_after_fusion() {
    for seed in 0..300 {
        let graph = if seed % 2 == 0 { random_affine(seed) } else { random_views(seed) };
        check(&graph);
        check_names(&graph);
        check(&fuse(graph.clone(), FuseMode::Off, &mut |_| {}).graph);
        check(&fuse(graph, FuseMode::All, &mut |_| {}).graph);
    }
}
