//! [`MatMul`]: products of matrices of which both may be computed.

use super::Source;
use serde::{Deserialize, Serialize};

/// `y[b][m][n] = sum_k x[b][m][k] * other[b][k][n]`: rows of a map count matrices, its columns are their
/// rows, its channels their columns.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MatMul {
    /// The second factor, `b` matrices or one that all share: each `K x N`, or `N x K` if transposed.
    pub other: Source,
    /// The second factor is stored with its columns as rows.
    pub transposed: bool,
}

impl MatMul {
    /// Dims that the second factor must have beside `x` and `y`, but for its number of matrices.
    pub(crate) fn factor(&self, depth: u32, columns: u32) -> (u32, u32) {
        if self.transposed { (columns, depth) } else { (depth, columns) }
    }
}
