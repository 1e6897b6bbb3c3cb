//! [`Resample`]: sums of neighbouring rows and columns, weighted by tables: resizing of every kind, and
//! rows and columns in any order.

use crate::span::Span;
use serde::{Deserialize, Serialize};

/// `y[i][j][c] = sum_k rows[i][k] * (sum_l columns[j][l] * x[i0 + k][j0 + l][c])`, where the first row
/// `i0` and the first column `j0` are those of the tables. Values of weight 0 are not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resample {
    /// Which input rows each output row is made of.
    pub rows: Taps,
    /// Which input columns each output column is made of.
    pub columns: Taps,
}

/// For each output row, or column, a run of neighbouring ones of the input and their weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taps {
    /// Rows or columns of a run, at least 1 and at most as many as the input has.
    pub count: u32,
    /// f32 in the weights section, `[output rows or columns][1 + count]`: the first of the run, a whole
    /// number, then the weights. A run that would end outside the input is moved inside. For s8 maps i32,
    /// weights in units of `2^-11` that sum to `2^11`.
    pub table: Span,
}
