//! Dense layers: `Gemm`, and `MatMul` with constant weights.

use super::build::Builder;
use super::call::{Call, Operand, shape_refusal};
use super::error::Refusal;
use crate::graph::{Activation, Op, ValueId};
use crate::tensor::Tensor;

/// `alpha * x w + beta * c` with x `[N, K]`, w `[K, O]` (or `[O, K]` with `transB`).
pub(super) fn gemm(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    if call.flag("transA", false)? {
        return Err(Refusal::Attribute {
            name: "transA",
            found: "1".to_owned(),
            expected: "0: rows of the first operand are pictures".to_owned(),
        });
    }
    let (alpha, beta) = (call.float("alpha")?.unwrap_or(1.0), call.float("beta")?.unwrap_or(1.0));
    let (weight, out) = weight(call, builder, call.flag("transB", false)?, alpha)?;
    let bias = match call.optional(2) {
        Some(c) if beta != 0.0 => Some(bias(builder, c, out, beta)?),
        _ => None,
    };
    linear(call, builder, weight, bias, out)
}

/// `x w` with x `[N, K]` and constant w `[K, O]`.
pub(super) fn matmul(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let (weight, out) = weight(call, builder, false, 1.0)?;
    linear(call, builder, weight, None, out)
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
        return Ok((builder.value(w, "its weight")?, out));
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
    Ok((builder.made(&format!("{name}_as_rows"), tensor)?, out))
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
