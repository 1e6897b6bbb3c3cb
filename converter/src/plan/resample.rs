//! Lowering of resizing and of elements picked along an axis: tables of runs and weights along the rows and columns of a map.

use super::error::Kind;
use super::lower::{Lowering, Place};
use super::order::{Order, dims};
use super::s8::integer_table;
use crate::graph::Node;
use crate::resize::{Resize, Taps};
use unbraid_runtime::step::{self, Element};

impl Lowering<'_> {
    pub(super) fn gather(
        &mut self,
        node: &Node,
        axis: usize,
        indices: &[usize],
    ) -> Result<(), Kind> {
        self.resample(node, &[(axis, Taps::picking(indices))])
    }

    /// One axis or two, each to the length that the result has.
    pub(super) fn resize(&mut self, node: &Node, resize: &Resize) -> Result<(), Kind> {
        let id = Self::operand(node, 0)?;
        let (shape, output) = (self.graph.shape(id), self.graph.shape(node.output));
        let length = |shape: &[usize], axis: usize| {
            let missing = || Kind::Shape {
                what: "resized values",
                found: shape.to_vec(),
                expected: output.to_vec(),
            };
            shape.get(axis).copied().ok_or_else(missing)
        };
        let taps = resize.axes.iter().map(|axis| {
            let (from, to) = (length(shape, axis.axis)?, length(output, axis.axis)?);
            Ok((axis.axis, Taps::of(resize, axis, from, to)))
        });
        let taps = taps.collect::<Result<Vec<_>, Kind>>()?;
        self.resample(node, &taps)
    }

    /// The operand with these axes, one or two, made of runs.
    fn resample(&mut self, node: &Node, taps: &[(usize, Taps)]) -> Result<(), Kind> {
        let id = Self::operand(node, 0)?;
        let (shape, result) = (self.graph.shape(id), self.graph.shape(node.output));
        let axes: Vec<usize> = taps.iter().map(|(axis, _)| *axis).collect();
        let memory = memory(&self.stored(id)?.order, shape, &axes);
        let element = self.resampled(node, taps);
        let input = self.ordered(id, &order_of(shape, &memory))?;
        let input = self.as_element(id, input, element)?.buffer;
        let output = self.store_in(node.output, order_of(result, &memory), element)?.buffer;
        let layout = Layout::of(&memory, shape, taps);
        let place = |buffer, shape: &[usize]| {
            let [h, w, c] = layout.axes.each_ref().map(|axes| run(shape, axes));
            Ok(Place { buffer, dims: dims(h, w, c)? })
        };
        let (input, output) = (place(input, shape)?, place(output, result)?);
        let (rows, columns) =
            (self.runs(&layout.rows, element)?, self.runs(&layout.columns, element)?);
        self.push(node, step::Op::Resample(step::Resample { rows, columns }), input, output);
        Ok(())
    }

    /// Runs and weights as the runtime reads them.
    fn runs(&mut self, taps: &Taps, element: Element) -> Result<step::Taps, Kind> {
        let entry = |(first, weights): (usize, &[f64])| {
            let weights = weights.iter().map(|&weight| weight as f32);
            std::iter::once(first as f32).chain(weights).collect::<Vec<_>>()
        };
        let too_large = || Kind::TooLarge { shape: vec![taps.count, taps.first.len()] };
        // Beyond, whole numbers have gaps in f32.
        let exact = taps.first.iter().all(|&first| first <= 1 << f32::MANTISSA_DIGITS);
        let count = u32::try_from(taps.count).ok().filter(|_| exact).ok_or_else(too_large)?;
        let table = match element {
            Element::F32 => self.weights.add(&taps.runs().flat_map(entry).collect::<Vec<f32>>())?,
            Element::S8(_) => self.weights.add_i32(&integer_table(taps))?,
        };
        Ok(step::Taps { count, table })
    }
}

/// How the axes of a value in memory are rows, columns and channels, and what they are made of.
struct Layout {
    axes: [Vec<usize>; 3],
    rows: Taps,
    columns: Taps,
}

impl Layout {
    /// `memory` has the one or two axes of `taps` side by side.
    fn of(memory: &[usize], shape: &[usize], taps: &[(usize, Taps)]) -> Self {
        let of = |axis: &usize| taps.iter().find(|(own, _)| own == axis).map(|(_, taps)| taps);
        let first = memory.iter().position(|axis| of(axis).is_some()).unwrap_or(0);
        let (before, rest) = memory.split_at(first);
        let (resized, inner) = rest.split_at(taps.len());
        let pictures = run(shape, before);
        let tall = |row: usize| {
            let taps = of(&row).cloned().unwrap_or_else(|| Taps::identity(shape[row]));
            taps.repeated(pictures, shape[row])
        };
        let inner = inner.to_vec();
        match *resized {
            [row, column] => Self {
                axes: [[before, &[row]].concat(), vec![column], inner],
                rows: tall(row),
                columns: of(&column).cloned().unwrap_or_else(|| Taps::identity(shape[column])),
            },
            [row] if pictures == 1 => {
                let axes = [[before, &[row]].concat(), vec![], inner];
                Self { axes, rows: tall(row), columns: Taps::identity(1) }
            }
            _ => Self {
                axes: [before.to_vec(), resized.to_vec(), inner],
                rows: Taps::identity(pictures),
                columns: resized.first().and_then(of).cloned().unwrap_or_else(|| Taps::identity(1)),
            },
        }
    }
}

/// The axes of a value, outermost first, so that those of `axes` are neighbours: as they lie, if they
/// do, or as they naturally would, or in front of the others.
fn memory(order: &Order, shape: &[usize], axes: &[usize]) -> Vec<usize> {
    let row_major: Vec<usize> = (0..shape.len()).collect();
    let natural = Order::natural_axes(shape);
    let adjacent = |memory: &&Vec<usize>| {
        let places = memory.iter().enumerate().filter(|(_, axis)| axes.contains(axis));
        let places: Vec<usize> = places.map(|(place, _)| place).collect();
        places.windows(2).all(|pair| pair[0] + 1 == pair[1])
    };
    let is_stored = |memory: &&Vec<usize>| order_of(shape, memory) == *order;
    let usual = [&natural, &row_major];
    let stored = usual.into_iter().filter(is_stored).find(adjacent);
    if let Some(memory) = stored.or_else(|| Some(&natural).filter(adjacent)) {
        return memory.clone();
    }
    let others = row_major.iter().filter(|axis| !axes.contains(axis));
    axes.iter().chain(others).copied().collect()
}

fn order_of(shape: &[usize], memory: &[usize]) -> Order {
    Order::of_axes(shape, memory.iter().copied())
}

fn run(shape: &[usize], axes: &[usize]) -> usize {
    axes.iter().map(|&axis| shape[axis]).product()
}
