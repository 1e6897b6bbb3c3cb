//! From the figures of layers to where noise comes from and what would help.

use super::layer::Layer;
use std::fmt;

/// Where most of a layer's noise comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cause {
    /// There is none worth a word.
    Exact,
    /// It was there before.
    Inherited,
    /// Values beyond the range: their share.
    CutOff(f64),
    /// The distance of the integers: the range in units of the values' root mean square.
    Coarse(f64),
    /// Neither: the weights, or the arithmetic.
    Weights,
}

/// A ratio, in power, above which a layer is as good as exact: 50 dB.
const EXACT: f64 = 1e-5;
/// A range of so many root mean squares leaves room for a narrower one: of a normal distribution the
/// best one reaches over 8 deviations (Banner et al., 2019).
const WIDE: f64 = 12.0;
/// The part of a sum that counts as most of it.
const MOST: f64 = 0.5;

impl Cause {
    /// Of a layer that reads others whose noise-to-signal ratio is at most `before`.
    pub(super) fn of(layer: &Layer, before: f64) -> Self {
        let sums = layer.sums();
        let ratio = sums.noise_to_signal();
        let own = ratio - before;
        if ratio <= EXACT || sums.signal == 0.0 {
            return Self::Exact;
        }
        if own < MOST * ratio {
            return Self::Inherited;
        }
        let (grid, quantization) = (&layer.grid, layer.element.quantization());
        let from_grid = grid.noise() / sums.signal;
        match quantization {
            Some(quantization) if from_grid >= MOST * own => {
                if grid.clipping >= MOST * grid.noise() {
                    return Self::CutOff(grid.share());
                }
                let mean_square = sums.signal / grid.values.max(1) as f64;
                Self::Coarse(255.0 * f64::from(quantization.scale) / mean_square.sqrt())
            }
            _ => Self::Weights,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact => Ok(()),
            Self::Inherited => write!(f, "most of its noise comes from the layers before"),
            Self::CutOff(share) => write!(
                f,
                "{:.2} % of its values lie beyond the range of its integers: a wider range \
                 (--ranges minmax), or calibration on pictures like the worst",
                100.0 * share
            ),
            Self::Coarse(range) if *range < WIDE => write!(
                f,
                "256 integers over {range:.0} times the root mean square of its values, as narrow a \
                 range as they allow, are all it can have: this layer in f32 (--float NODE)"
            ),
            Self::Coarse(range) => write!(
                f,
                "its 256 integers reach over {range:.0} times the root mean square of its values: a \
                 narrower range (--ranges percentile or mse), equalised channels, or this layer in f32 \
                 (--float NODE)"
            ),
            Self::Weights => write!(
                f,
                "its own weights or arithmetic: one scale a channel, rounding by least squares, bias \
                 correction, more calibration pictures, or this layer in f32 (--float NODE)"
            ),
        }
    }
}

/// A sample that is so much worse than the median, in dB, is unlike what the network was calibrated on.
const UNLIKE: f64 = 10.0;

/// Whether one sample stands out.
pub(super) fn outlier(layer: &Layer) -> Option<usize> {
    let (at, least) = layer.worst()?;
    (layer.samples.len() > 2 && least < layer.median() - UNLIKE).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use unbraid_runtime::step::{Element, Quantization};

    fn layer(scale: f32, truth: &[f64], found: &[f32]) -> Layer {
        let quantization = Quantization { scale, zero_point: 0 };
        let mut layer = Layer::new("conv_s8", "portable", Element::S8(quantization));
        layer.add(truth, found);
        layer
    }

    #[test]
    fn the_cause_is_where_most_of_the_noise_is() {
        // Range -12.8 to 12.7 in steps of 0.1.
        let truth = [1.0, -2.0, 3.0, 5.0];
        assert_eq!(Cause::of(&layer(0.1, &truth, &[1.0, -2.0, 3.0, 5.0]), 0.0), Cause::Exact);
        let wrong = layer(0.1, &truth, &[1.5, -2.0, 3.0, 5.0]);
        assert_eq!(Cause::of(&wrong, 0.0), Cause::Weights);
        assert_eq!(Cause::of(&wrong, 0.25 / 39.0), Cause::Inherited);
        let cut = layer(0.1, &[1.0, 20.0], &[1.0, 12.7]);
        assert_eq!(Cause::of(&cut, 0.0), Cause::CutOff(0.5));
        let coarse = layer(4.0, &[1.0, 3.0], &[0.0, 4.0]);
        assert!(matches!(Cause::of(&coarse, 0.0), Cause::Coarse(range) if range > 400.0));
        assert!(Cause::of(&coarse, 0.0).to_string().contains("--ranges percentile"));
        assert!(!Cause::Coarse(8.0).to_string().contains("--ranges"), "it is narrow already");
    }

    #[test]
    fn one_sample_among_better_ones_stands_out() {
        let mut layer = layer(0.1, &[1.0], &[1.01]);
        for _ in 0..3 {
            layer.add(&[1.0], &[1.01]);
        }
        assert_eq!(outlier(&layer), None);
        layer.add(&[1.0], &[1.5]);
        assert_eq!(outlier(&layer), Some(4));
    }
}
