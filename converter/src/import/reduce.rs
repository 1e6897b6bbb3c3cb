//! Reductions: sum, mean, largest, smallest, product, norms and logarithms of sums, along any axes.

use super::build::Builder;
use super::call::{Call, Operand, checked_axis};
use super::error::Refusal;
use crate::graph::{Activation, Function, Op, Reduction, ValueId};

/// First opset in which axes are an operand; `ReduceSum` came before the others.
const AXES_OPERAND: i64 = 18;
const SUM_AXES_OPERAND: i64 = 13;

/// Operations on one value, each with the shape of its result; a product is that of the value with
/// itself.
type Chain = Vec<(Op, Vec<usize>)>;

/// A reduction of the values themselves.
pub(super) fn of(
    call: &Call<'_>,
    builder: &mut Builder,
    function: Reduction,
) -> Result<Operand, Refusal> {
    around(call, builder, None, function, None)
}

/// Mean; of rows and columns of a picture it is a pool, which networks know by that name.
pub(super) fn mean(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let input = call.operand(0, "its input")?;
    match (axes(call)?.as_deref(), input.shape()) {
        (Some([2, 3]), &[n, c, _, _]) => {
            let pooled = vec![n, c, 1, 1];
            let mut chain = vec![(Op::GlobalAveragePool, pooled)];
            if !call.flag("keepdims", true)? {
                chain.push((Op::Reshape, vec![n, c]));
            }
            chained(call, builder, input, chain)
        }
        _ => of(call, builder, Reduction::Mean),
    }
}

/// Sum of absolute values.
pub(super) fn l1(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    around(call, builder, Some(Op::Unary(Function::Abs)), Reduction::Sum, None)
}

/// Root of the sum of squares.
pub(super) fn l2(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let root = Op::Unary(Function::Sqrt);
    around(call, builder, Some(Op::Mul), Reduction::Sum, Some(root))
}

/// Sum of squares.
pub(super) fn sum_square(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    around(call, builder, Some(Op::Mul), Reduction::Sum, None)
}

/// Logarithm of the sum.
pub(super) fn log_sum(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    around(call, builder, None, Reduction::Sum, Some(Op::Unary(Function::Log)))
}

/// `ln(sum e^x)` as `m + ln(sum e^(x - m))` with the largest value m, so that no exponential overflows.
pub(super) fn log_sum_exp(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let input = call.operand(0, "its input")?;
    let Some(axes) = axes(call)? else { return Ok(input.clone()) };
    let (shape, kept) = (input.shape().to_vec(), kept(input.shape(), &axes));
    let x = builder.value(input, "its input")?;
    let reduce = |function| Op::Reduce { function, axes: axes.clone() };
    let top = builder.emit_part(call, reduce(Reduction::Max), vec![x], kept.clone())?;
    let below = builder.emit_part(call, Op::Sub, vec![x, top], shape.clone())?;
    let powers = builder.emit_part(call, Op::Unary(Function::Exp), vec![below], shape)?;
    let sum = builder.emit_part(call, reduce(Reduction::Sum), vec![powers], kept.clone())?;
    let log = builder.emit_part(call, Op::Unary(Function::Log), vec![sum], kept.clone())?;
    let add = Op::Add { activation: Activation::None };
    if call.flag("keepdims", true)? {
        return builder.emit(call, add, vec![log, top], kept);
    }
    let sum = builder.emit_part(call, add, vec![log, top], kept)?;
    builder.emit(call, Op::Reshape, vec![sum], dropped(input.shape(), &axes))
}

/// The largest value of each channel.
pub(super) fn global_max(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    global(call, builder, Reduction::Max)
}

/// A reduction of all axes behind the channels.
pub(super) fn global(
    call: &Call<'_>,
    builder: &mut Builder,
    function: Reduction,
) -> Result<Operand, Refusal> {
    let input = call.operand(0, "its input")?;
    let axes: Vec<usize> = (2..input.shape().len()).collect();
    let shape = kept(input.shape(), &axes);
    chained(call, builder, input, vec![(Op::Reduce { function, axes }, shape)])
}

/// A reduction between an operation on the values and one on the result.
fn around(
    call: &Call<'_>,
    builder: &mut Builder,
    before: Option<Op>,
    function: Reduction,
    after: Option<Op>,
) -> Result<Operand, Refusal> {
    let input = call.operand(0, "its input")?;
    let shape = input.shape();
    let axes = axes(call)?;
    let mut chain: Chain = before.map(|op| (op, shape.to_vec())).into_iter().collect();
    let kept = kept(shape, axes.as_deref().unwrap_or(&[]));
    if kept != shape {
        let axes = axes.clone().unwrap_or_default();
        chain.push((Op::Reduce { function, axes }, kept.clone()));
    }
    chain.extend(after.map(|op| (op, kept.clone())));
    if let (Some(axes), false) = (&axes, call.flag("keepdims", true)?) {
        chain.push((Op::Reshape, dropped(shape, axes)));
    }
    chained(call, builder, input, chain)
}

/// One node an operation; the operand itself if there is none.
fn chained(
    call: &Call<'_>,
    builder: &mut Builder,
    input: &Operand,
    mut chain: Chain,
) -> Result<Operand, Refusal> {
    let Some((last, shape)) = chain.pop() else { return Ok(input.clone()) };
    let operands = |op: &Op, x: ValueId| if *op == Op::Mul { vec![x, x] } else { vec![x] };
    let mut x = builder.value(input, "its input")?;
    for (op, shape) in chain {
        let inputs = operands(&op, x);
        x = builder.emit_part(call, op, inputs, shape)?;
    }
    let inputs = operands(&last, x);
    builder.emit(call, last, inputs, shape)
}

/// The axes, in order, each once: those that the node names, or all of them; `None` if an empty list
/// stands for none.
fn axes(call: &Call<'_>) -> Result<Option<Vec<usize>>, Refusal> {
    let rank = call.operand(0, "its input")?.shape().len();
    let since = if call.node.op_type == "ReduceSum" { SUM_AXES_OPERAND } else { AXES_OPERAND };
    let named = call.ints_or_operand("axes", since, 1)?.unwrap_or(&[]);
    if named.is_empty() {
        return Ok((!call.flag("noop_with_empty_axes", false)?).then(|| (0..rank).collect()));
    }
    let axes = named.iter().map(|&axis| checked_axis("axes", axis, rank));
    let mut axes = axes.collect::<Result<Vec<_>, _>>()?;
    axes.sort_unstable();
    axes.dedup();
    Ok(Some(axes))
}

/// The shape with 1 for each of the axes.
fn kept(shape: &[usize], axes: &[usize]) -> Vec<usize> {
    let length = |(axis, &length): (usize, &usize)| if axes.contains(&axis) { 1 } else { length };
    shape.iter().enumerate().map(length).collect()
}

/// The shape without the axes.
fn dropped(shape: &[usize], axes: &[usize]) -> Vec<usize> {
    let left = shape.iter().enumerate().filter(|(axis, _)| !axes.contains(axis));
    left.map(|(_, &length)| length).collect()
}
