//! Convolutions as data, with random operands in ONNX order and packed: what the kernel tests run
//! and what the bench times.

pub use crate::rng::Random;
use unbraid_runtime::dims::{Dims, Hw, Pad, Window};
use unbraid_runtime::kernels::conv_f32::{Args, bias_len, pack, pack_channels, weights_len};
use unbraid_runtime::span::Span;
use unbraid_runtime::step::{Activation, Border, Conv, Layout};

/// One convolution: its shapes, nothing of its numbers.
#[derive(Clone, Copy, Debug)]
pub struct ConvCase {
    /// Geometry.
    pub window: Window,
    /// Groups.
    pub groups: u32,
    /// Input shape.
    pub input: Dims,
    /// Output channels.
    pub out_c: u32,
    /// Bias classes.
    pub border: Border,
    /// Applied last.
    pub activation: Activation,
}

impl ConvCase {
    /// A square kernel with `kernel / 2` of padding all around, one group, ReLU.
    pub const fn square(size: (u32, u32), c: (u32, u32), kernel: u32, stride: u32) -> Self {
        let pad = kernel / 2;
        Self {
            window: Window {
                kernel: Hw::square(kernel),
                stride: Hw::square(stride),
                dilation: Hw::square(1),
                pad: Pad { top: pad, left: pad, bottom: pad, right: pad },
            },
            groups: 1,
            input: Dims { h: size.0, w: size.1, c: c.0 },
            out_c: c.1,
            border: Border { top: 0, left: 0, bottom: 0, right: 0 },
            activation: Activation::RELU,
        }
    }

    /// The same with another activation.
    #[must_use]
    pub const fn with_activation(self, activation: Activation) -> Self {
        Self { activation, ..self }
    }

    /// The output's shape, if the window fits.
    pub fn output(&self) -> Option<Dims> {
        let Hw { h, w } = self.window.output(self.input.h, self.input.w)?;
        Some(Dims { h, w, c: self.out_c })
    }

    /// Multiply-accumulates, padding included.
    pub fn macs(&self) -> u64 {
        let output = self.output().map_or(0, |y| u64::from(y.h) * u64::from(y.w));
        let filter = self.window.kernel.h * self.window.kernel.w * (self.input.c / self.groups);
        output * u64::from(self.out_c) * u64::from(filter)
    }
}

/// The distinct 3x3 layers of RepVGG-A0 at 224 x 224, in order, each with its number of uses.
pub const A0_LAYERS: &[(ConvCase, u32)] = &[
    (ConvCase::square((224, 224), (3, 48), 3, 2), 1),
    (ConvCase::square((112, 112), (48, 48), 3, 2), 1),
    (ConvCase::square((56, 56), (48, 48), 3, 1), 1),
    (ConvCase::square((56, 56), (48, 96), 3, 2), 1),
    (ConvCase::square((28, 28), (96, 96), 3, 1), 3),
    (ConvCase::square((28, 28), (96, 192), 3, 2), 1),
    (ConvCase::square((14, 14), (192, 192), 3, 1), 13),
    (ConvCase::square((14, 14), (192, 1280), 3, 2), 1),
];

/// Every kind of activation; the slopes of PReLU are those of the operands.
pub const ACTIVATIONS: &[Activation] = &[
    Activation::None,
    Activation::RELU,
    Activation::Clamp { lo: -0.25, hi: 0.75 },
    Activation::LeakyRelu { slope: 0.1 },
    Activation::PRelu { slopes: Span::EMPTY },
];

/// A case with random numbers.
#[derive(Clone, Debug)]
pub struct ConvOperands {
    /// The case.
    pub case: ConvCase,
    /// What [`Args::new`] takes.
    pub conv: Conv,
    /// Output shape.
    pub output: Dims,
    /// Input, NHWC.
    pub x: Vec<f32>,
    /// Weights, OIHW.
    pub weights: Vec<f32>,
    /// Bias, `[class][o]`.
    pub bias: Vec<f32>,
    /// PReLU slopes, `[o]`.
    pub slopes: Vec<f32>,
    /// Weights, bias, slopes as the layout has them.
    pub packed: [Vec<f32>; 3],
}

impl ConvOperands {
    /// Random operands, weights scaled so that outputs stay near 1; `None` when the window does
    /// not fit or the groups do not divide the channels.
    pub fn random(case: ConvCase, seed: u64) -> Option<Self> {
        let ConvCase { window, groups, input, out_c, border, activation } = case;
        let mut random = Random(seed);
        let (in_c, channels) = ((input.c / groups) as usize, out_c as usize);
        let (kh, kw) = (window.kernel.h as usize, window.kernel.w as usize);
        let filter = in_c * kh * kw;
        let scale = (3.0 / filter as f32).sqrt();
        let weights: Vec<f32> = random.vec(channels * filter).iter().map(|w| w * scale).collect();
        let (rows, columns) = border.classes();
        let bias = random.vec((rows * columns) as usize * channels);
        let slopes = random.vec(channels);
        let x = random.vec(input.elements()?);

        let mut packed = vec![f32::NAN; weights_len(&window, groups, input.c, out_c)?];
        pack(&weights, channels, in_c, kh, kw, groups as usize, &mut packed)?;
        let vector = bias_len(Border::default(), groups, out_c)?;
        let mut packed_bias = vec![f32::NAN; bias_len(border, groups, out_c)?];
        for (from, to) in bias.chunks(channels).zip(packed_bias.chunks_mut(vector)) {
            pack_channels(from, channels, groups as usize, to)?;
        }
        let mut packed_slopes = vec![f32::NAN; vector];
        pack_channels(&slopes, channels, groups as usize, &mut packed_slopes)?;
        let conv = Conv {
            window,
            groups,
            layout: Layout::F32Nr16,
            weights: Span::EMPTY,
            bias: Span::EMPTY,
            border,
            activation,
            scratch: 0,
        };
        let (output, packed) = (case.output()?, [packed, packed_bias, packed_slopes]);
        Some(Self { case, conv, output, x, weights, bias, slopes, packed })
    }

    /// The kernels' view of the operands.
    ///
    /// # Panics
    /// When [`Args::new`] refuses them.
    pub fn args(&self) -> Args<'_> {
        self.args_on(&self.x)
    }

    /// The same with another input of the same shape.
    ///
    /// # Panics
    /// When [`Args::new`] refuses them.
    pub fn args_on<'a>(&'a self, x: &'a [f32]) -> Args<'a> {
        let [weights, bias, slopes] = &self.packed;
        Args::new(&self.conv, self.case.input, self.output, x, weights, bias, slopes)
            .expect("operands of a case fit each other")
    }
}
