//! [`Observer`]: sees every step begin and end. Profiles on any board: the clock is the caller's.

use crate::step::Step;

/// What [`Session::run_observed`](crate::Session::run_observed) tells.
pub trait Observer {
    /// Step `index` is about to be executed.
    fn begin(&mut self, index: usize, step: &Step);

    /// Step `index` was executed by the kernel of that name and left `output`, NHWC values of
    /// `step.output.dims`.
    fn end(&mut self, index: usize, step: &Step, kernel: &'static str, output: &[f32]);
}

/// Looks away.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Blind;

impl Observer for Blind {
    fn begin(&mut self, _: usize, _: &Step) {}

    fn end(&mut self, _: usize, _: &Step, _: &'static str, _: &[f32]) {}
}
