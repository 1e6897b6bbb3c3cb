//! [`Patches`]: a convolution or dense layer as a product of matrices: what each value of its output
//! reads, in the order of the weights.

use crate::graph::{Border, Conv, Graph, Hw, Node, Op, Pad, ValueId, Window};
use crate::reference::class;
use crate::tensor::Tensor;
use rayon::prelude::*;

/// How a layer reads its input.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patches {
    window: Window,
    border: Border,
    channels: usize,
    /// Rows and columns of the input.
    input: [usize; 2],
    /// Rows and columns of the output.
    output: [usize; 2],
    /// Pictures (or rows of a dense layer) in a sample.
    pictures: usize,
    /// Groups of channels.
    pub(super) groups: usize,
}

/// A window of one pixel: a dense layer is a 1x1 convolution of a picture of one pixel.
fn pixel() -> Window {
    let one = Hw { h: 1, w: 1 };
    Window { kernel: one, stride: one, dilation: one, pad: Pad::default() }
}

/// The constant weights of a convolution or dense layer.
pub(super) fn weights_of(graph: &Graph, node: &Node) -> Option<ValueId> {
    let learned = matches!(node.op, Op::Conv(_) | Op::Linear { .. });
    let id = *node.inputs.get(1).filter(|_| learned)?;
    graph.constant_f32(id).map(|_| id)
}

/// Gives a node another constant as operand `at`; a new one at the end, if it has none there. What other
/// nodes read stays as it is.
pub(super) fn replace_operand(graph: &mut Graph, index: usize, at: usize, tensor: Tensor) {
    let old = graph.nodes[index].inputs.get(at).copied();
    let readers = |id| graph.nodes.iter().filter(|node| node.inputs.contains(&id)).count();
    match old {
        Some(id) if readers(id) == 1 => graph.values[id.index()].constant = Some(tensor),
        _ => {
            let name = format!("{}.operand{at}", graph.nodes[index].name);
            let id = graph.constant(name, tensor);
            let inputs = &mut graph.nodes[index].inputs;
            match inputs.get_mut(at) {
                Some(input) => *input = id,
                None => inputs.push(id),
            }
        }
    }
}

impl Patches {
    /// Of a convolution or dense layer with constant weights; `None` for other nodes.
    pub(super) fn of(graph: &Graph, node: &Node) -> Option<Self> {
        weights_of(graph, node)?;
        let (input, output) = (graph.shape(node.inputs[0]), graph.shape(node.output));
        match (&node.op, input, output) {
            (Op::Conv(conv), &[pictures, channels, h, w], &[_, _, oh, ow]) => Some(Self {
                window: conv.window,
                border: border_of(conv),
                channels,
                input: [h, w],
                output: [oh, ow],
                pictures,
                groups: conv.groups,
            }),
            (Op::Linear { .. }, &[pictures, channels], _) => Some(Self {
                window: pixel(),
                border: Border::default(),
                channels,
                input: [1, 1],
                output: [1, 1],
                pictures,
                groups: 1,
            }),
            _ => None,
        }
    }

    /// Values that an output value reads, all groups together.
    pub(super) fn len(&self) -> usize {
        self.channels * self.taps()
    }

    fn taps(&self) -> usize {
        self.window.kernel.h as usize * self.window.kernel.w as usize
    }

    /// Samples of the input, of which these are the values of all.
    pub(super) fn samples(&self, x: &[f32]) -> usize {
        (x.len() / self.sample_len()).max(1)
    }

    fn sample_len(&self) -> usize {
        (self.pictures * self.channels * self.input[0] * self.input[1]).max(1)
    }

    /// Places of the output: patches in a sample.
    pub(super) fn places(&self) -> usize {
        self.pictures * self.output[0] * self.output[1]
    }

    /// Number of bias vectors.
    pub(super) fn classes(&self) -> usize {
        let (rows, columns) = self.border.classes();
        rows as usize * columns as usize
    }

    /// Which bias vector is added at a place.
    pub(super) fn class(&self, place: usize) -> usize {
        let [oh, ow] = self.output;
        let (row, column) = (place / ow % oh, place % ow);
        let (_, columns) = self.border.classes();
        let border = self.border;
        class(row, oh, border.top, border.bottom) * columns as usize
            + class(column, ow, border.left, border.right)
    }

    /// What is read for these places, counted through all samples: `[place][patch]`.
    pub(super) fn read_all(&self, x: &[f32], places: &[usize]) -> Vec<f32> {
        let mut patches = vec![0.0; places.len() * self.len()];
        let read = |(patch, &place): (&mut [f32], &usize)| {
            let (sample, place) = (place / self.places(), place % self.places());
            self.read(&x[sample * self.sample_len()..][..self.sample_len()], place, patch);
        };
        patches.par_chunks_exact_mut(self.len()).zip(places).for_each(read);
        patches
    }

    /// What is read for a place: `patch[group][channel][tap]`, zero outside the picture. `x`: the input of
    /// one sample, row-major in ONNX's order.
    pub(super) fn read(&self, x: &[f32], place: usize, patch: &mut [f32]) {
        let ([h, w], [oh, ow]) = (self.input, self.output);
        let (picture, row, column) = (place / (oh * ow), place / ow % oh, place % ow);
        let (window, pad) = (&self.window, &self.window.pad);
        let along = |at: usize, stride: u32, tap: u32, dilation: u32, pad: u32, len: usize| {
            let at = at as i64 * i64::from(stride) + i64::from(tap * dilation) - i64::from(pad);
            (0..len as i64).contains(&at).then_some(at as usize)
        };
        let planes = &x[picture * self.channels * h * w..];
        for ky in 0..window.kernel.h {
            let y = along(row, window.stride.h, ky, window.dilation.h, pad.top, h);
            for kx in 0..window.kernel.w {
                let x = along(column, window.stride.w, kx, window.dilation.w, pad.left, w);
                let tap = (ky * window.kernel.w + kx) as usize;
                let patch = patch[tap..].iter_mut().step_by(self.taps());
                match y.zip(x) {
                    Some((y, x)) => {
                        let pixels = planes[y * w + x..].iter().step_by(h * w);
                        patch.zip(pixels).for_each(|(to, &from)| *to = from);
                    }
                    None => patch.for_each(|to| *to = 0.0),
                }
            }
        }
    }
}

fn border_of(conv: &Conv) -> Border {
    conv.border.as_ref().map_or(Border::default(), |border| border.classes)
}
