//! Integers for the weights of a layer that err least on what the layer really reads.
//!
//! For one output channel with exact output `y` and read values `X` (one column a place), the weights `q` that
//! minimise `|q X - y|^2 + λ |q - w|^2` over all reals solve `q H = g`, with `H = X Xᵀ + λ`,
//! `g = y Xᵀ + λ w`. Over integers times a scale this is the closest vector problem of a lattice;
//! solved from the last unknown to the first, each is rounded when those after it are known, and
//! those before it take up the error: Babai's nearest plane. With `y` computed from `X` itself that is
//! exactly what GPTQ does (Frantar et al., 2022, "GPTQ"; "Optimal Brain Compression" for the derivation).
//! Here `y` is what the float network computes, so weights also take up errors of layers before.

use super::matrix::{Cholesky, LANES, Panels};
use rayon::prelude::*;

/// Weights of the old weights in the sum of squares, as shares of the mean square of what is read: each
/// keeps `H` invertible, the larger ones keep weights near where they were when the data says little.
pub(super) const DAMPING: [f64; 4] = [0.01, 0.1, 1.0, 10.0];
/// Places whose products are added up in f32.
pub(super) const BATCH: usize = 256;

/// Sums of products of what the outputs of a group read, and of that with their exact outputs.
#[derive(Clone, Debug)]
pub(super) struct Sums {
    /// Weights of an output.
    read: usize,
    outputs: usize,
    /// `X Xᵀ`, `[read][read]`, lower triangle.
    squares: Vec<f64>,
    /// `Y Xᵀ`, `[outputs][read]`.
    products: Vec<f64>,
    /// `Σ X`, `[read]`.
    inputs: Vec<f64>,
    /// `Σ Y`, `[outputs]`.
    exact: Vec<f64>,
    /// `Σ Y²`, all outputs together.
    energy: f64,
    places: usize,
}

/// What some outputs of a layer have for weights.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid<'a> {
    /// Float weights, `[outputs][read]`.
    pub(super) weights: &'a [f32],
    /// Distance of neighbouring weights of each output.
    pub(super) scales: &'a [f32],
    /// Largest integer; the smallest is its negative.
    pub(super) largest: f32,
}

impl Sums {
    /// Of no place.
    pub(super) fn new(read: usize, outputs: usize) -> Self {
        Self {
            read,
            outputs,
            squares: vec![0.0; read * read],
            products: vec![0.0; outputs * read],
            inputs: vec![0.0; read],
            exact: vec![0.0; outputs],
            energy: 0.0,
            places: 0,
        }
    }

    /// Adds places: `found` is what the quantized network reads there and `exact` what the float network
    /// reads, each `[place][stride]` from column `first`; the float weights tell the exact outputs.
    pub(super) fn add(
        &mut self,
        weights: &[f32],
        (found, exact): (&[f32], &[f32]),
        (first, stride): (usize, usize),
    ) {
        let places = found.len() / stride;
        let (read, outputs) = (self.read, self.outputs);
        let x = Panels::new(places, read, |place, k| found[place * stride + first + k]);
        x.add_product(&x, true, &mut self.squares);
        let by_place = Panels::new(read, places, |k, place| exact[place * stride + first + k]);
        let by_output = Panels::new(read, outputs, |k, o| weights[o * read + k]);
        let mut y = vec![0.0; outputs * places];
        by_output.add_product(&by_place, false, &mut y);
        let y_panels = Panels::new(places, outputs, |place, o| y[o * places + place] as f32);
        y_panels.add_product(&x, false, &mut self.products);
        for row in found.chunks_exact(stride) {
            let row = &row[first..first + read];
            self.inputs.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        for (sum, y) in self.exact.iter_mut().zip(y.chunks_exact(places.max(1))) {
            *sum += y.iter().sum::<f64>();
        }
        self.energy += y.iter().map(|y| y * y).sum::<f64>();
        self.places += places;
    }

    /// The same around the means: a bias takes up the rest.
    pub(super) fn centre(&mut self) {
        let places = self.places.max(1) as f64;
        for (row, x) in self.squares.chunks_exact_mut(self.read).zip(&self.inputs) {
            row.iter_mut().zip(&self.inputs).for_each(|(sum, other)| *sum -= x * other / places);
        }
        for (row, y) in self.products.chunks_exact_mut(self.read).zip(&self.exact) {
            row.iter_mut().zip(&self.inputs).for_each(|(sum, x)| *sum -= x * y / places);
        }
        self.energy -= self.exact.iter().map(|y| y * y / places).sum::<f64>();
    }

    /// Of these places and others.
    pub(super) fn join(&mut self, others: &Self) {
        let add = |to: &mut [f64], from: &[f64]| to.iter_mut().zip(from).for_each(|(a, b)| *a += b);
        add(&mut self.squares, &others.squares);
        add(&mut self.products, &others.products);
        add(&mut self.inputs, &others.inputs);
        add(&mut self.exact, &others.exact);
        self.energy += others.energy;
        self.places += others.places;
    }

    /// Weights on the grid, `[outputs][read]`; `None` where the sums are no numbers that can be solved.
    /// `share` is one of [`DAMPING`].
    pub(super) fn solve(&self, grid: Grid<'_>, share: f64) -> Option<Vec<f32>> {
        let read = self.read;
        let diagonal = |k: usize| self.squares[k * read + k].max(0.0);
        let mean = (0..read).map(diagonal).sum::<f64>() / read as f64;
        let damping = share * mean;
        let damping = if damping > 0.0 { damping } else { 1.0 };
        // Chosen from the last to the first: what is read most comes first.
        let mut order: Vec<usize> = (0..read).collect();
        order.sort_by(|&a, &b| diagonal(a).total_cmp(&diagonal(b)));
        let factor = Cholesky::of(self.ordered(&order, damping), read)?;
        let mut found = vec![0.0; grid.weights.len()];
        found.par_chunks_mut(LANES * read).enumerate().for_each(|(block, found)| {
            self.solve_block(&factor, &order, damping, grid, block * LANES, found);
        });
        Some(found)
    }

    /// `H` in another order, lower triangle.
    fn ordered(&self, order: &[usize], damping: f64) -> Vec<f64> {
        let read = self.read;
        let mut squares = vec![0.0; read * read];
        squares.par_chunks_mut(read).enumerate().for_each(|(i, row)| {
            for (j, value) in row[..=i].iter_mut().enumerate() {
                let (a, b) = (order[i].max(order[j]), order[i].min(order[j]));
                *value = self.squares[a * read + b];
            }
            row[i] += damping;
        });
        squares
    }

    /// The weights of a few outputs from `first` on.
    fn solve_block(
        &self,
        factor: &Cholesky,
        order: &[usize],
        damping: f64,
        grid: Grid<'_>,
        first: usize,
        found: &mut [f32],
    ) {
        let (read, outputs) = (self.read, found.len() / self.read);
        let right = |k: usize, lane: usize| {
            let at = (first + lane) * read + k;
            self.products[at] + damping * f64::from(grid.weights[at])
        };
        let lanes = |k: &usize| {
            let mut row = [0.0; LANES];
            (0..outputs).for_each(|lane| row[lane] = right(*k, lane));
            row
        };
        let mut z: Vec<[f64; LANES]> = order.iter().map(lanes).collect();
        let mut scales = [1.0; LANES];
        let own = scales.iter_mut().zip(&grid.scales[first..first + outputs]);
        own.for_each(|(to, &scale)| *to = f64::from(scale));
        let largest = f64::from(grid.largest);
        factor.forward(&mut z);
        factor.backward(&mut z, |_, mut weights| {
            for (weight, scale) in weights.iter_mut().zip(&scales) {
                *weight = (*weight / scale).round_ties_even().clamp(-largest, largest) * scale;
            }
            weights
        });
        for (row, &k) in z.iter().zip(order) {
            (0..outputs).for_each(|lane| found[lane * read + k] = row[lane] as f32);
        }
    }

    /// Sum of the squares of the outputs' errors with these weights (`[outputs][read]`), a mean over places.
    pub(super) fn error(&self, weights: &[f32]) -> f64 {
        let read = self.read;
        let of_output = |(row, products): (&[f32], &[f64])| {
            let mut sum = 0.0;
            for (i, &w) in row.iter().enumerate() {
                let w = f64::from(w);
                let below = &self.squares[i * read..][..i];
                let cross: f64 = below.iter().zip(row).map(|(h, &v)| h * f64::from(v)).sum();
                sum += w * (w * self.squares[i * read + i] + 2.0 * cross - 2.0 * products[i]);
            }
            sum
        };
        let rows = weights.par_chunks_exact(read).zip(self.products.par_chunks_exact(read));
        let parts: Vec<f64> = rows.map(of_output).collect();
        (self.energy + parts.iter().sum::<f64>()).max(0.0) / self.places.max(1) as f64
    }
}
