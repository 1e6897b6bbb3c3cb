//! Lowering of reductions and normalisations: the axes that they go along are rows, columns or channels
//! of a map in memory.

use super::binary::{Run, memory_runs, restricted};
use super::error::Kind;
use super::lower::{Buffer, Lowering, Place};
use super::order::{Order, dims};
use crate::graph::{Node, Reduction, ValueId};
use unbraid_runtime::dims::Dims;
use unbraid_runtime::step;

/// An operand as rows, columns and channels, each of which is gone along as a whole or not at all.
struct Layout {
    buffer: Buffer,
    order: Order,
    /// Lengths, and whether the axis is kept.
    runs: [Run; 3],
}

impl Layout {
    fn dims(&self) -> Result<Dims, Kind> {
        let [h, w, c] = self.runs.map(|(extent, _)| extent);
        dims(h, w, c)
    }

    /// Dims with 1 where an axis is gone along.
    fn kept(&self) -> Result<Dims, Kind> {
        let [h, w, c] = self.runs.map(|(extent, kept)| if kept { extent } else { 1 });
        dims(h, w, c)
    }
}

impl Lowering<'_> {
    pub(super) fn reduce(
        &mut self,
        node: &Node,
        function: Reduction,
        axes: &[usize],
    ) -> Result<(), Kind> {
        let id = Self::operand(node, 0)?;
        let shape = self.graph.shape(id);
        let of_pictures = function == Reduction::Mean && shape.len() == 4 && *axes == [2, 3];
        if of_pictures && self.grids(id, node.output).is_some() {
            return self.global_average_pool(node);
        }
        let layout = self.along(id, axes)?;
        let order = restricted(&layout.order, shape, &without(shape, axes));
        let output = self.store(node.output, order)?.buffer;
        let input = Place { buffer: layout.buffer, dims: layout.dims()? };
        let output = Place { buffer: output, dims: layout.kept()? };
        self.push(node, step::Op::Reduce(function), input, output);
        Ok(())
    }

    pub(super) fn normalise(
        &mut self,
        node: &Node,
        axes: &[usize],
        centred: bool,
        epsilon: f32,
    ) -> Result<(), Kind> {
        let layout = self.along(Self::operand(node, 0)?, axes)?;
        let [rows, columns, channels] = layout.runs.map(|(_, kept)| !kept);
        let dims = layout.dims()?;
        let output = self.store(node.output, layout.order)?.buffer;
        let [input, output] = [layout.buffer, output].map(|buffer| Place { buffer, dims });
        let op = step::Normalise { rows, columns, channels, centred, epsilon };
        self.push(node, step::Op::Normalise(op), input, output);
        Ok(())
    }

    /// The operand where it lies if its axes are at most three runs there; otherwise with the axes that
    /// are gone along innermost.
    fn along(&mut self, id: ValueId, axes: &[usize]) -> Result<Layout, Kind> {
        let shape = self.graph.shape(id);
        let own = without(shape, axes);
        let stored = self.stored(id)?;
        if let Some(runs) = memory_runs(&stored.order, shape, &own) {
            let place = self.whole(stored.buffer);
            let buffer = self.real(id, place)?.buffer;
            return Ok(Layout { buffer, order: stored.order, runs: outermost(runs) });
        }
        let natural = Order::natural_axes(shape);
        let (inner, outer): (Vec<_>, Vec<_>) =
            natural.iter().partition(|&axis| axes.contains(axis));
        let order = Order::of_axes(shape, outer.into_iter().chain(inner));
        let runs = memory_runs(&order, shape, &own);
        let runs = runs.ok_or_else(|| Kind::Axes { shape: shape.to_vec() })?;
        let place = self.ordered(id, &order)?;
        let buffer = self.real(id, place)?.buffer;
        Ok(Layout { buffer, order, runs: outermost(runs) })
    }
}

/// What is kept becomes rows, which workers can share, where nothing stands before it.
fn outermost(runs: [Run; 3]) -> [Run; 3] {
    match runs {
        [(1, _), kept @ (_, true), gone @ (_, false)] => [kept, (1, true), gone],
        [(1, _), (1, _), kept @ (_, true)] => [kept, (1, true), (1, true)],
        other => other,
    }
}

/// The shape with 1 for each of the axes.
fn without(shape: &[usize], axes: &[usize]) -> Vec<usize> {
    let kept = |(axis, &length): (usize, &usize)| if axes.contains(&axis) { 1 } else { length };
    shape.iter().enumerate().map(kept).collect()
}
