//! `TensorProto` → [`Tensor`]: every element type becomes f32 or i64.

use super::error::TensorProblem;
use super::external;
use crate::onnx::{DataType, TensorProto};
use crate::tensor::{Tensor, elements};
use std::path::Path;

/// Reads a constant; `folder` is where external data may lie.
///
/// # Errors
/// Unsupported element types, impossible shapes, lengths that contradict the shape, bad external data.
pub(super) fn tensor(proto: &TensorProto, folder: Option<&Path>) -> Result<Tensor, TensorProblem> {
    let impossible = || TensorProblem::Shape(proto.dims.clone());
    let axis = |&d: &i64| usize::try_from(d).map_err(|_| impossible());
    let shape = proto.dims.iter().map(axis).collect::<Result<Vec<_>, _>>()?;
    let count = elements(&shape).ok_or_else(impossible)?;
    let kind = DataType::try_from(proto.data_type).unwrap_or(DataType::Undefined);
    let size = element_size(kind).ok_or(TensorProblem::Type(proto.data_type))?;
    let values = if proto.data_location != 0 {
        let bytes = count.checked_mul(size).ok_or_else(impossible)?;
        from_bytes(kind, &external::read(&proto.external_data, bytes, folder)?, count)?
    } else if proto.raw_data.is_empty() {
        from_fields(kind, proto)?
    } else {
        from_bytes(kind, &proto.raw_data, count)?
    };
    let found = values.len();
    let wrong = || TensorProblem::Length { found, expected: count, unit: "values" };
    match values {
        Values::F32(v) => Tensor::f32(shape, v),
        Values::I64(v) => Tensor::i64(shape, v),
    }
    .ok_or_else(wrong)
}

enum Values {
    F32(Vec<f32>),
    I64(Vec<i64>),
}

impl Values {
    fn len(&self) -> usize {
        match self {
            Self::F32(v) => v.len(),
            Self::I64(v) => v.len(),
        }
    }
}

fn element_size(kind: DataType) -> Option<usize> {
    use DataType as T;
    match kind {
        T::Uint8 | T::Int8 | T::Bool => Some(1),
        T::Uint16 | T::Int16 | T::Float16 | T::Bfloat16 => Some(2),
        T::Float | T::Int32 | T::Uint32 => Some(4),
        T::Int64 | T::Uint64 | T::Double => Some(8),
        T::Undefined | T::String | T::Complex64 | T::Complex128 => None,
    }
}

fn from_bytes(kind: DataType, bytes: &[u8], count: usize) -> Result<Values, TensorProblem> {
    use DataType as T;
    let size = element_size(kind).ok_or(TensorProblem::Type(kind.into()))?;
    if count.checked_mul(size) != Some(bytes.len()) {
        let expected = count.saturating_mul(size);
        return Err(TensorProblem::Length { found: bytes.len(), expected, unit: "bytes" });
    }
    Ok(match kind {
        T::Float => Values::F32(each(bytes, f32::from_le_bytes)),
        T::Double => Values::F32(each(bytes, |b| f64::from_le_bytes(b) as f32)),
        T::Float16 => Values::F32(each(bytes, |b| half(u16::from_le_bytes(b)))),
        T::Bfloat16 => Values::F32(each(bytes, |b| brain(u16::from_le_bytes(b)))),
        T::Uint8 | T::Bool => Values::I64(each(bytes, |b| u8::from_le_bytes(b).into())),
        T::Int8 => Values::I64(each(bytes, |b| i8::from_le_bytes(b).into())),
        T::Uint16 => Values::I64(each(bytes, |b| u16::from_le_bytes(b).into())),
        T::Int16 => Values::I64(each(bytes, |b| i16::from_le_bytes(b).into())),
        T::Int32 => Values::I64(each(bytes, |b| i32::from_le_bytes(b).into())),
        T::Uint32 => Values::I64(each(bytes, |b| u32::from_le_bytes(b).into())),
        T::Int64 => Values::I64(each(bytes, i64::from_le_bytes)),
        T::Uint64 => Values::I64(signed(&each(bytes, u64::from_le_bytes))?),
        T::Undefined | T::String | T::Complex64 | T::Complex128 => {
            return Err(TensorProblem::Type(kind.into()));
        }
    })
}

fn each<const N: usize, T>(bytes: &[u8], convert: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|&chunk| convert(chunk)).collect()
}

fn from_fields(kind: DataType, proto: &TensorProto) -> Result<Values, TensorProblem> {
    use DataType as T;
    let small = &proto.int32_data;
    Ok(match kind {
        T::Float => Values::F32(proto.float_data.clone()),
        T::Double => Values::F32(proto.double_data.iter().map(|&v| v as f32).collect()),
        T::Float16 => Values::F32(small.iter().map(|&v| half(v as u16)).collect()),
        T::Bfloat16 => Values::F32(small.iter().map(|&v| brain(v as u16)).collect()),
        T::Int64 => Values::I64(proto.int64_data.clone()),
        T::Uint32 | T::Uint64 => Values::I64(signed(&proto.uint64_data)?),
        T::Uint8 | T::Int8 | T::Uint16 | T::Int16 | T::Int32 | T::Bool => {
            Values::I64(small.iter().map(|&v| v.into()).collect())
        }
        T::Undefined | T::String | T::Complex64 | T::Complex128 => {
            return Err(TensorProblem::Type(kind.into()));
        }
    })
}

fn signed(values: &[u64]) -> Result<Vec<i64>, TensorProblem> {
    let convert = |&v: &u64| i64::try_from(v).map_err(|_| TensorProblem::Range(v));
    values.iter().map(convert).collect()
}

/// IEEE 754 binary16 → binary32, exact.
fn half(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f32::from(bits & 0x3ff));
    sign * match exponent {
        0 => fraction * 2_f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1.0 + fraction / 1024.0) * 2_f32.powi(exponent.saturating_sub(15)),
    }
}

/// bfloat16 → binary32, exact: its upper half.
fn brain(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_bits_decode_exactly() {
        let cases = [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0400, 2_f32.powi(-14)),
            (0x0001, 2_f32.powi(-24)),
            (0x7c00, f32::INFINITY),
            (0x3555, 0.333_251_95),
        ];
        for (bits, value) in cases {
            assert_eq!(half(bits), value, "{bits:#06x}");
        }
        assert!(half(0x7e00).is_nan());
        assert_eq!(brain(0xbf80), -1.0);
    }
}
