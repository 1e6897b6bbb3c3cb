//! [`Rounded`]: a kernel map rounded once to f32, as the node that executes it.
//!
//! Border terms become bias vectors: rows (and columns) of the output whose windows reach over the
//! edge are classes of their own, all others share one. Exact on every pixel, for kernels that
//! know nothing but zero padding.

use super::form::Form;
use super::kernel_map::KernelMap;
use super::{Cost, Reason};
use crate::graph::{Activation, Border, BorderBias, Conv, Hw, Op, Pad, Window};
use crate::tensor::Tensor;

/// An f32 kernel with f64 constants: biases are rounded once their border class is known.
#[derive(Debug)]
pub(super) struct Rounded {
    form: Form,
    weight: Tensor,
    bias: Vec<f64>,
    border: Option<Vec<f64>>,
    vector: bool,
}

/// A node: what it computes and its constant operands, in order.
#[derive(Debug)]
pub(super) struct Rewritten {
    pub(super) op: Op,
    pub(super) constants: Vec<(&'static str, Tensor)>,
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

    /// Multiplications for an output of this size, and weights.
    pub(super) fn cost(&self, output: [usize; 2]) -> Cost {
        let weights = self.constants[0].1.len() as u64;
        Cost { macs: weights * (output[0] * output[1]) as u64, weights }
    }
}

impl Rounded {
    /// Rounds a map of pictures or, with `vector`, of `[1, C]`.
    ///
    /// # Errors
    /// [`Reason::NotFinite`] if a weight or bias is not a finite f32.
    pub(super) fn new(map: &KernelMap, vector: bool) -> Result<Self, Reason> {
        let form = map.form;
        let weight: Vec<f32> = map.kernel.iter().map(|&w| w as f32).collect();
        let finite = |&b: &f64| (b as f32).is_finite();
        let mut biases = map.bias.iter().chain(map.border.iter().flatten());
        if !weight.iter().all(|w| w.is_finite()) || !biases.all(finite) {
            return Err(Reason::NotFinite);
        }
        let shape = [form.outputs, form.channels(), form.axes[0].taps, form.axes[1].taps];
        let weight = Tensor::f32(shape, weight).expect("a kernel has its form's shape");
        let (bias, border) = (map.bias.clone(), map.border.clone());
        Ok(Self { form, weight, bias, border, vector })
    }

    /// The node for a picture of `input` pixels that gives `output` pixels.
    ///
    /// # Errors
    /// [`Reason::Cropped`] if that size needs a negative padding.
    pub(super) fn node(&self, input: [usize; 2], output: [usize; 2]) -> Result<Rewritten, Reason> {
        if self.form.is_diagonal() && self.border.is_none() {
            return Ok(self.scale_shift());
        }
        if self.vector {
            return Ok(self.linear());
        }
        let form = self.form.fitted(input, output)?;
        let mut constants = vec![("weight", self.weight.clone())];
        let border = self.border.as_ref().map(|terms| self.border_bias(terms, input, output));
        let bias_vectors = border.as_ref().map_or(1, |border| border.bias.shape()[0]);
        if border.is_none() && self.bias.iter().any(|&b| b != 0.0) {
            constants.push(("bias", rounded(&self.bias)));
        }
        let (window, groups) = (window(&form), form.groups);
        let conv = Conv { window, groups, border, activation: Activation::None };
        Ok(Rewritten { op: Op::Conv(conv), constants, bias_vectors })
    }

    /// A BatchNorm with mean 0 and variance 1: the graph's per-channel scale and shift.
    fn scale_shift(&self) -> Rewritten {
        let c = self.form.outputs;
        let gamma = self.weight.reshaped([c]).expect("one weight a channel");
        let constants = vec![
            ("scale", gamma),
            ("shift", rounded(&self.bias)),
            ("mean", Tensor::vector(vec![0.0; c])),
            ("variance", Tensor::vector(vec![1.0; c])),
        ];
        Rewritten { op: Op::BatchNorm { eps: 0.0 }, constants, bias_vectors: 1 }
    }

    fn linear(&self) -> Rewritten {
        let shape = [self.form.outputs, self.form.inputs];
        let weight = self.weight.reshaped(shape).expect("a dense kernel with one tap");
        let constants = vec![("weight", weight), ("bias", rounded(&self.bias))];
        Rewritten { op: Op::Linear { activation: Activation::None }, constants, bias_vectors: 1 }
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
