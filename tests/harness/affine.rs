//! Random networks of every affine operation that a graph has: single convolutions in disguise,
//! cascades that are none, and whatever moves pixels. Fusion and impulses must agree about them.

use crate::graphs::{Builder, Layer, square};
use crate::rng::Random;
use unbraid_converter::graph::{
    Activation, DepthOrder, Function, Graph, Hw, Op, Pad, PadMode, ValueId, Window,
};

/// Numbers of a value beyond which nothing is added that makes more of them.
const LARGE: usize = 700;

/// Appends one node, or a few that belong together, to what has been computed so far, the value to
/// read last; `None` if it does not fit the shape of that value.
type Append = fn(&mut Builder, &[ValueId]) -> Option<ValueId>;

/// What is appended, and how often in relation to the others.
const KINDS: [(usize, Append); 17] = [
    (10, braid),
    (6, convolution),
    (4, pointwise),
    (2, depthwise),
    (4, batch_norm),
    (4, constant_a_channel),
    (5, sum),
    (3, concatenation),
    (2, parts),
    (3, average),
    (2, padding),
    (2, crop),
    (2, every_second_pixel),
    (2, some_channels),
    (2, shuffle_of_channels),
    (3, space_to_depth),
    (3, sign),
];

/// What no window does that steps over a picture.
const WINDOWLESS: [(usize, Append); 8] = [
    (1, constant_a_pixel),
    (1, concatenation_of_rows),
    (1, global_average),
    (2, padding_of_own_pixels),
    (1, flip),
    (1, transposition),
    (2, depth_to_space),
    (2, dense),
];

/// A random network of one input, one output and no operation that is not affine. One in three has
/// operations that are like no convolution.
pub fn random_affine_braid(seed: u64) -> Graph {
    let mut random = Random(!seed);
    let size = [random.pick(&[6, 7, 8, 9]), random.pick(&[6, 7, 8, 10])];
    let (mut net, x) = Builder::new(seed, random.pick(&[2, 4]), size);
    let windowless = if random.pick(&[true, false, false]) { &WINDOWLESS[..] } else { &[] };
    let kinds = KINDS.iter().chain(windowless);
    let lots: Vec<Append> =
        kinds.flat_map(|&(often, append)| std::iter::repeat_n(append, often)).collect();
    let mut values = vec![x];
    for _ in 0..random.pick(&[1, 2, 3, 4, 6, 8]) {
        // Mostly the newest value, so that little of the network is read by nobody.
        let back = net.random.pick(&[0, 0, 0, 1, 2]).min(values.len() - 1);
        let mut known = values.clone();
        known.push(values[values.len() - 1 - back]);
        let mut fits = || {
            let append = net.random.pick(&lots);
            append(&mut net, &known)
        };
        values.push(std::iter::repeat_with(&mut fits).flatten().next().expect("endless"));
    }
    let last = newest(&values);
    net.finish(&[last])
}

fn newest(values: &[ValueId]) -> ValueId {
    *values.last().expect("the picture at least")
}

fn dims(net: &Builder, x: ValueId) -> [usize; 3] {
    let &[_, c, h, w] = net.graph.shape(x) else { panic!("values here are pictures") };
    [c, h, w]
}

fn small(net: &Builder, x: ValueId) -> bool {
    net.graph.shape(x).iter().product::<usize>() < LARGE
}

/// Sum of two to four branches of one size.
fn braid(net: &mut Builder, values: &[ValueId]) -> Option<ValueId> {
    let x = newest(values);
    if !net.channels(x).is_multiple_of(2) {
        return None;
    }
    let (outputs, stride) = (net.random.pick(&[2, 4]), net.random.pick(&[1, 1, 2]));
    let count = net.random.pick(&[2, 3, 4]);
    let branches: Vec<ValueId> = (0..count).map(|_| branch(net, x, outputs, stride)).collect();
    Some(net.sum(&branches))
}

/// A window of any taps in the middle of its padding, with a 1x1 before or after it or neither; an
/// average or nothing at all, if channels and stride allow.
fn branch(net: &mut Builder, x: ValueId, outputs: usize, stride: u32) -> ValueId {
    let (alike, kind) = (net.channels(x) == outputs, net.random.bits() % 8);
    let k = net.random.pick(&[1, 3, 3, 5]);
    let mut layer = Layer::of(outputs, k, stride, net.random.pick(&[1, 1, 2]));
    layer.biased = net.random.pick(&[true, false, false]);
    if k == 3 && net.random.pick(&[true, false, false]) {
        layer.window.dilation = Hw::square(2);
        layer = layer.padded(2);
    }
    let y = match kind {
        0 if alike && stride == 1 => x,
        1 if alike => net.average(x, square(3, stride, 1), true),
        2 => {
            let biased = net.random.pick(&[true, false]);
            let point = net.conv(x, Layer { biased, ..Layer::of(4, 1, 1, 1) });
            net.conv(point, layer)
        }
        3 => {
            let wide = net.conv(x, Layer { outputs: 4, ..layer });
            net.conv(wide, Layer::of(outputs, 1, 1, 1))
        }
        _ => net.conv(x, layer),
    };
    if net.random.pick(&[true, false]) { net.batch_norm(y) } else { y }
}

/// Taps, stride, dilation and a padding of its own for each side, as far as the picture allows.
fn convolution(net: &mut Builder, values: &[ValueId]) -> Option<ValueId> {
    let x = newest(values);
    let [channels, h, w] = dims(net, x);
    let random = &mut net.random;
    let mut layer = Layer::of(random.pick(&[2, 4]), 3, 1, 1);
    layer.groups = if channels.is_multiple_of(2) { random.pick(&[1, 1, 2]) } else { 1 };
    layer.biased = random.pick(&[true, false]);
    if random.pick(&[true, false]) {
        let mut hw = |of: &[u32]| Hw { h: random.pick(of), w: random.pick(of) };
        let (kernel, stride, dilation) = (hw(&[1, 2, 3, 3]), hw(&[1, 1, 2]), hw(&[1, 1, 2]));
        let [top, left, bottom, right] = [(); 4].map(|()| random.pick(&[0, 0, 1, 2]));
        let pad = Pad { top, left, bottom, right };
        layer.window = Window { kernel, stride, dilation, pad };
    }
    layer.window.output(h as u32, w as u32).is_some().then(|| net.conv(x, layer))
}

fn pointwise(net: &mut Builder, values: &[ValueId]) -> Option<ValueId> {
    let x = newest(values);
    let mut layer = Layer::of(net.random.pick(&[2, 4, 6]), 1, 1, 1);
    layer.biased = net.random.pick(&[true, false, false]);
    small(net, x).then(|| net.conv(x, layer))
}

fn depthwise(net: &mut Builder, values: &[ValueId]) -> Option<ValueId> {
    let channels = net.channels(newest(values));
    let layer = Layer::of(channels, 3, 1, channels);
    Some(net.conv(newest(values), layer))
}

fn batch_norm(net: &mut Builder, values: &[ValueId]) -> Option<ValueId> {
    Some(net.batch_norm(newest(values)))
}

/// `x + c`, `x - c`, `c - x`, `x * c` or `x / c`.
fn constant_a_channel(net: &mut Builder, values: &[ValueId]) -> Option<ValueId> {
    let op = arithmetic(net);
    let y = net.with_constant(op, newest(values), 0.5, 1.5);
    let last = net.graph.nodes.last_mut().expect("just appended");
    if last.op == Op::Sub && net.random.pick(&[true, false]) {
        last.inputs.reverse();
    }
    Some(y)
}

fn arithmetic(net: &mut Builder) -> Op {
    match net.random.bits() % 4 {
        0 => Op::Add { activation: Activation::None },
        1 => Op::Sub,
        2 => Op::Mul,
        _ => Op::Div,
    }
}

/// As above, with another constant for each pixel: affine, and the same everywhere for no window.
fn constant_a_pixel(net: &mut Builder, values: &[ValueId]) -> Option<ValueId> {
    let x = newest(values);
    let [_, h, w] = dims(net, x);
    let shape = net.graph.shape(x).to_vec();
    let picture = net.random.tensor(&[1, 1, h, w], 0.5, 1.5);
    let (op, constant) = (arithmetic(net), net.constant(picture));
    Some(net.node(op, vec![x, constant], &shape))
}

/// Sum or difference with an earlier value of the same shape.
fn sum(net: &mut Builder, values: &[ValueId]) -> Option<ValueId> {
    let x = newest(values);
    let shape = net.graph.shape(x).to_vec();
    let alike = |other: &ValueId| *other != x && net.graph.shape(*other) == shape;
    let others: Vec<ValueId> = values.iter().copied().filter(alike).collect();
    let other = (!others.is_empty()).then(|| net.random.pick(&others))?;
    let sum = Op::Add { activation: Activation::None };
    let op = if net.random.pick(&[true, false, false]) { Op::Sub } else { sum };
    Some(net.node(op, vec![x, other], &shape))
}

/// Channels of two values of one size, or of one value twice.
fn concatenation(net: &mut Builder, values: &[ValueId]) -> Option<ValueId> {
    let x = newest(values);
    let size = net.graph.shape(x)[2..].to_vec();
    let alike = |other: &ValueId| net.graph.shape(*other)[2..] == size;
    let others: Vec<ValueId> = values.iter().copied().filter(alike).collect();
    let other = net.random.pick(&others);
    (net.channels(x) + net.channels(other) <= 8).then(|| net.concat(&[x, other]))
}

/// Halves of the channels, a convolution of each, and both results one after the other.
fn parts(net: &mut Builder, values: &[ValueId]) -> Option<ValueId> {
    let x = newest(values);
    let half = net.channels(x) / 2;
    if net.channels(x) != 2 * half || half == 0 {
        return None;
    }
    let k = net.random.pick(&[1, 3]);
    let halves = [0, half].map(|first| {
        let own = net.channels_from(x, first, half);
        net.conv_bn(own, Layer::of(2, k, 1, 1))
    });
    Some(net.concat(&halves))
}

fn concatenation_of_rows(net: &mut Builder, values: &[ValueId]) -> Option<ValueId> {
    let x = newest(values);
    let [c, h, w] = dims(net, x);
    small(net, x).then(|| net.node(Op::Concat { axis: 2 }, vec![x, x], &[1, c, 2 * h, w]))
}

fn average(net: &mut Builder, values: &[ValueId]) -> Option<ValueId> {
    let x = newest(values);
    let [_, h, w] = dims(net, x);
    let mut layer = Layer::of(1, net.random.pick(&[2, 3]), net.random.pick(&[1, 1, 2]), 1);
    let count_include_pad = net.random.pick(&[true, true, false]);
    if net.random.pick(&[true, false]) {
        layer = layer.padded(0);
    }
    let fits = layer.window.output(h as u32, w as u32).is_some();
    fits.then(|| net.average(x, layer.window, count_include_pad))
}

fn global_average(net: &mut Builder, values: &[ValueId]) -> Option<ValueId> {
    let channels = net.channels(newest(values));
    Some(net.node(Op::GlobalAveragePool, vec![newest(values)], &[1, channels, 1, 1]))
}

fn padding(net: &mut Builder, values: &[ValueId]) -> Option<ValueId> {
    let (x, value) = (newest(values), net.random.pick(&[0.0, 0.0, 0.75]));
    small(net, x).then(|| net.pad(x, 1, value))
}

fn padding_of_own_pixels(net: &mut Builder, values: &[ValueId]) -> Option<ValueId> {
    let x = newest(values);
    let [_, h, w] = dims(net, x);
    let mode = net.random.pick(&[PadMode::Reflect, PadMode::Edge, PadMode::Wrap]);
    (small(net, x) && h.min(w) > 1).then(|| net.pad_mode(x, 1, mode))
}

fn crop(net: &mut Builder, values: &[ValueId]) -> Option<ValueId> {
    let x = newest(values);
    let [_, h, w] = dims(net, x);
    let (rows, columns) = net.random.pick(&[(1, 1), (0, 1), (1, 0)]);
    (h.min(w) > 4).then(|| net.crop(x, rows, columns))
}

/// A part of a value: along each axis where to start, the step and how many elements.
fn part(net: &mut Builder, x: ValueId, axes: [(usize, i64, usize); 3]) -> ValueId {
    let starts = std::iter::once(0).chain(axes.map(|axis| axis.0)).collect();
    let steps = std::iter::once(1).chain(axes.map(|axis| axis.1)).collect();
    let [c, h, w] = axes.map(|axis| axis.2);
    net.node(Op::Slice { starts, steps }, vec![x], &[1, c, h, w])
}

fn every_second_pixel(net: &mut Builder, values: &[ValueId]) -> Option<ValueId> {
    let x = newest(values);
    let [c, h, w] = dims(net, x);
    let start = net.random.pick(&[0, 1]);
    let (rows, columns) = ((start, 2, (h - start).div_ceil(2)), (0, 2, w.div_ceil(2)));
    (h > 3).then(|| part(net, x, [(0, 1, c), rows, columns]))
}

fn some_channels(net: &mut Builder, values: &[ValueId]) -> Option<ValueId> {
    let x = newest(values);
    let [c, h, w] = dims(net, x);
    let (start, step) = net.random.pick(&[(0, 1), (1, 1), (1, 2), (2, -1), (2, 1)]);
    (c > 3).then(|| part(net, x, [(start, step, 2), (0, 1, h), (0, 1, w)]))
}

fn flip(net: &mut Builder, values: &[ValueId]) -> Option<ValueId> {
    let x = newest(values);
    let [c, h, w] = dims(net, x);
    Some(part(net, x, [(0, 1, c), (0, 1, h), (w - 1, -1, w)]))
}

/// `ShuffleNet`'s: channels as rows of two groups, read by columns.
fn shuffle_of_channels(net: &mut Builder, values: &[ValueId]) -> Option<ValueId> {
    let x = newest(values);
    let [c, h, w] = dims(net, x);
    let apart = (c > 2 && c.is_multiple_of(2)).then(|| net.reshape(x, &[1, 2, c / 2, h, w]))?;
    let perm = vec![0, 2, 1, 3, 4];
    let turned = net.node(Op::Transpose { perm }, vec![apart], &[1, c / 2, 2, h, w]);
    Some(net.reshape(turned, &[1, c, h, w]))
}

fn transposition(net: &mut Builder, values: &[ValueId]) -> Option<ValueId> {
    let [c, h, w] = dims(net, newest(values));
    let op = Op::Transpose { perm: vec![0, 1, 3, 2] };
    Some(net.node(op, vec![newest(values)], &[1, c, w, h]))
}

fn depth_to_space(net: &mut Builder, values: &[ValueId]) -> Option<ValueId> {
    let [c, h, w] = dims(net, newest(values));
    let order = net.random.pick(&[DepthOrder::SquareFirst, DepthOrder::ChannelFirst]);
    let op = Op::DepthToSpace { block: 2, order };
    let shape = [1, c / 4, 2 * h, 2 * w];
    c.is_multiple_of(4).then(|| net.node(op, vec![newest(values)], &shape))
}

fn space_to_depth(net: &mut Builder, values: &[ValueId]) -> Option<ValueId> {
    let [c, h, w] = dims(net, newest(values));
    let (fits, op) = (c <= 4 && (h * w) > 4, Op::SpaceToDepth { block: 2 });
    let even = h.is_multiple_of(2) && w.is_multiple_of(2);
    (fits && even).then(|| net.node(op, vec![newest(values)], &[1, 4 * c, h / 2, w / 2]))
}

/// A dense layer from all numbers to all pixels of two channels.
fn dense(net: &mut Builder, values: &[ValueId]) -> Option<ValueId> {
    let x = newest(values);
    let [c, h, w] = dims(net, x);
    if c * h * w > 300 {
        return None;
    }
    let flat = net.reshape(x, &[1, c * h * w]);
    let dense = net.linear(flat, 2 * h * w);
    Some(net.reshape(dense, &[1, 2, h, w]))
}

/// `-x` or `x`.
fn sign(net: &mut Builder, values: &[ValueId]) -> Option<ValueId> {
    let shape = net.graph.shape(newest(values)).to_vec();
    let op = match net.random.bits() % 2 {
        0 => Op::Unary(Function::Neg),
        _ => Op::Activation(Activation::None),
    };
    Some(net.node(op, vec![newest(values)], &shape))
}
