//! How far values are from those they should be, as ratios of power.

/// The mean square of the differences between an output and a reference picture, the output held to
/// 0 to `peak` as every file and screen does.
///
/// A value that is no number counts as far away as the peak.
pub(super) fn mean_square(output: &[f32], picture: &[f32], peak: f64) -> f64 {
    let square = |(&y, &r): (&f32, &f32)| match f64::from(y) {
        y if y.is_nan() => peak * peak,
        y => (y.clamp(0.0, peak) - f64::from(r)).powi(2),
    };
    output.iter().zip(picture).map(square).sum::<f64>() / output.len().max(1) as f64
}

/// Squares of exact values, and of what other ones differ from them by, over all outputs. What is no
/// number is infinitely wrong.
pub(super) fn signal_and_noise(exact: &[Vec<f32>], other: &[Vec<f32>]) -> [f64; 2] {
    let pairs = exact.iter().flatten().zip(other.iter().flatten());
    pairs.fold([0.0; 2], |[signal, noise], (&y, &x)| {
        let (y, x) = (f64::from(y), f64::from(x));
        let difference = (x - y).abs();
        let difference = if difference.is_nan() { f64::INFINITY } else { difference };
        [signal + y * y, noise + difference * difference]
    })
}

/// `10 log10(signal / noise)`: of power, in dB; infinite where there is no noise.
pub(super) fn decibels(signal: f64, noise: f64) -> f64 {
    if noise > 0.0 { 10.0 * (signal / noise).log10() } else { f64::INFINITY }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn likeness_is_that_of_the_formula() {
        // Differences 0, 10, and 5 beyond white, which is cut off.
        let square = mean_square(&[0.0, 110.0, 260.0], &[0.0, 100.0, 255.0], 255.0);
        assert_eq!(square, 100.0 / 3.0);
        let psnr = decibels(255.0 * 255.0, square);
        assert!((psnr - 20.0 * (255.0 / (100.0_f64 / 3.0).sqrt()).log10()).abs() < 1e-12);
        assert_eq!(mean_square(&[f32::NAN], &[1.0], 2.0), 4.0);
    }

    #[test]
    fn noise_is_what_differs() {
        let [signal, noise] = signal_and_noise(&[vec![3.0], vec![4.0]], &[vec![3.0], vec![3.5]]);
        assert_eq!((signal, noise), (25.0, 0.25));
        assert_eq!(decibels(25.0, 0.25), 20.0);
        assert_eq!(decibels(1.0, 0.0), f64::INFINITY);
        let [_, noise] = signal_and_noise(&[vec![1.0]], &[vec![f32::NAN]]);
        assert_eq!(noise, f64::INFINITY);
    }
}
