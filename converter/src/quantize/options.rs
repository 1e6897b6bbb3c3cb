//! [`Options`]: what to quantize how; every pass can be switched off.

/// How the range of an activation is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RangeMethod {
    /// From the smallest to the largest value seen.
    MinMax,
    /// Without the outermost 0.01 % of the values.
    Percentile,
    /// The range with the smallest mean squared error.
    Mse,
    /// The range whose rounded histogram has the smallest Kullback-Leibler divergence from the exact one.
    Kl,
    /// For each tensor the one of these that leaves the network's outputs closest to the exact ones.
    #[default]
    Search,
}

impl RangeMethod {
    /// What `--ranges` and the report call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::MinMax => "minmax",
            Self::Percentile => "percentile",
            Self::Mse => "mse",
            Self::Kl => "kl",
            Self::Search => "search",
        }
    }
}

/// How to quantize.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Equalise channels across layers.
    pub equalise: bool,
    /// How the ranges of activations are found.
    pub ranges: RangeMethod,
    /// Search the scales of weights; if not, they reach to the largest weight.
    pub clip_weights: bool,
    /// Round weights so that layers err least on the calibration data; if not, to the nearest.
    pub rounding: bool,
    /// Correct the means of what layers compute.
    pub correct_bias: bool,
    /// One scale for all weights of a layer, for comparison; if not, one an output channel.
    pub per_tensor: bool,
    /// Bits of a weight: 8 or 4.
    pub weight_bits: u8,
    /// Leave the first convolution or dense layer in float.
    pub float_first: bool,
    /// Leave the last convolution or dense layer in float.
    pub float_last: bool,
    /// Further nodes to leave in float, by their names or those of their results.
    pub float_nodes: Vec<String>,
    /// The first input is a raw picture of 0 to 255: its scale is 1, its zero point -128.
    pub raw_pixels: bool,
}

impl Default for Options {
    /// Every pass, 8 bits, everything quantized that can be.
    fn default() -> Self {
        Self {
            equalise: true,
            ranges: RangeMethod::Search,
            clip_weights: true,
            rounding: true,
            correct_bias: true,
            per_tensor: false,
            weight_bits: 8,
            float_first: false,
            float_last: false,
            float_nodes: Vec::new(),
            raw_pixels: false,
        }
    }
}

impl Options {
    /// What people call plain post-training quantization: ranges from the smallest to the largest
    /// value, every number rounded to the nearest. What the passes gain is measured against it.
    pub fn plain() -> Self {
        Self {
            equalise: false,
            ranges: RangeMethod::MinMax,
            clip_weights: false,
            rounding: false,
            correct_bias: false,
            ..Self::default()
        }
    }

    /// The largest integer of a weight: 127 or 7.
    pub fn largest_weight(&self) -> f32 {
        largest_weight(self.weight_bits)
    }
}

/// The largest integer of a weight of so many bits; the smallest is its negative.
pub fn largest_weight(bits: u8) -> f32 {
    if bits == 4 { 7.0 } else { 127.0 }
}
