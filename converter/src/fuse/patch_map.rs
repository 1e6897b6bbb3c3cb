//! Patch maps: where reshapes cut pictures into rows of numbers that meet a dense layer.
//!
//! A reshape that keeps axis 0 moves no number: the `C·h·w` numbers of a row of `[M, C, h, w]` are
//! the channels of `[M, C·h·w, 1, 1]`. A map from patch to patch is therefore a kernel map of one
//! pixel, for which every rule of the algebra holds already, and each kernel map *unfolds* into one:
//!
//! ```text
//! W[(o, q), (i, p)] = K[o, i, the tap that reads pixel p for output pixel q], 0 if there is none
//! b[(o, q)]         = bias[o] + sum of border[o, tap] over the taps outside the patch
//! ```
//!
//! This is exact on every pixel. Channels come first in `(o, q)` and `(i, p)`, so that groups stay
//! contiguous blocks and only their blocks are stored, also where `O != C`. (`RepMLP`, Ding et al.
//! 2021, finds the same matrix by convolving an identity.)

use super::Reason;
use super::form::Form;
use super::kernel_map::KernelMap;
use rayon::prelude::*;

/// Most weights of a dense map that are held, 512 MiB in f64. `RepMLPNet` needs 2^24.
const MAX_WEIGHTS: u128 = 1 << 26;

impl Form {
    /// Form of the same map seen as one pixel, for a picture of `input` that gives `output` pixels.
    ///
    /// # Errors
    /// [`Reason::TooManyWeights`].
    pub fn unfolded(&self, input: [usize; 2], output: [usize; 2]) -> Result<Self, Reason> {
        let inputs = self.inputs * input[0] * input[1];
        let outputs = self.outputs * output[0] * output[1];
        let groups = if self.is_diagonal() { inputs } else { self.groups };
        let found = inputs as u128 / groups as u128 * outputs as u128;
        if found > MAX_WEIGHTS {
            return Err(Reason::TooManyWeights { found, limit: MAX_WEIGHTS });
        }
        let biased = self.biased || self.border.is_some();
        Ok(Self { groups, outputs, ..Self::diagonal(inputs, biased) })
    }
}

impl KernelMap {
    /// The same map seen as one pixel, for a picture of `input` that gives `output` pixels.
    ///
    /// # Errors
    /// As [`Form::unfolded`].
    pub fn unfolded(self, input: [usize; 2], output: [usize; 2]) -> Result<Self, Reason> {
        let form = self.form.unfolded(input, output)?;
        let pixels = output[0] * output[1];
        if self.form.is_diagonal() {
            let repeated = |v: &[f64]| -> Vec<f64> {
                v.iter().flat_map(|&v| std::iter::repeat_n(v, pixels)).collect()
            };
            let (kernel, bias) = (repeated(&self.kernel), repeated(&self.bias));
            return Ok(Self { form, kernel, bias, border: None });
        }
        let mut kernel = vec![0.0; form.weights()];
        let mut bias = vec![0.0; form.outputs];
        let rows = kernel.par_chunks_mut(form.channels()).zip(&mut bias);
        rows.enumerate().for_each(|(row, (weights, bias))| {
            let pixel = [row % pixels / output[1], row % output[1]];
            *bias = self.unfold_row(row / pixels, pixel, input, weights);
        });
        Ok(Self { form, kernel, bias, border: None })
    }

    /// Writes the weights of one output channel and pixel, `[I / groups, h, w]`; returns its bias.
    fn unfold_row(&self, o: usize, q: [usize; 2], input: [usize; 2], weights: &mut [f64]) -> f64 {
        let (channels, taps) = (self.form.channels(), self.form.taps());
        let columns = self.form.axes[1].taps;
        let kernel = &self.kernel[o * channels * taps..][..channels * taps];
        let mut bias = self.bias[o];
        for tap in 0..taps {
            let read = |k: usize, tap: usize| self.form.axes[k].reads(q[k], tap, input[k]);
            match (read(0, tap / columns), read(1, tap % columns)) {
                (Some(y), Some(x)) => {
                    let into = weights[y * input[1] + x..].iter_mut().step_by(input[0] * input[1]);
                    let taps = kernel[tap..].iter().step_by(taps);
                    into.zip(taps).for_each(|(into, w)| *into = *w);
                }
                _ => bias += self.border.as_ref().map_or(0.0, |border| border[o * taps + tap]),
            }
        }
        bias
    }
}
