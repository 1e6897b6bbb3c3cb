//! Reshapes go behind the sums and products in which they meet: networks of rows, which import
//! computes as pictures of one row, then have their convolutions beside each other.

use crate::graph::{Graph, Node, Op, ValueId};
use std::collections::HashMap;

/// `reshape(a) + reshape(b)` becomes `reshape(a + b)` where a and b have one shape; likewise every
/// operation on two values, element by element.
pub(super) fn sink_reshapes(graph: &mut Graph) {
    let mut sources: HashMap<ValueId, ValueId> = HashMap::new();
    let nodes = std::mem::take(&mut graph.nodes);
    for mut node in nodes {
        let inner = meets(graph, &node, &sources);
        let Some([first, second]) = inner else {
            if node.op == Op::Reshape {
                sources.insert(node.output, node.inputs[0]);
            }
            graph.nodes.push(node);
            continue;
        };
        let name = format!("{}.rows", graph.get(node.output).name);
        let shape = graph.shape(first).to_vec();
        let (inner, output) = (graph.value(name, shape), node.output);
        (node.inputs, node.output) = (vec![first, second], inner);
        let name = format!("{}.reshape", node.name);
        graph.nodes.push(node);
        graph.push(name, Op::Reshape, vec![inner], output);
        sources.insert(output, inner);
    }
}

/// What both operands of an element-wise operation are reshaped from, if that has one shape.
fn meets(graph: &Graph, node: &Node, sources: &HashMap<ValueId, ValueId>) -> Option<[ValueId; 2]> {
    let meet = matches!(node.op, Op::Add { .. } | Op::Sub | Op::Mul | Op::Div | Op::Binary(_));
    let &[first, second] = &node.inputs[..] else { return None };
    let found = [*sources.get(&first)?, *sources.get(&second)?];
    let outer = [first, second, node.output].map(|id| graph.shape(id));
    let alike = outer[0] == outer[1] && outer[0] == outer[2];
    (meet && alike && graph.shape(found[0]) == graph.shape(found[1])).then_some(found)
}
