//! Arithmetic, comparisons and choices, element by element. Truth values are the integers 0 and 1.

use super::arrange::stretched;
use super::{ROLE, affordable, tensor};
use crate::import::activation::bounds;
use crate::import::arithmetic::broadcast;
use crate::import::call::{Call, Operand, shape_refusal};
use crate::import::error::Refusal;
use crate::tensor::{Data, Tensor};

const FIRST: &str = "its first operand";
const SECOND: &str = "its second operand";

pub(super) fn add(call: &Call<'_>) -> Result<Tensor, Refusal> {
    binary(call, |a, b| a + b, i64::checked_add)
}

pub(super) fn sub(call: &Call<'_>) -> Result<Tensor, Refusal> {
    binary(call, |a, b| a - b, i64::checked_sub)
}

pub(super) fn mul(call: &Call<'_>) -> Result<Tensor, Refusal> {
    binary(call, |a, b| a * b, i64::checked_mul)
}

pub(super) fn div(call: &Call<'_>) -> Result<Tensor, Refusal> {
    binary(call, |a, b| a / b, i64::checked_div)
}

/// The result has the type of the base, whatever that of the exponent.
pub(super) fn pow(call: &Call<'_>) -> Result<Tensor, Refusal> {
    let (base, exponent) = (call.operand(0, FIRST)?, call.operand(1, SECOND)?);
    let as_floats = [as_float(base)?, as_float(exponent)?];
    match (base.integers(FIRST), exponent.integers(SECOND)) {
        (Ok(_), Ok(_)) => {
            let exponent = |b: i64| u32::try_from(b).ok();
            binary(call, f32::powf, |a, b| a.checked_pow(exponent(b)?))
        }
        (whole, _) => {
            let [base, exponent] = &as_floats;
            let powers =
                Pairs::new(call, base, exponent)?.computed(call, f32::powf, |_, _| None)?;
            match (whole, powers.as_f32()) {
                (Ok(_), Some(values)) => {
                    let values = values.iter().map(|&v| v as i64).collect();
                    tensor(powers.shape().to_vec(), Data::I64(values))
                }
                _ => Ok(powers),
            }
        }
    }
}

pub(super) fn min(call: &Call<'_>) -> Result<Tensor, Refusal> {
    several(call, f32::min, |a, b| Some(a.min(b)))
}

pub(super) fn max(call: &Call<'_>) -> Result<Tensor, Refusal> {
    several(call, f32::max, |a, b| Some(a.max(b)))
}

/// A constant with its integers as floats.
pub(in crate::import) fn as_float(operand: &Operand) -> Result<Operand, Refusal> {
    let Ok(values) = operand.integers(ROLE) else { return Ok(operand.clone()) };
    let (name, _) = operand.constant(ROLE)?;
    let floats = Data::F32(values.iter().map(|&v| v as f32).collect());
    Ok(Operand::Constant {
        name: format!("{name}_as_floats"),
        tensor: tensor(operand.shape().to_vec(), floats)?,
    })
}

/// A function of two values, from left to right through all operands.
fn several(
    call: &Call<'_>,
    float: impl Fn(f32, f32) -> f32,
    integer: impl Fn(i64, i64) -> Option<i64>,
) -> Result<Tensor, Refusal> {
    let operands = call.all(ROLE)?;
    let mut result = call.operand(0, ROLE)?.clone();
    for operand in operands.into_iter().skip(1) {
        let tensor = Pairs::new(call, &result, operand)?.computed(call, &float, &integer)?;
        result = Operand::Constant { name: call.output().to_owned(), tensor };
    }
    Ok(result.constant(ROLE)?.1.clone())
}

/// Integers within bounds; floats within theirs.
pub(super) fn clip(call: &Call<'_>) -> Result<Tensor, Refusal> {
    let operand = call.operand(0, ROLE)?;
    let Ok(values) = operand.integers(ROLE) else {
        let (lo, hi) = bounds(call)?;
        return tensor(
            operand.shape().to_vec(),
            Data::F32(operand.floats(ROLE)?.iter().map(|&v| v.max(lo).min(hi)).collect()),
        );
    };
    let bound = |index| match call.optional(index).map(|o| o.integers(ROLE)).transpose()? {
        None => Ok(None),
        Some(&[one]) => Ok(Some(one)),
        Some(all) => Err(shape_refusal("its bound", &[all.len()], "one element")),
    };
    let (lo, hi) = (bound(1)?.unwrap_or(i64::MIN), bound(2)?.unwrap_or(i64::MAX));
    let values = values.iter().map(|&v| v.max(lo).min(hi)).collect();
    tensor(operand.shape().to_vec(), Data::I64(values))
}

pub(super) fn equal(call: &Call<'_>) -> Result<Tensor, Refusal> {
    comparison(call, |a, b| a == b, |a, b| a == b)
}

pub(super) fn less(call: &Call<'_>) -> Result<Tensor, Refusal> {
    comparison(call, |a, b| a < b, |a, b| a < b)
}

pub(super) fn greater(call: &Call<'_>) -> Result<Tensor, Refusal> {
    comparison(call, |a, b| a > b, |a, b| a > b)
}

pub(super) fn less_or_equal(call: &Call<'_>) -> Result<Tensor, Refusal> {
    comparison(call, |a, b| a <= b, |a, b| a <= b)
}

pub(super) fn greater_or_equal(call: &Call<'_>) -> Result<Tensor, Refusal> {
    comparison(call, |a, b| a >= b, |a, b| a >= b)
}

/// What division leaves: with the sign of the divisor, or (`fmod`) of the dividend.
pub(super) fn modulo(call: &Call<'_>) -> Result<Tensor, Refusal> {
    if call.flag("fmod", false)? {
        return binary(call, |a, b| a % b, i64::checked_rem);
    }
    let floored = |a: i64, b: i64| {
        let rest = a.checked_rem(b)?;
        let other_sign = rest != 0 && (rest < 0) != (b < 0);
        if other_sign { rest.checked_add(b) } else { Some(rest) }
    };
    binary(call, |a, b| a - b * (a / b).floor(), floored)
}

pub(super) fn xor(call: &Call<'_>) -> Result<Tensor, Refusal> {
    comparison(call, |_, _| false, |a, b| (a != 0) != (b != 0))
}

pub(super) fn and(call: &Call<'_>) -> Result<Tensor, Refusal> {
    comparison(call, |_, _| false, |a, b| a != 0 && b != 0)
}

pub(super) fn or(call: &Call<'_>) -> Result<Tensor, Refusal> {
    comparison(call, |_, _| false, |a, b| a != 0 || b != 0)
}

pub(super) fn not(call: &Call<'_>) -> Result<Tensor, Refusal> {
    let operand = call.operand(0, ROLE)?;
    let values = operand.integers(ROLE)?.iter().map(|&v| i64::from(v == 0)).collect();
    tensor(operand.shape().to_vec(), Data::I64(values))
}

pub(super) fn abs(call: &Call<'_>) -> Result<Tensor, Refusal> {
    unary(call, f32::abs, i64::checked_abs)
}

pub(super) fn neg(call: &Call<'_>) -> Result<Tensor, Refusal> {
    unary(call, |v| -v, i64::checked_neg)
}

pub(super) fn sin(call: &Call<'_>) -> Result<Tensor, Refusal> {
    floats(call, f32::sin)
}

pub(super) fn cos(call: &Call<'_>) -> Result<Tensor, Refusal> {
    floats(call, f32::cos)
}

pub(super) fn sqrt(call: &Call<'_>) -> Result<Tensor, Refusal> {
    floats(call, f32::sqrt)
}

pub(super) fn reciprocal(call: &Call<'_>) -> Result<Tensor, Refusal> {
    floats(call, f32::recip)
}

/// Where: the second operand where the first is true, the third elsewhere.
pub(super) fn select(call: &Call<'_>) -> Result<Tensor, Refusal> {
    const CONDITION: &str = "its condition";
    let condition = call.operand(0, CONDITION)?;
    let (yes, no) = (call.operand(1, FIRST)?, call.operand(2, SECOND)?);
    let shape = broadcast(&broadcast(condition.shape(), yes.shape())?, no.shape())?;
    affordable(call, &shape)?;
    let of = |operand: &Operand| stretched(operand.shape(), &shape);
    let indices = of(condition).zip(of(yes)).zip(of(no));
    let condition = condition.integers(CONDITION)?;
    let data = match (yes.floats(FIRST), yes.integers(FIRST)) {
        (Ok(yes), _) => Data::F32(chosen(condition, [yes, no.floats(SECOND)?], indices)),
        (_, yes) => Data::I64(chosen(condition, [yes?, no.integers(SECOND)?], indices)),
    };
    tensor(shape, data)
}

fn chosen<T: Copy>(
    condition: &[i64],
    sides: [&[T]; 2],
    indices: impl Iterator<Item = ((usize, usize), usize)>,
) -> Vec<T> {
    let [yes, no] = sides;
    let value = |((c, i), j)| {
        let holds = *condition.get(c)? != 0;
        if holds { yes.get(i) } else { no.get(j) }.copied()
    };
    indices.filter_map(value).collect()
}

fn floats(call: &Call<'_>, f: fn(f32) -> f32) -> Result<Tensor, Refusal> {
    let operand = call.operand(0, ROLE)?;
    let values = operand.floats(ROLE)?.iter().map(|&v| f(v)).collect();
    tensor(operand.shape().to_vec(), Data::F32(values))
}

fn unary(
    call: &Call<'_>,
    float: fn(f32) -> f32,
    integer: fn(i64) -> Option<i64>,
) -> Result<Tensor, Refusal> {
    let operand = call.operand(0, ROLE)?;
    let Ok(values) = operand.integers(ROLE) else { return floats(call, float) };
    let values = values.iter().map(|&v| integer(v)).collect::<Option<_>>();
    tensor(operand.shape().to_vec(), Data::I64(values.ok_or_else(|| overflow(call))?))
}

fn overflow(call: &Call<'_>) -> Refusal {
    Refusal::Unsupported {
        found: format!("{} of integers that overflows or divides by 0", call.node.op_type),
        remedy: "export the model again",
    }
}

fn binary(
    call: &Call<'_>,
    float: impl Fn(f32, f32) -> f32,
    integer: impl Fn(i64, i64) -> Option<i64>,
) -> Result<Tensor, Refusal> {
    Pairs::of(call)?.computed(call, float, integer)
}

fn comparison(
    call: &Call<'_>,
    float: impl Fn(f32, f32) -> bool,
    integer: impl Fn(i64, i64) -> bool,
) -> Result<Tensor, Refusal> {
    let pairs = Pairs::of(call)?;
    let truths: Vec<i64> = match pairs.floats()? {
        Some(values) => values.map(|(a, b)| float(a, b).into()).collect(),
        None => pairs.integers()?.map(|(a, b)| integer(a, b).into()).collect(),
    };
    tensor(pairs.shape, Data::I64(truths))
}

/// Two operands, broadcast.
struct Pairs<'a> {
    first: &'a Operand,
    second: &'a Operand,
    shape: Vec<usize>,
}

impl<'a> Pairs<'a> {
    fn of(call: &'a Call<'_>) -> Result<Self, Refusal> {
        Self::new(call, call.operand(0, FIRST)?, call.operand(1, SECOND)?)
    }

    fn new(call: &Call<'_>, first: &'a Operand, second: &'a Operand) -> Result<Self, Refusal> {
        let shape = broadcast(first.shape(), second.shape())?;
        affordable(call, &shape)?;
        Ok(Self { first, second, shape })
    }

    /// A function of both values, in the type of the operands.
    fn computed(
        self,
        call: &Call<'_>,
        float: impl Fn(f32, f32) -> f32,
        integer: impl Fn(i64, i64) -> Option<i64>,
    ) -> Result<Tensor, Refusal> {
        let data = match self.floats()? {
            Some(values) => Data::F32(values.map(|(a, b)| float(a, b)).collect()),
            None => {
                let values = self.integers()?.map(|(a, b)| integer(a, b));
                let values = values.collect::<Option<Vec<i64>>>();
                Data::I64(values.ok_or_else(|| overflow(call))?)
            }
        };
        tensor(self.shape, data)
    }

    /// The values of both; `None` if the first does not hold floats.
    fn floats(&self) -> Result<Option<impl Iterator<Item = (f32, f32)>>, Refusal> {
        let Ok(first) = self.first.floats(FIRST) else { return Ok(None) };
        Ok(Some(self.zipped(first, self.second.floats(SECOND)?)))
    }

    fn integers(&self) -> Result<impl Iterator<Item = (i64, i64)>, Refusal> {
        Ok(self.zipped(self.first.integers(FIRST)?, self.second.integers(SECOND)?))
    }

    fn zipped<T: Copy>(&self, a: &[T], b: &[T]) -> impl Iterator<Item = (T, T)> {
        let of = |operand: &Operand| stretched(operand.shape(), &self.shape);
        let indices = of(self.first).zip(of(self.second));
        indices.filter_map(|(i, j)| Some((*a.get(i)?, *b.get(j)?)))
    }
}
