//! [`Certificate`]: a region executed before and after fusion, in f64, on random pictures.
//!
//! The nodes run in the oracle as they stand in the model. The map runs twice: in f64, which shows
//! that the algebra holds, and as the f32 kernel that is really written, which shows what rounding
//! costs. Pixels whose window reaches over the edge are reported apart: that is where wrong fusions
//! hide. One picture has odd and one has even sides, because strides treat them differently; where a
//! view or slice fixes the size, or strides allow no other, both have that of the graph. Of several
//! rows one is run: all are mapped alike.

use super::Reason;
use super::cover::Candidate;
use super::kernel_map::KernelMap;
use super::node_map::Extent;
use super::rounded::Rounded;
use crate::graph::{Graph, Op, ValueId};
use crate::reference::{self, Array};
use serde::Serialize;

/// Largest difference of the f64 map, relative to the largest output.
pub const EXACT: f64 = 1e-9;
/// Largest difference of the f32 kernel, relative to the largest output.
pub const ROUNDED: f64 = 1e-5;

/// Largest differences between the nodes of a region and what replaces them, over all pictures,
/// relative to the largest value of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Errors {
    /// Over pixels whose window lies inside the picture.
    pub interior: f64,
    /// Over pixels whose window reaches into the padding (of a patch map: on the rim of the patch); 0
    /// if there are none.
    pub border: f64,
}

impl Errors {
    /// The larger of both.
    pub fn worst(self) -> f64 {
        self.interior.max(self.border)
    }
}

/// Proof by execution that a region and its convolution are the same function.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Certificate {
    /// Of the kernel in f64: the algebra.
    pub exact: Errors,
    /// Of the f32 kernel that is written.
    pub rounded: Errors,
    /// Rows and columns of the pictures.
    pub sizes: Vec<[usize; 2]>,
}

/// Runs nodes, f64 map and f32 kernel of a candidate.
///
/// # Errors
/// [`Reason::Differs`] if a difference exceeds [`EXACT`] or [`ROUNDED`].
pub(super) fn certify(
    graph: &Graph,
    candidate: &Candidate,
    map: &KernelMap,
    rounded: &Rounded,
) -> Result<Certificate, Reason> {
    let mut certificate = Certificate {
        exact: Errors::default(),
        rounded: Errors::default(),
        sizes: sizes(graph, candidate),
    };
    for (k, &size) in certificate.sizes.iter().enumerate() {
        let x = Picture::random(graph, candidate.source, size, k as u64);
        let before = x.through_nodes(graph, candidate)?;
        let output = Extent::of(&before.shape).pixels;
        let exact = if candidate.patch {
            map.apply(&x.array.values, [1, 1], [1, 1])
        } else {
            map.apply(&x.array.values, size, output)
        };
        let after = x.through_node(rounded, &before.shape)?;
        let inside = |pixel: [usize; 2]| is_inside(candidate, pixel, size, output);
        certificate.exact.take(inside, output, &before.values, &exact);
        certificate.rounded.take(inside, output, &before.values, &after);
    }
    let (exact, rounded) = (certificate.exact.worst(), certificate.rounded.worst());
    // Written so that a difference that is not a number fails.
    if exact <= EXACT && rounded <= ROUNDED {
        Ok(certificate)
    } else {
        Err(Reason::Differs { exact, rounded })
    }
}

/// An odd and an even picture, large enough for pixels without border, unless the region has one size
/// only.
fn sizes(graph: &Graph, candidate: &Candidate) -> Vec<[usize; 2]> {
    let sized = |&k: &usize| {
        let op = &graph.nodes[k].op;
        matches!(
            op,
            Op::Reshape | Op::Transpose { .. } | Op::Slice { .. } | Op::SpaceToDepth { .. }
        )
    };
    let source = graph.shape(candidate.source);
    if source.len() != 4 || candidate.form.sized || candidate.nodes.iter().any(sized) {
        return vec![Extent::of(source).pixels; 2];
    }
    let [h, w] = candidate.form.axes.map(|axis| axis.extent());
    vec![[2 * h + 1, 2 * w + 1], [2 * h + 2, 2 * w]]
}

/// Whether an output pixel depends on no padding; of a patch, whether it lies off the rim.
fn is_inside(
    candidate: &Candidate,
    pixel: [usize; 2],
    input: [usize; 2],
    output: [usize; 2],
) -> bool {
    (0..2).all(|k| {
        if candidate.patch {
            output[k] == 1 || (pixel[k] > 0 && pixel[k] + 1 < output[k])
        } else {
            candidate.form.axes[k].reads_inside(pixel[k], input[k])
        }
    })
}

impl Errors {
    /// Takes in the differences between two outputs of `[h, w]` pixels a channel.
    fn take(
        &mut self,
        inside: impl Fn([usize; 2]) -> bool,
        [h, w]: [usize; 2],
        expected: &[f64],
        found: &[f64],
    ) {
        let largest = expected.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
        let unit = if largest > 0.0 { largest } else { 1.0 };
        for (at, (a, b)) in expected.iter().zip(found).enumerate() {
            let pixel = [at / w % h, at % w];
            let error = if inside(pixel) { &mut self.interior } else { &mut self.border };
            let difference = (a - b).abs() / unit;
            *error = if difference.is_nan() { f64::INFINITY } else { error.max(difference) };
        }
    }
}

/// A random picture in place of a region's source.
struct Picture {
    array: Array,
}

impl Picture {
    /// Values spread evenly over [-1, 1), the same in every conversion.
    fn random(graph: &Graph, source: ValueId, size: [usize; 2], seed: u64) -> Self {
        let mut shape = graph.shape(source).to_vec();
        shape[0] = 1;
        if let [_, _, h, w] = &mut shape[..] {
            [*h, *w] = size;
        }
        let len: usize = shape.iter().product();
        let values = (0..len as u64).map(|k| noise(k ^ (seed + 1) << 40)).collect();
        Self { array: Array::new(shape, values).expect("one value each") }
    }

    fn through_nodes(&self, graph: &Graph, candidate: &Candidate) -> Result<Array, Reason> {
        let known = vec![(candidate.source, self.array.clone())];
        let mut wanted = reference::evaluate(graph, &candidate.nodes, known, &[candidate.output])
            .map_err(|error| Reason::NotExecutable { error: error.to_string() })?;
        Ok(wanted.remove(0))
    }

    /// Through the node that would be written, in a graph of its own.
    fn through_node(&self, rounded: &Rounded, output: &[usize]) -> Result<Vec<f64>, Reason> {
        let mut graph = Graph::default();
        let x = graph.value("x", self.array.shape.clone());
        let y = graph.value("y", output);
        rounded.node(&self.array.shape, output)?.push(&mut graph, "fused", x, y);
        let nodes: Vec<usize> = (0..graph.nodes.len()).collect();
        let known = vec![(x, self.array.clone())];
        let mut wanted = reference::evaluate(&graph, &nodes, known, &[y])
            .map_err(|error| Reason::NotExecutable { error: error.to_string() })?;
        Ok(wanted.remove(0).values)
    }
}

/// A fixed pseudo-random number in [-1, 1) for each index (the output function of `SplitMix64`).
pub(crate) fn noise(index: u64) -> f64 {
    let mut z = index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    (z >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

#[cfg(test)]
mod tests {
    use super::noise;

    #[test]
    fn noise_fills_its_interval_evenly() {
        let values: Vec<f64> = (0..4096).map(noise).collect();
        assert!(values.iter().all(|v| (-1.0..1.0).contains(v)));
        let mean = values.iter().sum::<f64>() / 4096.0;
        let square = values.iter().map(|v| v * v).sum::<f64>() / 4096.0;
        assert!(mean.abs() < 0.05 && (square - 1.0 / 3.0).abs() < 0.03, "{mean} {square}");
    }
}
