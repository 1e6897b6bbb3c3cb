//! Products of matrices, of any rank and with broadcasting: by constants they are dense layers.

use super::arithmetic::broadcast;
use super::build::Builder;
use super::call::{Call, Operand, shape_refusal};
use super::error::Refusal;
use super::fold::arrange::{expanded, picked};
use crate::graph::{Activation, Op, ValueId};
use crate::tensor::{Tensor, elements};

/// `a b`, matrix by matrix; a vector is a row on the left and a column on the right.
pub(super) fn matmul(call: &Call<'_>, builder: &mut Builder) -> Result<Operand, Refusal> {
    let (a, b) = (call.operand(0, FIRST)?, call.operand(1, SECOND)?);
    let row = a.shape().len() == 1;
    let column = b.shape().len() == 1;
    let left = if row { [&[1], a.shape()].concat() } else { a.shape().to_vec() };
    let right = if column { [b.shape(), &[1]].concat() } else { b.shape().to_vec() };
    let a = Factor { operand: a.clone(), shape: left };
    let b = Factor { operand: b.clone(), shape: right };
    let (id, mut shape) = product(call, builder, a, b)?;
    let full = shape.clone();
    let (rows, columns) = (shape.len().saturating_sub(2), shape.len().saturating_sub(1));
    if column {
        shape.remove(columns);
    }
    if row {
        shape.remove(rows);
    }
    let id = if shape == full {
        id
    } else {
        builder.emit_part(call, Op::Reshape, vec![id], shape.clone())?
    };
    Ok(builder.result(call, id, shape))
}

const FIRST: &str = "its first operand";
const SECOND: &str = "its second operand";

/// An operand seen as matrices `[..., rows, columns]`.
#[derive(Clone, Debug)]
pub(super) struct Factor {
    /// What it is.
    pub(super) operand: Operand,
    /// Its shape, perhaps with a further axis of length 1.
    pub(super) shape: Vec<usize>,
}

impl Factor {
    /// All axes but the last two, and those.
    fn split(&self) -> Result<(&[usize], [usize; 2]), Refusal> {
        let (batch, last) = self.shape.split_last_chunk::<2>().ok_or_else(|| {
            shape_refusal("its operand", self.operand.shape(), "one axis or more")
        })?;
        Ok((batch, *last))
    }

    /// Rows become columns.
    pub(super) fn transposed(
        &self,
        call: &Call<'_>,
        builder: &mut Builder,
    ) -> Result<Self, Refusal> {
        let mut perm: Vec<usize> = (0..self.shape.len()).collect();
        let mut shape = self.shape.clone();
        let last = perm.len().saturating_sub(1);
        perm.swap(last.saturating_sub(1), last);
        shape.swap(last.saturating_sub(1), last);
        let op = Op::Transpose { perm };
        let operand = if let Operand::Constant { name, tensor } = &self.operand {
            let wrong = || shape_refusal("its operand", tensor.shape(), "a matrix");
            let tensor = tensor.reshaped(self.shape.clone()).ok_or_else(wrong)?;
            let tensor = picked(call, &tensor, &op, shape.clone())?;
            let name = builder.values.unique(&format!("{name}_transposed"));
            Operand::Constant { name, tensor }
        } else {
            let x = self.seen(call, builder, self.shape.clone())?;
            let id = builder.emit_part(call, op, vec![x], shape.clone())?;
            Operand::Value { id, shape: shape.clone() }
        };
        Ok(Self { operand, shape })
    }

    /// The operand as a value of this shape, which has as many elements.
    fn seen(
        &self,
        call: &Call<'_>,
        builder: &mut Builder,
        shape: Vec<usize>,
    ) -> Result<ValueId, Refusal> {
        if let (Operand::Constant { name, tensor }, true) =
            (&self.operand, shape != self.operand.shape())
        {
            let wrong = || shape_refusal("its operand", tensor.shape(), format!("{shape:?}"));
            let tensor = tensor.reshaped(shape.clone()).ok_or_else(wrong)?;
            return builder.made(&format!("{name}_as_matrices"), tensor);
        }
        let x = builder.value(&self.operand, "its operand")?;
        if shape == self.operand.shape() {
            return Ok(x);
        }
        builder.emit_part(call, Op::Reshape, vec![x], shape)
    }

    /// The operand repeated for all of these matrices.
    fn repeated(
        &self,
        call: &Call<'_>,
        builder: &mut Builder,
        batch: &[usize],
    ) -> Result<Self, Refusal> {
        let (own, last) = self.split()?;
        let shape = [batch, &last].concat();
        if let Operand::Constant { name, tensor } = &self.operand {
            let wrong = || shape_refusal(SECOND, tensor.shape(), "floats");
            let tensor = tensor.reshaped(self.shape.clone()).ok_or_else(wrong)?;
            let tensor = expanded(call, &tensor, &shape)?;
            let name = builder.values.unique(&format!("{name}_repeated"));
            return Ok(Self { operand: Operand::Constant { name, tensor }, shape });
        }
        if own == batch {
            return Ok(self.clone());
        }
        let x = self.seen(call, builder, self.shape.clone())?;
        let count = elements(batch).unwrap_or(0);
        let wrong = || shape_refusal("its operands", batch, "matrices that can be counted");
        let ones = Tensor::f32([batch, &[1, 1]].concat(), vec![1.0; count]).ok_or_else(wrong)?;
        let ones = builder.made(&format!("{}_repeated", call.name), ones)?;
        let id = builder.emit_part(call, Op::Mul, vec![x, ones], shape.clone())?;
        Ok(Self { operand: Operand::Value { id, shape: shape.clone() }, shape })
    }
}

/// The product and its shape.
pub(super) fn product(
    call: &Call<'_>,
    builder: &mut Builder,
    a: Factor,
    b: Factor,
) -> Result<(ValueId, Vec<usize>), Refusal> {
    let ((a_batch, [_, depth]), (b_batch, [k, _])) = (a.split()?, b.split()?);
    if depth != k {
        let expected = format!("{depth} rows, as many as the first has columns");
        return Err(shape_refusal(SECOND, b.operand.shape(), expected));
    }
    let is_constant = |factor: &Factor| matches!(factor.operand, Operand::Constant { .. });
    // A constant comes second: (a b)^T = b^T a^T.
    if is_constant(&a) && !is_constant(&b) {
        let (a, b) = (a.transposed(call, builder)?, b.transposed(call, builder)?);
        let (id, shape) = product(call, builder, b, a)?;
        let swapped = Factor { operand: Operand::Value { id, shape: shape.clone() }, shape };
        let result = swapped.transposed(call, builder)?;
        return Ok((builder.value(&result.operand, "its result")?, result.shape));
    }
    let batch = broadcast(a_batch, b_batch)?;
    let count = |batch: &[usize]| elements(batch).unwrap_or(0);
    match (count(a_batch), count(b_batch)) {
        (_, 1) if is_constant(&b) => dense(call, builder, &a, &b),
        (own, 1) => matrices(call, builder, (&a, 1, own), (&b, 1), &batch),
        (own, other) if other == count(&batch) && (own == 1 || own == other) => {
            matrices(call, builder, (&a, own, 1), (&b, other), &batch)
        }
        _ => {
            let (a, b) = (a.repeated(call, builder, &batch)?, b.repeated(call, builder, &batch)?);
            product(call, builder, a, b)
        }
    }
}

/// A product by one constant matrix.
fn dense(
    call: &Call<'_>,
    builder: &mut Builder,
    a: &Factor,
    b: &Factor,
) -> Result<(ValueId, Vec<usize>), Refusal> {
    let ((batch, [rows, depth]), (_, [_, columns])) = (a.split()?, b.split()?);
    let all = elements(batch).and_then(|count| count.checked_mul(rows)).unwrap_or(0);
    let x = a.seen(call, builder, vec![all, depth])?;
    let weight = b.transposed(call, builder)?.seen(call, builder, vec![columns, depth])?;
    if let Operand::Constant { name, tensor } = &b.operand {
        builder.weights(weight, name, tensor.shape().len().saturating_sub(1))?;
    }
    let op = Op::Linear { activation: Activation::None };
    let y = builder.emit_part(call, op, vec![x, weight], vec![all, columns])?;
    let shape = [batch, &[rows, columns]].concat();
    if shape.len() == 2 {
        return Ok((y, shape));
    }
    Ok((builder.emit_part(call, Op::Reshape, vec![y], shape.clone())?, shape))
}

/// Products of computed matrices: of the first factor so many, each of so many of its own one below the
/// other; of the second so many.
fn matrices(
    call: &Call<'_>,
    builder: &mut Builder,
    (a, a_count, tall): (&Factor, usize, usize),
    (b, b_count): (&Factor, usize),
    batch: &[usize],
) -> Result<(ValueId, Vec<usize>), Refusal> {
    let ((_, [rows, depth]), (_, [_, columns])) = (a.split()?, b.split()?);
    let all = rows.saturating_mul(tall);
    let x = a.seen(call, builder, vec![a_count, all, depth])?;
    let factor = b.seen(call, builder, vec![b_count, depth, columns])?;
    let whole = vec![a_count.max(b_count), all, columns];
    let y = builder.emit_part(call, Op::MatMul, vec![x, factor], whole.clone())?;
    let shape = [batch, &[rows, columns]].concat();
    if shape == whole {
        return Ok((y, shape));
    }
    Ok((builder.emit_part(call, Op::Reshape, vec![y], shape.clone())?, shape))
}
