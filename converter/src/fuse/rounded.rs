//! [`Rounded`]: a map rounded once to f32, as the node that executes it.
//!
//! Border terms become bias vectors: rows (and columns) of the output whose windows reach over the
//! edge are classes of their own, all others share one. Exact on every pixel, for kernels that
//! know nothing but zero padding. A map of patches is a dense layer or a 1x1 convolution of pictures
//! of one pixel, between reshapes that move nothing.

use super::form::Form;
use super::kernel_map::KernelMap;
use super::node_map::Extent;
use super::{Cost, Reason};
use crate::graph::{Activation, Border, BorderBias, Conv, Graph, Hw, Op, Pad, ValueId, Window};
use crate::tensor::Tensor;

/// An f32 kernel with f64 constants: biases are rounded once their border class is known.
#[derive(Debug)]
pub(super) struct Rounded {
    form: Form,
    weight: Tensor,
    bias: Vec<f64>,
    border: Option<Vec<f64>>,
    patch: bool,
}

/// A node: what it computes, its constant operands in order, and the shapes it reads and gives.
#[derive(Debug)]
pub(super) struct Rewritten {
    op: Op,
    constants: Vec<(&'static str, Tensor)>,
    reads: Vec<usize>,
    gives: Vec<usize>,
    pub(super) bias_vectors: usize,
}

impl Rewritten {
    /// Weights and biases.
    pub(super) fn params(&self) -> u64 {
        let border = match &self.op {
            Op::Conv(conv) => conv.border.as_ref().map_or(0, |border| border.bias.shape()[1]),
            _ => 0,
        };
        let learned = self.constants.iter().take(2).map(|(_, t)| t.len());
        (border + learned.sum::<usize>()) as u64
    }

    /// Multiplications and weights.
    pub(super) fn cost(&self) -> Cost {
        Cost::of_weights(self.constants[0].1.len(), Extent::of(&self.gives).positions())
    }

    /// Appends the node to a graph, between reshapes where `source` and `output` have other shapes
    /// than it reads and gives.
    pub(super) fn push(self, graph: &mut Graph, name: &str, source: ValueId, output: ValueId) {
        let mut x = source;
        if graph.shape(source) != self.reads {
            x = graph.value(format!("{name}.rows"), self.reads);
            graph.push(format!("{name}.rows"), Op::Reshape, vec![source], x);
        }
        let reshaped = graph.shape(output) != self.gives;
        let y = if reshaped { graph.value(format!("{name}.y"), self.gives) } else { output };
        let constants = self.constants.into_iter();
        let constants = constants.map(|(role, t)| graph.constant(format!("{name}.{role}"), t));
        let inputs = std::iter::once(x).chain(constants).collect();
        graph.push(name, self.op, inputs, y);
        if reshaped {
            graph.push(format!("{name}.shape"), Op::Reshape, vec![y], output);
        }
    }
}

impl Rounded {
    /// Rounds a map of pictures or of patches.
    ///
    /// # Errors
    /// [`Reason::NotFinite`] if a weight or bias is not a finite f32.
    pub(super) fn new(map: &KernelMap, patch: bool) -> Result<Self, Reason> {
        let form = map.form;
        let weight: Vec<f32> = map.kernel.iter().map(|&w| w as f32).collect();
        let finite = |&b: &f64| (b as f32).is_finite();
        let mut biases = map.bias.iter().chain(map.border.iter().flatten());
        if !weight.iter().all(|w| w.is_finite()) || !biases.all(finite) {
            return Err(Reason::NotFinite);
        }
        let shape = [form.outputs, form.channels(), form.axes[0].taps, form.axes[1].taps];
        let weight = Tensor::f32(shape, weight).expect("a kernel has its form's shape");
        let bias = map.bias.clone();
        let border = map.border.as_ref().and_then(|border| above_resolution(form, border, &bias));
        Ok(Self { form, weight, bias, border, patch })
    }

    /// The node from a value of shape `source` to one of shape `output`.
    ///
    /// # Errors
    /// [`Reason::Cropped`] if that size needs a negative padding.
    pub(super) fn node(&self, source: &[usize], output: &[usize]) -> Result<Rewritten, Reason> {
        let (reads, gives) = self.shapes(source, output);
        let (mut constants, mut bias_vectors) = (Vec::new(), 1);
        let op = if self.form.is_diagonal() && self.border.is_none() {
            constants = self.scale_shift();
            Op::BatchNorm { eps: 0.0 }
        } else if gives.len() == 2 {
            let weight = self.weight.reshaped([self.form.outputs, self.form.inputs]);
            constants.push(("weight", weight.expect("a dense kernel with one tap")));
            constants.push(("bias", rounded(&self.bias)));
            Op::Linear { activation: Activation::None }
        } else {
            let conv = self.conv(Extent::of(&reads).pixels, Extent::of(&gives).pixels)?;
            constants.push(("weight", self.weight.clone()));
            if conv.border.is_none() && self.bias.iter().any(|&b| b != 0.0) {
                constants.push(("bias", rounded(&self.bias)));
            }
            bias_vectors = conv.border.as_ref().map_or(1, |border| border.bias.shape()[0]);
            Op::Conv(conv)
        };
        Ok(Rewritten { op, constants, reads, gives, bias_vectors })
    }

    /// What the node reads and gives: vectors where the graph has vectors and one layer takes them,
    /// else pictures.
    fn shapes(&self, source: &[usize], output: &[usize]) -> (Vec<usize>, Vec<usize>) {
        let (from, to) = (Extent::of(source), Extent::of(output));
        let pixel = |extent: Extent| self.patch || extent.pixels == [1, 1];
        let dense = self.form.is_diagonal() || self.form.groups == 1;
        let vectors = source.len() == 2 || output.len() == 2;
        if vectors && dense && self.form.taps() == 1 && pixel(from) && pixel(to) {
            return (vec![from.rows, self.form.inputs], vec![to.rows, self.form.outputs]);
        }
        let picture = |extent: Extent, channels: usize| {
            let [h, w] = if self.patch { [1, 1] } else { extent.pixels };
            vec![extent.rows, channels, h, w]
        };
        (picture(from, self.form.inputs), picture(to, self.form.outputs))
    }

    fn conv(&self, input: [usize; 2], output: [usize; 2]) -> Result<Conv, Reason> {
        let form = self.form.fitted(input, output)?;
        let border = self.border.as_ref().map(|terms| self.border_bias(terms, input, output));
        let (window, groups) = (window(&form), form.groups);
        Ok(Conv { window, groups, border, activation: Activation::None })
    }

    /// A BatchNorm with mean 0 and variance 1: the graph's per-channel scale and shift.
    fn scale_shift(&self) -> Vec<(&'static str, Tensor)> {
        let c = self.form.outputs;
        let gamma = self.weight.reshaped([c]).expect("one weight a channel");
        vec![
            ("scale", gamma),
            ("shift", rounded(&self.bias)),
            ("mean", Tensor::vector(vec![0.0; c])),
            ("variance", Tensor::vector(vec![1.0; c])),
        ]
    }

    fn border_bias(&self, terms: &[f64], input: [usize; 2], output: [usize; 2]) -> BorderBias {
        let axes = [0, 1].map(|k| AxisClasses::new(&self.form, k, terms, input[k], output[k]));
        let mut bias = Vec::new();
        for row in &axes[0].outside {
            for column in &axes[1].outside {
                bias.extend(self.class_bias(terms, row, column));
            }
        }
        let classes = axes[0].outside.len() * axes[1].outside.len();
        let bias = Tensor::f32([classes, self.form.outputs], bias).expect("one bias a channel");
        let [(top, bottom), (left, right)] = axes.map(|axis| (axis.before, axis.after));
        BorderBias { classes: Border { top, left, bottom, right }, bias }
    }

    /// Bias of the pixels for which these rows and columns of taps lie outside.
    fn class_bias(&self, terms: &[f64], rows: &[bool], columns: &[bool]) -> Vec<f32> {
        let outside = |tap: usize| rows[tap / columns.len()] || columns[tap % columns.len()];
        let with_border = |(bias, taps): (&f64, &[f64])| {
            let border = taps.iter().enumerate().filter(|(tap, _)| outside(*tap));
            (bias + border.map(|(_, b)| b).sum::<f64>()) as f32
        };
        self.bias.iter().zip(terms.chunks_exact(self.form.taps())).map(with_border).collect()
    }
}

/// The classes of output rows or columns.
struct AxisClasses {
    before: u32,
    after: u32,
    /// A class: which taps along the axis lie outside the picture.
    outside: Vec<Vec<bool>>,
}

impl AxisClasses {
    fn new(form: &Form, axis: usize, terms: &[f64], input: usize, output: usize) -> Self {
        let window = form.axes[axis];
        let active = active_taps(form, axis, terms);
        let outside = |at: usize| -> Vec<bool> {
            let position = |tap| (at * window.stride) as i64 + window.position(tap);
            let outside = |tap| !(0..input as i64).contains(&position(tap));
            (0..window.taps).map(|tap| active[tap] && outside(tap)).collect()
        };
        let first = active.iter().position(|&a| a).map_or(0, |tap| window.position(tap));
        let last = active.iter().rposition(|&a| a).map_or(0, |tap| window.position(tap));
        let pixel = |at: usize| (at * window.stride) as i64;
        let mut before = (0..output).take_while(|&at| pixel(at) + first < 0).count();
        let over = |at: &usize| pixel(*at) + last >= input as i64;
        let mut after = (0..output).rev().take_while(over).count();
        if before + after > output {
            (before, after) = (output, 0);
        }
        let inner = vec![false; window.taps];
        let mut classes: Vec<_> = (0..before).map(outside).collect();
        classes.push(inner);
        classes.extend((output - after..output).map(outside));
        Self { before: before as u32, after: after as u32, outside: classes }
    }
}

/// The border terms of taps for which any of them is more than f32 tells apart from the largest bias;
/// `None` if there is no such tap. Exporters fold the value that a bias is padded with in f32, so that
/// terms that cancel leave a rest, which would cost up to a bias vector a pixel class.
fn above_resolution(form: Form, border: &[f64], bias: &[f64]) -> Option<Vec<f64>> {
    let largest =
        |values: &mut dyn Iterator<Item = &f64>| values.fold(0.0_f64, |m, v| m.max(v.abs()));
    let resolution = f64::from(f32::EPSILON) * largest(&mut bias.iter());
    let taps = form.taps();
    let mut kept = border.to_vec();
    for tap in 0..taps {
        if largest(&mut border[tap..].iter().step_by(taps)) <= resolution {
            kept[tap..].iter_mut().step_by(taps).for_each(|term| *term = 0.0);
        }
    }
    kept.iter().any(|&term| term != 0.0).then_some(kept)
}

/// Which taps along an axis have any border term.
fn active_taps(form: &Form, axis: usize, terms: &[f64]) -> Vec<bool> {
    let columns = form.axes[1].taps;
    let mut active = vec![false; form.axes[axis].taps];
    for (k, _) in terms.iter().enumerate().filter(|(_, b)| **b != 0.0) {
        let tap = k % form.taps();
        active[if axis == 0 { tap / columns } else { tap % columns }] = true;
    }
    active
}

fn rounded(bias: &[f64]) -> Tensor {
    Tensor::vector(bias.iter().map(|&b| b as f32).collect())
}

fn window(form: &Form) -> Window {
    let [rows, columns] = form.axes;
    let pair = |a: usize, b: usize| Hw { h: a as u32, w: b as u32 };
    Window {
        kernel: pair(rows.taps, columns.taps),
        stride: pair(rows.stride, columns.stride),
        dilation: pair(rows.dilation, columns.dilation),
        pad: Pad {
            top: rows.low as u32,
            left: columns.low as u32,
            bottom: rows.high as u32,
            right: columns.high as u32,
        },
    }
}
