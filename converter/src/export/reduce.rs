//! Reductions and normalisations as ONNX has them: axes are an attribute first, an operand later.

use super::{Writer, opset, scalar, unique};
use crate::graph::Node;
use crate::onnx::{AttributeProto, NodeProto};

/// First opset in which the axes of this reduction are an operand.
fn operand_since(function: &str) -> i64 {
    if function == "ReduceSum" { 13 } else { 18 }
}

impl Writer<'_> {
    /// The node that reduces `input` along `axes`.
    pub(super) fn reduce(
        &mut self,
        function: &'static str,
        name: &str,
        (input, axes): (&str, &[usize]),
        output: &str,
    ) {
        let axes: Vec<i64> = axes.iter().map(|&axis| axis as i64).collect();
        let node = if opset(self.graph) >= operand_since(function) {
            let axes = self.integers(&format!("{name}_axes"), axes);
            NodeProto::new(function, name, &[input, &axes], output)
        } else {
            NodeProto::new(function, name, &[input], output)
                .with(AttributeProto::ints("axes", axes))
        };
        self.nodes.push(node);
    }

    /// Mean, difference, mean of its squares, quotient: ONNX's own operators for it have fixed axes, and
    /// came later.
    pub(super) fn normalise(&mut self, node: &Node, axes: &[usize], centred: bool, eps: f32) {
        let output = self.name(node.output).to_owned();
        let mut x = self.name(node.inputs[0]).to_owned();
        let part = |writer: &mut Self, what: &str| {
            let value = unique(&mut writer.taken, &format!("{output}_{what}"));
            (value, format!("{}_{what}", node.name))
        };
        if centred {
            let (of_all, name) = part(self, "mean");
            self.reduce("ReduceMean", &name, (&x, axes), &of_all);
            let (difference, name) = part(self, "difference");
            self.nodes.push(NodeProto::new("Sub", &name, &[&x, &of_all], &difference));
            x = difference;
        }
        let (squares, name) = part(self, "squares");
        self.nodes.push(NodeProto::new("Mul", &name, &[&x, &x], &squares));
        let (variance, name) = part(self, "variance");
        self.reduce("ReduceMean", &name, (&squares, axes), &variance);
        let eps = self.constant(&format!("{output}_eps"), &scalar(eps));
        let (above, name) = part(self, "above_zero");
        self.nodes.push(NodeProto::new("Add", &name, &[&variance, &eps], &above));
        let (root, name) = part(self, "root");
        self.nodes.push(NodeProto::new("Sqrt", &name, &[&above], &root));
        self.nodes.push(NodeProto::new("Div", &node.name, &[&x, &root], &output));
    }
}
