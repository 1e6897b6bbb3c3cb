//! The kernel map of a single node, and which nodes have one.
//!
//! A node is affine in what it computes from ([`Role::operands`]); everything else it reads must be
//! constant. A convolution with an activation or with border classes of its own is not affine here.

use super::blocks::Blocks;
use super::form::{Axis, Form, whole_border};
use super::kernel_map::KernelMap;
use crate::graph::{Activation, Conv, Function, Graph, Hw, Node, Op, PadMode, ValueId, Window};
use crate::rearrange::Rearrange;

/// How an affine node combines what it reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Role {
    /// One operand through a map of its own.
    Map(ValueId),
    /// The numbers of one operand under another shape with the same axis 0.
    View(ValueId),
    /// First operand plus `sign` times the second.
    Sum {
        /// 1 or -1.
        sign: f64,
    },
    /// Concatenation of channels.
    Stack,
}

impl Role {
    /// What the node is; `None`: not affine.
    pub(super) fn of(graph: &Graph, node: &Node) -> Option<Self> {
        let sum = |sign| is_sum(graph, node).then_some(Self::Sum { sign });
        match &node.op {
            Op::Add { activation: Activation::None } => sum(1.0),
            Op::Sub => sum(-1.0),
            Op::Concat { axis: 1 } if is_stack(graph, node) => Some(Self::Stack),
            Op::Reshape if is_view(graph, node) => Some(Self::View(node.inputs[0])),
            _ => None,
        }
        .or_else(|| map_operand(graph, node).map(Self::Map))
    }

    /// The operands that are not constant, each once.
    pub(super) fn operands(self, node: &Node) -> Vec<ValueId> {
        match self {
            Self::Map(operand) | Self::View(operand) => vec![operand],
            Self::Sum { .. } | Self::Stack => {
                let mut operands = Vec::new();
                for &input in &node.inputs {
                    if !operands.contains(&input) {
                        operands.push(input);
                    }
                }
                operands
            }
        }
    }
}

fn all_computed(graph: &Graph, node: &Node) -> bool {
    node.inputs.iter().all(|&id| graph.get(id).constant.is_none())
}

fn is_sum(graph: &Graph, node: &Node) -> bool {
    all_computed(graph, node)
        && node.inputs.len() == 2
        && graph.shape(node.inputs[0]) == graph.shape(node.inputs[1])
        && graph.shape(node.output).len() > 1
}

fn is_stack(graph: &Graph, node: &Node) -> bool {
    all_computed(graph, node) && channels(graph, node.output).is_some()
}

fn is_view(graph: &Graph, node: &Node) -> bool {
    let (from, to) = (graph.shape(node.inputs[0]), graph.shape(node.output));
    all_computed(graph, node) && from.len() > 1 && to.len() > 1 && from[0] == to[0]
}

fn map_operand(graph: &Graph, node: &Node) -> Option<ValueId> {
    let operand = *node.inputs.iter().find(|&&id| graph.get(id).constant.is_none())?;
    form_of(graph, node, operand).map(|_| operand)
}

/// How fusion sees a value: axis 0 counts rows, which are mapped alike, and a row is a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    /// Pictures, vectors or patches.
    pub(super) rows: usize,
    /// Channels of each.
    pub(super) channels: usize,
    /// Rows and columns of each: the last two axes, if channels come before them on one or several;
    /// else one pixel.
    pub(super) pixels: [usize; 2],
}

impl Extent {
    /// Of a value of this shape.
    pub(super) fn of(shape: &[usize]) -> Self {
        match *shape {
            [rows, ref channels @ .., h, w] if !channels.is_empty() => {
                Self { rows, channels: channels.iter().product(), pixels: [h, w] }
            }
            [rows, ref rest @ ..] => Self { rows, channels: rest.iter().product(), pixels: [1, 1] },
            [] => Self { rows: 1, channels: 1, pixels: [1, 1] },
        }
    }

    /// Pixels of all rows.
    pub(super) fn positions(self) -> usize {
        self.rows * self.pixels[0] * self.pixels[1]
    }
}

/// Channels of pictures `[N, C, H, W]` or of vectors `[N, C]`, on which nodes have maps.
fn channels(graph: &Graph, id: ValueId) -> Option<usize> {
    match graph.shape(id)[..] {
        [_, c] | [_, c, _, _] => Some(c),
        _ => None,
    }
}

/// The form of a node that maps `operand`; `None` if it is not affine in it alone.
pub(super) fn form_of(graph: &Graph, node: &Node, operand: ValueId) -> Option<Form> {
    if let Op::Transpose { perm } = &node.op {
        let order = channel_order(graph.shape(operand), perm)?;
        return Some(Form { groups: 1, ..Form::diagonal(order.len(), false) });
    }
    let c = channels(graph, operand)?;
    channels(graph, node.output)?;
    match &node.op {
        Op::Conv(conv) => conv_form(graph, node, operand, conv),
        Op::Linear { activation: Activation::None } if node.inputs[0] == operand => {
            let &[outputs, inputs] = graph.shape(*node.inputs.get(1)?) else { return None };
            graph.constant_f32(node.inputs[1])?;
            let biased = bias_of(graph, node, outputs)?.iter().any(|&b| b != 0.0);
            Some(Form { inputs, outputs, groups: 1, ..Form::diagonal(1, biased) })
        }
        Op::AveragePool { window, count_include_pad } => {
            let axes = axes_of(window);
            let form = Form { axes, ..Form::diagonal(c, false) };
            (*count_include_pad || !form.padded()).then_some(form)
        }
        Op::Pad { pad, mode: PadMode::Constant(value) } => {
            let axis =
                |low: u32, high: u32| Axis { low: low.into(), high: high.into(), ..Axis::POINT };
            let axes = [axis(pad.top, pad.bottom), axis(pad.left, pad.right)];
            let border = (*value != 0.0).then(|| whole_border(axes));
            Some(Form { axes, border, ..Form::diagonal(c, false) })
        }
        Op::Slice { starts, steps } => slice_form(graph, node, starts, steps),
        Op::SpaceToDepth { block } => {
            let axis = Axis { taps: *block, stride: *block, ..Axis::POINT };
            let outputs = c * block * block;
            Some(Form { outputs, groups: 1, axes: [axis; 2], ..Form::diagonal(c, false) })
        }
        Op::Activation(Activation::None) | Op::Unary(Function::Neg) => {
            Some(Form::diagonal(c, false))
        }
        _ => {
            let (_, shift) = scale_shift(graph, node, operand)?;
            Some(Form::diagonal(c, shift.iter().any(|&b| b != 0.0)))
        }
    }
}

/// The map of a node that has a form.
pub(super) fn map_of(graph: &Graph, node: &Node, operand: ValueId) -> Option<KernelMap> {
    let form = form_of(graph, node, operand)?;
    match &node.op {
        Op::Conv(_) | Op::Linear { .. } => Some(KernelMap {
            kernel: widened(graph.constant_f32(node.inputs[1])?),
            bias: bias_of(graph, node, form.outputs)?,
            border: None,
            form,
        }),
        Op::AveragePool { .. } => {
            let kernel = vec![1.0 / form.taps() as f64; form.weights()];
            Some(KernelMap { form, kernel, bias: vec![0.0; form.outputs], border: None })
        }
        Op::Pad { mode: PadMode::Constant(value), .. } => {
            let border = form.border.map(|_| vec![f64::from(*value); form.outputs]);
            Some(KernelMap { form, border, ..KernelMap::identity(form.inputs) })
        }
        Op::Slice { starts, steps } => {
            let channel = |o: usize| (starts[1] as i64 + o as i64 * steps[1]) as usize;
            Some(KernelMap::selection(form, |o| [channel(o), 0]))
        }
        Op::SpaceToDepth { .. } => {
            Some(KernelMap::selection(form, |o| [o % form.inputs, o / form.inputs]))
        }
        Op::Transpose { perm } => {
            let order = channel_order(graph.shape(operand), perm)?;
            Some(KernelMap::selection(form, |o| [order[o], 0]))
        }
        Op::Activation(_) => Some(KernelMap::identity(form.inputs)),
        Op::Unary(_) => Some(KernelMap::diagonal(vec![-1.0; form.inputs], vec![0.0; form.inputs])),
        _ => scale_shift(graph, node, operand).map(|(a, b)| KernelMap::diagonal(a, b)),
    }
}

/// A part of each channel and some channels of a picture: taps with a negative padding that read one
/// pixel, which is a 1x1 kernel of zeros and ones where channels are left out.
fn slice_form(graph: &Graph, node: &Node, starts: &[usize], steps: &[i64]) -> Option<Form> {
    let (from, to) = (graph.shape(node.inputs[0]), graph.shape(node.output));
    let every = |k: usize| starts[k] == 0 && steps[k] == 1 && from[k] == to[k];
    if !every(0) || steps[2..].iter().any(|&step| step < 1) {
        return None;
    }
    let crop = |k: usize| {
        let step = steps[k] as usize;
        // Pixels behind the last one that is read: as few as a stride leaves over are no crop.
        let rest = from[k] - starts[k] - (to[k] - 1) * step - 1;
        let high = if rest < step { 0 } else { -(rest as i64) };
        Axis { stride: step, low: -(starts[k] as i64), high, ..Axis::POINT }
    };
    let axes = if from.len() == 4 { [crop(2), crop(3)] } else { [Axis::POINT; 2] };
    let form = Form { axes, ..Form::diagonal(from[1], false) };
    if every(1) {
        return Some(form);
    }
    let form = Form { outputs: to[1], groups: 1, ..form };
    Some(if steps[1] == 1 { form.in_blocks(Blocks::chosen(starts[1], to[1])) } else { form })
}

/// For each channel the one that it was, if a transposition only moves axes of channels, between
/// axis 0 and the last two: a 1x1 kernel of zeros and ones.
fn channel_order(shape: &[usize], perm: &[usize]) -> Option<Vec<usize>> {
    let end = shape.len().checked_sub(2)?;
    let kept = |&axis: &usize| perm[axis] == axis;
    if end < 2 || ![0, end, end + 1].iter().all(kept) {
        return None;
    }
    let inner = perm[1..end].iter().map(|axis| axis - 1).collect();
    let order = Rearrange::of(&Op::Transpose { perm: inner }, &shape[1..end], &[])?;
    Some(order.indices().collect())
}

fn conv_form(graph: &Graph, node: &Node, operand: ValueId, conv: &Conv) -> Option<Form> {
    let plain = conv.activation == Activation::None && conv.border.is_none();
    if !plain || node.inputs[0] != operand {
        return None;
    }
    graph.constant_f32(*node.inputs.get(1)?)?;
    let outputs = *graph.shape(node.inputs[1]).first()?;
    let biased = bias_of(graph, node, outputs)?.iter().any(|&b| b != 0.0);
    let (groups, axes) = (conv.groups, axes_of(&conv.window));
    Some(Form { outputs, groups, axes, ..Form::diagonal(channels(graph, operand)?, biased) })
}

/// Bias of a convolution or dense layer, zeros if it has none; `None` if it is not constant.
fn bias_of(graph: &Graph, node: &Node, outputs: usize) -> Option<Vec<f64>> {
    match node.inputs.get(2) {
        Some(&id) => graph.constant_f32(id).map(widened),
        None => Some(vec![0.0; outputs]),
    }
}

fn widened(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

fn axes_of(window: &Window) -> [Axis; 2] {
    let pair = |hw: Hw| [hw.h as usize, hw.w as usize];
    let (taps, stride) = (pair(window.kernel), pair(window.stride));
    let dilation = pair(window.dilation);
    let low = [window.pad.top, window.pad.left];
    let high = [window.pad.bottom, window.pad.right];
    [0, 1].map(|k| Axis {
        taps: taps[k],
        stride: stride[k],
        dilation: if taps[k] == 1 { 1 } else { dilation[k] },
        low: low[k].into(),
        high: high[k].into(),
    })
}

/// Factor and summand a channel of BatchNorm and of arithmetic with constants.
fn scale_shift(graph: &Graph, node: &Node, operand: ValueId) -> Option<(Vec<f64>, Vec<f64>)> {
    if let Op::BatchNorm { eps } = node.op {
        return (node.inputs[0] == operand).then(|| batch_norm(graph, node, eps))?;
    }
    let &[a, b] = &node.inputs[..] else { return None };
    let left = a == operand;
    let constant = if left { b } else { a };
    let v = per_channel(graph, constant, operand)?;
    let n = v.len();
    let negated = |v: &[f64]| v.iter().map(|v| -v).collect::<Vec<_>>();
    match (&node.op, left) {
        (Op::Add { activation: Activation::None }, _) => Some((vec![1.0; n], v)),
        (Op::Sub, true) => Some((vec![1.0; n], negated(&v))),
        (Op::Sub, false) => Some((vec![-1.0; n], v)),
        (Op::Mul, _) => Some((v, vec![0.0; n])),
        (Op::Div, true) => Some((v.iter().map(|v| 1.0 / v).collect(), vec![0.0; n])),
        _ => None,
    }
}

/// R1: `gamma / sqrt(var + eps)` and `beta - mean * scale`.
fn batch_norm(graph: &Graph, node: &Node, eps: f32) -> Option<(Vec<f64>, Vec<f64>)> {
    let statistic = |k: usize| graph.constant_f32(*node.inputs.get(k)?).map(widened);
    let (gamma, beta) = (statistic(1)?, statistic(2)?);
    let (mean, var) = (statistic(3)?, statistic(4)?);
    let scale: Vec<f64> =
        gamma.iter().zip(var).map(|(g, var)| g / (var + f64::from(eps)).sqrt()).collect();
    let shift = scale.iter().zip(beta.iter().zip(mean)).map(|(s, (b, mean))| b - mean * s);
    let shift = shift.collect();
    Some((scale, shift))
}

/// A constant as one value for each channel of `picture`; `None` if it differs between pixels.
fn per_channel(graph: &Graph, constant: ValueId, picture: ValueId) -> Option<Vec<f64>> {
    let values = graph.constant_f32(constant)?;
    let (shape, full) = (graph.shape(constant), graph.shape(picture));
    let channels = channels(graph, picture)?;
    let axis = shape.len().checked_sub(full.len() - 1);
    let elsewhere = shape.iter().enumerate().any(|(k, &len)| len != 1 && Some(k) != axis);
    if shape.len() > full.len() || elsewhere {
        return None;
    }
    match values {
        [v] => Some(vec![f64::from(*v); channels]),
        _ if values.len() == channels => Some(widened(values)),
        _ => None,
    }
}
