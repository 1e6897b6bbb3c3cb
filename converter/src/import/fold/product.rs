//! Sums and products over axes: `MatMul`, `Einsum`, `ReduceSum`, `ReduceProd`; floats in f64.

use super::{ROLE, affordable, tensor};
use crate::import::call::{Call, Operand, checked_axis, shape_refusal};
use crate::import::error::Refusal;
use crate::rearrange::{strides, walk};
use crate::tensor::{Data, Tensor, elements};

/// Two operands and an explicit result: `ikm,oim->oik`.
pub(super) fn einsum(call: &Call<'_>) -> Result<Tensor, Refusal> {
    let equation: String = call.string("equation", "")?.split_whitespace().collect();
    let wrong = || Refusal::Attribute {
        name: "equation",
        found: equation.clone(),
        expected: "two operands of letters and a result, `ab,bc->ac`".to_owned(),
    };
    let parts = equation.split_once("->").and_then(|(from, to)| Some((from.split_once(',')?, to)));
    let ((a, b), to) = parts.ok_or_else(wrong)?;
    let letters = [a, b, to].into_iter().all(|l| l.chars().all(|c| c.is_ascii_alphabetic()));
    if !letters || call.operands.len() != 2 {
        return Err(wrong());
    }
    contract(call, [a, b].map(str::as_bytes), to.as_bytes())
}

/// Matrices and vectors; of further axes both have as many, or one of them 1.
pub(super) fn matmul(call: &Call<'_>) -> Result<Tensor, Refusal> {
    let rank = |k: usize| Ok(call.operand(k, ROLE)?.shape().len());
    const BATCH: &[u8] = b"ABCDEFGH";
    let batch = |rank: usize| BATCH.get(..rank.saturating_sub(2)).unwrap_or(BATCH);
    let (a, b) = (rank(0)?, rank(1)?);
    let first: &[u8] = if a == 1 { b"k" } else { b"ik" };
    let second: &[u8] = if b == 1 { b"k" } else { b"kj" };
    let kept = |labels: &[u8]| labels.iter().copied().filter(|&l| l != b'k').collect::<Vec<u8>>();
    let to = [batch(a.max(b)), &kept(first), &kept(second)].concat();
    let (first, second) = ([batch(a), first].concat(), [batch(b), second].concat());
    contract(call, [&first, &second], &to)
}

/// Products of the elements of two operands, summed over the axes whose label the result lacks.
fn contract(call: &Call<'_>, from: [&[u8]; 2], to: &[u8]) -> Result<Tensor, Refusal> {
    let operands = [call.operand(0, ROLE)?, call.operand(1, ROLE)?];
    let axes = labelled(from, operands)?;
    let place = |label: &u8| axes.iter().find(|(l, _)| l == label).copied();
    let kept: Option<Vec<(u8, usize)>> = to.iter().map(place).collect();
    let kept = kept.ok_or_else(|| shape_refusal("its result", &[], "axes of its operands"))?;
    let summed = axes.iter().filter(|(label, _)| !to.contains(label)).copied();
    let all: Vec<(u8, usize)> = kept.iter().copied().chain(summed).collect();
    let lengths = |axes: &[(u8, usize)]| axes.iter().map(|(_, n)| *n).collect::<Vec<usize>>();
    let shape = lengths(&kept);
    let steps = affordable(call, &lengths(&all))?;
    let count = elements(&shape).unwrap_or(0);
    let indices = |labels: &[u8], operand: &Operand| {
        let own = strides(operand.shape());
        let step = |label: u8| {
            let own = labels.iter().zip(&own).zip(operand.shape());
            let moves = own.filter(move |((l, _), length)| **l == label && **length != 1);
            moves.fold(0_i64, |sum, ((_, &s), _)| sum.saturating_add(s))
        };
        let by: Vec<i64> = all.iter().map(|(label, _)| step(*label)).collect();
        walk(&lengths(&all), 0, &by)
    };
    let [a, b] = operands;
    let (x, y) = (a.floats(ROLE)?, b.floats(ROLE)?);
    let mut pairs = indices(from[0], a).zip(indices(from[1], b));
    let run = steps.checked_div(count).unwrap_or(0);
    let product = |(i, j): (usize, usize)| Some(f64::from(*x.get(i)?) * f64::from(*y.get(j)?));
    let sums = (0..count).map(|_| pairs.by_ref().take(run).filter_map(product).sum::<f64>() as f32);
    let sums = sums.collect();
    tensor(shape, Data::F32(sums))
}

/// Every label once, with the length of its axes; an axis of length 1 repeats its element.
fn labelled(from: [&[u8]; 2], operands: [&Operand; 2]) -> Result<Vec<(u8, usize)>, Refusal> {
    let mut axes: Vec<(u8, usize)> = Vec::new();
    for (labels, operand) in from.into_iter().zip(operands) {
        if labels.len() != operand.shape().len() {
            let expected = format!("{} axes", labels.len());
            return Err(shape_refusal(ROLE, operand.shape(), expected));
        }
        for (&label, &length) in labels.iter().zip(operand.shape()) {
            match axes.iter_mut().find(|(l, _)| *l == label) {
                None => axes.push((label, length)),
                Some((_, known)) if *known == length || length == 1 => {}
                Some((_, known)) if *known == 1 => *known = length,
                Some((_, known)) => {
                    let expected = format!("the length {known} on an axis that both have");
                    return Err(shape_refusal(ROLE, operand.shape(), expected));
                }
            }
        }
    }
    Ok(axes)
}

/// Axes are an attribute before opset 13.
pub(super) fn reduce_sum(call: &Call<'_>) -> Result<Tensor, Refusal> {
    reduce(call, 13, |v| v.sum(), 0, i64::checked_add)
}

/// Axes are an attribute before opset 18.
pub(super) fn reduce_prod(call: &Call<'_>) -> Result<Tensor, Refusal> {
    reduce(call, 18, |v| v.product(), 1, i64::checked_mul)
}

fn reduce(
    call: &Call<'_>,
    since: i64,
    float: fn(&mut dyn Iterator<Item = f64>) -> f64,
    first: i64,
    integer: fn(i64, i64) -> Option<i64>,
) -> Result<Tensor, Refusal> {
    let operand = call.operand(0, ROLE)?;
    let rank = operand.shape().len();
    let axes = call.ints_or_operand("axes", since, 1)?.unwrap_or(&[]);
    let gone = axes.iter().map(|&a| checked_axis("axes", a, rank));
    let mut gone: Vec<usize> = gone.collect::<Result<_, _>>()?;
    if gone.is_empty() && !call.flag("noop_with_empty_axes", false)? {
        gone = (0..rank).collect();
    }
    let axes = || operand.shape().iter().zip(strides(operand.shape())).enumerate();
    let pick = |reduced: bool| -> (Vec<usize>, Vec<i64>) {
        let of = axes().filter(|(k, _)| gone.contains(k) == reduced);
        of.map(|(_, (&n, s))| (n, s)).unzip()
    };
    let ((outer, outer_by), (inner, inner_by)) = (pick(false), pick(true));
    let runs = walk(&outer, 0, &outer_by);
    let run = |start: usize| walk(&inner, i64::try_from(start).unwrap_or(i64::MAX), &inner_by);
    let data = match (operand.floats(ROLE), operand.integers(ROLE)) {
        (Ok(x), _) => {
            let value = |i: usize| x.get(i).map(|&v| f64::from(v));
            Data::F32(runs.map(|s| float(&mut run(s).filter_map(value)) as f32).collect())
        }
        (_, x) => {
            let x = x?;
            let sum = |s| run(s).filter_map(|i| x.get(i).copied()).try_fold(first, integer);
            let values = runs.map(sum);
            let overflow = || Refusal::Unsupported {
                found: "a reduction of integers that overflows".to_owned(),
                remedy: "export the model again",
            };
            Data::I64(values.collect::<Option<_>>().ok_or_else(overflow)?)
        }
    };
    let kept = |(k, &n): (usize, &usize)| match gone.contains(&k) {
        false => Some(n),
        true => call.flag("keepdims", true).is_ok_and(|keep| keep).then_some(1),
    };
    let shape = operand.shape().iter().enumerate().filter_map(kept).collect();
    tensor(shape, data)
}
