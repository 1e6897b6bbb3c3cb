//! Quantized graphs for tests, and what a plan makes of them beside the oracle.
//!
//! The quantizer of the converter is not used: ranges are those of a few random pictures, weights are
//! rounded to the nearest integer.

use crate::execute::{cpus, row_major, write_inputs};
use crate::graphs::{Builder, Layer};
use crate::repvgg::Variant;
use crate::rng::Random;
use crate::strand_builder::AlignedBytes;
use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use unbraid_converter::graph::{Graph, Op, Quantization, ValueId};
use unbraid_converter::plan::{Options, Plan, Target, plan};
use unbraid_converter::reference::{self, Array};
use unbraid_converter::tensor::{Tensor, elements};
use unbraid_converter::write::strand;
use unbraid_linux::Pool;
use unbraid_runtime::step::Step;
use unbraid_runtime::{Cpu, Kernels, Model, Observer, Session, Values};

/// RepVGG-A0 as fusion leaves it: 22 convolutions with ReLU, a global average, a dense layer.
pub fn repvgg_a0(size: usize) -> Graph {
    let (mut net, mut x) = Builder::new(3, 3, [size, size]);
    for block in Variant::named("A0").expect("in the table").layers() {
        let layer = block.layer;
        x = net.conv_relu(x, Layer::of(layer.output, 3, layer.stride as u32, layer.groups));
    }
    x = net.node(Op::GlobalAveragePool, vec![x], &[1, 1280, 1, 1]);
    x = net.node(Op::Reshape, vec![x], &[1, 1280]);
    x = net.linear(x, 1000);
    net.finish(&[x])
}

/// Random pictures that ranges are taken from.
const PICTURES: u64 = 3;

/// Values in [-1, 1) for every input of the graph, in ONNX's order.
pub fn pictures(graph: &Graph, seed: u64) -> Vec<Vec<f32>> {
    let mut random = Random(seed);
    let len = |&id: &ValueId| elements(graph.shape(id)).expect("a small shape");
    graph.inputs.iter().map(|id| random.vec(len(id))).collect()
}

/// Smallest and largest value of everything that is computed or goes in, 0 included.
pub fn ranges(graph: &Graph) -> HashMap<ValueId, (f64, f64)> {
    let mut ranges = HashMap::new();
    for seed in 0..PICTURES {
        let inputs = widened(&pictures(graph, seed));
        let values = reference::run_values(graph, &inputs).expect("the graph runs");
        for (index, values) in values.iter().enumerate() {
            let Some(values) = values else { continue };
            let range = ranges.entry(ValueId(index as u32)).or_insert((0.0_f64, 0.0_f64));
            let (lo, hi) = (|a: f64, &b: &f64| a.min(b), |a: f64, &b: &f64| a.max(b));
            *range = (values.iter().fold(range.0, lo), values.iter().fold(range.1, hi));
        }
    }
    ranges
}

/// The grid of 256 values from `lo` to `hi`, one of which is 0.
pub fn grid((lo, hi): (f64, f64)) -> Quantization {
    let scale = ((hi - lo) / 255.0).max(1e-6) as f32;
    let zero_point = (-128.0 - lo / f64::from(scale)).round() as i8;
    Quantization::of_activation(scale, zero_point)
}

/// Gives what the graph computes and what goes in, but for its outputs and what `float` names, the grids of
/// their [`ranges`]; results that only move or choose values have the grid of their operand. Weights get
/// as many bits.
pub fn quantized(graph: Graph, bits: u8, float: &[ValueId]) -> Graph {
    let ranges = ranges(&graph);
    quantized_to(graph, bits, float, |id| ranges[&id])
}

/// [`quantized`] with ranges from elsewhere.
pub fn quantized_to(
    mut graph: Graph,
    bits: u8,
    float: &[ValueId],
    range: impl Fn(ValueId) -> (f64, f64),
) -> Graph {
    let kept: HashSet<ValueId> = graph.outputs.iter().chain(float).copied().collect();
    for id in graph.inputs.clone().into_iter().filter(|id| !kept.contains(id)) {
        graph.values[id.index()].quantization = Some(grid(range(id)));
    }
    for node in graph.nodes.clone() {
        let operand = graph.get(node.inputs[0]).quantization.clone();
        let own = match operand {
            Some(operand) if moves(&node.op) => operand,
            _ => grid(range(node.output)),
        };
        if !kept.contains(&node.output) {
            graph.values[node.output.index()].quantization = Some(own);
        }
        if let Op::Conv(_) | Op::Linear { .. } = node.op {
            round_weights(&mut graph, node.inputs[1], bits);
        }
    }
    graph
}

fn moves(op: &Op) -> bool {
    matches!(
        op,
        Op::MaxPool(_)
            | Op::Reshape
            | Op::Expand
            | Op::Transpose { .. }
            | Op::Slice { .. }
            | Op::DepthToSpace { .. }
            | Op::SpaceToDepth { .. }
            | Op::Pad { .. }
            | Op::Resize(_)
            | Op::Gather { .. }
    )
}

/// Moves weights to a symmetric grid an output channel.
pub fn round_weights(graph: &mut Graph, id: ValueId, bits: u8) {
    let value = &mut graph.values[id.index()];
    let Some(values) = value.constant.as_ref().and_then(Tensor::as_f32) else { return };
    let largest = if bits == 4 { 7.0 } else { 127.0 };
    let channels = values.chunks(values.len() / value.shape[0]);
    let (mut scales, mut rounded) = (Vec::new(), Vec::new());
    for filter in channels {
        let most = filter.iter().fold(0.0_f32, |most, w| most.max(w.abs()));
        let scale = (most / largest).max(1e-30);
        rounded.extend(filter.iter().map(|w| (w / scale).round_ties_even() * scale));
        scales.push(scale);
    }
    value.constant = Tensor::f32(value.shape.clone(), rounded);
    value.quantization = Some(Quantization { bits, ..Quantization::of_weights(scales) });
}

fn widened(values: &[Vec<f32>]) -> Vec<Vec<f64>> {
    values.iter().map(|values| values.iter().map(|&v| f64::from(v)).collect()).collect()
}

/// A planned graph, or why not.
///
/// # Panics
/// When it cannot be planned.
pub fn planned(graph: &Graph, target: Target) -> Plan {
    let options = Options { target, ..Options::default() };
    plan(graph, &options).unwrap_or_else(|error| panic!("{error}"))
}

/// How many integers are those of the oracle.
#[derive(Clone, Copy, Debug, Default)]
pub struct Agreement {
    /// Integers that kernels computed.
    pub integers: usize,
    /// Those that the oracle has, given the same operands.
    pub equal: usize,
}

impl Agreement {
    /// Of all integers, from 0 to 1.
    pub fn share(&self) -> f64 {
        self.equal as f64 / self.integers.max(1) as f64
    }
}

/// Holds every value that the plan computes against what the oracle computes from the same operands, on
/// every set of CPU features.
///
/// # Panics
/// When an integer is more than one step from the oracle's, or a real more than rounding.
pub fn check_mixed(graph: &Graph) -> Agreement {
    let (inputs, plan) = (pictures(graph, 77), planned(graph, Target::default()));
    let on = |cpu| agree(graph, &observe(&plan, cpu, 1, &inputs), &inputs);
    cpus().into_iter().fold(Agreement::default(), |_, (_, cpu)| on(cpu))
}

/// [`check_mixed`], and asserts that neither CPU features nor workers nor scratch change any byte of any
/// step: there are no sums of reals.
///
/// # Panics
/// When values differ from the oracle's, or any byte changes.
pub fn check(graph: &Graph) -> Agreement {
    let inputs = pictures(graph, 77);
    let any = planned(graph, Target::default());
    let found = observe(&any, Cpu::PORTABLE, 1, &inputs);
    let agreement = agree(graph, &found, &inputs);
    for target in ["any", "cortex-m"] {
        let target = Target::named(target).expect("in the table");
        let plan = planned(graph, target);
        for (name, cpu) in cpus() {
            for workers in [1, 2] {
                let other = observe(&plan, cpu, workers, &inputs);
                let differs = (0..found.len()).find(|&step| !found[step].same_bytes(&other[step]));
                if let Some(step) = differs {
                    let step = (&plan.names[step], &plan.steps[step]);
                    panic!("{}, {name}, {workers} workers: {step:#?}", target.name);
                }
            }
        }
    }
    agreement
}

/// What a step left.
#[derive(Clone, Debug)]
pub struct Left {
    /// Name of the step.
    pub name: String,
    /// The bits of its values, as they lie.
    bits: Vec<u32>,
    /// What they stand for, in ONNX's order of the value that the step is named after.
    pub reals: Vec<f32>,
}

impl Left {
    /// Whether both steps left the same bytes.
    pub fn same_bytes(&self, other: &Self) -> bool {
        self.name == other.name && self.bits == other.bits
    }
}

struct Watch<'p> {
    plan: &'p Plan,
    left: Vec<Left>,
}

impl Observer for Watch<'_> {
    fn begin(&mut self, _: usize, _: &Step) {}

    fn end(&mut self, index: usize, step: &Step, _: &'static str, output: Values<'_>) {
        let reals: Vec<f32> = output.reals(step.output.element).collect();
        let bits = match output {
            Values::F32(values) => values.iter().map(|value| value.to_bits()).collect(),
            Values::S8(values) => {
                values.iter().map(|&value| u32::from(value.cast_unsigned())).collect()
            }
        };
        let reals = row_major(step.output.dims, &reals);
        self.left.push(Left { name: self.plan.names[index].clone(), bits, reals });
    }
}

/// What every step of a plan leaves, on some CPU features and so many workers, in poisoned memory.
///
/// # Panics
/// When the runtime refuses the plan.
pub fn observe(plan: &Plan, cpu: Cpu, workers: usize, inputs: &[Vec<f32>]) -> Vec<Left> {
    let strand = strand(plan).unwrap_or_else(|error| panic!("{error}\n{:#?}", plan.steps));
    let model = Model::new(&strand).expect("is sound");
    let mut arena = AlignedBytes::filled(0xff, model.arena_len(workers).expect("addressable"));
    let pool = Pool::new(NonZeroUsize::new(workers).expect("not 0")).expect("starts");
    let session = Session::new(&model, &mut arena, Kernels::new(cpu)).expect("fits");
    let mut session = session.with_workers(&pool, workers).expect("fits");
    write_inputs(&mut session, inputs);
    let mut watch = Watch { plan, left: Vec::new() };
    session.run_observed(&mut watch);
    watch.left
}

/// Holds what steps left against the oracle, node by node: each gets the operands that the kernels had.
fn agree(graph: &Graph, left: &[Left], inputs: &[Vec<f32>]) -> Agreement {
    let mut known: HashMap<ValueId, Array> = HashMap::new();
    let array = |id: ValueId, values: &[f32]| {
        let grid = &graph.get(id).quantization;
        let exact = |&v: &f32| grid.as_ref().map_or(f64::from(v), |grid| grid.rounded(v.into()));
        Array::new(graph.shape(id).to_vec(), values.iter().map(exact).collect())
    };
    for (&id, values) in graph.inputs.iter().zip(inputs) {
        known.extend(array(id, values).map(|array| (id, array)));
    }
    for (index, value) in graph.values.iter().enumerate() {
        let id = ValueId(index as u32);
        let step = left.iter().find(|left| left.name == value.name);
        known.extend(step.and_then(|step| Some((id, array(id, &step.reals)?))));
    }
    let mut agreement = Agreement::default();
    for (index, node) in graph.nodes.iter().enumerate() {
        let Some(found) = known.get(&node.output) else { continue };
        let nodes = needed(graph, index, &known);
        let operands = known.iter().filter(|(id, _)| **id != node.output);
        let operands = operands.map(|(&id, array)| (id, array.clone())).collect();
        let expected = reference::evaluate(graph, &nodes, operands, &[node.output]);
        let expected = expected.expect("every operand is known").remove(0);
        let rounded = bias_rounding(graph, index, &known);
        compare(graph, node.output, (found, &expected, rounded), &mut agreement);
    }
    agreement
}

/// The node, and before it those that lead to it from what is known.
fn needed(graph: &Graph, last: usize, known: &HashMap<ValueId, Array>) -> Vec<usize> {
    let producers = graph.producers();
    let (mut nodes, mut next) = (vec![last], vec![last]);
    while let Some(node) = next.pop() {
        for input in graph.nodes[node].inputs.iter().filter(|input| !known.contains_key(input)) {
            if let Some(producer) = producers[input.index()].filter(|p| !nodes.contains(p)) {
                nodes.push(producer);
                next.push(producer);
            }
        }
    }
    nodes.sort_unstable();
    nodes
}

/// By how much a real result may differ because the bias of an integer layer is an integer: half of what 1
/// stands for in its sums.
fn bias_rounding(graph: &Graph, index: usize, known: &HashMap<ValueId, Array>) -> f64 {
    let node = &graph.nodes[index];
    let (Op::Conv(_) | Op::Linear { .. }) = &node.op else { return 0.0 };
    let weights = graph.get(node.inputs[1]).quantization.as_ref();
    let scale = weights.map_or(0.0, |grid| grid.scales.iter().fold(0.0, |a: f32, b| a.max(*b)));
    // Of values that are only moved the grid is not told, but that it has 256 values.
    let values = known.get(&node.inputs[0]).map_or(&[][..], |x| &x.values);
    let largest = values.iter().fold(0.0_f64, |most, v| most.max(v.abs()));
    let own = graph.get(node.inputs[0]).quantization.as_ref();
    f64::from(scale) / 2.0 * own.map_or(largest / 127.0, |grid| f64::from(grid.scales[0]))
}

fn compare(
    graph: &Graph,
    id: ValueId,
    (found, expected, rounded): (&Array, &Array, f64),
    sum: &mut Agreement,
) {
    let value = graph.get(id);
    assert_eq!(found.shape, expected.shape, "{}", value.name);
    let largest = expected.values.iter().fold(1e-30_f64, |most, v| most.max(v.abs()));
    let scale = value.quantization.as_ref().map(|grid| f64::from(grid.scales[0]));
    for (at, (x, y)) in found.values.iter().zip(&expected.values).enumerate() {
        let difference = (x - y).abs();
        let allowed = scale.map_or(1e-5 * largest + rounded, |scale| scale * 1.001);
        let quantization = &value.quantization;
        assert!(
            difference <= allowed,
            "{} {at}: {x} in place of {y}, {quantization:?}, of {:?}",
            value.name,
            graph.nodes.iter().find(|node| node.output == id)
        );
        if let Some(scale) = scale {
            sum.integers += 1;
            sum.equal += usize::from(difference < scale / 2.0);
        }
    }
}
