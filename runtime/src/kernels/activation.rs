//! [`Activation`] as the portable loops apply it; as SIMD kernels do, in the files beside.

#[cfg(target_arch = "x86_64")]
pub(crate) mod x86;

use crate::step::Activation;

/// Replaces each value by its activation. `slopes` are those of the same channels, for PReLU.
#[inline(always)]
pub(crate) fn activate(values: &mut [f32], activation: Activation, slopes: &[f32]) {
    match activation {
        Activation::None => {}
        Activation::Clamp { lo, hi } => values.iter_mut().for_each(|y| *y = clamp(*y, lo, hi)),
        Activation::LeakyRelu { slope } => values.iter_mut().for_each(|y| *y = leaky(*y, slope)),
        Activation::PRelu { .. } => {
            values.iter_mut().zip(slopes).for_each(|(y, &slope)| *y = leaky(*y, slope));
        }
    }
}

#[inline(always)]
fn leaky(y: f32, slope: f32) -> f32 {
    if y < 0.0 { slope * y } else { y }
}

/// `f32::clamp` without its panic: NaN stays NaN, and `hi` wins when the bounds cross.
#[inline(always)]
fn clamp(y: f32, lo: f32, hi: f32) -> f32 {
    let y = if y < lo { lo } else { y };
    if y > hi { hi } else { y }
}
