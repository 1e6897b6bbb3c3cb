//! The f64 interpreter of a graph: the oracle.
//!
//! Everything that fusion, planning and the runtime claim is compared with this file. Values are in
//! ONNX's logical order (NCHW), arithmetic is f64, constants are the f32 values of the graph. Shapes
//! follow from the operands, not from the graph, so a part of a graph also runs on pictures of
//! another size ([`evaluate`]); [`run`] and [`run_values`] insist on the sizes of the graph.
//!
//! Of a quantized graph this is the quantized network without any rounding but the one that each
//! quantization asks for: sums are exact, and a value with a [`Quantization`] is moved to its grid
//! after its node, activation included. Kernels differ by at most one step of the grid, where their f32
//! product and this quotient lie on different sides of a half.

mod array;
mod conv;
mod function;
mod pick;
mod pool;
mod product;
mod reduce;

pub use array::Array;
pub(crate) use conv::{Geometry, class, convolve};

use crate::graph::{
    Activation, Conv, Graph, Hw, Node, Op, Pad, PadMode, Quantization, Reduction, ValueId, Window,
};
use crate::rearrange::Rearrange;
use crate::resize::{Resize, Taps};
use array::Broadcast;
pub(crate) use function::{apply, combine};
use std::collections::HashMap;

/// Why a graph could not be interpreted.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    /// The caller passed another number of inputs than the graph has.
    #[error("the graph has {expected} inputs, {found} were given")]
    InputCount {
        /// Inputs of the graph.
        expected: usize,
        /// Inputs passed.
        found: usize,
    },
    /// The caller passed too few or too many values for an input.
    #[error("input \"{input}\" holds {expected} values, {found} were given")]
    InputSize {
        /// Name of the input.
        input: String,
        /// Product of its axis lengths.
        expected: usize,
        /// Values passed.
        found: usize,
    },
    /// A node reads something that no earlier node, constant or input provides.
    #[error("node \"{node}\" reads \"{value}\", which nothing before it provides")]
    Missing {
        /// The reader.
        node: String,
        /// What it reads.
        value: String,
    },
    /// The operands of a node do not fit each other.
    #[error("node \"{node}\": {reason}")]
    Operands {
        /// The node.
        node: String,
        /// What does not fit.
        reason: String,
    },
}

/// The outputs of the graph for these inputs, in the graph's order.
///
/// `inputs[k]` holds the values of `graph.inputs[k]` in row-major ONNX order. Values are freed
/// after their last use.
///
/// # Errors
/// Wrong number or size of inputs, or a graph that does not hang together.
pub fn run(graph: &Graph, inputs: &[Vec<f64>]) -> Result<Vec<Vec<f64>>, ReferenceError> {
    let nodes: Vec<usize> = (0..graph.nodes.len()).collect();
    let outputs = evaluate(graph, &nodes, named_inputs(graph, inputs)?, &graph.outputs)?;
    Ok(outputs.into_iter().map(|array| array.values).collect())
}

/// Every value that the nodes of the graph compute, by [`ValueId`]; `None` for constants and for
/// values that no node fills. For comparisons layer by layer; [`run`] needs less memory.
///
/// # Errors
/// As [`run`].
pub fn run_values(
    graph: &Graph,
    inputs: &[Vec<f64>],
) -> Result<Vec<Option<Vec<f64>>>, ReferenceError> {
    let mut state = State::new(graph, named_inputs(graph, inputs)?);
    for node in &graph.nodes {
        state.step(node)?;
    }
    let mut known = state.known;
    let ids = (0..graph.values.len()).map(|k| ValueId(k as u32));
    Ok(ids.map(|id| known.remove(&id).map(|array| array.values)).collect())
}

/// Runs the nodes with these indices, in this order, from values that are `known`, and returns
/// those that are `wanted`. What is known is taken as it is, not rounded to its grid.
///
/// Pictures may have another size than in the graph, as long as no node among `nodes` reshapes or
/// rearranges, and there may be another number of them, as long as both keep axis 0.
///
/// # Errors
/// [`ReferenceError::Missing`] when the nodes do not lead from `known` to `wanted`.
pub fn evaluate(
    graph: &Graph,
    nodes: &[usize],
    known: Vec<(ValueId, Array)>,
    wanted: &[ValueId],
) -> Result<Vec<Array>, ReferenceError> {
    let mut last = HashMap::new();
    for (at, &index) in nodes.iter().enumerate() {
        last.extend(graph.nodes[index].inputs.iter().map(|&input| (input, at)));
    }
    let mut state = State::new(graph, known);
    for (at, &index) in nodes.iter().enumerate() {
        let node = &graph.nodes[index];
        state.step(node)?;
        for input in &node.inputs {
            if last[input] == at && !wanted.contains(input) {
                state.known.remove(input);
            }
        }
    }
    wanted.iter().map(|&id| state.take(id)).collect()
}

fn named_inputs(
    graph: &Graph,
    inputs: &[Vec<f64>],
) -> Result<Vec<(ValueId, Array)>, ReferenceError> {
    if inputs.len() != graph.inputs.len() {
        return Err(ReferenceError::InputCount {
            expected: graph.inputs.len(),
            found: inputs.len(),
        });
    }
    graph
        .inputs
        .iter()
        .zip(inputs)
        .map(|(&id, values)| Ok((id, on_grid(graph, id, input(graph, id, values)?))))
        .collect()
}

fn input(graph: &Graph, id: ValueId, values: &[f64]) -> Result<Array, ReferenceError> {
    let value = graph.get(id);
    Array::new(value.shape.clone(), values.to_vec()).ok_or_else(|| ReferenceError::InputSize {
        input: value.name.clone(),
        expected: value.shape.iter().product(),
        found: values.len(),
    })
}

/// Values rounded to the integers that stand for them, if the value of the graph has any.
fn on_grid(graph: &Graph, id: ValueId, array: Array) -> Array {
    match &graph.get(id).quantization {
        Some(quantization) => array.map(|v| Quantization::rounded(quantization, v)),
        None => array,
    }
}

struct State<'a> {
    graph: &'a Graph,
    known: HashMap<ValueId, Array>,
}

impl<'a> State<'a> {
    fn new(graph: &'a Graph, known: Vec<(ValueId, Array)>) -> Self {
        Self { graph, known: known.into_iter().collect() }
    }

    fn step(&mut self, node: &Node) -> Result<(), ReferenceError> {
        let operands = Operands { state: self, node };
        let result = operands.compute()?;
        self.known.insert(node.output, on_grid(self.graph, node.output, result));
        Ok(())
    }

    /// A result, or a constant that is wanted as one.
    fn take(&self, id: ValueId) -> Result<Array, ReferenceError> {
        let found = self.known.get(&id).cloned().or_else(|| self.constant(id));
        found.ok_or_else(|| ReferenceError::Missing {
            node: "(output)".into(),
            value: self.graph.get(id).name.clone(),
        })
    }

    fn constant(&self, id: ValueId) -> Option<Array> {
        let tensor = self.graph.get(id).constant.as_ref()?;
        let values = tensor.as_f32()?.iter().map(|&v| f64::from(v)).collect();
        Array::new(tensor.shape().to_vec(), values)
    }
}

/// What one node reads.
struct Operands<'a> {
    state: &'a State<'a>,
    node: &'a Node,
}

impl Operands<'_> {
    fn error(&self, reason: impl Into<String>) -> ReferenceError {
        ReferenceError::Operands { node: self.node.name.clone(), reason: reason.into() }
    }

    /// Operand `k`, borrowed where it was computed, converted to f64 where it is a constant.
    fn get(&self, k: usize) -> Result<Operand<'_>, ReferenceError> {
        let Some(&id) = self.node.inputs.get(k) else {
            return Err(self.error(format!("operand {k} is missing")));
        };
        if let Some(array) = self.state.known.get(&id) {
            return Ok(Operand::Computed(array));
        }
        self.state.constant(id).map(Operand::Constant).ok_or_else(|| ReferenceError::Missing {
            node: self.node.name.clone(),
            value: self.state.graph.get(id).name.clone(),
        })
    }

    fn compute(&self) -> Result<Array, ReferenceError> {
        match &self.node.op {
            Op::Conv(conv) => self.conv(conv),
            Op::BatchNorm { eps } => self.batch_norm(f64::from(*eps)),
            Op::Activation(activation) => Ok(activated(self.get(0)?.into_array(), activation)),
            Op::Unary(function) => Ok(self.get(0)?.into_array().map(|x| apply(*function, x))),
            Op::Softmax { axis } => {
                let mut x = self.get(0)?.into_array();
                x.softmax(*axis).then_some(x).ok_or_else(|| self.error("softmax axis out of range"))
            }
            Op::Add { activation } => Ok(activated(self.pairwise(|a, b| a + b)?, activation)),
            Op::Sub => self.pairwise(|a, b| a - b),
            Op::Mul => self.pairwise(|a, b| a * b),
            Op::Div => self.pairwise(|a, b| a / b),
            Op::Binary(function) => self.pairwise(|a, b| combine(*function, a, b)),
            Op::MaxPool(window) => self.pool(window, pool::max),
            Op::AveragePool { window, count_include_pad } => {
                self.pool(window, |x, g| pool::average(x, g, *count_include_pad))
            }
            Op::GlobalAveragePool => self.global_average(),
            Op::Linear { activation } => Ok(activated(self.linear()?, activation)),
            Op::MatMul => self.matmul(),
            Op::Reshape => self.reshape(),
            Op::Transpose { .. }
            | Op::Expand
            | Op::Slice { .. }
            | Op::DepthToSpace { .. }
            | Op::SpaceToDepth { .. } => self.rearranged(),
            Op::Pad { pad, mode } => self.pad(*pad, *mode),
            Op::Resize(resize) => self.resize(resize),
            Op::Gather { axis, indices } => self.gather(*axis, indices),
            Op::TopK { axis, count, largest, last } => {
                let x = self.get(0)?;
                let best = pick::best(&x, *axis, *count, *largest, *last);
                best.ok_or_else(|| self.error(format!("{count} of axis {axis} of {:?}", x.shape)))
            }
            Op::Reduce { function, axes } => self.reduce(*function, axes),
            Op::Normalise { axes, centred, eps } => self.normalise(axes, *centred, f64::from(*eps)),
            Op::Concat { axis } => self.concat(*axis),
        }
    }

    /// Operand 0 as `[N, C, H, W]`, with values.
    fn pictures(&self) -> Result<Operand<'_>, ReferenceError> {
        let x = self.get(0)?;
        match x.shape[..] {
            [_, _, _, _] if !x.values.is_empty() => Ok(x),
            _ => Err(self.error(format!("expected pictures [N, C, H, W], found {:?}", x.shape))),
        }
    }

    fn geometry(&self, window: &Window, input: [usize; 2]) -> Result<Geometry, ReferenceError> {
        Geometry::of_window(window, input).ok_or_else(|| {
            self.error(format!("{window:?} does not fit a picture of {}x{}", input[0], input[1]))
        })
    }

    fn conv(&self, conv: &Conv) -> Result<Array, ReferenceError> {
        let (x, weight) = (self.pictures()?, self.get(1)?);
        let [n, i, h, w] = x.shape[..] else { unreachable!("checked by pictures()") };
        let geometry = self.geometry(&conv.window, [h, w])?;
        let taps = geometry.kernel[0] * geometry.kernel[1];
        let o = weight.shape.first().copied().unwrap_or(0);
        let groups = conv.groups;
        let fits = groups > 0 && i % groups == 0 && o % groups == 0;
        if !fits || weight.values.len() != o * (i / groups) * taps {
            let shape = &weight.shape;
            return Err(self.error(format!("weight {shape:?} for {i} channels, {groups} groups")));
        }
        let mut y = Vec::new();
        for picture in x.values.chunks_exact(i * h * w) {
            let mut one = convolve(picture, &weight.values, &geometry, groups, o);
            self.conv_bias(conv, &geometry, &mut one)?;
            y.append(&mut one);
        }
        let [oh, ow] = geometry.output;
        let y = Array::new(vec![n, o, oh, ow], y).expect("convolve fills its output");
        Ok(activated(y, &conv.activation))
    }

    fn conv_bias(&self, conv: &Conv, g: &Geometry, y: &mut [f64]) -> Result<(), ReferenceError> {
        let pixels = g.output[0] * g.output[1];
        let o = y.len() / pixels.max(1);
        if let Some(border) = &conv.border {
            let bias = border.bias.as_f32().unwrap_or(&[]);
            return conv::add_border_bias(y, g, border.classes, bias)
                .ok_or_else(|| self.error("the border bias does not fit the output"));
        }
        if self.node.inputs.len() < 3 {
            return Ok(());
        }
        let bias = self.get(2)?;
        if bias.values.len() != o {
            return Err(self.error(format!("{} biases for {o} channels", bias.values.len())));
        }
        for (plane, b) in y.chunks_exact_mut(pixels).zip(&bias.values) {
            plane.iter_mut().for_each(|v| *v += b);
        }
        Ok(())
    }

    fn batch_norm(&self, eps: f64) -> Result<Array, ReferenceError> {
        let mut x = self.get(0)?.into_array();
        let (gamma, beta) = (self.get(1)?, self.get(2)?);
        let (mean, var) = (self.get(3)?, self.get(4)?);
        let c = x.shape.get(1).copied().unwrap_or(0);
        if [&gamma, &beta, &mean, &var].iter().any(|v| v.values.len() != c) || c == 0 {
            return Err(self.error(format!("statistics do not have {c} channels")));
        }
        let inner: usize = x.shape[2..].iter().product();
        for (k, plane) in x.values.chunks_exact_mut(inner.max(1)).enumerate() {
            let k = k % c;
            let scale = gamma.values[k] / (var.values[k] + eps).sqrt();
            let (mean, beta) = (mean.values[k], beta.values[k]);
            plane.iter_mut().for_each(|v| *v = (*v - mean) * scale + beta);
        }
        Ok(x)
    }

    fn pairwise(&self, f: impl Fn(f64, f64) -> f64) -> Result<Array, ReferenceError> {
        let (a, b) = (self.get(0)?, self.get(1)?);
        let broadcast = Broadcast::new(&a.shape, &b.shape).ok_or_else(|| {
            self.error(format!("cannot broadcast {:?} and {:?}", a.shape, b.shape))
        })?;
        Ok(broadcast.apply(&a.values, &b.values, f))
    }

    fn pool(
        &self,
        window: &Window,
        reduce: impl Fn(&[f64], &Geometry) -> Vec<f64>,
    ) -> Result<Array, ReferenceError> {
        let x = self.pictures()?;
        let [n, c, h, w] = x.shape[..] else { unreachable!("checked by pictures()") };
        let geometry = self.geometry(window, [h, w])?;
        let values = x.values.chunks_exact(h * w).flat_map(|plane| reduce(plane, &geometry));
        let [oh, ow] = geometry.output;
        Ok(Array::new(vec![n, c, oh, ow], values.collect()).expect("one plane for each channel"))
    }

    fn global_average(&self) -> Result<Array, ReferenceError> {
        let x = self.pictures()?;
        let [n, c, h, w] = x.shape[..] else { unreachable!("checked by pictures()") };
        let mean = |plane: &[f64]| plane.iter().sum::<f64>() / (h * w) as f64;
        let values = x.values.chunks_exact(h * w).map(mean).collect();
        Ok(Array::new(vec![n, c, 1, 1], values).expect("one mean for each channel"))
    }

    fn linear(&self) -> Result<Array, ReferenceError> {
        let (x, weight) = (self.get(0)?, self.get(1)?);
        let [o, k] = weight.shape[..] else {
            return Err(self.error(format!("weight {:?} is no matrix", weight.shape)));
        };
        let rows = x.values.len() / k.max(1);
        if rows == 0 || rows != x.shape.first().copied().unwrap_or(1) || x.values.len() != rows * k
        {
            return Err(self.error(format!("{:?} for a weight of {o}x{k}", x.shape)));
        }
        let bias = (self.node.inputs.len() > 2).then(|| self.get(2)).transpose()?;
        let bias = bias.as_ref().map_or(&[][..], |bias| &bias.values);
        if self.node.inputs.len() > 2 && bias.len() != o {
            return Err(self.error(format!("{} biases for {o} outputs", bias.len())));
        }
        let mut y = Vec::with_capacity(rows * o);
        for row in x.values.chunks_exact(k) {
            let dot = |w: &[f64]| w.iter().zip(row).map(|(w, x)| w * x).sum::<f64>();
            let from = y.len();
            y.extend(weight.values.chunks_exact(k).map(dot));
            y[from..].iter_mut().zip(bias).for_each(|(y, b)| *y += b);
        }
        Ok(Array::new(vec![rows, o], y).expect("one value a row and output"))
    }

    fn matmul(&self) -> Result<Array, ReferenceError> {
        let (a, b) = (self.get(0)?, self.get(1)?);
        product::matrices(&a, &b).ok_or_else(|| {
            self.error(format!("{:?} and {:?} are no matrices that fit", a.shape, b.shape))
        })
    }

    /// Shape of the result as the graph has it, but with as many rows on axis 0 as operand 0 has.
    fn shape_of_rows(&self, x: &Array) -> Vec<usize> {
        let graph = self.state.graph;
        let mut shape = graph.shape(self.node.output).to_vec();
        let known = graph.shape(self.node.inputs[0]);
        if let (Some(to), Some(from), Some(&rows)) =
            (shape.first_mut(), known.first(), x.shape.first())
            && to == from
        {
            *to = rows;
        }
        shape
    }

    fn reshape(&self) -> Result<Array, ReferenceError> {
        let x = self.get(0)?.into_array();
        let (found, shape) = (x.shape.clone(), self.shape_of_rows(&x));
        Array::new(shape.clone(), x.values)
            .ok_or_else(|| self.error(format!("cannot reshape {found:?} to {shape:?}")))
    }

    /// Operand 0 in another order. The shape follows from the graph: but for their number, rows are
    /// rearranged at the sizes of the graph only.
    fn rearranged(&self) -> Result<Array, ReferenceError> {
        let x = self.get(0)?;
        let shape = self.shape_of_rows(&x);
        let order = Rearrange::of(&self.node.op, &x.shape, &shape);
        let values = order.and_then(|order| {
            order.indices().map(|k| x.values.get(k).copied()).collect::<Option<Vec<f64>>>()
        });
        let y = values.and_then(|values| Array::new(shape.clone(), values));
        y.ok_or_else(|| self.error(format!("cannot rearrange {:?} to {shape:?}", x.shape)))
    }

    fn pad(&self, pad: Pad, mode: PadMode) -> Result<Array, ReferenceError> {
        let x = self.pictures()?;
        let too_wide = || self.error(format!("{pad:?} needs more pixels than {:?} has", x.shape));
        pool::pad(&x, pad, mode).ok_or_else(too_wide)
    }

    fn resize(&self, resize: &Resize) -> Result<Array, ReferenceError> {
        let shape = self.state.graph.shape(self.node.output);
        let mut x = self.get(0)?.into_array();
        for axis in &resize.axes {
            let lengths = (x.shape.get(axis.axis).copied(), shape.get(axis.axis).copied());
            let (Some(input), Some(output)) = lengths else {
                return Err(self.error(format!("{:?} has no axis {}", x.shape, axis.axis)));
            };
            x = x.resampled(axis.axis, &Taps::of(resize, axis, input, output));
        }
        Ok(x)
    }

    fn gather(&self, axis: usize, indices: &[usize]) -> Result<Array, ReferenceError> {
        let x = self.get(0)?;
        let length = x.shape.get(axis).copied().unwrap_or(0);
        match indices.iter().find(|&&index| index >= length) {
            None => Ok(x.resampled(axis, &Taps::picking(indices))),
            Some(index) => Err(self.error(format!("{index} of axis {axis} of {:?}", x.shape))),
        }
    }

    fn reduce(&self, function: Reduction, axes: &[usize]) -> Result<Array, ReferenceError> {
        let x = self.get(0)?;
        let reduced = reduce::reduced(&x, function, axes);
        reduced.ok_or_else(|| self.error(format!("{:?} has not all of the axes {axes:?}", x.shape)))
    }

    fn normalise(&self, axes: &[usize], centred: bool, eps: f64) -> Result<Array, ReferenceError> {
        let x = self.get(0)?;
        let normalised = reduce::normalised(&x, axes, centred, eps);
        normalised
            .ok_or_else(|| self.error(format!("{:?} has not all of the axes {axes:?}", x.shape)))
    }

    fn concat(&self, axis: usize) -> Result<Array, ReferenceError> {
        let parts: Result<Vec<_>, _> = (0..self.node.inputs.len()).map(|k| self.get(k)).collect();
        let parts = parts?;
        let parts: Vec<&Array> = parts.iter().map(|part| &**part).collect();
        Array::concat(&parts, axis).ok_or_else(|| self.error("shapes differ beside the axis"))
    }
}

/// A borrowed result or a converted constant.
enum Operand<'a> {
    Computed(&'a Array),
    Constant(Array),
}

impl std::ops::Deref for Operand<'_> {
    type Target = Array;

    fn deref(&self) -> &Array {
        match self {
            Self::Computed(array) => array,
            Self::Constant(array) => array,
        }
    }
}

impl Operand<'_> {
    fn into_array(self) -> Array {
        match self {
            Self::Computed(array) => array.clone(),
            Self::Constant(array) => array,
        }
    }
}

/// An activation of a value that belongs to a channel.
pub(crate) fn activate(x: f64, activation: &Activation, channel: usize) -> f64 {
    let leaky = |slope: f32| if x < 0.0 { f64::from(slope) * x } else { x };
    match activation {
        Activation::None => x,
        Activation::Clamp { lo, hi } => x.max(f64::from(*lo)).min(f64::from(*hi)),
        Activation::LeakyRelu { slope } => leaky(*slope),
        Activation::PRelu { slope } => {
            let slopes = slope.as_f32().unwrap_or(&[]);
            leaky(slopes[channel % slopes.len()])
        }
    }
}

/// Applies an activation; the channels of a PReLU are axis 1.
fn activated(x: Array, activation: &Activation) -> Array {
    match activation {
        Activation::None => x,
        Activation::Clamp { .. } | Activation::LeakyRelu { .. } => {
            x.map(|v| activate(v, activation, 0))
        }
        Activation::PRelu { .. } => {
            let inner: usize = x.shape.iter().skip(2).product();
            let mut x = x;
            for (k, plane) in x.values.chunks_exact_mut(inner.max(1)).enumerate() {
                let channel = k % x.shape.get(1).copied().unwrap_or(1).max(1);
                plane.iter_mut().for_each(|v| *v = activate(*v, activation, channel));
            }
            x
        }
    }
}

impl Geometry {
    /// The geometry of a window over a picture of `input` rows and columns; `None` if it does not fit.
    fn of_window(window: &Window, input: [usize; 2]) -> Option<Self> {
        let [h, w] = [u32::try_from(input[0]).ok()?, u32::try_from(input[1]).ok()?];
        let output = window.output(h, w)?;
        let pair = |hw: Hw| [hw.h as usize, hw.w as usize];
        Some(Self {
            kernel: pair(window.kernel),
            stride: pair(window.stride),
            dilation: pair(window.dilation),
            pad: [i64::from(window.pad.top), i64::from(window.pad.left)],
            input,
            output: pair(output),
        })
    }
}
