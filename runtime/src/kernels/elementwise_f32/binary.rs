//! [`Binary`] over one row, its second operand repeated where it is shorter.

use super::super::rows::{Repeated, repeats};
use crate::dims::Dims;
use crate::step::Binary;

/// A function of two values and all of its second operand.
#[derive(Clone, Copy, Debug)]
pub struct Pairing<'a> {
    /// What is computed.
    pub function: Binary,
    /// The second operand comes first.
    pub swapped: bool,
    /// Second operand, NHWC.
    pub other: &'a [f32],
    /// Its shape: of each axis the map's length, or 1.
    pub dims: Dims,
}

impl Pairing<'_> {
    /// Whether the second operand is as long as its shape says, and its shape fits the map's.
    pub(super) fn fits(&self, map: Dims) -> bool {
        Some(self.other.len()) == self.dims.elements() && repeats(self.dims, map)
    }

    /// Replaces the values of row `row`, which are the first operand.
    #[inline(always)]
    pub(super) fn combine(&self, row: usize, channels: usize, y: &mut [f32]) {
        let repeated = Repeated::row(self.other, self.dims, row, channels);
        match (self.function, self.swapped) {
            (Binary::Add, _) => repeated.with(y, |a, b| a + b),
            (Binary::Mul, _) => repeated.with(y, |a, b| a * b),
            (Binary::Sub, false) => repeated.with(y, |a, b| a - b),
            (Binary::Sub, true) => repeated.with(y, |b, a| a - b),
            (Binary::Div, false) => repeated.with(y, |a, b| a / b),
            (Binary::Div, true) => repeated.with(y, |b, a| a / b),
            (Binary::Min, false) => repeated.with(y, smaller),
            (Binary::Min, true) => repeated.with(y, |b, a| smaller(a, b)),
            (Binary::Max, false) => repeated.with(y, larger),
            (Binary::Max, true) => repeated.with(y, |b, a| larger(a, b)),
            (
                Binary::Pow
                | Binary::Equal
                | Binary::Greater
                | Binary::GreaterOrEqual
                | Binary::Keep
                | Binary::Drop,
                _,
            ) => self.beyond_plain(repeated, y),
        }
    }

    /// Functions that [`Binary::is_plain`] leaves.
    #[cfg(feature = "full")]
    #[inline(always)]
    fn beyond_plain(&self, repeated: Repeated<'_, f32>, y: &mut [f32]) {
        match (self.function, self.swapped) {
            (Binary::Pow, false) => repeated.with(y, libm::powf),
            (Binary::Pow, true) => repeated.with(y, |b, a| libm::powf(a, b)),
            (Binary::Equal, _) => repeated.with(y, |a, b| truth(a == b)),
            (Binary::Greater, false) => repeated.with(y, |a, b| truth(a > b)),
            (Binary::Greater, true) => repeated.with(y, |b, a| truth(a > b)),
            (Binary::GreaterOrEqual, false) => repeated.with(y, |a, b| truth(a >= b)),
            (Binary::GreaterOrEqual, true) => repeated.with(y, |b, a| truth(a >= b)),
            (Binary::Keep, false) => repeated.with(y, keep),
            (Binary::Keep, true) => repeated.with(y, |b, a| keep(a, b)),
            (Binary::Drop, false) => repeated.with(y, drop),
            (Binary::Drop, true) => repeated.with(y, |b, a| drop(a, b)),
            _ => {}
        }
    }

    /// Without the feature, no session has a step with these.
    #[cfg(not(feature = "full"))]
    fn beyond_plain(&self, _: Repeated<'_, f32>, _: &mut [f32]) {}
}

#[inline(always)]
fn smaller(a: f32, b: f32) -> f32 {
    if b < a { b } else { a }
}

#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

#[cfg(feature = "full")]
#[inline(always)]
fn truth(holds: bool) -> f32 {
    f32::from(u8::from(holds))
}

#[cfg(feature = "full")]
#[inline(always)]
fn keep(a: f32, b: f32) -> f32 {
    if a == 0.0 { 0.0 } else { b }
}

#[cfg(feature = "full")]
#[inline(always)]
fn drop(a: f32, b: f32) -> f32 {
    if a == 0.0 { b } else { 0.0 }
}
