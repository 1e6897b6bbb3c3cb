//! What all contracts share: the [`Kernel`], the list that a CPU picks from, and the one place
//! where a kernel is called.

use crate::cpu::{Cpu, Feature};
use bytemuck::Pod;
use core::ops::Range;

/// Operands of one step, all bounds proved when they were made.
pub trait Operands {
    /// Rows of the output, or what the contract cuts into bands instead: panels.
    fn rows(&self) -> usize;

    /// Number of output values in `rows`, which are rows of the output. `None` when there is no
    /// such number.
    fn values(&self, rows: &Range<usize>) -> Option<usize>;

    /// [`Contract::Scratch`] values without which [`Kernel::run`] refuses.
    fn min_scratch(&self) -> usize {
        0
    }
}

/// A formula with operands and an order of summation: what several kernels compute alike.
pub trait Contract: Sized + 'static {
    /// What a kernel reads.
    type Args<'a>: Operands;

    /// What a kernel writes.
    type Value: Pod;

    /// What a kernel keeps between its loops.
    type Scratch: Pod;

    /// Every kernel, best first; the portable one is last.
    const LIST: &'static [Kernel<Self>];

    /// The kernel that runs on every CPU.
    const PORTABLE: &'static Kernel<Self>;
}

/// Computes a band: output rows, their values, scratch. The caller has checked what
/// [`Kernel::run`] checks.
pub(super) type Run<C> = unsafe fn(
    &<C as Contract>::Args<'_>,
    Range<usize>,
    &mut [<C as Contract>::Value],
    &mut [<C as Contract>::Scratch],
);

/// One implementation of a contract.
#[derive(Clone, Copy, Debug)]
pub struct Kernel<C: Contract> {
    /// `{contract}_{isa}`, with the largest tile where there are tiles: `conv_f32_6x16_avx2`.
    pub name: &'static str,
    /// CPU feature without which [`Kernel::run`] refuses.
    pub needs: Option<Feature>,
    pub(super) run: Run<C>,
}

impl<C: Contract> Kernel<C> {
    /// Computes output rows `rows` into `y`, which holds exactly their values.
    ///
    /// The contents of `scratch` before and after do not matter, and more than
    /// [`Operands::min_scratch`] changes no result. `None`, and `y` untouched, when `cpu` lacks the
    /// feature, `rows` is not inside the output, `y` has another length or `scratch` is too short.
    #[allow(unsafe_code, reason = "the one place where a kernel is called")]
    pub fn run(
        &self,
        cpu: Cpu,
        args: &C::Args<'_>,
        rows: Range<usize>,
        y: &mut [C::Value],
        scratch: &mut [C::Scratch],
    ) -> Option<()> {
        let fits = cpu.has(self.needs)
            && rows.start <= rows.end
            && rows.end <= args.rows()
            && y.len() == args.values(&rows)?
            && scratch.len() >= args.min_scratch();
        if !fits {
            return None;
        }
        // SAFETY: `cpu.has(self.needs)`: a `Cpu` names only features of the machine that made it,
        // and having its CPU feature is all that a `Run` function demands beyond safe arguments.
        unsafe { (self.run)(args, rows, y, scratch) };
        Some(())
    }

    /// [`Kernel::run`] on memory that is not typed yet: bytes of the values and of the scratch.
    pub(crate) fn run_bytes(
        &self,
        cpu: Cpu,
        args: &C::Args<'_>,
        rows: Range<usize>,
        y: &mut [u8],
        scratch: &mut [u8],
    ) -> Option<()> {
        let y = bytemuck::try_cast_slice_mut(y).ok()?;
        self.run(cpu, args, rows, y, bytemuck::try_cast_slice_mut(scratch).ok()?)
    }
}

/// The first kernel of the contract's list that `cpu` can run.
pub const fn select<C: Contract>(cpu: Cpu) -> &'static Kernel<C> {
    match first(C::LIST, cpu) {
        Some(kernel) => kernel,
        None => C::PORTABLE,
    }
}

/// The first kernel of a list that `cpu` can run.
pub const fn first<C: Contract>(
    list: &'static [Kernel<C>],
    cpu: Cpu,
) -> Option<&'static Kernel<C>> {
    let mut rest = list;
    while let [kernel, worse @ ..] = rest {
        if cpu.has(kernel.needs) {
            return Some(kernel);
        }
        rest = worse;
    }
    None
}

/// A contract whose kernels are one loop body, compiled for several instruction sets.
///
/// Without fused multiply-add in the body, all of them give the same bits.
pub(super) trait Loops: Contract {
    /// The body; `inline(always)`, so that it takes on the features of its caller.
    fn compute(
        args: &Self::Args<'_>,
        rows: Range<usize>,
        y: &mut [Self::Value],
        scratch: &mut [Self::Scratch],
    );
}

/// The loops as they are compiled for every CPU of the target.
pub(super) const fn portable<C: Loops>(name: &'static str) -> Kernel<C> {
    fn run<C: Loops>(
        args: &C::Args<'_>,
        rows: Range<usize>,
        y: &mut [C::Value],
        scratch: &mut [C::Scratch],
    ) {
        C::compute(args, rows, y, scratch);
    }
    Kernel { name, needs: None, run: run::<C> }
}

/// The loops with 256-bit registers.
#[cfg(target_arch = "x86_64")]
pub(super) const fn avx2<C: Loops>(name: &'static str) -> Kernel<C> {
    #[target_feature(enable = "avx2,fma")]
    fn run<C: Loops>(
        args: &C::Args<'_>,
        rows: Range<usize>,
        y: &mut [C::Value],
        scratch: &mut [C::Scratch],
    ) {
        C::compute(args, rows, y, scratch);
    }
    Kernel { name, needs: Some(Feature::Avx2), run: run::<C> }
}

/// The loops with 512-bit registers.
#[cfg(target_arch = "x86_64")]
pub(super) const fn avx512<C: Loops>(name: &'static str) -> Kernel<C> {
    #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq")]
    fn run<C: Loops>(
        args: &C::Args<'_>,
        rows: Range<usize>,
        y: &mut [C::Value],
        scratch: &mut [C::Scratch],
    ) {
        C::compute(args, rows, y, scratch);
    }
    Kernel { name, needs: Some(Feature::Avx512), run: run::<C> }
}
