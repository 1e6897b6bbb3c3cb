//! [`Random`]: the numbers of all test cases and generated models, the same on every machine.

use std::f32::consts::TAU;
use unbraid_converter::tensor::{Tensor, elements};

/// A small reproducible random generator (`SplitMix64`: Steele, Lea and Flood, OOPSLA 2014).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// 32 random bits.
    pub fn bits(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z >> 32) as u32
    }

    /// One of the values.
    pub fn pick<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.bits() as usize % values.len()]
    }

    /// A number in [0, 1).
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 8) as f32 / (1 << 24) as f32
    }

    /// `len` numbers in [-1, 1).
    pub fn vec(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.unit() * 2.0 - 1.0).collect()
    }

    /// `len` values of all 8-bit integers.
    pub fn bytes(&mut self, len: usize) -> Vec<i8> {
        (0..len).map(|_| (self.bits() as u8).cast_signed()).collect()
    }

    /// A tensor of numbers in [lo, hi).
    ///
    /// # Panics
    /// When the shape overflows.
    pub fn tensor(&mut self, shape: &[usize], lo: f32, hi: f32) -> Tensor {
        let len = elements(shape).expect("a small shape");
        Tensor::f32(shape, self.within(lo, hi, len)).expect("as many values as the shape holds")
    }

    /// `len` numbers in [lo, hi).
    pub fn within(&mut self, lo: f32, hi: f32, len: usize) -> Vec<f32> {
        (0..len).map(|_| lo + (hi - lo) * self.unit()).collect()
    }

    /// `len` normally distributed numbers with mean 0 and this standard deviation (Box and Muller).
    pub fn normals(&mut self, std: f32, len: usize) -> Vec<f32> {
        let mut values = Vec::with_capacity(len + 1);
        while values.len() < len {
            // 1 - unit() is in (0, 1]: its logarithm is finite.
            let radius = std * (-2.0 * (1.0 - self.unit()).ln()).sqrt();
            let (sin, cos) = (TAU * self.unit()).sin_cos();
            values.extend([radius * cos, radius * sin]);
        }
        values.truncate(len);
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normals_have_the_moments_they_should() {
        let values = Random(1).normals(2.0, 100_001);
        let n = values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let variance = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
        assert_eq!(values.len(), 100_001);
        assert!(mean.abs() < 0.03 && (variance - 4.0).abs() < 0.1, "{mean} {variance}");
    }
}
