//! Convolutions of s8 maps as data, with random operands in ONNX order and packed: what the kernel
//! tests run and what the bench times.

use crate::conv_cases::ConvCase;
use crate::rng::Random;
use unbraid_runtime::dims::Dims;
use unbraid_runtime::kernels::contract::Contract;
use unbraid_runtime::kernels::conv_s8::{self, ConvolutionS8, Tensors, pack_channels};
use unbraid_runtime::kernels::depthwise_s8::{self, DepthwiseS8};
use unbraid_runtime::span::Span;
use unbraid_runtime::step::{Border, ConvS8, Element, LayoutS8, Operand, Quantization};

/// Which numbers the operands have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// Any of their range.
    Random,
    /// The ends of their range only: the largest sums, and ones that saturate halfway in kernels that
    /// should not.
    Extreme,
    /// The least number of each range everywhere: the largest sum that there is.
    Least,
}

/// One convolution: shapes, types and ranges.
#[derive(Clone, Copy, Debug)]
pub struct ConvS8Case {
    /// Shapes; the activation does not count.
    pub shape: ConvCase,
    /// How the weights are packed.
    pub layout: LayoutS8,
    /// Of the input.
    pub zero_point: i8,
    /// Of the output, if that is s8.
    pub output_zero_point: Option<i8>,
    /// Smallest and largest result, relative to the output's zero point.
    pub bounds: (f32, f32),
    /// Whether negative sums have factors of their own.
    pub negative: bool,
    /// Which numbers.
    pub numbers: Numbers,
}

impl ConvS8Case {
    /// An s8 result with ReLU, random numbers.
    pub const fn new(shape: ConvCase, layout: LayoutS8) -> Self {
        Self {
            shape,
            layout,
            zero_point: -7,
            output_zero_point: Some(-128),
            bounds: (0.0, 255.0),
            negative: false,
            numbers: Numbers::Random,
        }
    }

    /// Largest magnitude of a weight.
    fn largest_weight(&self) -> i8 {
        if self.layout == LayoutS8::Nr16Kr4Bits4 { 7 } else { 127 }
    }

    fn operands(&self, output: Dims) -> (Operand, Operand) {
        let s8 = |zero_point| Element::S8(Quantization { scale: 1.0, zero_point });
        let element = self.output_zero_point.map_or(Element::F32, s8);
        let input =
            Operand { dims: self.shape.input, element: s8(self.zero_point), ..Operand::default() };
        (input, Operand { dims: output, element, ..Operand::default() })
    }
}

/// A case with numbers.
#[derive(Clone, Debug)]
pub struct ConvS8Operands {
    /// The case.
    pub case: ConvS8Case,
    /// What the contracts' `Args` take, without spans.
    pub conv: ConvS8,
    /// Input and output, without spans.
    pub maps: (Operand, Operand),
    /// Input, NHWC.
    pub x: Vec<i8>,
    /// Weights, OIHW.
    pub weights: Vec<i8>,
    /// Bias, `[class][o]`.
    pub bias: Vec<i32>,
    /// Factors, `[o]`.
    pub scale: Vec<f32>,
    /// Factors of negative sums, `[o]`.
    pub negative: Vec<f32>,
    /// All of them as the layout has them.
    pub packed: Packed,
}

/// Weights, bias, sums and factors as the layout has them.
#[derive(Clone, Debug)]
pub struct Packed {
    /// Weights.
    pub weights: Vec<i8>,
    /// Bias vectors.
    pub bias: Vec<i32>,
    /// Sums of the weights.
    pub sums: Vec<i32>,
    /// Factors.
    pub scale: Vec<f32>,
    /// Factors of negative sums; empty without.
    pub negative: Vec<f32>,
}

impl ConvS8Operands {
    /// Operands whose results spread over the range of s8; `None` when the window does not fit or the
    /// groups do not divide the channels.
    pub fn random(case: ConvS8Case, seed: u64) -> Option<Self> {
        let ConvS8Case { shape, layout, bounds: (lo, hi), .. } = case;
        let output = shape.output()?;
        let mut random = Random(seed);
        let filter = shape.window.kernel.h * shape.window.kernel.w * shape.input.c / shape.groups;
        let channels = shape.out_c as usize;
        let largest = case.largest_weight();
        let x = integers(&mut random, case.numbers, (-128, 127), shape.input.elements()?);
        let range = (-largest, largest);
        let weights = integers(&mut random, case.numbers, range, channels * filter as usize);
        // Standard deviations: 74 of an input, 0.58 of the largest weight.
        let factor = 40.0 / (43.0 * f32::from(largest) * (filter as f32).sqrt());
        let scale: Vec<f32> = random.vec(channels).iter().map(|r| factor * (1.0 + r)).collect();
        let negative: Vec<f32> = random.vec(channels).iter().map(|r| factor * r).collect();
        let (rows, columns) = shape.border.classes();
        let most_bias =
            if case.numbers == Numbers::Extreme { (1 << 30) as f32 } else { 60.0 / factor };
        let bias = random.vec((rows * columns) as usize * channels);
        let bias: Vec<i32> = bias.iter().map(|b| (b * most_bias) as i32).collect();
        let conv = ConvS8 {
            window: shape.window,
            groups: shape.groups,
            layout,
            weights: Span::EMPTY,
            bias: Span::EMPTY,
            sums: Span::EMPTY,
            scale: Span::EMPTY,
            negative: Span::EMPTY,
            border: shape.border,
            lo,
            hi,
            scratch: 0,
        };
        let packed = Packed::new(&case, &weights, &bias, &scale, &negative)?;
        let maps = case.operands(output);
        Some(Self { case, conv, maps, x, weights, bias, scale, negative, packed })
    }

    /// What the contracts read.
    pub fn tensors(&self) -> Tensors<'_> {
        self.tensors_on(&self.x)
    }

    /// The same with another input of the same shape.
    pub fn tensors_on<'a>(&'a self, x: &'a [i8]) -> Tensors<'a> {
        let Packed { weights, bias, sums, scale, negative } = &self.packed;
        Tensors { x, weights, bias, sums, scale, negative }
    }

    /// Bytes of one output row.
    pub fn row_len(&self) -> usize {
        let output = &self.maps.1;
        output.dims.row().unwrap_or(0) * output.element.size()
    }

    /// Output rows.
    pub fn rows(&self) -> u32 {
        self.maps.1.dims.h
    }
}

fn integers(random: &mut Random, numbers: Numbers, (lo, hi): (i8, i8), len: usize) -> Vec<i8> {
    let span = (i32::from(hi) - i32::from(lo) + 1) as u32;
    let mut any = || match numbers {
        Numbers::Random => (i32::from(lo) + (random.bits() % span) as i32) as i8,
        Numbers::Extreme => random.pick(&[lo, lo, lo, hi]),
        Numbers::Least => lo,
    };
    (0..len).map(|_| any()).collect()
}

impl Packed {
    fn new(
        case: &ConvS8Case,
        weights: &[i8],
        bias: &[i32],
        scale: &[f32],
        negative: &[f32],
    ) -> Option<Self> {
        let channels = scale.len();
        let sum = |filter: &[i8]| filter.iter().map(|&w| i32::from(w)).sum();
        let sums: Vec<i32> = weights.chunks(weights.len() / channels).map(sum).collect();
        // Depthwise vectors are padded as if there were one group.
        let depthwise = case.layout == LayoutS8::Dw16;
        let groups = if depthwise { 1 } else { case.shape.groups };
        let vector = conv_s8::bias_len(Border::default(), groups, case.shape.out_c)?;
        let groups = groups as usize;
        let mut packed = Self {
            weights: pack_weights(case, weights)?,
            bias: vec![i32::MAX; bias.len() / channels * vector],
            sums: vec![i32::MAX; vector],
            scale: vec![f32::NAN; vector],
            negative: vec![f32::NAN; if case.negative { vector } else { 0 }],
        };
        for (from, to) in bias.chunks(channels).zip(packed.bias.chunks_mut(vector)) {
            pack_channels(from, channels, groups, to)?;
        }
        pack_channels(&sums, channels, groups, &mut packed.sums)?;
        pack_channels(scale, channels, groups, &mut packed.scale)?;
        if case.negative {
            pack_channels(negative, channels, groups, &mut packed.negative)?;
        }
        Some(packed)
    }
}

fn pack_weights(case: &ConvS8Case, weights: &[i8]) -> Option<Vec<i8>> {
    let ConvCase { window, groups, input, out_c, .. } = case.shape;
    let (kh, kw) = (window.kernel.h as usize, window.kernel.w as usize);
    let (channels, in_c) = (out_c as usize, (input.c / groups) as usize);
    if case.layout == LayoutS8::Dw16 {
        let mut packed = vec![99; depthwise_s8::weights_len(&window, out_c)?];
        depthwise_s8::pack(weights, channels, kh * kw, &mut packed)?;
        return Some(packed);
    }
    let len = conv_s8::weights_len(LayoutS8::Nr16Kr4, &window, groups, input.c, out_c)?;
    let mut packed = vec![99; len];
    conv_s8::pack(weights, channels, in_c, kh, kw, groups as usize, &mut packed)?;
    if case.layout == LayoutS8::Nr16Kr4 {
        return Some(packed);
    }
    let mut bytes = vec![99; conv_s8::weights_len(case.layout, &window, groups, input.c, out_c)?];
    conv_s8::pack_bits4(&packed, &mut bytes)?;
    Some(bytes)
}

/// The two contracts that execute [`ConvS8`], to tests that treat them alike.
pub trait Convolves: Contract<Value = u8, Scratch = u8> {
    /// The kernels' view of the operands on another input of the same shape.
    ///
    /// # Panics
    /// When the contract refuses them.
    fn args_on<'a>(operands: &'a ConvS8Operands, x: &'a [i8]) -> Self::Args<'a>;

    /// Bytes of scratch for `rows` output rows.
    fn scratch(operands: &ConvS8Operands, rows: u32) -> Option<usize>;
}

impl Convolves for ConvolutionS8 {
    fn args_on<'a>(operands: &'a ConvS8Operands, x: &'a [i8]) -> Self::Args<'a> {
        let (input, output) = &operands.maps;
        conv_s8::Args::new(&operands.conv, input, output, operands.tensors_on(x))
            .expect("operands of a case fit each other")
    }

    fn scratch(operands: &ConvS8Operands, rows: u32) -> Option<usize> {
        let ConvS8 { layout, window, groups, .. } = &operands.conv;
        let (input, output) = (operands.maps.0.dims, operands.maps.1.dims);
        conv_s8::scratch_len(*layout, window, *groups, input, output, rows)
    }
}

impl Convolves for DepthwiseS8 {
    fn args_on<'a>(operands: &'a ConvS8Operands, x: &'a [i8]) -> Self::Args<'a> {
        let (input, output) = &operands.maps;
        depthwise_s8::Args::new(&operands.conv, input, output, operands.tensors_on(x))
            .expect("operands of a case fit each other")
    }

    fn scratch(operands: &ConvS8Operands, _: u32) -> Option<usize> {
        depthwise_s8::scratch_len(&operands.conv.window)
    }
}
