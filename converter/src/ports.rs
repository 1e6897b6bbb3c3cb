//! The order of values at the border: ONNX counts channel by channel, the arena pixel by pixel.

use unbraid_runtime::dims::Dims;

/// `[c][h][w]` -> `[h][w][c]`. As many values as `dims` says.
pub fn channels_last<T: Copy>(dims: Dims, row_major: &[T]) -> Vec<T> {
    transposed(row_major, row_major.len() / (dims.c as usize).max(1))
}

/// `[h][w][c]` -> `[c][h][w]`. As many values as `dims` says.
pub fn row_major<T: Copy>(dims: Dims, channels_last: &[T]) -> Vec<T> {
    transposed(channels_last, dims.c as usize)
}

/// A matrix with rows of `columns` values, column by column.
fn transposed<T: Copy>(matrix: &[T], columns: usize) -> Vec<T> {
    let column = |at: usize| matrix.iter().skip(at).step_by(columns.max(1)).copied();
    (0..columns).flat_map(column).collect()
}
