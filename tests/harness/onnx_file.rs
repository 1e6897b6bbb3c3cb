//! [`OnnxFile`]: small ONNX models written node by node, right ones and wrong ones.

use crate::rng::Random;
use prost::Message;
use unbraid_converter::graph::Graph;
use unbraid_converter::import::{Options, Problem, Refusal, from_bytes};
use unbraid_converter::onnx::{
    AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto,
};

/// A model from the input `x` to the output `y`.
#[derive(Clone, Debug)]
pub struct OnnxFile {
    /// The graph as it will be written.
    pub graph: GraphProto,
    /// Version of the operators.
    pub opset: i64,
    /// Where random weights come from.
    pub random: Random,
}

impl OnnxFile {
    /// A model with the input `x` of this shape, the output `y` and no node.
    pub fn new(opset: i64, shape: &[usize]) -> Self {
        let graph = GraphProto {
            name: "small".into(),
            input: vec![ValueInfoProto::floats("x", shape)],
            // Importers infer shapes: an output needs none.
            output: vec![ValueInfoProto { name: "y".into(), r#type: None }],
            ..GraphProto::default()
        };
        Self { graph, opset, random: Random(opset as u64) }
    }

    /// Adds a node named after its output; `inputs` are separated by spaces, `_` omits one.
    #[must_use]
    pub fn node(self, op: &str, inputs: &str, output: &str) -> Self {
        self.node_with(op, inputs, output, vec![])
    }

    /// Adds a node with attributes.
    #[must_use]
    pub fn node_with(
        mut self,
        op: &str,
        inputs: &str,
        output: &str,
        attribute: Vec<AttributeProto>,
    ) -> Self {
        let omitted = |name| if name == "_" { "" } else { name };
        let inputs: Vec<&str> = inputs.split_whitespace().map(omitted).collect();
        let node = NodeProto::new(op, &format!("make_{output}"), &inputs, output);
        self.graph.node.push(NodeProto { attribute, ..node });
        self
    }

    /// Gives the last node another output.
    #[must_use]
    pub fn another_output(mut self, name: &str) -> Self {
        self.graph.node.iter_mut().last().expect("a node").output.push(name.into());
        self
    }

    /// Adds an initialiser of these floats.
    #[must_use]
    pub fn floats(mut self, name: &str, shape: &[usize], values: &[f32]) -> Self {
        self.graph.initializer.push(TensorProto::floats(name, shape, values));
        self
    }

    /// Adds an initialiser that is a vector of these integers.
    #[must_use]
    pub fn ints(mut self, name: &str, values: &[i64]) -> Self {
        self.graph.initializer.push(TensorProto::ints(name, &[values.len()], values));
        self
    }

    /// Adds an initialiser of random floats in [-1, 1).
    #[must_use]
    pub fn random(mut self, name: &str, shape: &[usize]) -> Self {
        let values = self.random.vec(shape.iter().product());
        self.floats(name, shape, &values)
    }

    /// Adds the four parameters of a `BatchNorm` as `gamma`, `beta`, `mean` and `var`.
    #[must_use]
    pub fn statistics(mut self, channels: usize) -> Self {
        let var = self.random.within(0.5, 1.5, channels);
        let random = self.random("gamma", &[channels]).random("beta", &[channels]);
        random.random("mean", &[channels]).floats("var", &[channels], &var)
    }

    /// Makes this value the output in place of the one before.
    #[must_use]
    pub fn output(mut self, name: &str) -> Self {
        self.graph.output = vec![ValueInfoProto { name: name.into(), r#type: None }];
        self
    }

    /// The model.
    pub fn model(&self) -> ModelProto {
        ModelProto::new(self.graph.clone(), 8, self.opset)
    }

    /// The file.
    pub fn bytes(&self) -> Vec<u8> {
        self.model().encode_to_vec()
    }

    /// The imported graph of a good model.
    pub fn import(&self) -> Graph {
        from_bytes(self.bytes(), &Options::default()).expect("a good model")
    }

    /// What is wrong with a bad model.
    pub fn problem(&self) -> Problem {
        self.problem_with(&Options::default())
    }

    /// What is wrong with a model under these options.
    pub fn problem_with(&self, options: &Options) -> Problem {
        *from_bytes(self.bytes(), options).expect_err("a bad model").problem
    }

    /// The refusal of the one node that is at fault.
    pub fn refusal(&self) -> Refusal {
        match self.problem() {
            Problem::Refused(mut refused) if refused.nodes.len() == 1 => {
                refused.nodes.remove(0).refusal
            }
            other => panic!("expected a refused node, found: {other}"),
        }
    }
}

/// A convolution, `BatchNorm`, ReLU, pooling and a dense layer in ten kilobytes or less.
pub fn small_network() -> OnnxFile {
    OnnxFile::new(13, &[1, 2, 6, 6])
        .random("w", &[3, 2, 3, 3])
        .statistics(3)
        .random("fc", &[4, 3])
        .random("fc_bias", &[4])
        .node_with("Conv", "x w", "c", vec![AttributeProto::ints("pads", [1, 1, 1, 1])])
        .node("BatchNormalization", "c gamma beta mean var", "n")
        .node("Relu", "n", "r")
        .node("GlobalAveragePool", "r", "g")
        .node("Flatten", "g", "f")
        .node_with("Gemm", "f fc fc_bias", "y", vec![AttributeProto::int("transB", 1)])
}
