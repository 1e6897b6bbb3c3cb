//! [`lay_out`]: where the boxes and edges of a graph go on paper, in layers from top to bottom.
//!
//! After Sugiyama, Tagawa and Toda, "Methods for Visual Understanding of Hierarchical System
//! Structures", 1981: every box lies one layer below the lowest that it reads; edges over several
//! layers get a lane in each layer between, so that no edge runs through a box; the order in a
//! layer is that of the means of its neighbours' places; then all move as near to those as their
//! widths permit. A fixed number of sweeps, each linear in boxes and lanes but for sorting layers.

/// Width and height of a box, in pixels as everything here.
pub(super) const BOX: [f64; 2] = [176.0, 32.0];
/// Width of the lane of an edge that passes a layer.
const LANE: f64 = 6.0;
/// Between neighbours in a layer, and between layers.
const GAP: [f64; 2] = [12.0, 22.0];
/// Around everything.
const MARGIN: f64 = 8.0;
/// Rounds of ordering, and of placing.
const SWEEPS: usize = 8;
/// How much each layer moves to the axis of the drawing: lopsided blocks, one below the other,
/// would otherwise drift to one side.
const PULL: f64 = 0.25;

/// A place on paper; `y` grows downwards.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
}

/// A drawing, in whole pixels.
#[derive(Debug)]
pub(super) struct Layout {
    /// Width and height.
    pub(super) size: [f64; 2],
    /// Upper left corner of each box.
    pub(super) corners: Vec<Point>,
    /// For each edge the points where it leaves a layer and enters the next, by turns: between
    /// layers it may bend, within one it runs straight down.
    pub(super) routes: Vec<Vec<Point>>,
}

/// Draws `boxes` boxes. Each edge leads from a box to one of a higher number; edges come ordered
/// by the box that they lead to. Same graph, same drawing.
pub(super) fn lay_out(boxes: usize, edges: &[(usize, usize)]) -> Layout {
    let mut layers = Layers::new(boxes, edges);
    for sweep in 0..SWEEPS {
        layers.reorder(Side::of(sweep));
    }
    layers.drawn()
}

/// Which neighbours a sweep follows.
#[derive(Clone, Copy, Debug)]
enum Side {
    Above,
    Below,
}

impl Side {
    fn of(sweep: usize) -> Self {
        if sweep.is_multiple_of(2) { Self::Above } else { Self::Below }
    }
}

/// Something that takes room in a layer: a box, or the lane of an edge.
#[derive(Debug, Default)]
struct Item {
    layer: usize,
    above: Vec<usize>,
    below: Vec<usize>,
}

impl Item {
    /// Mean over the neighbours on one side; `None` without any.
    fn mean(&self, side: Side, of: &[f64]) -> Option<f64> {
        let neighbours = match side {
            Side::Above => &self.above,
            Side::Below => &self.below,
        };
        let sum: f64 = neighbours.iter().map(|&item| of[item]).sum();
        (!neighbours.is_empty()).then(|| sum / neighbours.len() as f64)
    }
}

/// A graph whose edges lead from a layer to the next.
#[derive(Debug, Default)]
struct Layers {
    /// Boxes come before lanes.
    boxes: usize,
    items: Vec<Item>,
    /// Items of each layer from left to right.
    rows: Vec<Vec<usize>>,
    /// For each edge its items, from the box it leaves to the one it enters.
    chains: Vec<Vec<usize>>,
}

impl Layers {
    fn new(boxes: usize, edges: &[(usize, usize)]) -> Self {
        let mut layers = Self { boxes, ..Self::default() };
        let depths = depths(boxes, edges);
        for &depth in &depths {
            layers.push(depth);
        }
        for &(from, to) in edges {
            let lanes = (depths[from] + 1..depths[to]).map(|depth| layers.push(depth));
            let mut chain: Vec<usize> = std::iter::once(from).chain(lanes).collect();
            chain.push(to);
            for pair in chain.windows(2) {
                layers.items[pair[0]].below.push(pair[1]);
                layers.items[pair[1]].above.push(pair[0]);
            }
            layers.chains.push(chain);
        }
        layers
    }

    fn push(&mut self, layer: usize) -> usize {
        let item = self.items.len();
        self.items.push(Item { layer, ..Item::default() });
        if self.rows.len() <= layer {
            self.rows.resize(layer + 1, vec![]);
        }
        self.rows[layer].push(item);
        item
    }

    /// Layers in the order in which a sweep comes by.
    fn sweep(&self, side: Side) -> Vec<usize> {
        let count = self.rows.len();
        match side {
            Side::Above => (0..count).collect(),
            Side::Below => (0..count).rev().collect(),
        }
    }

    /// Sorts each layer by where its neighbours are, so that edges cross less.
    fn reorder(&mut self, side: Side) {
        let mut place = vec![0.0; self.items.len()];
        for row in &self.rows {
            row.iter().enumerate().for_each(|(at, &item)| place[item] = at as f64);
        }
        for layer in self.sweep(side) {
            let wanted =
                |&item: &usize| (self.items[item].mean(side, &place).unwrap_or(place[item]), item);
            let mut row: Vec<(f64, usize)> = self.rows[layer].iter().map(wanted).collect();
            row.sort_by(|a, b| a.0.total_cmp(&b.0));
            self.rows[layer] = row.into_iter().map(|(_, item)| item).collect();
            let order = self.rows[layer].iter().enumerate();
            order.for_each(|(at, &item)| place[item] = at as f64);
        }
    }

    fn width(&self, item: usize) -> f64 {
        if item < self.boxes { BOX[0] } else { LANE }
    }

    /// The middle of each item along a layer.
    fn centres(&self) -> Vec<f64> {
        let mut centres = vec![0.0; self.items.len()];
        for side in (0..SWEEPS).map(Side::of) {
            for layer in self.sweep(side) {
                let row = &self.rows[layer];
                let mean = |item: usize| self.items[item].mean(side, &centres);
                let wanted = row.iter().map(|&item| mean(item).unwrap_or(centres[item]));
                let wanted: Vec<f64> = wanted.map(|x| x * (1.0 - PULL)).collect();
                let widths: Vec<f64> = row.iter().map(|&item| self.width(item)).collect();
                for (&item, x) in row.iter().zip(spread(&wanted, &widths)) {
                    centres[item] = x;
                }
            }
        }
        centres
    }

    fn drawn(&self) -> Layout {
        let mut centres = self.centres();
        let left = |(item, x): (usize, &f64)| x - self.width(item) / 2.0;
        let start = centres.iter().enumerate().map(left).fold(f64::INFINITY, f64::min);
        centres.iter_mut().for_each(|x| *x = (*x - start + MARGIN).round());
        let right = |(item, x): (usize, &f64)| x + self.width(item) / 2.0;
        let width = centres.iter().enumerate().map(right).fold(0.0, f64::max) + MARGIN;
        let top = |item: usize| MARGIN + self.items[item].layer as f64 * (BOX[1] + GAP[1]);
        let corner = |item: usize| Point { x: centres[item] - BOX[0] / 2.0, y: top(item) };
        let route = |chain: &Vec<usize>| {
            let ends = chain.iter().flat_map(|&item| {
                [top(item), top(item) + BOX[1]].map(|y| Point { x: centres[item], y })
            });
            // From the bottom of the first box to the top of the last.
            ends.skip(1).take(2 * chain.len() - 2).collect()
        };
        let height = 2.0 * MARGIN + self.rows.len() as f64 * (BOX[1] + GAP[1]) - GAP[1];
        Layout {
            size: [width.round(), height],
            corners: (0..self.boxes).map(corner).collect(),
            routes: self.chains.iter().map(route).collect(),
        }
    }
}

/// Length of the longest path to each box.
fn depths(boxes: usize, edges: &[(usize, usize)]) -> Vec<usize> {
    let mut depths = vec![0; boxes];
    for &(from, to) in edges {
        depths[to] = depths[to].max(depths[from] + 1);
    }
    depths
}

/// Centres in the given order, as near to the wanted ones as the widths permit (least squares).
///
/// Pool adjacent violators: without the widths before each item, centres must only not decrease.
fn spread(wanted: &[f64], widths: &[f64]) -> Vec<f64> {
    let mut offset = 0.0;
    let mut offsets = Vec::with_capacity(widths.len());
    for (at, width) in widths.iter().enumerate() {
        offset += if at == 0 { 0.0 } else { (widths[at - 1] + width) / 2.0 + GAP[0] };
        offsets.push(offset);
    }
    let mut pools: Vec<(f64, usize)> = Vec::new();
    for (x, offset) in wanted.iter().zip(&offsets) {
        let mut pool = (x - offset, 1);
        while let Some(&(sum, count)) = pools.last()
            && sum / count as f64 > pool.0 / pool.1 as f64
        {
            pool = (pool.0 + sum, pool.1 + count);
            pools.pop();
        }
        pools.push(pool);
    }
    let level = |&(sum, count): &(f64, usize)| std::iter::repeat_n(sum / count as f64, count);
    pools.iter().flat_map(level).zip(offsets).map(|(x, offset)| x + offset).collect()
}

#[cfg(test)]
mod tests {
    use super::{BOX, LANE, Layout, lay_out, spread};

    /// A block of three branches, again and again, with an edge over all of them.
    fn braid(blocks: usize) -> (usize, Vec<(usize, usize)>) {
        let mut edges = vec![];
        for first in (0..blocks).map(|block| 5 * block) {
            let block = [(0, 1), (0, 2), (1, 3), (2, 3), (0, 4), (3, 4), (4, 5)];
            edges.extend(block.map(|(from, to)| (first + from, first + to)));
        }
        edges.push((0, 5 * blocks));
        (5 * blocks + 1, edges)
    }

    fn crosses_a_box(layout: &Layout, x: f64, y: f64) -> bool {
        let crosses = |a: f64, corner: f64, length: f64| a > corner - LANE && a < corner + length;
        let corners = layout.corners.iter();
        corners.filter(|c| c.y == y).any(|c| crosses(x, c.x, BOX[0] + LANE))
    }

    #[test]
    fn edges_over_several_layers_pass_beside_the_boxes() {
        let (boxes, edges) = braid(20);
        let layout = lay_out(boxes, &edges);
        assert!(layout.routes.iter().any(|route| route.len() > 20));
        for route in &layout.routes {
            let within = route[1..route.len() - 1].chunks(2);
            within.for_each(|ends| assert!(!crosses_a_box(&layout, ends[0].x, ends[0].y)));
        }
    }

    #[test]
    fn edges_lead_from_the_bottom_of_a_box_to_the_top_of_another() {
        let (boxes, edges) = braid(3);
        let layout = lay_out(boxes, &edges);
        for (route, &(from, to)) in layout.routes.iter().zip(&edges) {
            let (first, last) = (route[0], route[route.len() - 1]);
            let (a, b) = (layout.corners[from], layout.corners[to]);
            assert_eq!([first.x, first.y], [a.x + BOX[0] / 2.0, a.y + BOX[1]]);
            assert_eq!([last.x, last.y], [b.x + BOX[0] / 2.0, b.y]);
            assert!(first.y < last.y);
        }
    }

    #[test]
    fn lopsided_blocks_do_not_drift() {
        let width = |blocks| {
            let (boxes, edges) = braid(blocks);
            lay_out(boxes, &edges).size[0]
        };
        assert!(width(100) < width(10) + BOX[0]);
    }

    #[test]
    fn items_lie_where_they_want_if_there_is_room() {
        assert_eq!(spread(&[0.0, 100.0], &[10.0, 10.0]), [0.0, 100.0]);
        assert_eq!(spread(&[5.0, 5.0], &[10.0, 10.0]), [-6.0, 16.0]);
    }
}
