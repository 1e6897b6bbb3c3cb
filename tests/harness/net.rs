//! Builds graphs by hand, node by node, with random weights.

use crate::rng::Random;
use unbraid_converter::graph::{Activation, Conv, Graph, Hw, Node, Op, Pad, ValueId, Window};
use unbraid_converter::tensor::{Tensor, elements};

/// A graph under construction.
#[derive(Debug)]
pub struct Net {
    /// What has been built so far.
    pub graph: Graph,
    /// Where weights come from.
    pub random: Random,
}

impl Net {
    /// Nothing yet.
    pub fn new(seed: u64) -> Self {
        let graph = Graph { name: "net".into(), ..Graph::default() };
        Self { graph, random: Random(seed) }
    }

    /// A graph input.
    pub fn input(&mut self, shape: &[usize]) -> ValueId {
        let id = self.graph.value(format!("input{}", self.graph.inputs.len()), shape);
        self.graph.inputs.push(id);
        id
    }

    /// Makes a value a graph output.
    pub fn output(&mut self, id: ValueId) {
        self.graph.outputs.push(id);
    }

    /// A constant of random values in `[-scale, scale)`.
    pub fn constant(&mut self, shape: &[usize], scale: f32) -> ValueId {
        let len = elements(shape).expect("a small shape");
        let values = self.random.vec(len).into_iter().map(|v| v * scale).collect();
        self.fixed(shape, values)
    }

    /// A constant of these values.
    pub fn fixed(&mut self, shape: &[usize], values: Vec<f32>) -> ValueId {
        let tensor = Tensor::f32(shape, values).expect("as many values as the shape says");
        self.graph.constant(format!("constant{}", self.graph.values.len()), tensor)
    }

    /// Any node with a result of this shape.
    pub fn node(&mut self, op: Op, inputs: &[ValueId], shape: &[usize]) -> ValueId {
        let index = self.graph.nodes.len();
        let output = self.graph.value(format!("value{index}"), shape);
        let (name, inputs) = (format!("node{index}"), inputs.to_vec());
        self.graph.nodes.push(Node { name, op, inputs, output });
        output
    }

    /// An element-wise node on one operand.
    pub fn unary(&mut self, op: Op, x: ValueId) -> ValueId {
        let shape = self.graph.shape(x).to_vec();
        self.node(op, &[x], &shape)
    }

    /// A convolution with bias; the result's shape follows from the window.
    pub fn conv(
        &mut self,
        x: ValueId,
        out_c: usize,
        window: Window,
        groups: usize,
        activation: Activation,
    ) -> ValueId {
        let &[n, in_c, h, w] = self.graph.shape(x) else { panic!("a picture") };
        let (kh, kw) = (window.kernel.h as usize, window.kernel.w as usize);
        let fan_in = in_c / groups * kh * kw;
        let weight = self.constant(&[out_c, in_c / groups, kh, kw], 1.7 / (fan_in as f32).sqrt());
        let bias = self.constant(&[out_c], 0.5);
        let out = window.output(h as u32, w as u32).expect("the window fits");
        let op = Op::Conv(Conv { window, groups, border: None, activation });
        self.node(op, &[x, weight, bias], &[n, out_c, out.h as usize, out.w as usize])
    }

    /// A dense layer with bias.
    pub fn linear(&mut self, x: ValueId, out_c: usize) -> ValueId {
        let in_c = self.graph.shape(x)[1];
        let weight = self.constant(&[out_c, in_c], 1.7 / (in_c as f32).sqrt());
        let bias = self.constant(&[out_c], 0.5);
        self.node(Op::Linear { activation: Activation::None }, &[x, weight, bias], &[1, out_c])
    }
}

/// A square window with `kernel / 2` of padding.
pub fn square(kernel: u32, stride: u32) -> Window {
    let pad = kernel / 2;
    Window {
        kernel: Hw::square(kernel),
        stride: Hw::square(stride),
        dilation: Hw::square(1),
        pad: Pad { top: pad, left: pad, bottom: pad, right: pad },
    }
}

/// ReLU.
pub const RELU: Activation = Activation::Clamp { lo: 0.0, hi: f32::INFINITY };
