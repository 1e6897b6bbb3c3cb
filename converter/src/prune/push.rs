//! Constants of removed channels, pushed into the bias of the layer that read them.
//!
//! A dense layer and an unpadded convolution take any uniform constant as one summand of the bias.
//! Under zero padding (or where the constant itself differs near the border) the summand depends on
//! how near the border a pixel is: a bias vector a class of pixels, as fusion writes them.

use super::constants::{Constants, Plane};
use super::restrict::Keep;
use crate::fuse::BIAS_VECTORS;
use crate::graph::{Activation, Border, BorderBias, Conv, Graph, Node, Op, Window};
use crate::reference::Array;
use crate::tensor::Tensor;

/// For each input channel of a layer whether it is a constant that its bias can take up.
pub(super) fn pushable(graph: &Graph, node: &Node, constants: &Constants) -> Vec<bool> {
    let input = node.inputs[0];
    let mut pushable = vec![false; graph.shape(input)[1]];
    let mut border = own_border(node);
    for uniform in [true, false] {
        for (channel, pushable) in pushable.iter_mut().enumerate() {
            let Some(plane) = constants.plane(input, channel) else { continue };
            if matches!(plane, Plane::Uniform(_)) == uniform {
                let wider = union(graph, node, border, needed(graph, node, plane));
                let (rows, columns) = wider.classes();
                *pushable = rows as usize * columns as usize <= BIAS_VECTORS;
                border = if *pushable { wider } else { border };
            }
        }
    }
    pushable
}

/// The layer's bias when it no longer reads the constant channels `gone`: one vector, or one a
/// border class. `kept`: its output channels that are left.
///
/// Computed in f64 from the bias as it is, rounded once.
pub(super) fn pushed(
    graph: &Graph,
    node: &Node,
    constants: &Constants,
    gone: Vec<usize>,
    kept: Vec<usize>,
) -> Option<(Border, Tensor)> {
    let planes = gone.iter().filter_map(|&channel| constants.plane(node.inputs[0], channel));
    let wider = |border, plane| union(graph, node, border, needed(graph, node, plane));
    let border = planes.fold(own_border(node), wider);
    let outputs = kept.len();
    let mut keep = Keep::default();
    keep.insert(node.inputs[0], gone);
    keep.insert(node.output, kept);
    let sums = constants.executed(graph, &without_activation(node), &keep)?;
    let bias = at_classes(&sums, border);
    let classes = bias.len() / outputs;
    Some((border, Tensor::f32([classes, outputs], bias)?))
}

fn own_border(node: &Node) -> Border {
    match &node.op {
        Op::Conv(Conv { border: Some(border), .. }) => border.classes,
        _ => Border::default(),
    }
}

fn without_activation(node: &Node) -> Node {
    let mut bare = node.clone();
    match &mut bare.op {
        Op::Conv(Conv { activation, .. }) | Op::Linear { activation } => {
            *activation = Activation::None;
        }
        _ => {}
    }
    bare
}

/// Classes of output pixels between which what a plane adds can differ.
fn needed(graph: &Graph, node: &Node, plane: &Plane) -> Border {
    let Op::Conv(Conv { window, .. }) = &node.op else { return Border::default() };
    if plane.is_zero() {
        return Border::default();
    }
    let size = |id| [graph.shape(id)[2], graph.shape(id)[3]];
    let (input, output) = (size(node.inputs[0]), size(node.output));
    let rim = match plane {
        Plane::Uniform(_) => [(0, 0); 2],
        Plane::Pixels(pixels) => rim(pixels, input),
    };
    seen_through(window, rim, input, output)
}

/// How many rows at either end, and columns, differ from the middle one.
fn rim(pixels: &[f64], [h, w]: [usize; 2]) -> [(usize, usize); 2] {
    let ends = |len: usize, equal: &dyn Fn(usize) -> bool| {
        let low = (0..len / 2).rev().take_while(|&k| equal(k)).count();
        let high = (len / 2..len).take_while(|&k| equal(k)).count();
        (len / 2 - low, len - len / 2 - high)
    };
    let row = |y: usize| &pixels[y * w..][..w];
    let columns = |x: usize| (0..h).all(|y| pixels[y * w + x] == pixels[y * w + w / 2]);
    [ends(h, &|y| row(y) == row(h / 2)), ends(w, &columns)]
}

/// The output rows and columns whose windows reach into the rim or over the edge.
fn seen_through(
    window: &Window,
    rim: [(usize, usize); 2],
    input: [usize; 2],
    output: [usize; 2],
) -> Border {
    let (pad, [rows, columns]) = (window.pad, rim);
    let along = |axis: usize, kernel: u32, stride: u32, dilation: u32, pad: u32, rim| {
        let (low, high): (usize, usize) = rim;
        let first = |at: usize| (at * stride as usize) as i64 - i64::from(pad);
        let last = |at: usize| first(at) + i64::from((kernel - 1) * dilation);
        let inner = input[axis] as i64 - high as i64;
        let before = (0..output[axis]).take_while(|&at| first(at) < low as i64).count();
        let after = (0..output[axis]).rev().take_while(|&at| last(at) >= inner).count();
        (before as u32, after as u32)
    };
    let (kernel, stride, dilation) = (window.kernel, window.stride, window.dilation);
    let (top, bottom) = along(0, kernel.h, stride.h, dilation.h, pad.top, rows);
    let (left, right) = along(1, kernel.w, stride.w, dilation.w, pad.left, columns);
    Border { top, left, bottom, right }
}

/// Classes that tell apart what either does; where all rows differ, each is a class of its own.
fn union(graph: &Graph, node: &Node, a: Border, b: Border) -> Border {
    let [h, w] = match graph.shape(node.output) {
        [_, _, h, w] => [*h as u32, *w as u32],
        _ => [1, 1],
    };
    let ends = |low: u32, high: u32, len: u32| {
        if low + high > len { (len, 0) } else { (low, high) }
    };
    let (top, bottom) = ends(a.top.max(b.top), a.bottom.max(b.bottom), h);
    let (left, right) = ends(a.left.max(b.left), a.right.max(b.right), w);
    Border { top, left, bottom, right }
}

/// `[class, O]`: the values at one pixel of each class.
fn at_classes(sums: &Array, border: Border) -> Vec<f32> {
    let (h, w) = match sums.shape[..] {
        [_, _, h, w] => (h, w),
        _ => (1, 1),
    };
    let places = |low: u32, high: u32, len: usize| -> Vec<usize> {
        let (low, high) = (low as usize, high as usize);
        // Where no pixel is left between both ends, the class between them is never read.
        (0..=low.min(len - 1))
            .chain((low == len).then_some(len - 1))
            .chain(len - high..len)
            .collect()
    };
    let (rows, columns) =
        (places(border.top, border.bottom, h), places(border.left, border.right, w));
    let pixels = rows.iter().flat_map(|y| columns.iter().map(move |x| y * w + x));
    let planes = || sums.values.chunks_exact(h * w);
    pixels.flat_map(|at| planes().map(move |plane| plane[at] as f32)).collect()
}

/// Gives a layer, already restricted, its new bias.
pub(super) fn set_border(conv: &mut Conv, border: Border, bias: &Tensor) -> Option<Tensor> {
    if border == Border::default() {
        conv.border = None;
        return bias.reshaped([bias.len()]);
    }
    conv.border = Some(BorderBias { classes: border, bias: bias.clone() });
    None
}
