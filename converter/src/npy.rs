//! NumPy's `.npy`: how tensors enter and leave the command line.
//!
//! Format 1.0 to 3.0 (NEP 1; `numpy.lib.format`): magic, version, length of the header, header (a
//! Python dictionary padded with blanks), values in row-major order. Written is version 1.0, `<f4`.

use crate::tensor::{Tensor, elements};
use std::ops::Range;

/// What every file begins with.
pub const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// Values begin at a multiple of this, as NumPy writes them.
const ALIGN: usize = 64;

/// Why bytes are not a tensor that a model can take.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NpyError {
    /// The first bytes are those of another format.
    #[error("not a .npy file: it does not begin with \\x93NUMPY; write one with numpy.save")]
    Magic,
    /// A later format.
    #[error(".npy format {0}.{1}; formats 1.0, 2.0 and 3.0 are read")]
    Version(u8, u8),
    /// The file ends inside the header.
    #[error("the file ends inside the .npy header: it was cut off")]
    HeaderCut,
    /// The header is not the dictionary that NumPy writes.
    #[error("the .npy header has no readable {0:?} entry")]
    Header(&'static str),
    /// Values of another type.
    #[error(
        "values of type {0:?}; f4, f8, i4, i8 (little-endian) and u1 are read: x.astype('<f4')"
    )]
    Type(String),
    /// Column-major values.
    #[error("values in Fortran order; save numpy.ascontiguousarray(x)")]
    FortranOrder,
    /// More values than the machine can address.
    #[error("shape {0:?} has more values than fit into memory")]
    TooLarge(Vec<usize>),
    /// Fewer or more bytes than the shape needs.
    #[error("shape {shape:?} needs {needed} bytes of values, the file has {found}")]
    Length {
        /// The shape in the header.
        shape: Vec<usize>,
        /// Bytes it needs.
        needed: usize,
        /// Bytes after the header.
        found: usize,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    F4,
    F8,
    U1,
    I4,
    I8,
}

impl Type {
    fn named(name: &str) -> Option<Self> {
        match name {
            "<f4" => Some(Self::F4),
            "<f8" => Some(Self::F8),
            "|u1" => Some(Self::U1),
            "<i4" => Some(Self::I4),
            "<i8" => Some(Self::I8),
            _ => None,
        }
    }

    fn size(self) -> usize {
        match self {
            Self::F4 | Self::I4 => 4,
            Self::F8 | Self::I8 => 8,
            Self::U1 => 1,
        }
    }

    /// f4 as it is, u1 exactly, the others rounded to nearest.
    fn to_f32(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::F4 => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            Self::F8 => bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect(),
            Self::U1 => bytes.iter().map(|&b| f32::from(b)).collect(),
            Self::I4 => bytes.as_chunks().0.iter().map(|b| i32::from_le_bytes(*b) as f32).collect(),
            Self::I8 => bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as f32).collect(),
        }
    }
}

/// What the header of a `.npy` says: the shape, and where and how the values lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    shape: Vec<usize>,
    kind: Type,
    start: usize,
}

impl Layout {
    /// The header of `bytes`, and that the values behind it are as many as it says.
    ///
    /// # Errors
    /// See [`NpyError`]; a file with bytes too few or too many is refused, not guessed at.
    pub fn of(bytes: &[u8]) -> Result<Self, NpyError> {
        let (header, values) = split(bytes)?;
        let name = quoted(entry(header, "descr")?).ok_or(NpyError::Header("descr"))?;
        let kind = Type::named(name).ok_or_else(|| NpyError::Type(name.to_owned()))?;
        let order = entry(header, "fortran_order")?;
        let shape = tuple(entry(header, "shape")?).ok_or(NpyError::Header("shape"))?;
        match order {
            o if o.starts_with("False") => {}
            // A vector lies the same way in both orders, and NumPy may then say either.
            o if o.starts_with("True") && shape.len() < 2 => {}
            o if o.starts_with("True") => return Err(NpyError::FortranOrder),
            _ => return Err(NpyError::Header("fortran_order")),
        }
        let needed = elements(&shape).and_then(|n| n.checked_mul(kind.size()));
        let Some(needed) = needed else { return Err(NpyError::TooLarge(shape)) };
        if values.len() != needed {
            return Err(NpyError::Length { shape, needed, found: values.len() });
        }
        Ok(Self { shape, kind, start: bytes.len() - needed })
    }

    /// Axis lengths; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Some of the values of `bytes`, whose layout this is, counted in row-major order; `None` where it
    /// has fewer.
    pub fn values(&self, bytes: &[u8], range: Range<usize>) -> Option<Vec<f32>> {
        let byte = |value: usize| value.checked_mul(self.kind.size())?.checked_add(self.start);
        bytes.get(byte(range.start)?..byte(range.end)?).map(|bytes| self.kind.to_f32(bytes))
    }
}

/// The tensor in `bytes`, of the shape that was saved, converted to f32.
///
/// # Errors
/// See [`NpyError`]; a file with bytes too few or too many is refused, not guessed at.
pub fn read(bytes: &[u8]) -> Result<Tensor, NpyError> {
    let layout = Layout::of(bytes)?;
    let values = layout.kind.to_f32(&bytes[layout.start..]);
    Tensor::f32(layout.shape.clone(), values).ok_or(NpyError::TooLarge(layout.shape))
}

/// Format 1.0, `<f4`, row-major, header padded so that values begin at a multiple of 64 bytes.
pub fn write(shape: &[usize], values: &[f32]) -> Vec<u8> {
    let axes: String = shape.iter().map(|n| format!("{n}, ")).collect();
    let shape = if shape.len() == 1 { axes.trim_end() } else { axes.trim_end_matches(", ") };
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape}), }}");
    let preamble = MAGIC.len() + 4;
    let len = (preamble + header.len() + 1).next_multiple_of(ALIGN) - preamble;
    let mut bytes = Vec::with_capacity(preamble + len + values.len() * 4);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&[1, 0]);
    bytes.extend_from_slice(&u16::try_from(len).expect("a header of few axes").to_le_bytes());
    bytes.extend_from_slice(format!("{header:<0$}\n", len - 1).as_bytes());
    bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    bytes
}

/// Header text and the bytes behind it.
fn split(bytes: &[u8]) -> Result<(&str, &[u8]), NpyError> {
    let rest = bytes.strip_prefix(MAGIC).ok_or(NpyError::Magic)?;
    let (&[major, minor], rest) = rest.split_first_chunk().ok_or(NpyError::HeaderCut)?;
    let (len, rest) = match major {
        1 => {
            let (len, rest) = rest.split_first_chunk().ok_or(NpyError::HeaderCut)?;
            (usize::from(u16::from_le_bytes(*len)), rest)
        }
        2 | 3 => {
            let (len, rest) = rest.split_first_chunk().ok_or(NpyError::HeaderCut)?;
            (u32::from_le_bytes(*len) as usize, rest)
        }
        _ => return Err(NpyError::Version(major, minor)),
    };
    let (header, values) = rest.split_at_checked(len).ok_or(NpyError::HeaderCut)?;
    Ok((std::str::from_utf8(header).map_err(|_| NpyError::Header("descr"))?, values))
}

/// What follows `'key':` in the dictionary.
fn entry<'h>(header: &'h str, key: &'static str) -> Result<&'h str, NpyError> {
    let (_, after) = header.split_once(&format!("'{key}'")).ok_or(NpyError::Header(key))?;
    let value = after.trim_start().strip_prefix(':').ok_or(NpyError::Header(key))?;
    Ok(value.trim_start())
}

fn quoted(text: &str) -> Option<&str> {
    Some(text.strip_prefix('\'')?.split_once('\'')?.0)
}

fn tuple(text: &str) -> Option<Vec<usize>> {
    let (inside, _) = text.strip_prefix('(')?.split_once(')')?;
    let axes = inside.split(',').map(str::trim).filter(|axis| !axis.is_empty());
    axes.map(|axis| axis.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(version: u8, header: &str, values: &[u8]) -> Vec<u8> {
        let len = u32::try_from(header.len()).unwrap().to_le_bytes();
        let len = if version == 1 { &len[..2] } else { &len[..] };
        [MAGIC, &[version, 0][..], len, header.as_bytes(), values].concat()
    }

    #[test]
    fn what_is_written_is_read_back() {
        for shape in [vec![], vec![1], vec![5], vec![2, 3], vec![1, 3, 2, 4], vec![0, 7]] {
            let n: usize = shape.iter().product();
            let values: Vec<f32> = (0..n).map(|i| i as f32 * -0.37).collect();
            let bytes = write(&shape, &values);
            assert_eq!((bytes.len() - 4 * n) % ALIGN, 0);
            assert_eq!(read(&bytes), Ok(Tensor::f32(shape, values).unwrap()));
        }
    }

    #[test]
    fn the_header_is_the_one_numpy_writes() {
        // numpy 1.24: np.save(f, np.zeros((1, 3), "f4")), and (3,) for one axis.
        let text = |shape: &[usize]| String::from_utf8(write(shape, &[])[10..].to_vec()).unwrap();
        let start = "{'descr': '<f4', 'fortran_order': False, 'shape': ";
        assert_eq!(text(&[1, 3]), format!("{:<117}\n", format!("{start}(1, 3), }}")));
        assert_eq!(text(&[3]), format!("{:<117}\n", format!("{start}(3,), }}")));
        assert_eq!(text(&[]), format!("{:<117}\n", format!("{start}(), }}")));
    }

    #[test]
    fn doubles_integers_and_later_formats_are_read() {
        let header = |kind: &str| {
            format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': (2,), }}\n")
        };
        let expected = Ok(Tensor::vector(vec![3.0, 250.0]));
        let doubles = [3.0_f64.to_le_bytes(), 250.0_f64.to_le_bytes()].concat();
        assert_eq!(read(&file(1, &header("<f8"), &doubles)), expected);
        let integers = [3_i32.to_le_bytes(), 250_i32.to_le_bytes()].concat();
        assert_eq!(read(&file(1, &header("<i4"), &integers)), expected);
        let integers = [3_i64.to_le_bytes(), 250_i64.to_le_bytes()].concat();
        assert_eq!(read(&file(1, &header("<i8"), &integers)), expected);
        assert_eq!(read(&file(2, &header("|u1"), &[3, 250])), expected);
        assert_eq!(read(&file(3, &header("|u1"), &[3, 250])), expected);
    }

    #[test]
    fn a_part_of_the_values_is_read_where_it_lies() {
        let bytes = write(&[3, 2], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let layout = Layout::of(&bytes).unwrap();
        assert_eq!(layout.shape(), [3, 2]);
        assert_eq!(layout.values(&bytes, 2..5), Some(vec![2.0, 3.0, 4.0]));
        assert_eq!(layout.values(&bytes, 4..7), None);
    }

    #[test]
    fn a_file_cut_anywhere_or_grown_is_refused() {
        let whole = write(&[2, 3], &[1.0; 6]);
        for len in 0..whole.len() {
            assert!(read(&whole[..len]).is_err(), "cut to {len} bytes");
        }
        let grown = [&whole[..], &[0]].concat();
        let error = NpyError::Length { shape: vec![2, 3], needed: 24, found: 25 };
        assert_eq!(read(&grown), Err(error));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let header = |kind: &str, fortran: &str, shape: &str| {
            let text =
                format!("{{'descr': '{kind}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
            read(&file(1, &text, &[0; 16])).unwrap_err()
        };
        assert_eq!(header("<f4", "True", "(2, 2)"), NpyError::FortranOrder);
        assert_eq!(header("<f4", "Perhaps", "(2, 2)"), NpyError::Header("fortran_order"));
        assert_eq!(header(">f4", "False", "(4,)"), NpyError::Type(">f4".to_owned()));
        assert_eq!(header("<f4", "False", "(-4,)"), NpyError::Header("shape"));
        assert_eq!(header("<f4", "False", "4"), NpyError::Header("shape"));
        let huge = vec![usize::MAX, 2];
        let shape = format!("({}, 2)", usize::MAX);
        assert_eq!(header("<f4", "False", &shape), NpyError::TooLarge(huge));
        assert_eq!(read(&file(9, "", &[])), Err(NpyError::Version(9, 0)));
        assert_eq!(read(b"PK\x03\x04"), Err(NpyError::Magic));
        assert_eq!(read(&file(1, "{}", &[])), Err(NpyError::Header("descr")));
    }
}
