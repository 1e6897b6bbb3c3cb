//! The most multiply-adds that one core of this machine does: what a kernel's speed is held
//! against. Measured, because no table knows the clock under load.
#![allow(unsafe_code, reason = "calls functions of CPU features that were detected")]

use std::hint::black_box;
use std::time::Instant;

/// Multiply-adds of one register in a row of independent sums: hides their latency.
const SUMS: usize = 12;
const STEPS: usize = 100_000;

/// GFLOP/s of one core, a multiply-add counted as two; `None` without AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
pub(crate) fn gflops() -> Option<f64> {
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: `is_x86_feature_detected` has just found the feature.
        return Some(fastest(16, || unsafe { multiply_add_avx512() }));
    }
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: `is_x86_feature_detected` has just found both features.
        return Some(fastest(8, || unsafe { multiply_add_avx2() }));
    }
    None
}

/// GFLOP/s of one core: not known for this architecture.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn gflops() -> Option<f64> {
    None
}

/// The best of 50 runs of [`STEPS`] times [`SUMS`] multiply-adds of `lanes` floats.
fn fastest(lanes: usize, run: impl Fn()) -> f64 {
    let seconds = (0..50).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    });
    let least = seconds.fold(f64::INFINITY, f64::min);
    2e-9 * (STEPS * SUMS * lanes) as f64 / least
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn multiply_add_avx512() {
    use core::arch::x86_64::{_mm512_fmadd_ps, _mm512_set1_ps};
    let factor = _mm512_set1_ps(black_box(0.5));
    let mut sums = [factor; SUMS];
    for _ in 0..STEPS {
        for sum in &mut sums {
            *sum = _mm512_fmadd_ps(*sum, factor, factor);
        }
    }
    black_box(sums);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn multiply_add_avx2() {
    use core::arch::x86_64::{_mm256_fmadd_ps, _mm256_set1_ps};
    let factor = _mm256_set1_ps(black_box(0.5));
    let mut sums = [factor; SUMS];
    for _ in 0..STEPS {
        for sum in &mut sums {
            *sum = _mm256_fmadd_ps(*sum, factor, factor);
        }
    }
    black_box(sums);
}
