//! [`Call`]: one ONNX node with its operands resolved, and checked access to its parameters.

use super::error::Refusal;
use super::view::View;
use crate::graph::ValueId;
use crate::onnx::{AttributeProto, AttributeType, NodeProto, TensorProto};
use crate::tensor::Tensor;
use std::path::Path;
use std::sync::Arc;

/// What an ONNX value name stands for during import.
#[derive(Clone, Debug)]
pub(super) enum Operand {
    /// Depends on the model's input.
    Value {
        /// In the graph under construction.
        id: ValueId,
        /// Axis lengths.
        shape: Vec<usize>,
    },
    /// Known now; enters the graph only when a node of the graph reads it.
    Constant {
        /// ONNX name.
        name: String,
        /// Shape and values.
        tensor: Tensor,
    },
    /// Depends on the model's input; becomes a value when a node of the graph reads it.
    View(Arc<View>),
}

impl Operand {
    /// Axis lengths.
    pub(super) fn shape(&self) -> &[usize] {
        match self {
            Self::Value { shape, .. } => shape,
            Self::Constant { tensor, .. } => tensor.shape(),
            Self::View(view) => view.shape(),
        }
    }

    /// The constant, under the name for messages.
    pub(super) fn constant(&self, role: &'static str) -> Result<(&str, &Tensor), Refusal> {
        match self {
            Self::Value { .. } | Self::View(_) => Err(Refusal::NotConstant { role }),
            Self::Constant { name, tensor } => Ok((name, tensor)),
        }
    }

    /// The float values of a constant.
    pub(super) fn floats(&self, role: &'static str) -> Result<&[f32], Refusal> {
        let (name, tensor) = self.constant(role)?;
        let name = || name.to_owned();
        let wrong = || Refusal::ElementType { role, name: name(), expected: "floats" };
        tensor.as_f32().ok_or_else(wrong)
    }

    /// The integer values of a constant.
    pub(super) fn integers(&self, role: &'static str) -> Result<&[i64], Refusal> {
        let (name, tensor) = self.constant(role)?;
        let name = || name.to_owned();
        let wrong = || Refusal::ElementType { role, name: name(), expected: "integers" };
        tensor.as_i64().ok_or_else(wrong)
    }

    /// The one float of a constant.
    pub(super) fn scalar(&self, role: &'static str) -> Result<f32, Refusal> {
        match self.floats(role)? {
            &[value] => Ok(value),
            _ => Err(shape_refusal(role, self.shape(), "one element")),
        }
    }
}

/// Shorthand for [`Refusal::Shape`].
pub(super) fn shape_refusal(
    role: &'static str,
    found: &[usize],
    expected: impl Into<String>,
) -> Refusal {
    Refusal::Shape { role, found: found.to_vec(), expected: expected.into() }
}

/// One ONNX node, ready to be imported.
#[derive(Debug)]
pub(super) struct Call<'a> {
    /// The message.
    pub(super) node: &'a NodeProto,
    /// Unique, never empty.
    pub(super) name: String,
    /// Version of the standard operators.
    pub(super) opset: i64,
    /// What the node reads; `None` for an omitted optional operand.
    pub(super) operands: Vec<Option<Operand>>,
    /// How many elements constant folding may still produce.
    pub(super) room: usize,
    /// The model's folder, for external data.
    pub(super) folder: Option<&'a Path>,
}

impl<'a> Call<'a> {
    /// The same node with other operands.
    pub(super) fn with(&self, operands: Vec<Option<Operand>>) -> Self {
        let Self { node, ref name, opset, room, folder, .. } = *self;
        Self { node, name: name.clone(), opset, operands, room, folder }
    }

    /// The first result's name.
    pub(super) fn output(&self) -> &'a str {
        self.node.output.first().map_or("", String::as_str)
    }

    /// An operand that must be there.
    pub(super) fn operand(&self, index: usize, role: &'static str) -> Result<&Operand, Refusal> {
        self.optional(index).ok_or(Refusal::MissingOperand(role))
    }

    /// An operand that may be omitted.
    pub(super) fn optional(&self, index: usize) -> Option<&Operand> {
        self.operands.get(index)?.as_ref()
    }

    /// Every operand, none omitted.
    pub(super) fn all(&self, role: &'static str) -> Result<Vec<&Operand>, Refusal> {
        let all: Option<Vec<&Operand>> = self.operands.iter().map(Option::as_ref).collect();
        all.filter(|a| !a.is_empty()).ok_or(Refusal::MissingOperand(role))
    }

    /// An integer attribute.
    pub(super) fn int(&self, name: &'static str, default: i64) -> Result<i64, Refusal> {
        Ok(self.attribute(name, AttributeType::Int)?.and_then(|a| a.i).unwrap_or(default))
    }

    /// A 0-or-1 attribute.
    pub(super) fn flag(&self, name: &'static str, default: bool) -> Result<bool, Refusal> {
        Ok(self.int(name, default.into())? != 0)
    }

    /// A float attribute.
    pub(super) fn float(&self, name: &'static str) -> Result<Option<f32>, Refusal> {
        Ok(self.attribute(name, AttributeType::Float)?.and_then(|a| a.f))
    }

    /// A list of floats.
    pub(super) fn float_list(&self, name: &'static str) -> Result<Option<&'a [f32]>, Refusal> {
        Ok(self.attribute(name, AttributeType::Floats)?.map(|a| a.floats.as_slice()))
    }

    /// A list of integers.
    pub(super) fn ints(&self, name: &'static str) -> Result<Option<&'a [i64]>, Refusal> {
        Ok(self.attribute(name, AttributeType::Ints)?.map(|a| a.ints.as_slice()))
    }

    /// A string attribute.
    pub(super) fn string(
        &self,
        name: &'static str,
        default: &'static str,
    ) -> Result<&'a str, Refusal> {
        let Some(bytes) = self.attribute(name, AttributeType::String)?.and_then(|a| a.s.as_ref())
        else {
            return Ok(default);
        };
        std::str::from_utf8(bytes).map_err(|_| Refusal::Attribute {
            name,
            found: format!("{bytes:?}"),
            expected: "text".to_owned(),
        })
    }

    /// A tensor attribute.
    pub(super) fn tensor(&self, name: &'static str) -> Result<Option<&'a TensorProto>, Refusal> {
        Ok(self.attribute(name, AttributeType::Tensor)?.and_then(|a| a.t.as_ref()))
    }

    /// Integers that were an attribute before `since` and have been operand `index` from then on.
    pub(super) fn ints_or_operand(
        &self,
        name: &'static str,
        since: i64,
        index: usize,
    ) -> Result<Option<&[i64]>, Refusal> {
        if self.opset < since {
            return self.ints(name);
        }
        self.optional(index).map(|o| o.integers(name)).transpose()
    }

    fn attribute(
        &self,
        name: &'static str,
        kind: AttributeType,
    ) -> Result<Option<&'a AttributeProto>, Refusal> {
        let Some(attribute) = self.node.attribute.iter().find(|a| a.name == name) else {
            return Ok(None);
        };
        if attribute.r#type == i32::from(kind) || attribute.r#type == 0 {
            return Ok(Some(attribute));
        }
        Err(Refusal::Attribute {
            name,
            found: format!("of ONNX attribute type {}", attribute.r#type),
            expected: format!("type {} ({kind:?})", i32::from(kind)),
        })
    }
}

/// Axis numbers may count from the end; `None` when out of range.
pub(super) fn axis(axis: i64, rank: usize) -> Option<usize> {
    let rank_i64 = i64::try_from(rank).ok()?;
    let from_front = if axis < 0 { axis.checked_add(rank_i64)? } else { axis };
    usize::try_from(from_front).ok().filter(|&a| a < rank)
}

/// [`axis`] of an attribute or operand, or the refusal that names it.
pub(super) fn checked_axis(name: &'static str, found: i64, rank: usize) -> Result<usize, Refusal> {
    axis(found, rank).ok_or_else(|| Refusal::Attribute {
        name,
        found: found.to_string(),
        expected: format!("an axis of a tensor with {rank} axes"),
    })
}
