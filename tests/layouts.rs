//! Networks that move their values about: transposes, shuffles, slices, broadcasts and batches come
//! out as the oracle says, on every set of CPU features.
#![forbid(unsafe_code)]

use unbraid_converter::graph::{
    Activation, DepthOrder, Function, Hw, Op, Pad, PadMode, ValueId, Window,
};
use unbraid_tests::agreement::{check, check_names};
use unbraid_tests::graphs::{Builder, Layer, RELU, square};

fn node(net: &mut Builder, op: Op, x: ValueId, shape: &[usize]) -> ValueId {
    net.node(op, vec![x], shape)
}

fn shape(net: &Builder, x: ValueId) -> Vec<usize> {
    net.graph.shape(x).to_vec()
}

/// A net whose operations read what a convolution leaves, and are read by another one.
fn check_on_picture(
    channels: usize,
    size: [usize; 2],
    body: impl Fn(&mut Builder, ValueId) -> ValueId,
) {
    let (mut net, x) = Builder::new(21, 3, size);
    let x = net.conv(x, Layer::of(channels, 3, 1, 1).biased());
    let y = body(&mut net, x);
    let z = match shape(&net, y)[..] {
        [_, _, _, _] => net.conv(y, Layer::of(5, 1, 1, 1).biased()),
        _ => y,
    };
    let graph = net.finish(&[z, y]);
    check(&graph);
    check_names(&graph);
}

fn transposed(net: &mut Builder, x: ValueId, perm: &[usize]) -> ValueId {
    let old = shape(net, x);
    let new: Vec<usize> = perm.iter().map(|&axis| old[axis]).collect();
    node(net, Op::Transpose { perm: perm.to_vec() }, x, &new)
}

/// Every order of `rank` axes.
fn permutations(rank: usize) -> Vec<Vec<usize>> {
    let mut all = vec![vec![]];
    for axis in 0..rank {
        let longer = |short: &Vec<usize>| {
            let short = short.clone();
            (0..=short.len()).map(move |at| {
                let mut longer = short.clone();
                longer.insert(at, axis);
                longer
            })
        };
        all = all.iter().flat_map(longer).collect();
    }
    all
}

#[test]
fn every_transpose_of_a_picture() {
    for perm in permutations(4) {
        check_on_picture(6, [4, 5], |net, x| {
            let y = transposed(net, x, &perm);
            let y = node(net, Op::Unary(Function::Tanh), y, &shape(net, y));
            let back: Vec<usize> =
                (0..4).map(|axis| perm.iter().position(|&p| p == axis).unwrap()).collect();
            let z = transposed(net, y, &back);
            net.add(z, x)
        });
        check_on_picture(6, [4, 5], |net, x| transposed(net, x, &perm));
    }
}

#[test]
fn transposes_of_up_to_six_axes() {
    for perm in permutations(6).into_iter().step_by(7) {
        check_on_picture(6, [4, 10], |net, x| {
            let y = net.reshape(x, &[2, 3, 2, 2, 5, 2]);
            let y = transposed(net, y, &perm);
            net.reshape(y, &[1, 12, 4, 5])
        });
    }
}

#[test]
fn pixel_shuffles_and_their_inverse() {
    for order in [DepthOrder::SquareFirst, DepthOrder::ChannelFirst] {
        for (block, channels) in [(2, 12), (3, 9), (2, 4)] {
            let out = [1, channels / (block * block), 4 * block, 5 * block];
            check_on_picture(channels, [4, 5], |net, x| {
                node(net, Op::DepthToSpace { block, order }, x, &out)
            });
            check_on_picture(channels, [4 * block, 5 * block], |net, x| {
                let deep = [1, channels * block * block, 4, 5];
                let y = node(net, Op::SpaceToDepth { block }, x, &deep);
                node(net, Op::Unary(Function::HardSwish), y, &deep)
            });
        }
    }
}

#[test]
fn slices_forwards_backwards_and_of_any_axis() {
    let cases: [([usize; 4], [i64; 4], [usize; 4]); 6] = [
        ([0, 0, 1, 2], [1, 1, 1, 1], [1, 6, 3, 4]),
        ([0, 2, 0, 0], [1, 1, 1, 1], [1, 3, 6, 7]),
        ([0, 5, 5, 6], [1, -1, -2, -3], [1, 6, 3, 3]),
        ([0, 0, 1, 0], [1, 3, 2, 2], [1, 2, 3, 4]),
        ([0, 3, 0, 6], [1, 1, 1, -1], [1, 1, 1, 7]),
        ([0, 0, 0, 0], [1, 1, 1, 1], [1, 6, 6, 7]),
    ];
    for (starts, steps, out) in cases {
        let slice = Op::Slice { starts: starts.to_vec(), steps: steps.to_vec() };
        check_on_picture(6, [6, 7], |net, x| node(net, slice.clone(), x, &out));
        check_on_picture(6, [6, 7], |net, x| {
            // An axis of two digits: channels and rows.
            let y = net.reshape(x, &[1, 36, 7, 1]);
            let part = Op::Slice { starts: vec![0, 35, 1, 0], steps: vec![1, -5, 2, 1] };
            node(net, part, y, &[1, 8, 3, 1])
        });
    }
}

#[test]
fn padding_in_every_mode() {
    let pad = Pad { top: 2, left: 0, bottom: 1, right: 3 };
    for mode in [PadMode::Constant(0.5), PadMode::Reflect, PadMode::Edge, PadMode::Wrap] {
        check_on_picture(5, [4, 5], |net, x| node(net, Op::Pad { pad, mode }, x, &[1, 5, 7, 8]));
        check_on_picture(4, [4, 5], |net, x| {
            let y = net.reshape(x, &[2, 2, 4, 5]);
            let y = node(net, Op::Pad { pad, mode }, y, &[2, 2, 7, 8]);
            net.reshape(y, &[1, 4, 7, 8])
        });
    }
}

const ARITHMETIC: [Op; 4] = [Op::Add { activation: Activation::None }, Op::Sub, Op::Mul, Op::Div];

/// Both orders of two operands.
fn both(net: &mut Builder, op: &Op, a: ValueId, b: ValueId, out: &[usize]) -> ValueId {
    let y = net.node(op.clone(), vec![a, b], out);
    if *op == Op::Div {
        // A small divisor makes values of every size, which no error can be measured by.
        return y;
    }
    let z = net.node(op.clone(), vec![b, a], out);
    net.add(y, z)
}

#[test]
fn constants_of_every_shape_that_broadcasts() {
    let shapes: [&[usize]; 11] = [
        &[],
        &[5],
        &[4, 5],
        &[4, 1],
        &[6, 1, 1],
        &[1, 4, 5],
        &[6, 4, 5],
        &[1, 6, 1, 5],
        &[1, 6, 4, 1],
        &[1, 1, 4, 1],
        &[1, 6, 4, 5],
    ];
    for (own, op) in shapes.iter().flat_map(|own| ARITHMETIC.map(|op| (own, op))) {
        check_on_picture(6, [4, 5], |net, x| {
            let constant = net.random.tensor(own, 0.5, 2.0);
            let constant = net.constant(constant);
            both(net, &op, x, constant, &[1, 6, 4, 5])
        });
        check_on_picture(6, [4, 5], |net, x| {
            // In an order of three runs, of which the constant lacks the middle one or not.
            let constant = net.random.tensor(own, 0.5, 2.0);
            let constant = net.constant(constant);
            let y = transposed(net, x, &[0, 2, 1, 3]);
            let y = net.reshape(y, &[1, 6, 4, 5]);
            both(net, &op, y, constant, &[1, 6, 4, 5])
        });
    }
}

/// A positive computed value of this shape, all of whose axes are those of `x` or 1.
fn reduced(net: &mut Builder, x: ValueId, own: &[usize]) -> ValueId {
    let (starts, steps) = (vec![0; own.len()], vec![1; own.len()]);
    let part = node(net, Op::Slice { starts, steps }, x, own);
    let y = node(net, Op::Unary(Function::Sigmoid), part, own);
    let half = net.random.tensor(&[], 0.5, 0.6);
    let half = net.constant(half);
    net.node(Op::Add { activation: Activation::None }, vec![y, half], own)
}

#[test]
fn computed_operands_of_every_shape_that_broadcasts() {
    for mask in 0..8_usize {
        let pick = |bit: usize, len: usize| if mask >> bit & 1 == 1 { 1 } else { len };
        let own = [1, pick(0, 6), pick(1, 4), pick(2, 5)];
        for op in ARITHMETIC {
            check_on_picture(6, [4, 5], |net, x| {
                let gate = reduced(net, x, &own);
                both(net, &op, x, gate, &[1, 6, 4, 5])
            });
        }
        check_on_picture(6, [4, 5], |net, x| {
            // In an order whose runs are no axes.
            let y = transposed(net, x, &[0, 2, 1, 3]);
            let y = net.reshape(y, &[1, 6, 4, 5]);
            let gate = reduced(net, x, &own);
            both(net, &Op::Sub, y, gate, &[1, 6, 4, 5])
        });
        let other = [1, 7 - pick(0, 6), 5 - pick(1, 4), 6 - pick(2, 5)];
        check_on_picture(6, [4, 5], |net, x| {
            // Neither operand is as large as the result.
            let (a, b) = (reduced(net, x, &own), reduced(net, x, &other));
            both(net, &Op::Mul, a, b, &[1, 6, 4, 5])
        });
    }
}

#[test]
fn results_written_over_either_operand() {
    for op in ARITHMETIC {
        let (mut net, x) = Builder::new(22, 6, [4, 5]);
        let kept = net.conv(x, Layer::of(6, 3, 1, 1).biased());
        let gate = reduced(&mut net, kept, &[1, 6, 4, 5]);
        // Over the second operand, because the first one is read again.
        let y = net.node(op.clone(), vec![kept, gate], &[1, 6, 4, 5]);
        let divisor = reduced(&mut net, kept, &[1, 6, 4, 5]);
        let z = net.node(op, vec![y, divisor], &[1, 6, 4, 5]);
        check(&net.finish(&[z, kept]));
    }
}

#[test]
fn sums_with_slopes_a_channel_broadcast_too() {
    for own in [[1, 6, 1, 1], [1, 1, 4, 1], [1, 6, 4, 5]] {
        check_on_picture(6, [4, 5], |net, x| {
            let slope = net.random.tensor(&[6], -0.5, 0.5);
            let gate = reduced(net, x, &own);
            let activation = Activation::PRelu { slope };
            net.node(Op::Add { activation }, vec![gate, x], &[1, 6, 4, 5])
        });
    }
    check_on_picture(6, [4, 5], |net, x| {
        let slope = net.random.tensor(&[3], -0.5, 0.5);
        let y = net.reshape(x, &[2, 3, 4, 5]);
        let gate = reduced(net, y, &[2, 3, 1, 1]);
        let y = net.node(
            Op::Add { activation: Activation::PRelu { slope } },
            vec![y, gate],
            &[2, 3, 4, 5],
        );
        net.reshape(y, &[1, 6, 4, 5])
    });
}

#[test]
fn softmax_along_every_axis() {
    for axis in 0..4 {
        check_on_picture(6, [4, 5], |net, x| node(net, Op::Softmax { axis }, x, &[1, 6, 4, 5]));
        check_on_picture(6, [4, 5], |net, x| {
            let y = net.reshape(x, &[2, 3, 5, 4]);
            node(net, Op::Softmax { axis }, y, &[2, 3, 5, 4])
        });
    }
}

#[test]
fn concatenation_of_batches_and_of_any_rank() {
    for (parts, axis) in [([2, 3, 5, 4], 4), ([3, 2, 4, 5], 4)]
        .into_iter()
        .flat_map(|(parts, rank)| (0..rank).map(move |axis| (parts, axis)))
    {
        check_on_picture(6, [4, 5], |net, x| {
            let y = net.reshape(x, &parts);
            let z = node(net, Op::Unary(Function::Silu), y, &parts);
            let mut out = parts;
            out[axis] *= 2;
            let joined = net.node(Op::Concat { axis }, vec![y, z], &out);
            net.reshape(joined, &[1, 12, 4, 5])
        });
    }
    for axis in 0..5 {
        check_on_picture(6, [4, 5], |net, x| {
            let parts = [2, 3, 2, 2, 5];
            let y = net.reshape(x, &parts);
            let mut out = parts;
            out[axis] *= 2;
            let joined = net.node(Op::Concat { axis }, vec![y, y], &out);
            net.reshape(joined, &[1, 12, 4, 5])
        });
    }
}

/// A batch of pictures as patches of one, as `RepMLP` cuts them.
fn patches(net: &mut Builder, x: ValueId, side: usize) -> ValueId {
    let [_, c, h, w] = shape(net, x)[..] else { panic!("a picture") };
    let y = net.reshape(x, &[1, c, h / side, side, w / side, side]);
    let y = transposed(net, y, &[0, 2, 4, 1, 3, 5]);
    net.reshape(y, &[h / side * (w / side), c, side, side])
}

/// The picture of patches, which lie in `across` columns.
fn joined(net: &mut Builder, x: ValueId, across: usize) -> ValueId {
    let [n, c, h, w] = shape(net, x)[..] else { panic!("pictures") };
    let y = net.reshape(x, &[1, n / across, across, c, h, w]);
    let y = transposed(net, y, &[0, 3, 1, 4, 2, 5]);
    net.reshape(y, &[1, c, n / across * h, across * w])
}

#[test]
fn partitions_meet_grouped_and_dense_layers() {
    for groups in [1, 2, 4] {
        check_on_picture(4, [6, 9], |net, x| {
            let y = patches(net, x, 3);
            let y = net.reshape(y, &[6, 36, 1, 1]);
            let y = net.conv(y, Layer::of(72, 1, 1, groups).biased());
            let y = net.reshape(y, &[6, 8, 3, 3]);
            joined(net, y, 3)
        });
    }
    check_on_picture(4, [6, 9], |net, x| {
        let y = patches(net, x, 3);
        let pooled = node(net, Op::GlobalAveragePool, y, &[6, 4, 1, 1]);
        let flat = net.reshape(pooled, &[6, 4]);
        let flat = net.batch_norm(flat);
        let hidden = net.linear(flat, 7);
        let hidden = node(net, Op::Activation(RELU), hidden, &[6, 7]);
        let gate = net.linear(hidden, 4);
        let gate = net.reshape(gate, &[6, 4, 1, 1]);
        let y = net.node(Op::Mul, vec![y, gate], &[6, 4, 3, 3]);
        let y = net.reshape(y, &[6, 36]);
        let y = net.linear(y, 18);
        let y = net.reshape(y, &[6, 2, 3, 3]);
        joined(net, y, 3)
    });
}

#[test]
fn windows_slide_over_each_picture_of_a_batch() {
    let layers = [
        Layer::of(8, 3, 1, 1).biased(),
        Layer::of(8, 3, 1, 4).biased(),
        Layer::of(4, 3, 2, 4).biased(),
        Layer::of(6, 1, 1, 1).biased(),
        Layer::of(6, 1, 2, 1).padded(0),
        Layer::of(6, 2, 2, 1).padded(0),
        Layer::of(6, 3, 1, 1).padded(0),
        Layer::of(6, 1, 3, 1).padded(0),
        Layer {
            window: Window { kernel: Hw { h: 1, w: 3 }, ..square(3, 1, 0) },
            ..Layer::of(4, 3, 1, 1)
        },
    ];
    for layer in layers {
        check_on_picture(4, [8, 12], |net, x| {
            let y = patches(net, x, 4);
            let y = net.conv(y, layer);
            let y = net.batch_norm(y);
            joined(net, y, 3)
        });
    }
    for window in [square(2, 2, 0), square(3, 3, 0), square(3, 1, 1), square(3, 2, 1)] {
        check_on_picture(4, [8, 12], |net, x| {
            let y = patches(net, x, 4);
            let out = window.output(4, 4).expect("it fits");
            let out = [6, 4, out.h as usize, out.w as usize];
            let a = node(net, Op::MaxPool(window), y, &out);
            let b = net.average(y, window, true);
            let c = net.average(y, window, false);
            let sum = net.sum(&[a, b, c]);
            joined(net, sum, 3)
        });
    }
}

/// A random divisor of `n` that is not 1, if there is one below 7.
fn divisor(net: &mut Builder, n: usize) -> usize {
    let all: Vec<usize> = (2..7).filter(|&d| n.is_multiple_of(d)).collect();
    if all.is_empty() { n } else { net.random.pick(&all) }
}

/// One random move, or something element-wise.
fn random_move(net: &mut Builder, x: ValueId) -> ValueId {
    let old = shape(net, x);
    let axis = net.random.bits() as usize % old.len();
    match net.random.bits() % 9 {
        0 | 1 if old.len() < 6 => {
            let part = divisor(net, old[axis]);
            let mut new = old.clone();
            new[axis] /= part;
            new.insert(axis + 1, part);
            net.reshape(x, &new)
        }
        0..=2 if old.len() > 2 => {
            let at = axis.min(old.len() - 2);
            let mut new = old.clone();
            let inner = new.remove(at + 1);
            new[at] *= inner;
            net.reshape(x, &new)
        }
        3..=5 => {
            let all = permutations(old.len());
            let chosen = net.random.bits() as usize % all.len();
            transposed(net, x, &all[chosen])
        }
        6 if old[axis] > 2 => {
            let (mut starts, mut steps, mut new) = (vec![0; old.len()], vec![1; old.len()], old);
            (starts[axis], steps[axis]) = net.random.pick(&[(1, 1), (new[axis] - 1, -1), (0, 2)]);
            new[axis] = if steps[axis] == 2 { new[axis].div_ceil(2) } else { new[axis] - 1 };
            node(net, Op::Slice { starts, steps }, x, &new)
        }
        7 => {
            let mut own = old.clone();
            for length in &mut own {
                *length = net.random.pick(&[1, *length]);
            }
            let gate = reduced(net, x, &own);
            net.node(Op::Mul, vec![gate, x], &old)
        }
        8 if old.iter().product::<usize>() < 2_000 => {
            let mut new = old;
            new[axis] *= 2;
            net.node(Op::Concat { axis }, vec![x, x], &new)
        }
        _ => node(net, Op::Softmax { axis }, x, &old),
    }
}

#[test]
fn random_walks_of_moves() {
    for seed in 0..400 {
        let (mut net, x) = Builder::new(seed, 6, [4, 6]);
        let mut y = net.conv(x, Layer::of(6, 1, 1, 1).biased());
        for _ in 0..net.random.pick(&[3, 6, 10, 15]) {
            y = random_move(&mut net, y);
        }
        let len = shape(&net, y).iter().product();
        let y = net.reshape(y, &[1, len]);
        let y = net.linear(y, 7);
        let graph = net.finish(&[y]);
        check(&graph);
        check_names(&graph);
    }
}
