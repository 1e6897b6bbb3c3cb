//! [`KernelMap`]: an affine, translation-invariant map of a picture as one kernel in f64.
//!
//! The graph is run on these instead of on pictures. Each function here is one rule of the algebra:
//! [`KernelMap::compose`] (BatchNorm after a convolution, a 1x1 before or after a 3x3, constants
//! before a convolution), [`KernelMap::add`] (branches, identities, smaller kernels beside larger
//! ones) and [`KernelMap::stack`] (concatenation). [`Form`] says which combinations are exact.

use super::Reason;
use super::form::Form;
use crate::reference::{Geometry, convolve};
use rayon::prelude::*;
use std::ops::Range;

/// Multiplications from which other threads are worth waking.
const PARALLEL_MACS: usize = 1 << 20;

/// A convolution with border terms; see [`super::form`] for the formula.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelMap {
    /// Geometry.
    pub form: Form,
    /// `[O, I / groups, Kh, Kw]`.
    pub kernel: Vec<f64>,
    /// `[O]`.
    pub bias: Vec<f64>,
    /// `[O, Kh, Kw]`: what a tap adds when it lies outside the picture; `None`: nothing.
    pub border: Option<Vec<f64>>,
}

impl KernelMap {
    /// `y[c] = scale[c] * x[c] + shift[c]`.
    pub fn diagonal(scale: Vec<f64>, shift: Vec<f64>) -> Self {
        let biased = shift.iter().any(|&b| b != 0.0);
        let form = Form::diagonal(scale.len(), biased);
        Self { form, kernel: scale, bias: shift, border: None }
    }

    /// `y = x`.
    pub fn identity(channels: usize) -> Self {
        Self::diagonal(vec![1.0; channels], vec![0.0; channels])
    }

    /// `y[o] = x[channel]` where the tap lies that `read(o) = [channel, tap]` says.
    pub(super) fn selection(form: Form, read: impl Fn(usize) -> [usize; 2]) -> Self {
        let (channels, taps) = (form.channels(), form.taps());
        let mut map = Self::zero(form);
        for (o, row) in map.kernel.chunks_exact_mut(channels * taps).enumerate() {
            let [channel, tap] = read(o);
            row[channel % channels * taps + tap] = 1.0;
        }
        map
    }

    fn is_identity(&self) -> bool {
        let unbiased = self.border.is_none() && self.bias.iter().all(|&b| b == 0.0);
        self.form.is_diagonal() && unbiased && self.kernel.iter().all(|&w| w == 1.0)
    }

    fn zero(form: Form) -> Self {
        let kernel = vec![0.0; form.weights()];
        Self { form, kernel, bias: vec![0.0; form.outputs], border: None }
    }

    /// `outer` after `inner`, which makes `sizes[1]` rows and columns of `sizes[0]`.
    ///
    /// # Errors
    /// As [`Form::compose`].
    pub fn compose(outer: Self, inner: Self, sizes: [[usize; 2]; 2]) -> Result<Self, Reason> {
        let form = Form::compose(&outer.form, &inner.form, sizes)?;
        if inner.is_identity() {
            return Ok(outer);
        }
        if outer.form.is_diagonal() {
            return Ok(scaled_outputs(form, &outer, inner));
        }
        let (bias, border) = composed_constants(&form, &outer, &inner);
        let kernel = if inner.form.is_channelwise() {
            scaled_inputs(outer, &inner.kernel)
        } else {
            product(&form, &outer, &inner)
        };
        Ok(Self { form, kernel, bias, border: form.border.and(border) })
    }

    /// `self + sign * other`, both maps of one picture.
    ///
    /// # Errors
    /// As [`Form::union`].
    pub fn add(mut self, mut other: Self, sign: f64) -> Result<Self, Reason> {
        let form = Form::union(&self.form, &other.form)?;
        other.scale(sign);
        if layout(&other.form) == layout(&form) {
            std::mem::swap(&mut self, &mut other);
        }
        let mut sum = self.embedded(form);
        sum.scatter(&other, 0);
        Ok(sum)
    }

    /// All maps, of one picture, one below the other on the output channels.
    ///
    /// # Errors
    /// As [`Form::stack`].
    pub fn stack(parts: &[Self]) -> Result<Self, Reason> {
        let (first, rest) = parts.split_first().expect("a concatenation has operands");
        let form = rest
            .iter()
            .try_fold(first.form.dense(), |form, part| Form::stack(&form, &part.form))?;
        let mut stacked = Self::zero(form);
        let mut at = 0;
        for part in parts {
            stacked.scatter(part, at);
            at += part.form.outputs;
        }
        Ok(stacked)
    }

    /// The same map without rows and columns of zeros at the rim of its kernel, where padding allows.
    pub(super) fn trimmed(mut self) -> Self {
        let rim = |map: &Self| map.form.rims().into_iter().find(|form| map.vanishes_outside(form));
        while let Some(smaller) = rim(&self) {
            self = self.restricted(smaller);
        }
        self
    }

    /// Whether all taps that a smaller window leaves out are zero.
    fn vanishes_outside(&self, smaller: &Form) -> bool {
        let kept = tap_positions(smaller, &self.form);
        let zero = |(k, v): (usize, &f64)| *v == 0.0 || kept.contains(&(k % self.form.taps()));
        self.kernel.iter().enumerate().all(zero)
            && self.border.iter().flatten().enumerate().all(zero)
    }

    /// The taps of a smaller window only.
    fn restricted(self, smaller: Form) -> Self {
        let (kept, taps) = (tap_positions(&smaller, &self.form), self.form.taps());
        let pick = |values: &[f64]| -> Vec<f64> {
            values.chunks_exact(taps).flat_map(|v| kept.iter().map(|&tap| v[tap])).collect()
        };
        let (kernel, border) = (pick(&self.kernel), self.border.as_deref().map(pick));
        Self { form: smaller, kernel, border, ..self }
    }

    fn scale(&mut self, factor: f64) {
        if factor != 1.0 {
            let border = self.border.iter_mut().flatten();
            let all = self.kernel.iter_mut().chain(&mut self.bias).chain(border);
            all.for_each(|v| *v *= factor);
        }
    }

    /// The same map with a larger kernel or fewer groups; moves if nothing changes.
    fn embedded(self, form: Form) -> Self {
        if layout(&self.form) == layout(&form) {
            return Self { form, ..self };
        }
        let mut larger = Self::zero(form);
        larger.scatter(&self, 0);
        larger
    }

    /// Adds `part` to the output channels from `at` on.
    fn scatter(&mut self, part: &Self, at: usize) {
        let taps = tap_positions(&part.form, &self.form);
        let (inner, outer) = (part.form.taps(), self.form.taps());
        for o in 0..part.form.outputs {
            let row = &part.kernel[o * part.form.channels() * inner..];
            let offset = channel_offset(&part.form, o, &self.form, o + at);
            let into = ((o + at) * self.form.channels() + offset) * outer;
            for (i, kernel) in row[..part.form.channels() * inner].chunks_exact(inner).enumerate() {
                let into = &mut self.kernel[into + i * outer..][..outer];
                kernel.iter().zip(&taps).for_each(|(w, &tap)| into[tap] += w);
            }
            self.bias[o + at] += part.bias[o];
        }
        if let Some(border) = &part.border {
            let into = self.border.get_or_insert_with(|| vec![0.0; self.form.outputs * outer]);
            for (k, b) in border.iter().enumerate() {
                into[(k / inner + at) * outer + taps[k % inner]] += b;
            }
        }
    }

    /// The map of a picture `[I, h, w]`, in f64, with `output` rows and columns.
    pub fn apply(&self, x: &[f64], input: [usize; 2], output: [usize; 2]) -> Vec<f64> {
        let geometry = self.geometry(input, output);
        let mut y = convolve(x, &self.kernel, &geometry, self.form.groups, self.form.outputs);
        let pixels = output[0] * output[1];
        for (plane, b) in y.chunks_exact_mut(pixels).zip(&self.bias) {
            plane.iter_mut().for_each(|v| *v += b);
        }
        if let Some(border) = &self.border {
            // Outside is everything minus inside, and inside is a convolution of a picture of ones.
            let ones = vec![1.0; input[0] * input[1]];
            let inside = convolve(&ones, border, &geometry, 1, self.form.outputs);
            let all = border.chunks_exact(self.form.taps()).map(|taps| taps.iter().sum::<f64>());
            for ((y, inside), all) in
                y.chunks_exact_mut(pixels).zip(inside.chunks_exact(pixels)).zip(all)
            {
                y.iter_mut().zip(inside).for_each(|(y, inside)| *y += all - inside);
            }
        }
        y
    }

    fn geometry(&self, input: [usize; 2], output: [usize; 2]) -> Geometry {
        let axes = self.form.axes;
        Geometry {
            kernel: axes.map(|axis| axis.taps),
            stride: axes.map(|axis| axis.stride),
            dilation: axes.map(|axis| axis.dilation),
            pad: axes.map(|axis| axis.low),
            input,
            output,
        }
    }
}

/// What fixes the order of a kernel's values.
fn layout(form: &Form) -> (usize, [(usize, usize, i64); 2]) {
    (form.groups, form.axes.map(|axis| (axis.taps, axis.dilation, axis.low)))
}

/// R1: the outer map is one factor and one summand a channel; in place.
fn scaled_outputs(form: Form, outer: &KernelMap, mut inner: KernelMap) -> KernelMap {
    let row = inner.form.channels() * inner.form.taps();
    let scale = &outer.kernel;
    for (row, s) in inner.kernel.chunks_exact_mut(row).zip(scale) {
        row.iter_mut().for_each(|w| *w *= s);
    }
    for ((b, s), shift) in inner.bias.iter_mut().zip(scale).zip(&outer.bias) {
        *b = *b * s + shift;
    }
    if let Some(border) = &mut inner.border {
        for (taps, s) in border.chunks_exact_mut(form.taps()).zip(scale) {
            taps.iter_mut().for_each(|b| *b *= s);
        }
    }
    KernelMap { form, ..inner }
}

/// R9: the inner map is one factor a channel; in place.
fn scaled_inputs(outer: KernelMap, scale: &[f64]) -> Vec<f64> {
    let (taps, channels) = (outer.form.taps(), outer.form.channels());
    let per_group = outer.form.outputs / outer.form.groups;
    let mut kernel = outer.kernel;
    for (k, taps) in kernel.chunks_exact_mut(taps).enumerate() {
        let group = k / channels / per_group;
        let s = scale[group * channels + k % channels];
        taps.iter_mut().for_each(|w| *w *= s);
    }
    kernel
}

/// Bias and border terms of a composition.
fn composed_constants(
    form: &Form,
    outer: &KernelMap,
    inner: &KernelMap,
) -> (Vec<f64>, Option<Vec<f64>>) {
    let weighed = weigh(outer, &inner.bias);
    let outer_taps = outer.form.taps();
    let sums = weighed.chunks_exact(outer_taps).map(|taps| taps.iter().sum::<f64>());
    let bias = outer.bias.iter().zip(sums).map(|(b, sum)| b + sum).collect();
    if let Some(inside) = &inner.border {
        let border = composed_border(form, outer, inner, inside);
        return (bias, Some(border));
    }
    if !outer.form.padded() || form.border.is_none() {
        return (bias, None);
    }
    // The inner map has one tap: the taps of the composition are those of the outer map.
    let border = match &outer.border {
        Some(border) => border.iter().zip(&weighed).map(|(b, w)| b - w).collect(),
        None => weighed.iter().map(|w| -w).collect(),
    };
    (bias, Some(border))
}

/// Border terms that the inner map has already, seen through the outer kernel.
fn composed_border(form: &Form, outer: &KernelMap, inner: &KernelMap, inside: &[f64]) -> Vec<f64> {
    let (outer_taps, inner_taps) = (outer.form.taps(), inner.form.taps());
    let pairs = tap_pairs(form, &outer.form, &inner.form);
    let mut border = vec![0.0; form.outputs * form.taps()];
    for t in 0..inner_taps {
        let of_tap: Vec<f64> = inside.iter().skip(t).step_by(inner_taps).copied().collect();
        for (k, w) in weigh(outer, &of_tap).iter().enumerate() {
            let tap = pairs[k % outer_taps * inner_taps + t];
            border[k / outer_taps * form.taps() + tap] += w;
        }
    }
    border
}

/// `[O, taps]`: the sum over the input channels of `W[o, m, tap] * v[m]`.
fn weigh(map: &KernelMap, v: &[f64]) -> Vec<f64> {
    let (taps, channels) = (map.form.taps(), map.form.channels());
    let per_group = map.form.outputs / map.form.groups;
    let mut sums = vec![0.0; map.form.outputs * taps];
    for (o, sums) in sums.chunks_exact_mut(taps).enumerate() {
        let v = &v[o / per_group * channels..][..channels];
        let row = &map.kernel[o * channels * taps..][..channels * taps];
        for (kernel, v) in row.chunks_exact(taps).zip(v) {
            sums.iter_mut().zip(kernel).for_each(|(sum, w)| *sum += w * v);
        }
    }
    sums
}

/// R5, R6 and every other composition: `K[o, i, u * stride + t] = sum_m W2[o, m, u] * W1[m, i, t]`.
fn product(form: &Form, outer: &KernelMap, inner: &KernelMap) -> Vec<f64> {
    let row = form.channels() * form.taps();
    let pairs = tap_pairs(form, &outer.form, &inner.form);
    let reads = channels_read(inner);
    let mut kernel = vec![0.0; form.weights()];
    let fill =
        |(o, row): (usize, &mut [f64])| product_row(form, outer, inner, &pairs, &reads, o, row);
    let macs = outer.form.weights() * inner.form.channels() * inner.form.taps();
    if macs >= PARALLEL_MACS {
        kernel.par_chunks_mut(row).enumerate().for_each(fill);
    } else {
        kernel.chunks_mut(row).enumerate().for_each(fill);
    }
    kernel
}

/// For each output the input channels of its group from the first to the last with a weight that is
/// not zero: one of them, where channels are chosen.
fn channels_read(map: &KernelMap) -> Vec<Range<usize>> {
    let taps = map.form.taps();
    let used = |w: &f64| *w != 0.0;
    let of_row = |row: &[f64]| match (row.iter().position(used), row.iter().rposition(used)) {
        (Some(first), Some(last)) => first / taps..last / taps + 1,
        _ => 0..0,
    };
    map.kernel.chunks_exact(map.form.channels() * taps).map(of_row).collect()
}

fn product_row(
    form: &Form,
    outer: &KernelMap,
    inner: &KernelMap,
    pairs: &[usize],
    reads: &[Range<usize>],
    o: usize,
    row: &mut [f64],
) {
    let (outer_taps, inner_taps, taps) = (outer.form.taps(), inner.form.taps(), form.taps());
    let (mids, inputs) = (outer.form.channels(), inner.form.channels());
    let first = outer.form.first_channel(o);
    for m in 0..mids {
        let offset = channel_offset(&inner.form, first + m, form, o);
        let Range { start, end } = reads[first + m];
        let into = &mut row[(offset + start) * taps..];
        let w1 = &inner.kernel[((first + m) * inputs + start) * inner_taps..];
        let w1 = &w1[..(end - start) * inner_taps];
        let w2 = &outer.kernel[(o * mids + m) * outer_taps..][..outer_taps];
        for (&w2, pairs) in w2.iter().zip(pairs.chunks_exact(inner_taps)) {
            for (w1, into) in w1.chunks_exact(inner_taps).zip(into.chunks_exact_mut(taps)) {
                w1.iter().zip(pairs).for_each(|(w1, &tap)| into[tap] += w2 * w1);
            }
        }
    }
}

/// Where the first input channel that output `o` of `form` reads lies among those of output
/// `into_o` of a form with fewer groups.
fn channel_offset(form: &Form, o: usize, into: &Form, into_o: usize) -> usize {
    form.first_channel(o) - into.first_channel(into_o)
}

/// For each tap of `form` the tap of `into` that reads the same pixel.
fn tap_positions(form: &Form, into: &Form) -> Vec<usize> {
    let along = |axis: usize, tap: usize| into.axes[axis].tap_at(form.axes[axis].position(tap));
    let columns = form.axes[1].taps;
    let tap = |k: usize| along(0, k / columns) * into.axes[1].taps + along(1, k % columns);
    (0..form.taps()).map(tap).collect()
}

/// `[outer tap, inner tap]`: the tap of the composition.
fn tap_pairs(form: &Form, outer: &Form, inner: &Form) -> Vec<usize> {
    let along = |axis: usize, u: usize, t: usize| {
        let (outer, inner) = (outer.axes[axis], inner.axes[axis]);
        (u * outer.dilation * inner.stride + t * inner.dilation) / form.axes[axis].dilation
    };
    let (oc, ic) = (outer.axes[1].taps, inner.axes[1].taps);
    let tap = |u: usize, t: usize| {
        along(0, u / oc, t / ic) * form.axes[1].taps + along(1, u % oc, t % ic)
    };
    (0..outer.taps()).flat_map(|u| (0..inner.taps()).map(move |t| tap(u, t))).collect()
}
