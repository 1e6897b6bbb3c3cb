//! Grids of activations -> what they hold on the samples -> their ranges.
//!
//! Two passes over the samples: extents, then histograms between them. What a grid holds is looked at
//! where an operation computes with it: behind a max pool, not before it.

mod clip;
mod histogram;

pub(super) use histogram::{Extent, Histogram};

use super::activations::Activations;
use super::error::QuantizeError;
use super::grids::{Grid, Selection};
use super::options::RangeMethod;
use super::samples::Samples;
use crate::graph::{Graph, Quantization, ValueId};

/// Operands of a concatenation share its quantization if that loses less than one bit of theirs.
const CLOSE: f32 = 0.5;

/// A grid and what it holds.
#[derive(Clone, Debug)]
pub(super) struct Ranged {
    pub(super) grid: Grid,
    pub(super) extent: Extent,
    pub(super) histogram: Histogram,
    /// Set where the integers are given: raw pixels.
    pub(super) fixed: Option<Quantization>,
}

impl Ranged {
    /// The quantization whose range a method finds; the method is no search.
    pub(super) fn quantization(&self, method: RangeMethod) -> Quantization {
        let range = || clip::range(&self.histogram, method);
        self.fixed.clone().unwrap_or_else(|| of_range(range()))
    }

    /// The one whose range leaves this share of the values outside.
    pub(super) fn without(&self, outside: f64) -> Quantization {
        of_range(clip::percentile(&self.histogram, outside))
    }

    /// Share of the values that have no integer.
    pub(super) fn saturated(&self, quantization: &Quantization) -> f64 {
        let half = quantization.scales[0] / 2.0;
        let [lo, hi] = limits(quantization);
        self.histogram.outside([lo - half, hi + half])
    }
}

/// What stands for raw pixels: 0 to 255 exactly.
pub(super) fn raw_pixels() -> Quantization {
    Quantization { scales: vec![1.0], zero_point: -128, bits: 8 }
}

/// 256 integers from `lo` to `hi`, between which zero lies: it has one.
pub(super) fn of_range([lo, hi]: [f32; 2]) -> Quantization {
    let scale = ((f64::from(hi) - f64::from(lo)) / 255.0) as f32;
    let zero_point = (-128.0 - f64::from(lo) / f64::from(scale)).round_ties_even();
    Quantization { scales: vec![scale], zero_point: zero_point as i8, bits: 8 }
}

/// The smallest and the largest number that an activation can be.
pub(super) fn limits(quantization: &Quantization) -> [f32; 2] {
    let zero = f32::from(quantization.zero_point);
    [-128.0 - zero, 127.0 - zero].map(|steps| steps * quantization.scales[0])
}

/// Whether a range is wide enough for steps that are normal numbers.
pub(super) fn is_wide(extent: Extent) -> bool {
    let [lo, hi] = extent.with_zero();
    ((f64::from(hi) - f64::from(lo)) / 255.0) as f32 >= f32::MIN_POSITIVE
}

/// The grids of `selection` and what they hold on `samples`; operands of concatenations share a grid with
/// the result where that loses little. What holds nothing but zeros has no range: it becomes float, and is
/// returned too.
///
/// # Errors
/// When the graph cannot be run, or computes what is no finite number.
pub(super) fn ranged(
    graph: &Graph,
    selection: &mut Selection,
    samples: &Samples,
) -> Result<(Vec<Ranged>, Vec<Grid>), QuantizeError> {
    let grids = selection.grids(graph);
    let extents = extents(graph, &grids, samples)?;
    join_concats(graph, selection, &grids, &extents);
    let (mut wide, mut empty) = (Vec::new(), Vec::new());
    for grid in selection.grids(graph) {
        let parts = grids.iter().zip(&extents).filter(|(part, _)| contains(&grid, part));
        let extent = parts.map(|(_, extent)| *extent).fold(Extent::EMPTY, Extent::and);
        if is_wide(extent) {
            wide.push((grid, extent));
        } else {
            selection.leave_out(&grid);
            empty.push(grid);
        }
    }
    let histograms = histograms(graph, &wide, samples)?;
    let ranged = wide.into_iter().zip(histograms).map(|((grid, extent), histogram)| Ranged {
        grid,
        extent,
        histogram,
        fixed: None,
    });
    Ok((ranged.collect(), empty))
}

fn contains(grid: &Grid, part: &Grid) -> bool {
    part.values.iter().all(|id| grid.values.contains(id))
}

/// Shares the quantization of concatenations with operands that nothing else reads, for which it can only
/// be better than to be rounded twice, and with those whose range is not much smaller.
fn join_concats(graph: &Graph, selection: &mut Selection, grids: &[Grid], extents: &[Extent]) {
    let width = |id: ValueId| {
        let at = grids.iter().position(|grid| grid.values.contains(&id))?;
        let [lo, hi] = extents[at].with_zero();
        Some(hi - lo)
    };
    for node in &graph.nodes {
        if super::forms::Form::of(graph, node) != super::forms::Form::Joined {
            continue;
        }
        for &id in &node.inputs {
            let Some(grid) = grids.iter().find(|grid| grid.values.contains(&id)) else { continue };
            let readers = grid.values.iter().flat_map(|&id| selection.readers(graph, id));
            let only = readers.map(|reader| reader.output).all(|output| output == node.output);
            let close = width(id) >= width(node.output).map(|whole| CLOSE * whole);
            if only || close {
                selection.join(id, node.output);
            }
        }
    }
}

/// The values that grids are judged by, and for each its grid.
fn read(grids: &[&Grid]) -> (Vec<ValueId>, Vec<usize>) {
    let pairs = grids.iter().enumerate();
    pairs.flat_map(|(at, grid)| grid.read.iter().map(move |&id| (id, at))).unzip()
}

fn extents(graph: &Graph, grids: &[Grid], samples: &Samples) -> Result<Vec<Extent>, QuantizeError> {
    let (watched, owners) = read(&grids.iter().collect::<Vec<_>>());
    let start = || vec![Extent::EMPTY; watched.len()];
    let add = |extents: &mut Vec<Extent>, values: &[Vec<f32>]| {
        extents.iter_mut().zip(values).for_each(|(extent, values)| extent.add(values));
    };
    let merge = |a: Vec<Extent>, b: Vec<Extent>| {
        a.into_iter().zip(b).map(|(a, b)| a.then(b)).collect::<Vec<_>>()
    };
    let found = Activations::new(graph, &watched)?.each(samples, start, add, merge)?;
    if let Some((at, (sample, value))) =
        found.iter().enumerate().find_map(|(at, extent)| Some((at, extent.broken?)))
    {
        let name = graph.get(watched[at]).name.clone();
        return Err(QuantizeError::NotFinite { value: name, sample, found: value });
    }
    let mut extents = vec![Extent::EMPTY; grids.len()];
    for (&owner, extent) in owners.iter().zip(found) {
        extents[owner] = extents[owner].and(extent);
    }
    Ok(extents)
}

fn histograms(
    graph: &Graph,
    grids: &[(Grid, Extent)],
    samples: &Samples,
) -> Result<Vec<Histogram>, QuantizeError> {
    let (watched, owners) = read(&grids.iter().map(|(grid, _)| grid).collect::<Vec<_>>());
    let start = || grids.iter().map(|(_, extent)| Histogram::new(*extent)).collect::<Vec<_>>();
    let add = |histograms: &mut Vec<Histogram>, values: &[Vec<f32>]| {
        owners.iter().zip(values).for_each(|(&owner, values)| histograms[owner].add(values));
    };
    let merge = |a: Vec<Histogram>, b: Vec<Histogram>| {
        a.into_iter().zip(&b).map(|(a, b)| a.and(b)).collect::<Vec<_>>()
    };
    Activations::new(graph, &watched)?.each(samples, start, add, merge)
}
