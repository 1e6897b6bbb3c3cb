//! Elements picked along an axis as ONNX has them: indices are integers there, and floats in the graph.

use super::{Writer, unique};
use crate::graph::Node;
use crate::onnx::{AttributeProto, DataType, NodeProto};

impl Writer<'_> {
    /// The best values and their indices, joined along the axis.
    pub(super) fn top_k(
        &mut self,
        node: &Node,
        axis: usize,
        count: usize,
        largest: bool,
        last: bool,
    ) {
        let (input, output) =
            (self.name(node.inputs[0]).to_owned(), self.name(node.output).to_owned());
        let [values, places, floats] = ["values", "indices", "as_floats"]
            .map(|part| unique(&mut self.taken, &format!("{output}_{part}")));
        let along = AttributeProto::int("axis", axis as i64);
        let name = |part: &str| format!("{}_{part}", node.name);
        if last {
            // TopK has no such order; of a single element two nodes do.
            let (top, place) =
                if largest { ("ReduceMax", "ArgMax") } else { ("ReduceMin", "ArgMin") };
            self.reduce(top, &name("values"), (&input, &[axis]), &values);
            let last = AttributeProto::int("select_last_index", 1);
            let place = NodeProto::new(place, &name("indices"), &[&input], &places);
            self.nodes.push(place.with(along.clone()).with(last));
        } else {
            let count = self.integers(&name("count"), vec![count as i64]);
            let mut top = NodeProto::new("TopK", &name("values"), &[&input, &count], &values);
            top.output.push(places.clone());
            let largest = AttributeProto::int("largest", largest.into());
            self.nodes.push(top.with(along.clone()).with(largest));
        }
        let to = AttributeProto::int("to", i64::from(i32::from(DataType::Float)));
        self.nodes.push(NodeProto::new("Cast", &name("as_floats"), &[&places], &floats).with(to));
        let joined = NodeProto::new("Concat", &node.name, &[&values, &floats], &output);
        self.nodes.push(joined.with(along));
    }
}
