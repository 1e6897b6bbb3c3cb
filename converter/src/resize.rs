//! [`Resize`]: interpolation along axes of a value, and the [`Taps`] that it comes down to.
//!
//! Every mode of ONNX's Resize is separable: along each axis an output element is a weighted sum of
//! neighbouring input elements. Which ones, and with which weights, is computed here in f64, for the
//! oracle as for the plan. Coordinates are rounded to f32 after each operation, as engines compute
//! them: where a coordinate is a whole number or a half in exact arithmetic, it stays one.

/// Interpolation along one axis or two.
#[derive(Clone, Debug, PartialEq)]
pub struct Resize {
    /// The axes, at least one.
    pub axes: Vec<ResizedAxis>,
    /// How elements between those of the input are made.
    pub interpolation: Interpolation,
    /// Where output elements lie in the input.
    pub coordinates: Coordinates,
    /// Taps outside the input have weight 0, and the others add up to 1.
    pub exclude_outside: bool,
    /// Widens the taps where the input is shrunk.
    pub antialias: bool,
}

/// One resized axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ResizedAxis {
    /// Which.
    pub axis: usize,
    /// Output elements for one of the input; if absent, the quotient of the lengths.
    pub scale: Option<f32>,
    /// First and last point of the part that [`Coordinates::TfCropAndResize`] shows; 0 is the first
    /// element of the input, 1 the last.
    pub crop: [f32; 2],
}

/// How elements between those of the input are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Interpolation {
    /// The nearest element.
    Nearest(Rounding),
    /// Between two elements.
    Linear,
    /// Cubic convolution between four (Keys, "Cubic convolution interpolation for digital image
    /// processing", 1981).
    Cubic {
        /// Slope parameter.
        a: f32,
    },
}

/// What the nearest element is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// Halves go down.
    PreferFloor,
    /// Halves go up.
    PreferCeil,
    /// The element before.
    Floor,
    /// The element behind.
    Ceil,
}

impl Rounding {
    /// Every rounding under ONNX's name, `nearest_mode`.
    pub const NAMES: [(&'static str, Self); 4] = [
        ("round_prefer_floor", Self::PreferFloor),
        ("round_prefer_ceil", Self::PreferCeil),
        ("floor", Self::Floor),
        ("ceil", Self::Ceil),
    ];
}

/// Where output elements lie in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coordinates {
    /// `(i + 0.5) / scale - 0.5`.
    HalfPixel,
    /// The same around the middle of the input, if lengths times scale is no whole number.
    HalfPixelSymmetric,
    /// [`Coordinates::HalfPixel`], but 0 for a single element.
    PytorchHalfPixel,
    /// The first and the last elements meet.
    AlignCorners,
    /// `i / scale`.
    Asymmetric,
    /// [`Coordinates::AlignCorners`] on a part of the input; 0 where that reaches outside.
    TfCropAndResize,
}

impl Coordinates {
    /// All of them under ONNX's name, `coordinate_transformation_mode`.
    pub const NAMES: [(&'static str, Self); 6] = [
        ("half_pixel", Self::HalfPixel),
        ("half_pixel_symmetric", Self::HalfPixelSymmetric),
        ("pytorch_half_pixel", Self::PytorchHalfPixel),
        ("align_corners", Self::AlignCorners),
        ("asymmetric", Self::Asymmetric),
        ("tf_crop_and_resize", Self::TfCropAndResize),
    ];
}

/// For each output element a run of `count` input elements and their weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Taps {
    /// Elements of a run; no run ends outside the input.
    pub count: usize,
    /// Where the run of each output element begins.
    pub first: Vec<usize>,
    /// `[output][count]`.
    pub weights: Vec<f64>,
}

impl Taps {
    /// Each output element is the input element of this number.
    pub fn picking(indices: &[usize]) -> Self {
        Self { count: 1, first: indices.to_vec(), weights: vec![1.0; indices.len()] }
    }

    /// Each output element is the input element of its own number.
    pub fn identity(len: usize) -> Self {
        Self { count: 1, first: (0..len).collect(), weights: vec![1.0; len] }
    }

    /// The runs of several inputs of `input` elements, one behind the other.
    pub fn repeated(self, inputs: usize, input: usize) -> Self {
        let first = |k: usize| self.first.iter().map(move |first| k * input + first);
        let first = (0..inputs).flat_map(first).collect();
        Self { count: self.count, first, weights: self.weights.repeat(inputs) }
    }

    /// The runs of a resized axis of `input` elements that becomes one of `output`.
    pub fn of(resize: &Resize, axis: &ResizedAxis, input: usize, output: usize) -> Self {
        let sums: Vec<Vec<(usize, f64)>> =
            (0..output).map(|at| sum(resize, axis, [input, output], at)).collect();
        Self::new(&sums, input)
    }

    /// Weighted sums as runs of one length.
    fn new(sums: &[Vec<(usize, f64)>], input: usize) -> Self {
        let ends = |sum: &[(usize, f64)]| {
            let used = sum.iter().filter(|(_, weight)| *weight != 0.0).map(|(index, _)| *index);
            let first = used.clone().min().unwrap_or(0);
            (first, used.max().unwrap_or(first) + 1)
        };
        let longest = sums.iter().map(|sum| ends(sum)).map(|(first, end)| end - first).max();
        let count = longest.unwrap_or(1);
        let mut taps = Self { count, first: Vec::new(), weights: Vec::new() };
        for sum in sums {
            let first = ends(sum).0.min(input - count);
            let mut run = vec![0.0; count];
            let used = sum.iter().filter(|(_, weight)| *weight != 0.0);
            used.for_each(|(index, weight)| run[index - first] += weight);
            taps.first.push(first);
            taps.weights.append(&mut run);
        }
        taps
    }

    /// Each run, and its weights.
    pub fn runs(&self) -> impl Iterator<Item = (usize, &[f64])> {
        self.first.iter().copied().zip(self.weights.chunks(self.count))
    }

    /// Whether every output element is the input element of its own number.
    pub fn is_identity(&self, input: usize) -> bool {
        let same = |(at, (first, weights)): (usize, (usize, &[f64]))| {
            let one = |k: usize| f64::from(u8::from(first + k == at));
            weights.iter().enumerate().all(|(k, &weight)| weight == one(k))
        };
        self.first.len() == input && self.runs().enumerate().all(same)
    }
}

/// Input elements and weights of output element `at`.
fn sum(
    resize: &Resize,
    axis: &ResizedAxis,
    [input, output]: [usize; 2],
    at: usize,
) -> Vec<(usize, f64)> {
    let scale = axis.scale.unwrap_or(output as f32 / input as f32);
    let x = coordinate(resize.coordinates, axis, [input, output], at);
    let last = input as i64 - 1;
    if resize.coordinates == Coordinates::TfCropAndResize && !(0.0..=last as f64).contains(&x) {
        return vec![];
    }
    // The ratio is in (0, 1]: of a whole number, the element itself is on the right.
    let left = x.ceil() - 1.0;
    let mut weights = weights(resize, x - left, f64::from(scale));
    let first = left as i64 - (weights.len() as i64 / 2 - 1);
    let place = |k: usize| first + k as i64;
    let is_inside = |k: usize| (0..=last).contains(&place(k));
    let total: f64 = (0..weights.len()).filter(|&k| is_inside(k)).map(|k| weights[k]).sum();
    // Of the nearest element none may be left.
    if resize.exclude_outside && total != 0.0 {
        for (k, weight) in weights.iter_mut().enumerate() {
            *weight = if is_inside(k) { *weight / total } else { 0.0 };
        }
    }
    let inside = |k: usize| place(k).clamp(0, last) as usize;
    weights.into_iter().enumerate().map(|(k, weight)| (inside(k), weight)).collect()
}

/// Where output element `at` lies in the input.
fn coordinate(
    coordinates: Coordinates,
    axis: &ResizedAxis,
    [input, output]: [usize; 2],
    at: usize,
) -> f64 {
    let scale = axis.scale.unwrap_or(output as f32 / input as f32);
    // Not rounded down where the scale is given.
    let width = axis.scale.map_or(output as f64, |scale| f64::from(scale) * input as f64);
    let (at, last) = (at as f32, input as f64 - 1.0);
    let half_pixel = (at + 0.5) / scale - 0.5;
    let [from, to] = axis.crop.map(f64::from);
    let x = match coordinates {
        Coordinates::HalfPixel => half_pixel,
        Coordinates::PytorchHalfPixel if output == 1 => 0.0,
        Coordinates::PytorchHalfPixel => half_pixel,
        Coordinates::HalfPixelSymmetric => {
            let beside = input as f64 / 2.0 * (1.0 - output as f64 / width);
            (beside + f64::from(half_pixel)) as f32
        }
        Coordinates::AlignCorners if output == 1 => 0.0,
        Coordinates::AlignCorners => (f64::from(at) * last / (width - 1.0)) as f32,
        Coordinates::Asymmetric => at / scale,
        Coordinates::TfCropAndResize if output == 1 => (last * (from + to) / 2.0) as f32,
        Coordinates::TfCropAndResize => {
            (from * last + f64::from(at) * (to - from) * last / (width - 1.0)) as f32
        }
    };
    f64::from(x)
}

/// Weights of an even number of elements around a point: half of them up to the one on its left,
/// which is `ratio` away, in (0, 1].
fn weights(resize: &Resize, ratio: f64, scale: f64) -> Vec<f64> {
    let shrinks = resize.antialias && scale < 1.0;
    let (reach, shape): (f64, &dyn Fn(f64) -> f64) = match resize.interpolation {
        Interpolation::Nearest(rounding) => return nearest(rounding, ratio),
        Interpolation::Linear => (1.0, &|x: f64| (1.0 - x.abs()).max(0.0)),
        Interpolation::Cubic { a } => (2.0, &move |x| cubic(f64::from(a), x.abs())),
    };
    let stretch = if shrinks { scale } else { 1.0 };
    let start = (-reach / stretch).floor() as i64 + 1;
    let mut weights: Vec<f64> =
        (start..2 - start).map(|k| shape((k as f64 - ratio) * stretch)).collect();
    if shrinks {
        let total: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= total);
    }
    weights
}

fn nearest(rounding: Rounding, ratio: f64) -> Vec<f64> {
    let right = ratio == 1.0
        || match rounding {
            Rounding::PreferFloor => ratio > 0.5,
            Rounding::PreferCeil => ratio >= 0.5,
            Rounding::Floor => false,
            Rounding::Ceil => true,
        };
    if right { vec![0.0, 1.0] } else { vec![1.0, 0.0] }
}

/// Keys's kernel at distance `x`.
fn cubic(a: f64, x: f64) -> f64 {
    if x <= 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
    } else {
        0.0
    }
}
