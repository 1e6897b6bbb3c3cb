//! What least squares need of linear algebra: products of tall matrices, Cholesky factors, triangular
//! solutions.
//!
//! Products run in f32 over a few hundred rows at a time and are added up in f64; the rest is f64.
//! Everything is laid out so that the inner loops run over neighbours, eight values at a time.

use rayon::prelude::*;

/// Columns of a panel; right sides that are solved together.
pub(super) const LANES: usize = 8;
/// Rows of a tile of a product: with [`LANES`] columns it fits sixteen registers of four floats.
const TILE: usize = 4;
/// Columns of a Cholesky factor that are finished together.
const BLOCK: usize = 64;

/// A matrix `[depth][width]` cut into panels of [`LANES`] columns, `[panel][depth][LANES]`; the last panel
/// is filled up with zeros.
#[derive(Clone, Debug)]
pub(super) struct Panels {
    width: usize,
    depth: usize,
    values: Vec<f32>,
}

impl Panels {
    /// Panels of the matrix with these elements, given as `element(depth, column)`.
    pub(super) fn new(
        depth: usize,
        width: usize,
        element: impl Fn(usize, usize) -> f32 + Sync,
    ) -> Self {
        let mut values = vec![0.0; width.div_ceil(LANES) * depth * LANES];
        let fill = |(panel, values): (usize, &mut [f32])| {
            let lanes = LANES.min(width - panel * LANES);
            for (row, values) in values.chunks_exact_mut(LANES).enumerate() {
                for (lane, value) in values[..lanes].iter_mut().enumerate() {
                    *value = element(row, panel * LANES + lane);
                }
            }
        };
        values.par_chunks_mut((depth * LANES).max(1)).enumerate().for_each(fill);
        Self { width, depth, values }
    }

    fn panels(&self) -> std::slice::ChunksExact<'_, f32> {
        self.values.chunks_exact((self.depth * LANES).max(1))
    }

    /// `sum += transpose(self) * other`, `sum` being `[self.width][other.width]`. Of a symmetric sum only
    /// the blocks on and below the diagonal are computed.
    pub(super) fn add_product(&self, other: &Self, symmetric: bool, sum: &mut [f64]) {
        let rows = (TILE * other.width).max(1);
        sum.par_chunks_mut(rows).enumerate().for_each(|(tile, sum)| {
            let from = tile * TILE;
            let Some(a) = self.panels().nth(from / LANES) else { return };
            let half = from % LANES;
            for (panel, b) in other.panels().enumerate() {
                if symmetric && panel * LANES >= from + TILE {
                    break;
                }
                let product = tile_product(a, half, b);
                add_tile(&product, panel * LANES, other.width, sum);
            }
        });
    }
}

/// `TILE` columns of panel `a`, from column `half`, times all of panel `b`.
fn tile_product(a: &[f32], half: usize, b: &[f32]) -> [[f32; LANES]; TILE] {
    let mut sum = [[0.0; LANES]; TILE];
    for (a, b) in a.chunks_exact(LANES).zip(b.chunks_exact(LANES)) {
        for (sum, a) in sum.iter_mut().zip(&a[half..half + TILE]) {
            for (sum, b) in sum.iter_mut().zip(b) {
                *sum += a * b;
            }
        }
    }
    sum
}

fn add_tile(tile: &[[f32; LANES]; TILE], column: usize, width: usize, sum: &mut [f64]) {
    let lanes = LANES.min(width - column);
    for (row, tile) in sum.chunks_exact_mut(width).zip(tile) {
        let row = &mut row[column..column + lanes];
        row.iter_mut().zip(tile).for_each(|(sum, &value)| *sum += f64::from(value));
    }
}

/// The lower triangle `L` of `matrix = L * transpose(L)`, `[n][n]`.
#[derive(Clone, Debug)]
pub(super) struct Cholesky {
    n: usize,
    lower: Vec<f64>,
}

impl Cholesky {
    /// The factor of a symmetric matrix of which the lower triangle is read; `None` if it is not
    /// positive definite.
    pub(super) fn of(mut matrix: Vec<f64>, n: usize) -> Option<Self> {
        for from in (0..n).step_by(BLOCK) {
            let to = (from + BLOCK).min(n);
            let (done, below) = matrix.split_at_mut(to * n);
            for row in from..to {
                let (above, row_values) = done.split_at_mut(row * n);
                let row_values = &mut row_values[..n];
                reduce_row(row_values, above, from..row, n);
                let square = row_values[row] - dot(&row_values[..row], &row_values[..row]);
                if square.is_nan() || square <= 0.0 {
                    return None;
                }
                row_values[row] = square.sqrt();
            }
            below.par_chunks_mut(n).for_each(|row| reduce_row(row, done, from..to, n));
        }
        Some(Self { n, lower: matrix })
    }

    /// Row `i`, up to and without the diagonal, and the diagonal.
    fn row(&self, i: usize) -> (&[f64], f64) {
        let row = &self.lower[i * self.n..];
        (&row[..i], row[i])
    }

    /// For each lane `z` with `L z = right`, in place.
    pub(super) fn forward(&self, right: &mut [[f64; LANES]]) {
        for i in 0..self.n {
            let (row, diagonal) = self.row(i);
            let (known, rest) = right.split_at_mut(i);
            let mut sum = rest[0];
            for (known, l) in known.iter().zip(row) {
                for (sum, known) in sum.iter_mut().zip(known) {
                    *sum -= l * known;
                }
            }
            rest[0] = sum.map(|sum| sum / diagonal);
        }
    }

    /// Solves `transpose(L) x = z` from the last unknown to the first, but puts `choose(index, x)` in the
    /// place of each, before those before it are solved. `z` becomes what was chosen.
    pub(super) fn backward(
        &self,
        z: &mut [[f64; LANES]],
        choose: impl Fn(usize, [f64; LANES]) -> [f64; LANES],
    ) {
        for i in (0..self.n).rev() {
            let (row, diagonal) = self.row(i);
            let (before, rest) = z.split_at_mut(i);
            let chosen = choose(i, rest[0].map(|z| z / diagonal));
            rest[0] = chosen;
            for (before, l) in before.iter_mut().zip(row) {
                for (before, chosen) in before.iter_mut().zip(&chosen) {
                    *before -= l * chosen;
                }
            }
        }
    }
}

/// Finishes these columns of a row, with the finished rows of the same numbers.
fn reduce_row(row: &mut [f64], finished: &[f64], columns: std::ops::Range<usize>, n: usize) {
    for column in columns {
        let other = &finished[column * n..][..column + 1];
        row[column] = (row[column] - dot(&row[..column], &other[..column])) / other[column];
    }
}

/// Sum of products, in eight partial sums.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; LANES];
    let (a8, b8) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f64 = a8.remainder().iter().zip(b8.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a8.zip(b8) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    rest + sums.iter().sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::{Cholesky, LANES, Panels};

    fn noise(at: usize) -> f64 {
        (at as f64 * 12.9898).sin()
    }

    #[test]
    fn panels_multiply_as_matrices_do() {
        for (depth, m, n) in [(1, 1, 1), (5, 3, 9), (17, 8, 8), (40, 21, 30)] {
            let a = Panels::new(depth, m, |r, c| noise(r * m + c) as f32);
            let b = Panels::new(depth, n, |r, c| noise(7 + r * n + c) as f32);
            let mut product = vec![1.0; m * n];
            a.add_product(&b, false, &mut product);
            for (at, found) in product.iter().enumerate() {
                let term = |r: usize| noise(r * m + at / n) * noise(7 + r * n + at % n);
                let expected = 1.0 + (0..depth).map(term).sum::<f64>();
                assert!((found - expected).abs() < 1e-5, "{depth} {m} {n}: {found} {expected}");
            }
        }
    }

    #[test]
    fn a_factor_solves_what_it_was_made_of() {
        for n in [1, 2, 9, 64, 65, 150] {
            let square = |i: usize, j: usize| {
                let sum: f64 = (0..n).map(|k| noise(i * n + k) * noise(j * n + k)).sum();
                if i == j { sum + 0.1 } else { sum }
            };
            let matrix: Vec<f64> = (0..n * n).map(|at| square(at / n, at % n)).collect();
            let factor = Cholesky::of(matrix.clone(), n).unwrap();
            let x: Vec<f64> = (0..n).map(|k| noise(k + 3)).collect();
            let right = matrix
                .chunks_exact(n)
                .map(|row| [row.iter().zip(&x).map(|(a, x)| a * x).sum::<f64>(); LANES]);
            let mut right: Vec<[f64; LANES]> = right.collect();
            factor.forward(&mut right);
            factor.backward(&mut right, |_, x| x);
            let worst = right.iter().zip(&x).map(|(found, x)| (found[5] - x).abs());
            assert!(worst.fold(0.0, f64::max) < 1e-8, "{n}");
        }
        assert!(Cholesky::of(vec![1.0, 2.0, 2.0, 1.0], 2).is_none(), "not positive definite");
    }
}
