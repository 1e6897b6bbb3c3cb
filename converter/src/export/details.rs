//! What an ONNX node has beside the operands of the graph's node: further operands and attributes.

use super::{DILATED_POOL_OPSET, Writer, opset, scalar, window_attributes};
use crate::graph::{DepthOrder, Function, Node, Op, Pad, PadMode};
use crate::onnx::AttributeProto;
use crate::tensor::Tensor;

impl Writer<'_> {
    /// Further operands, and attributes.
    pub(super) fn details(&mut self, node: &Node) -> (Vec<String>, Vec<AttributeProto>) {
        match &node.op {
            Op::Reshape | Op::Expand => (vec![self.shape_of(node)], vec![]),
            Op::Slice { starts, steps } => (self.slice(node, starts, steps).into(), vec![]),
            Op::Resize(resize) => self.resize(node, resize),
            Op::Pad { pad, mode } => {
                let mode_name = AttributeProto::string("mode", mode.name());
                (self.pads(node, *pad, *mode).into(), vec![mode_name])
            }
            Op::Gather { axis, indices } => {
                let indices = indices.iter().map(|&index| index as i64).collect();
                let indices = self.integers(&format!("{}_indices", node.name), indices);
                (vec![indices], vec![AttributeProto::int("axis", *axis as i64)])
            }
            op => (vec![], self.attributes(op)),
        }
    }

    /// Attributes of an operation that has no further operands.
    fn attributes(&self, op: &Op) -> Vec<AttributeProto> {
        match op {
            Op::BatchNorm { eps } => vec![AttributeProto::float("epsilon", *eps)],
            Op::Softmax { axis } | Op::Concat { axis } => {
                vec![AttributeProto::int("axis", *axis as i64)]
            }
            Op::MaxPool(window) => window_attributes(window, true),
            Op::AveragePool { window, count_include_pad } => {
                let dilated = opset(self.graph) >= DILATED_POOL_OPSET;
                let include = AttributeProto::int("count_include_pad", (*count_include_pad).into());
                [window_attributes(window, dilated), vec![include]].concat()
            }
            Op::Transpose { perm } => {
                let perm: Vec<i64> = perm.iter().map(|&axis| axis as i64).collect();
                vec![AttributeProto::ints("perm", perm)]
            }
            Op::DepthToSpace { block, order } => {
                let mode = match order {
                    DepthOrder::SquareFirst => "DCR",
                    DepthOrder::ChannelFirst => "CRD",
                };
                let block = AttributeProto::int("blocksize", *block as i64);
                vec![block, AttributeProto::string("mode", mode)]
            }
            Op::SpaceToDepth { block } => vec![AttributeProto::int("blocksize", *block as i64)],
            Op::Unary(function) => function_attributes(*function),
            _ => vec![],
        }
    }

    fn shape_of(&mut self, node: &Node) -> String {
        let shape: Vec<i64> = self.graph.shape(node.output).iter().map(|&n| n as i64).collect();
        self.integers(&format!("{}_shape", node.name), shape)
    }

    /// Starts, ends, axes and steps.
    fn slice(&mut self, node: &Node, starts: &[usize], steps: &[i64]) -> [String; 4] {
        let count = self.graph.shape(node.output);
        let starts: Vec<i64> = starts.iter().map(|&start| start as i64).collect();
        let ends = starts.iter().zip(steps).zip(count).map(|((start, step), &count)| {
            let end = start + step * count as i64;
            // An end before the first element: counted from the end, it would be one inside.
            if end < 0 { i64::MIN } else { end }
        });
        let ends = ends.collect();
        let axes = (0..starts.len() as i64).collect();
        let lists = [("starts", starts), ("ends", ends), ("axes", axes), ("steps", steps.to_vec())];
        lists.map(|(role, list)| self.integers(&format!("{}_{role}", node.name), list))
    }

    fn pads(&mut self, node: &Node, pad: Pad, mode: PadMode) -> [String; 2] {
        let begins = [0, 0, pad.top, pad.left];
        let ends = [0, 0, pad.bottom, pad.right];
        let pads = [begins, ends].concat().into_iter().map(i64::from).collect();
        let pads = Tensor::i64([8], pads).expect("eight pads");
        let value = scalar(if let PadMode::Constant(value) = mode { value } else { 0.0 });
        [
            self.constant(&format!("{}_pads", node.name), &pads),
            self.constant(&format!("{}_value", node.name), &value),
        ]
    }
}

fn function_attributes(function: Function) -> Vec<AttributeProto> {
    match function {
        Function::Elu { alpha } => vec![AttributeProto::float("alpha", alpha)],
        Function::HardSigmoid { alpha, beta } => {
            vec![AttributeProto::float("alpha", alpha), AttributeProto::float("beta", beta)]
        }
        _ => vec![],
    }
}
