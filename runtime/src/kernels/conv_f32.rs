//! Contract of the f32 convolution kernels (dense and grouped, [`Layout::F32Nr16`]).
//!
//! `y[r, c, o] = act(b[class(r, c), o] + sum_{ky, kx, i} W[o, i, ky, kx] * x[iy, ix, i])` with
//! `iy = r * stride.h + ky * dilation.h - pad.top` (likewise `ix`); taps outside the picture add
//! nothing. Every kernel adds the taps of one output value in the order `ky, kx, i`, starting from
//! the bias, so that **results never depend on bands, tiles, threads or streaming**. SIMD kernels
//! fuse multiply and add, the portable one does not.
//!
//! A kernel writes a band: output rows `rows`, each `w * c` values, densely into `y`.
//! [`Args::new`] is where all bounds are proved; kernels rely on it.
//!
//! Operands: `x` NHWC; `weights` `[group][panel][kh][kw][i][16]`; `bias`
//! `[border class][group][panel][16]`; `slopes` `[group][panel][16]`. [`pack`] writes the last
//! three from ONNX order.

mod geometry;
mod pack;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use crate::cpu::{Cpu, Feature};
use crate::dims::Dims;
use crate::step::{Activation, Border, Conv, Layout};
use core::ops::Range;
use geometry::Geometry;

pub use geometry::{bias_len, panels, scratch_len, weights_len};
pub use pack::{pack, pack_channels};

/// Output channels in one panel.
pub const NR: usize = 16;

/// Bands start at multiples of this many output rows.
pub const ROW_QUANTUM: u32 = 1;

/// One convolution with its operands, bounds proved.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    geometry: Geometry,
    activation: Activation,
    x: &'a [f32],
    weights: &'a [f32],
    bias: &'a [f32],
    slopes: &'a [f32],
}

impl<'a> Args<'a> {
    /// Checks every extent against the shapes, which are derived again from `conv.window`.
    ///
    /// `slopes` is read for [`Activation::PRelu`] only. `None` when the layout is not
    /// [`Layout::F32Nr16`], a dimension is zero, groups do not divide the channels, `output` does
    /// not follow from `input`, border classes overlap, or a slice is not exactly as long as
    /// [`Dims::elements`], [`weights_len`] and [`bias_len`] say.
    pub fn new(
        conv: &Conv,
        input: Dims,
        output: Dims,
        x: &'a [f32],
        weights: &'a [f32],
        bias: &'a [f32],
        slopes: &'a [f32],
    ) -> Option<Self> {
        let (window, groups, activation) = (&conv.window, conv.groups, conv.activation);
        let geometry = Geometry::new(window, groups, conv.border, input, output)?;
        let slopes_fit = !matches!(activation, Activation::PRelu { .. })
            || slopes.len() == bias_len(Border::default(), groups, output.c)?;
        let fits = matches!(conv.layout, Layout::F32Nr16)
            && x.len() == input.elements()?
            && weights.len() == weights_len(window, groups, input.c, output.c)?
            && bias.len() == bias_len(conv.border, groups, output.c)?
            && slopes_fit;
        fits.then_some(Self { geometry, activation, x, weights, bias, slopes })
    }

    /// Number of values in one output row.
    pub fn output_row(&self) -> usize {
        self.geometry.output_row()
    }

    /// Floats of scratch without which [`Kernel::run`] refuses: [`scratch_len`] of one row.
    pub fn min_scratch(&self) -> usize {
        self.geometry.scratch_len(1)
    }
}

/// A function that computes a band of output rows. The caller has checked what
/// [`Kernel::run`] checks.
type Run = unsafe fn(&Args<'_>, Range<usize>, &mut [f32], &mut [f32]);

/// One implementation of the contract.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    /// `conv_f32_{MR}x{NR}_{isa}`: the largest tile, pixels by output channels.
    pub name: &'static str,
    /// CPU feature without which [`Kernel::run`] refuses.
    pub needs: Option<Feature>,
    run: Run,
}

impl Kernel {
    /// Computes output rows `rows` into `y` (`rows.len() * w * c` values, NHWC).
    ///
    /// `scratch` holds staged input rows, contents before and after do not matter; more scratch
    /// than [`Args::min_scratch`] means fewer rows staged twice, never another result. `None`, and
    /// `y` untouched, when `cpu` lacks the feature, `rows` is not inside the output, `y` has
    /// another length or `scratch` is too short.
    #[allow(unsafe_code, reason = "the one place where a kernel of this contract is called")]
    pub fn run(
        &self,
        cpu: Cpu,
        args: &Args<'_>,
        rows: Range<u32>,
        y: &mut [f32],
        scratch: &mut [f32],
    ) -> Option<()> {
        let rows = usize::try_from(rows.start).ok()?..usize::try_from(rows.end).ok()?;
        let values = rows.len().checked_mul(args.output_row())?;
        let fits = cpu.has(self.needs)
            && rows.end <= args.geometry.output.h
            && y.len() == values
            && scratch.len() >= args.min_scratch();
        if !fits {
            return None;
        }
        // SAFETY: `cpu.has(self.needs)`: a `Cpu` names only features of the machine that made it,
        // and having its CPU feature is all that a `Run` function demands beyond safe arguments.
        unsafe { (self.run)(args, rows, y, scratch) };
        Some(())
    }
}

/// Every kernel of the contract, best first; the portable one is last.
pub static LIST: &[Kernel] = &[
    #[cfg(target_arch = "x86_64")]
    x86::AVX512,
    #[cfg(target_arch = "x86_64")]
    x86::AVX2,
    portable::KERNEL,
];

static PORTABLE: Kernel = portable::KERNEL;

/// The first kernel of [`LIST`] that `cpu` can run.
pub const fn select(cpu: Cpu) -> &'static Kernel {
    let mut rest = LIST;
    while let [kernel, worse @ ..] = rest {
        if cpu.has(kernel.needs) {
            return kernel;
        }
        rest = worse;
    }
    &PORTABLE
}
