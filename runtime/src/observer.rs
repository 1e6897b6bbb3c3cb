//! [`Observer`]: sees every step begin and end. Profiles on any board: the clock is the caller's.

use crate::quant::dequantize;
use crate::step::{Element, Step};

/// The values of a feature map, NHWC, as they lie in the arena.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Values<'a> {
    /// [`Element::F32`](crate::step::Element::F32).
    F32(&'a [f32]),
    /// [`Element::S8`](crate::step::Element::S8).
    S8(&'a [i8]),
}

impl<'a> Values<'a> {
    /// What the values stand for; `element` is that of the map.
    pub fn reals(self, element: Element) -> impl Iterator<Item = f32> + 'a {
        let (f32s, s8s): (&[f32], &[i8]) = match self {
            Self::F32(values) => (values, &[]),
            Self::S8(values) => (&[], values),
        };
        let real = move |&q: &i8| element.quantization().map_or(0.0, |map| dequantize(q, map));
        f32s.iter().copied().chain(s8s.iter().map(real))
    }
}

/// What [`Session::run_observed`](crate::Session::run_observed) tells.
pub trait Observer {
    /// Step `index` is about to be executed.
    fn begin(&mut self, index: usize, step: &Step);

    /// Step `index` was executed by the kernel of that name and left `output`, values of
    /// `step.output`.
    fn end(&mut self, index: usize, step: &Step, kernel: &'static str, output: Values<'_>);
}

/// Looks away.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Blind;

impl Observer for Blind {
    fn begin(&mut self, _: usize, _: &Step) {}

    fn end(&mut self, _: usize, _: &Step, _: &'static str, _: Values<'_>) {}
}
