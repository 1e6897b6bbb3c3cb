//! [`Response`]: what an affine graph is, read off its answers to impulses. A second oracle of fusion,
//! which knows pixels alone: no node, no rule of the algebra.
//!
//! One impulse a number of the input gives the whole matrix `A` of the graph, zeros its constant `b`.
//! The graph is one convolution if, for some stride `s`, `A[(o, q), (i, p)]` depends on `o`, `i` and
//! `p - q * s` alone; zero padding shows nowhere in `A`. Its bias may differ near the border.
//! Windows are less than twice as long as the picture: longer ones could hold the rows of any matrix
//! one beside the other.

use std::collections::BTreeSet;
use unbraid_converter::fuse::Cost;
use unbraid_converter::graph::Graph;
use unbraid_converter::reference;

/// What is nothing, of the largest answer.
const NOTHING: f64 = 1e-9;

/// Answers of a graph with one input and one output, both pictures, in f64.
#[derive(Debug)]
pub struct Response {
    input: [usize; 3],
    output: [usize; 3],
    /// `[I, H, W]` of the input, `[O, h, w]` of the output: what an impulse there adds here.
    matrix: Vec<f64>,
    /// `[O, h, w]`: the answer to zeros.
    constant: Vec<f64>,
}

/// The cheapest convolution that a graph is.
#[derive(Clone, Copy, Debug)]
pub struct Probed {
    /// Multiplications and weights.
    pub cost: Cost,
    /// Bias vectors: one, and one a class of pixels near the border that have another bias.
    pub bias_vectors: usize,
}

impl Response {
    /// Sends an impulse into every number of the input.
    ///
    /// # Panics
    /// When the oracle cannot run the graph, or input and output are not pictures.
    pub fn of(graph: &Graph) -> Self {
        let run = |x: Vec<f64>| reference::run(graph, &[x]).expect("runs").remove(0);
        let dims = |shape: &[usize]| <[usize; 3]>::try_from(&shape[1..]).expect("a picture");
        let input = dims(graph.shape(graph.inputs[0]));
        let output = dims(graph.shape(graph.outputs[0]));
        let zeros = vec![0.0; input.iter().product()];
        let constant = run(zeros.clone());
        let mut matrix = Vec::new();
        for at in 0..zeros.len() {
            let mut x = zeros.clone();
            x[at] = 1.0;
            matrix.extend(run(x).iter().zip(&constant).map(|(y, b)| y - b));
        }
        Self { input, output, matrix, constant }
    }

    /// The cheapest convolution that gives these answers; `None` if they are not those of any.
    pub fn convolution(&self) -> Option<Probed> {
        let strides = |k: usize| 1..=if self.output[k] == 1 { 1 } else { self.input[k] };
        let pairs = strides(1).flat_map(|h| strides(2).map(move |w| [h, w]));
        let costs = pairs.filter_map(|stride| self.kernel(stride)?.cost(self));
        let cost = costs.min_by_key(|cost| (cost.macs, cost.weights))?;
        Some(Probed { cost, bias_vectors: self.bias_vectors() })
    }

    fn resolution(values: &[f64]) -> f64 {
        NOTHING * values.iter().fold(0.0, |max: f64, v| max.max(v.abs()))
    }

    /// What is read at each distance, if it is the same for every output pixel.
    fn kernel(&self, stride: [usize; 2]) -> Option<Kernel> {
        let ([inputs, h, w], [outputs, oh, ow]) = (self.input, self.output);
        let back = [(oh - 1) * stride[0], (ow - 1) * stride[1]];
        let size = [back[0] + h, back[1] + w];
        let resolution = Self::resolution(&self.matrix);
        let mut weights: Vec<Option<f64>> = vec![None; outputs * inputs * size[0] * size[1]];
        for (at, &answer) in self.matrix.iter().enumerate() {
            let (from, to) = (at / (outputs * oh * ow), at % (outputs * oh * ow));
            let (i, y, x) = (from / (h * w), from / w % h, from % w);
            let (o, qy, qx) = (to / (oh * ow), to / ow % oh, to % ow);
            let (dy, dx) = (y + back[0] - qy * stride[0], x + back[1] - qx * stride[1]);
            let weight = &mut weights[((o * inputs + i) * size[0] + dy) * size[1] + dx];
            if (*weight.get_or_insert(answer) - answer).abs() > resolution {
                return None;
            }
        }
        let used =
            weights.iter().enumerate().filter(|(_, w)| w.is_some_and(|w| w.abs() > resolution));
        let used = used.map(|(at, _)| Tap {
            output: at / (inputs * size[0] * size[1]),
            input: at / (size[0] * size[1]) % inputs,
            distance: [
                (at / size[1] % size[0]) as i64 - back[0] as i64,
                (at % size[1]) as i64 - back[1] as i64,
            ],
        });
        Some(Kernel { stride, taps: used.collect() })
    }

    /// Rows whose biases differ from those of the inner ones, times the same of columns.
    fn bias_vectors(&self) -> usize {
        let [outputs, h, w] = self.output;
        let resolution = Self::resolution(&self.constant);
        let at = |o: usize, y: usize, x: usize| self.constant[(o * h + y) * w + x];
        let near = |a: f64, b: f64| (a - b).abs() <= resolution;
        let rows = |a: usize, b: usize| {
            (0..outputs).all(|o| (0..w).all(|x| near(at(o, a, x), at(o, b, x))))
        };
        let columns = |a: usize, b: usize| {
            (0..outputs).all(|o| (0..h).all(|y| near(at(o, y, a), at(o, y, b))))
        };
        (h + 1 - longest_run(h, rows)) * (w + 1 - longest_run(w, columns))
    }
}

/// Most neighbours that are all the same.
fn longest_run(len: usize, same: impl Fn(usize, usize) -> bool) -> usize {
    let run = |start: usize| (start..len).take_while(|&at| same(start, at)).count();
    (0..len).map(run).max().unwrap_or(0)
}

/// A weight that is not zero, by how far in front of `q * stride` it reads.
struct Tap {
    output: usize,
    input: usize,
    distance: [i64; 2],
}

struct Kernel {
    stride: [usize; 2],
    taps: Vec<Tap>,
}

impl Kernel {
    fn cost(&self, response: &Response) -> Option<Cost> {
        let ([inputs, ..], [outputs, h, w]) = (response.input, response.output);
        let taps = self.window(0, response)? * self.window(1, response)?;
        let weights = (outputs * inputs / self.groups(inputs, outputs) * taps) as u64;
        Some(Cost { macs: weights * (h * w) as u64, weights })
    }

    /// Taps along an axis: as many as reach all that is read at even distances, from the first pixel
    /// or before it to the last or behind it, because no padding is negative.
    fn window(&self, axis: usize, response: &Response) -> Option<usize> {
        let (input, output) = (response.input[axis + 1], response.output[axis + 1]);
        let read: BTreeSet<i64> = self.taps.iter().map(|tap| tap.distance[axis]).collect();
        let first = read.first().map_or(0, |&first| first.min(0));
        let span = read.last().map_or(0, |last| last - first) as usize;
        let spacing = read.iter().fold(0, |all, at| gcd(all, (at - first) as usize)).max(1);
        // Padding on the right is what the window reaches over the edge for the last output.
        let reach = input + first.unsigned_abs() as usize + 1;
        let missing = reach.saturating_sub(output * self.stride[axis] + span + 1);
        let taps = span / spacing + 1 + missing.div_ceil(spacing);
        ((taps - 1) * spacing + 1 < 2 * input).then_some(taps)
    }

    fn groups(&self, inputs: usize, outputs: usize) -> usize {
        let parts = (1..=gcd(inputs, outputs)).rev();
        let apart = |g: &usize| {
            let same = |tap: &Tap| tap.input / (inputs / g) == tap.output / (outputs / g);
            inputs.is_multiple_of(*g) && outputs.is_multiple_of(*g) && self.taps.iter().all(same)
        };
        parts.into_iter().find(apart).expect("one group holds all")
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
