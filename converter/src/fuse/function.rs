//! Element-wise nodes that together are one function: told by its values, not by the nodes.
//!
//! Exporters write GELU as five nodes, Swish as two, hard swish as four. Whatever the nodes are: what
//! leads from one value to another element by element is a function of one number, and a function
//! that agrees with a known one at every sample is replaced by it.

use crate::graph::{Activation, Function, Graph, Node, Op, ValueId};
use crate::reference::{Array, evaluate};
use serde::Serialize;
use std::collections::BTreeSet;

/// Most nodes that are looked at together.
const MAX_NODES: usize = 12;
/// Largest difference from a known function, relative to the larger of `|x|` and 1: constants such
/// as the square root of 2 are rounded to f32.
const TOLERANCE: f64 = 1e-6;

/// Functions that exporters take apart.
const KNOWN: [Function; 6] = [
    Function::Gelu,
    Function::Silu,
    Function::HardSwish,
    Function::Mish,
    Function::Softplus,
    Function::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 },
];

/// Element-wise nodes that became one function.
#[derive(Clone, Debug, Serialize)]
pub struct Recognised {
    /// Name of the new node: the last one's.
    pub name: String,
    /// ONNX's name of the function.
    pub function: &'static str,
    /// The nodes it replaces, in execution order.
    pub nodes: Vec<String>,
    /// Largest difference at the samples, relative to the larger of `|x|` and 1.
    pub error: f64,
}

/// Replaces element-wise nodes by the functions they are, the most nodes first.
pub(super) fn recognise(graph: &mut Graph) -> Vec<Recognised> {
    let samples = samples();
    let known = KNOWN.map(|function| (function, values_of(function, &samples)));
    let mut recognised = Vec::new();
    for last in (0..graph.nodes.len()).rev() {
        let cones = cones(graph, last);
        let found = cones.iter().rev().find_map(|cone| {
            let values = cone.values(graph, &samples)?;
            let difference = |(function, known): &(Function, Vec<f64>)| {
                (*function, difference(&samples, &values, known))
            };
            let agrees = |found: &(Function, f64)| found.1 <= TOLERANCE;
            Some((cone, known.iter().map(difference).find(agrees)?))
        });
        if let Some((cone, (function, error))) = found {
            recognised.push(cone.replace(graph, function, error));
        }
    }
    super::simplify::drop_unread(graph);
    recognised.reverse();
    recognised
}

/// Nodes between two values.
struct Cone {
    source: ValueId,
    /// In execution order; the last one makes the result.
    nodes: Vec<usize>,
}

/// Every cone that ends in this node, the smallest first.
fn cones(graph: &Graph, last: usize) -> Vec<Cone> {
    let (producers, consumers) = (graph.producers(), graph.consumers());
    let mut nodes = BTreeSet::new();
    let mut frontier = BTreeSet::from([graph.nodes[last].output]);
    let mut cones = Vec::new();
    while nodes.len() < MAX_NODES {
        // The value that is computed last: no other one in the frontier depends on it.
        let next = frontier.iter().filter_map(|id| Some((producers[id.index()]?, *id))).max();
        let Some((index, value)) = next else { break };
        let inner = |id: ValueId| {
            consumers[id.index()].iter().all(|reader| nodes.contains(reader))
                && !graph.outputs.contains(&id)
        };
        if !elementwise(graph, &graph.nodes[index]) || (index != last && !inner(value)) {
            break;
        }
        nodes.insert(index);
        frontier.remove(&value);
        frontier.extend(computed(graph, &graph.nodes[index]));
        if let (Some(&source), 1) = (frontier.first(), frontier.len())
            && nodes.len() > 1
        {
            cones.push(Cone { source, nodes: nodes.iter().copied().collect() });
        }
    }
    cones
}

fn computed<'a>(graph: &'a Graph, node: &'a Node) -> impl Iterator<Item = ValueId> + 'a {
    node.inputs.iter().copied().filter(|&id| graph.get(id).constant.is_none())
}

/// Whether each element of the result follows from the same element of each operand, all constants
/// being one number.
fn elementwise(graph: &Graph, node: &Node) -> bool {
    let plain = match &node.op {
        Op::Unary(_) | Op::Sub | Op::Mul | Op::Div => true,
        Op::Activation(activation) | Op::Add { activation } => {
            !matches!(activation, Activation::PRelu { .. })
        }
        _ => false,
    };
    let shape = graph.shape(node.output);
    let fits = |&id: &ValueId| match &graph.get(id).constant {
        Some(constant) => constant.as_f32().is_some_and(|values| values.len() == 1),
        None => graph.shape(id) == shape,
    };
    plain && node.inputs.iter().all(fits)
}

impl Cone {
    /// The function of the cone at these numbers; `None` where the oracle cannot run it.
    fn values(&self, graph: &Graph, samples: &[f64]) -> Option<Vec<f64>> {
        let result = graph.nodes[*self.nodes.last()?].output;
        let shape =
            [vec![1; graph.shape(self.source).len().saturating_sub(1)], vec![samples.len()]];
        let known = Array::new(shape.concat(), samples.to_vec())?;
        let values = evaluate(graph, &self.nodes, vec![(self.source, known)], &[result]).ok()?;
        let values = values.into_iter().next()?.values;
        (values.len() == samples.len()).then_some(values)
    }

    fn replace(&self, graph: &mut Graph, function: Function, error: f64) -> Recognised {
        let nodes = self.nodes.iter().map(|&k| graph.nodes[k].name.clone()).collect();
        let last = self.nodes[self.nodes.len() - 1];
        let node = &mut graph.nodes[last];
        node.op = Op::Unary(function);
        node.inputs = vec![self.source];
        Recognised { name: node.name.clone(), function: node.op.name(), nodes, error }
    }
}

/// Numbers at which functions are compared: dense where known functions bend, sparse beyond.
fn samples() -> Vec<f64> {
    let near = (-1200..=1200).map(|k| f64::from(k) * 0.01);
    let far = [-80.0, -40.0, -20.0, 20.0, 40.0, 80.0];
    near.chain(far).collect()
}

fn values_of(function: Function, samples: &[f64]) -> Vec<f64> {
    let mut graph = Graph::default();
    let x = graph.value("x", [samples.len()]);
    let y = graph.value("y", [samples.len()]);
    graph.push("f", Op::Unary(function), vec![x], y);
    let cone = Cone { source: x, nodes: vec![0] };
    cone.values(&graph, samples).expect("a function of one value runs on any vector")
}

/// Largest difference, relative to the larger of `|x|` and 1; infinite where one is no number.
fn difference(samples: &[f64], found: &[f64], known: &[f64]) -> f64 {
    let relative = |((x, a), b): ((&f64, &f64), &f64)| (a - b).abs() / x.abs().max(1.0);
    let differences = samples.iter().zip(found).zip(known).map(relative);
    differences.fold(0.0, |worst, d| if d.is_nan() { f64::INFINITY } else { worst.max(d) })
}
