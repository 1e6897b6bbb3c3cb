//! [`Binary`] over one row, its second operand repeated where it is shorter.

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
        let repeats = |own: u32, len: u32| own == len || own == 1;
        Some(self.other.len()) == self.dims.elements()
            && repeats(self.dims.h, map.h)
            && repeats(self.dims.w, map.w)
            && repeats(self.dims.c, map.c)
    }

    /// Replaces the values of row `row`, which are the first operand.
    #[inline(always)]
    pub(super) fn combine(&self, row: usize, channels: usize, y: &mut [f32]) {
        let len = self.dims.row().unwrap_or(0);
        let start = if self.dims.h == 1 { 0 } else { row.saturating_mul(len) };
        let other = self.other.get(start..).and_then(|rest| rest.get(..len)).unwrap_or(&[]);
        let repeated = Repeated { other, per_pixel: self.dims.c == 1, channels };
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
    fn beyond_plain(&self, repeated: Repeated<'_>, y: &mut [f32]) {
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
    fn beyond_plain(&self, _: Repeated<'_>, _: &mut [f32]) {}
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

/// One row of the second operand.
#[derive(Clone, Copy)]
struct Repeated<'a> {
    /// All values of the row, those of one pixel, one a pixel, or one.
    other: &'a [f32],
    /// One value a pixel.
    per_pixel: bool,
    /// Channels of the first operand.
    channels: usize,
}

impl Repeated<'_> {
    #[inline(always)]
    fn with(&self, y: &mut [f32], f: impl Fn(f32, f32) -> f32) {
        if self.other.len() == y.len() {
            y.iter_mut().zip(self.other).for_each(|(y, &b)| *y = f(*y, b));
        } else if let &[b] = self.other {
            y.iter_mut().for_each(|y| *y = f(*y, b));
        } else if self.per_pixel {
            let mut others = self.other.iter();
            super::for_pixels(y, self.channels, |pixel| {
                let Some(&b) = others.next() else { return };
                pixel.iter_mut().for_each(|y| *y = f(*y, b));
            });
        } else {
            super::for_pixels(y, self.channels, |pixel| {
                pixel.iter_mut().zip(self.other).for_each(|(y, &b)| *y = f(*y, b));
            });
        }
    }
}
