//! Convolutions and dense layers of integers: what [`ConvS8`] says in numbers, and its packing.
//!
//! With `x = (q - zx) * sx`, `w[o] = n[o] * sw[o]` and a result `(r - zy) * sy` (Jacob et al., 2018, equation 3):
//! `r - zy = round(sum[o] * scale[o])`, `scale[o] = sx * sw[o] / sy`,
//! `sum[o] = Σ n[o] * q + bias[o]`, `bias[o] = round(b[o] / (sx * sw[o])) - zx * Σ n[o]`. A result that stays f32
//! has no `sy`.

use super::super::dense::Layer;
use super::super::error::Kind;
use super::super::lower::{Lowering, Place};
use crate::graph::{Activation, Node, Quantization, ValueId};
use unbraid_runtime::dims::Dims;
use unbraid_runtime::kernels::{conv_s8, depthwise_s8};
use unbraid_runtime::quant;
use unbraid_runtime::span::Span;
use unbraid_runtime::step::{self, ConvS8, Element, LayoutS8, Op};

use super::super::batch::one_of;

/// Largest bias in units of its sum: half of what 32 bits hold, the other half is for the products.
const LARGEST_BIAS: f64 = (1_u32 << 30) as f64;

/// Largest distance of an s8 value from a zero point.
const DISTANCE: u64 = 255;

/// Weights as integers, in ONNX's order.
#[derive(Clone, Debug)]
pub(in crate::plan) struct Integers {
    /// `[O]...`, in -127..=127.
    pub(in crate::plan) values: Vec<i8>,
    /// What 1 stands for, one an output channel.
    pub(in crate::plan) scales: Vec<f64>,
    /// 8, or 4 if no value needs more.
    pub(in crate::plan) bits: u8,
}

/// A layer that runs on integers.
#[derive(Clone, Debug)]
pub(in crate::plan) struct Quantized {
    pub(in crate::plan) weights: Integers,
    /// Of the operand.
    pub(in crate::plan) input: step::Quantization,
    /// What the result is to be.
    pub(in crate::plan) output: Element,
}

impl Integers {
    /// The integers of a constant on a symmetric grid, unless their sums may leave 32 bits or -128 is
    /// among them.
    fn new(shape: &[usize], values: Vec<i8>, quantization: &Quantization) -> Option<Self> {
        let channels = shape.first().copied().filter(|&channels| channels > 0)?;
        let depth = values.len() / channels;
        let magnitude = |filter: &[i8]| filter.iter().map(|n| u64::from(n.unsigned_abs())).sum();
        let small = |filter: &[i8]| {
            let magnitude: u64 = magnitude(filter);
            magnitude * DISTANCE < LARGEST_BIAS as u64 && !filter.contains(&i8::MIN)
        };
        let fits = quantization.zero_point == 0
            && (1..=conv_s8::MAX_DEPTH).contains(&depth)
            && values.chunks_exact(depth).all(small);
        let scale = |o: usize| quantization.scales[o % quantization.scales.len()].into();
        let scales = (0..channels).map(scale).collect();
        fits.then_some(Self { values, scales, bits: quantization.bits })
    }
}

/// What [`ConvS8`] says, in ONNX's order of channels.
struct Numbers {
    weights: Vec<i8>,
    /// One vector a border class.
    bias: Vec<i32>,
    sums: Vec<i32>,
    scale: Vec<f32>,
    /// Empty if the same.
    negative: Vec<f32>,
}

impl Numbers {
    fn new(layer: &Layer<'_>, quantized: &Quantized) -> Self {
        let out_c = layer.filters.out_c;
        let input = f64::from(quantized.input.scale);
        let zero = i32::from(quantized.input.zero_point);
        let output = quantized.output.quantization().map_or(1.0, |output| f64::from(output.scale));
        let biases = |o: usize| layer.bias.iter().skip(o).step_by(out_c);
        let mut numbers = Self {
            weights: Vec::with_capacity(quantized.weights.values.len()),
            bias: vec![0; layer.bias.len()],
            sums: Vec::with_capacity(out_c),
            scale: Vec::with_capacity(out_c),
            negative: vec![],
        };
        let depth = quantized.weights.values.len() / out_c;
        for (o, filter) in quantized.weights.values.chunks_exact(depth).enumerate() {
            let largest = biases(o).fold(0.0, |most: f64, &b| most.max(f64::from(b).abs()));
            let own = quantized.weights.scales[o];
            // A dead channel has next to no weights and any bias: then the bias sets the scale.
            let scale = own.max(largest / (LARGEST_BIAS * input));
            let moved = |&n: &i8| (f64::from(n) * (own / scale)).round_ties_even() as i8;
            let from = numbers.weights.len();
            numbers.weights.extend(filter.iter().map(moved));
            let sum = numbers.weights[from..].iter().map(|&n| i32::from(n)).sum::<i32>();
            for (class, &b) in biases(o).enumerate() {
                let b = (f64::from(b) / (input * scale)).round_ties_even() as i32;
                numbers.bias[class * out_c + o] = b.wrapping_sub(zero.wrapping_mul(sum));
            }
            numbers.sums.push(sum);
            let factor = input * scale / output;
            numbers.scale.push(factor as f32);
            if let Some(slope) = slope(layer.activation, o) {
                numbers.negative.push((factor * slope) as f32);
            }
        }
        numbers
    }
}

/// Factor of negative sums of an output channel, where it is another one.
fn slope(activation: &Activation, o: usize) -> Option<f64> {
    match activation {
        Activation::None | Activation::Clamp { .. } => None,
        Activation::LeakyRelu { slope } => Some(f64::from(*slope)),
        Activation::PRelu { slope } => slope.as_f32()?.get(o).map(|&slope| f64::from(slope)),
    }
}

/// Smallest and largest result: of s8 in steps of its scale, relative to its zero point.
pub(super) fn bounds(activation: &Activation, output: Element) -> (f32, f32) {
    let (lo, hi) = match activation {
        Activation::Clamp { lo, hi } => (*lo, *hi),
        _ => (f32::NEG_INFINITY, f32::INFINITY),
    };
    let Some(output) = output.quantization() else { return (lo, hi) };
    let (least, most) = quant::bounds(output.zero_point);
    let steps = |v: f32| ((f64::from(v) / f64::from(output.scale)) as f32).clamp(least, most);
    (steps(lo), steps(hi))
}

impl Lowering<'_> {
    /// The integers of a layer whose operand and result lie so, if it can run on them: the operand is s8,
    /// and the weights are on a grid.
    pub(in crate::plan) fn quantized(
        &self,
        weight: ValueId,
        input: Element,
        output: Element,
    ) -> Option<Quantized> {
        let (input, value) = (input.quantization()?, self.graph.get(weight));
        let (quantization, constant) = (value.quantization.as_ref()?, value.constant.as_ref()?);
        let integers = quantization.integers(constant).ok()?;
        let weights = Integers::new(&value.shape, integers, quantization)?;
        Some(Quantized { weights, input, output })
    }

    /// Packs everything and appends the step, or one a picture.
    pub(in crate::plan) fn push_conv_s8(
        &mut self,
        node: &Node,
        layer: &Layer<'_>,
        quantized: &Quantized,
        (places, pictures): ((Place, Place), usize),
    ) -> Result<(), Kind> {
        let filters = &layer.filters;
        let layout = match (filters.depthwise, quantized.weights.bits) {
            (true, _) => LayoutS8::Dw16,
            (false, 4) => LayoutS8::Nr16Kr4Bits4,
            (false, _) => LayoutS8::Nr16Kr4,
        };
        let numbers = Numbers::new(layer, quantized);
        let (lo, hi) = bounds(layer.activation, quantized.output);
        let (x, y) = (one_of(places.0.dims, pictures), one_of(places.1.dims, pictures));
        let packed = packed(layout, layer, &numbers.weights, x.c, y.c);
        let packed = packed.ok_or_else(|| filters.mismatch(numbers.weights.len()))?;
        let vector = |values: &[f32]| filters.pack_vectors(values, 1);
        let conv = ConvS8 {
            window: layer.window,
            groups: layer.groups()?,
            layout,
            weights: self.weights.add_s8(&packed)?,
            bias: self.weights.add_i32(&filters.pack_vectors(&numbers.bias, layer.classes())?)?,
            sums: self.weights.add_i32(&filters.pack_vectors(&numbers.sums, 1)?)?,
            scale: self.weights.add(&vector(&numbers.scale)?)?,
            negative: match &numbers.negative[..] {
                [] => Span::default(),
                negative => self.weights.add(&vector(negative)?)?,
            },
            border: layer.border,
            lo,
            hi,
            scratch: self.scratch_s8(layout, layer, x, y)?,
        };
        self.push_each(node, Op::ConvS8(conv), places, pictures)
    }

    fn scratch_s8(
        &self,
        layout: LayoutS8,
        layer: &Layer<'_>,
        x: Dims,
        y: Dims,
    ) -> Result<u32, Kind> {
        let (window, groups) = (&layer.window, layer.groups()?);
        let direct = self.scratch(window, x, y, |rows| match layout {
            LayoutS8::Dw16 => depthwise_s8::scratch_len(window),
            LayoutS8::Nr16Kr4 | LayoutS8::Nr16Kr4Bits4 => {
                conv_s8::scratch_len(layout, window, groups, x, y, rows)
            }
        })?;
        let pays = conv_s8::winograd_pays(layout, window, groups, x, y);
        let winograd = conv_s8::winograd_scratch_len(layout, window, groups, x, y)
            .and_then(|bytes| u32::try_from(bytes).ok())
            .filter(|&bytes| pays && bytes <= self.target.winograd_scratch);
        Ok(winograd.map_or(direct, |bytes| bytes.max(direct)))
    }
}

/// Weights in the order of the layout; `None` when there are not as many as the shape has.
fn packed(layout: LayoutS8, layer: &Layer<'_>, oihw: &[i8], x: u32, y: u32) -> Option<Vec<i8>> {
    let filters = &layer.filters;
    if let LayoutS8::Dw16 = layout {
        let mut packed = vec![0; depthwise_s8::weights_len(&layer.window, y)?];
        depthwise_s8::pack(oihw, filters.out_c, filters.kh * filters.kw, &mut packed)?;
        return Some(packed);
    }
    let groups = layer.groups().ok()?;
    let bytes = |layout| conv_s8::weights_len(layout, &layer.window, groups, x, y);
    let mut packed = vec![0; bytes(LayoutS8::Nr16Kr4)?];
    let (out_c, in_c) = (filters.out_c, filters.in_c);
    conv_s8::pack(oihw, out_c, in_c, filters.kh, filters.kw, filters.groups, &mut packed)?;
    if let LayoutS8::Nr16Kr4 = layout {
        return Some(packed);
    }
    let mut halves = vec![0; bytes(layout)?];
    conv_s8::pack_bits4(&packed, &mut halves)?;
    Some(halves)
}
