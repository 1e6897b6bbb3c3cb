//! `Gemm`: dense layers, and products of computed matrices.

use super::build::Builder;
use super::call::{Call, Operand, shape_refusal};
use super::error::Refusal;
use super::product::{Factor, product};
use crate::graph::{Activation, Op, ValueId};
use crate::tensor::Tensor;

/// `alpha * a b + beta * c`, where a and b may be stored transposed. A constant b `[K, O]` (or `[O, K]`
/// with `transB`) and a constant bias make a dense layer.
pub(super) fn gemm(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let (alpha, beta) = (call.float("alpha")?.unwrap_or(1.0), call.float("beta")?.unwrap_or(1.0));
    let constant = |index| matches!(call.optional(index), None | Some(Operand::Constant { .. }));
    let rows = matches!(call.optional(2).map(Operand::shape), Some(&[rows, _]) if rows != 1);
    if call.flag("transA", false)? || !constant(1) || !constant(2) || constant(0) || rows {
        return general(call, builder, alpha, beta);
    }
    let (weight, out) = weight(call, builder, call.flag("transB", false)?, alpha)?;
    let bias = match call.optional(2) {
        Some(c) if beta != 0.0 => Some(bias(builder, c, out, beta)?),
        _ => None,
    };
    linear(call, builder, weight, bias, out)
}

/// A product, scaled, and a sum.
fn general(
    call: &Call<'_>,
    builder: &mut Builder,
    alpha: f32,
    beta: f32,
) -> Result<Operand, Refusal> {
    let factor = |index, flag, role, builder: &mut Builder| {
        let operand = call.operand(index, role)?;
        if operand.shape().len() != 2 {
            return Err(shape_refusal(role, operand.shape(), "[rows, columns]"));
        }
        let factor = Factor { operand: operand.clone(), shape: operand.shape().to_vec() };
        if call.flag(flag, false)? { factor.transposed(call, builder) } else { Ok(factor) }
    };
    let a = factor(0, "transA", "its first operand", builder)?;
    let b = factor(1, "transB", "its second operand", builder)?;
    let (product, shape) = product(call, builder, a, b)?;
    let product = scaled(call, builder, (product, shape.clone()), alpha)?;
    let Some(c) = call.optional(2).filter(|_| beta != 0.0) else {
        return Ok(builder.result(call, product, shape));
    };
    let own = c.shape().to_vec();
    let c = builder.value(c, "its third operand")?;
    let c = scaled(call, builder, (c, own), beta)?;
    builder.emit(call, Op::Add { activation: Activation::None }, vec![product, c], shape)
}

/// A value times a number.
fn scaled(
    call: &Call<'_>,
    builder: &mut Builder,
    (x, shape): (ValueId, Vec<usize>),
    by: f32,
) -> Result<ValueId, Refusal> {
    if by == 1.0 {
        return Ok(x);
    }
    if let Some(values) = builder.graph.constant_f32(x) {
        let tensor = Tensor::f32(shape, values.iter().map(|v| v * by).collect());
        let name = format!("{}_scaled", builder.graph.get(x).name);
        return builder.made(&name, tensor.ok_or(Refusal::MissingOperand("its values"))?);
    }
    let factor = Tensor::f32([], vec![by]).ok_or(Refusal::MissingOperand("a factor"))?;
    let factor = builder.made(&format!("{}_factor", call.name), factor)?;
    builder.emit_part(call, Op::Mul, vec![x, factor], shape)
}

fn linear(
    call: &Call<'_>,
    builder: &mut Builder,
    weight: ValueId,
    bias: Option<ValueId>,
    out: usize,
) -> Result<Operand, Refusal> {
    let x = call.operand(0, "its first operand")?;
    let rows = x.shape().first().copied().unwrap_or(1);
    let x = builder.value(x, "its first operand")?;
    let inputs = [x, weight].into_iter().chain(bias).collect();
    builder.emit(call, Op::Linear { activation: Activation::None }, inputs, vec![rows, out])
}

/// The weights as `[O, K]`, and O.
fn weight(
    call: &Call<'_>,
    builder: &mut Builder,
    transposed: bool,
    alpha: f32,
) -> Result<(ValueId, usize), Refusal> {
    let (x, w) = (call.operand(0, "its first operand")?, call.operand(1, "its weight")?);
    let &[_, depth] = x.shape() else {
        return Err(shape_refusal("its first operand", x.shape(), "[N, K]"));
    };
    let (name, tensor) = w.constant("its weight")?;
    let (out, matches) = match *tensor.shape() {
        [o, k] if transposed => (o, k == depth),
        [k, o] => (o, k == depth),
        _ => (0, false),
    };
    if !matches {
        let expected = if transposed { format!("[O, {depth}]") } else { format!("[{depth}, O]") };
        return Err(shape_refusal("its weight", tensor.shape(), expected));
    }
    if transposed && alpha == 1.0 {
        let id = builder.value(w, "its weight")?;
        builder.weights(id, name, 0)?;
        return Ok((id, out));
    }
    let values = w.floats("its weight")?;
    super::build::finite(name, values)?;
    let ordered: Vec<f32> = if transposed {
        values.iter().map(|v| v * alpha).collect()
    } else {
        let column = |o: usize| values.iter().skip(o).step_by(out);
        (0..out).flat_map(column).map(|v| v * alpha).collect()
    };
    let wrong = || shape_refusal("its weight", w.shape(), "as many values as its shape says");
    let tensor = Tensor::f32([out, depth], ordered).ok_or_else(wrong)?;
    let id = builder.made(&format!("{name}_as_rows"), tensor)?;
    if alpha == 1.0 {
        builder.weights(id, name, 1)?;
    }
    Ok((id, out))
}

/// `beta * c` as `[O]`; c may broadcast.
fn bias(builder: &mut Builder, c: &Operand, out: usize, beta: f32) -> Result<ValueId, Refusal> {
    let (name, tensor) = c.constant("its bias")?;
    if tensor.shape() == [out] && beta == 1.0 {
        return builder.value(c, "its bias");
    }
    let values: Vec<f32> = match (c.floats("its bias")?, tensor.shape()) {
        (&[one], [] | [1] | [1, 1]) => vec![one * beta; out],
        (all, [n] | [1, n]) if *n == out => all.iter().map(|v| v * beta).collect(),
        (_, found) => return Err(shape_refusal("its bias", found, format!("[{out}]"))),
    };
    builder.made(&format!("{name}_as_bias"), Tensor::vector(values))
}
