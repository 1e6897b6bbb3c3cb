//! Resize as ONNX has it: names of the modes, scales or sizes for every axis.

use super::{OPSET, Writer};
use crate::graph::{Graph, Node};
use crate::onnx::AttributeProto;
use crate::resize::{Coordinates, Interpolation, Resize, ResizedAxis, Rounding};
use crate::tensor::Tensor;

/// First opset that widens taps, and that keeps proportions.
const ANTIALIAS_OPSET: i64 = 18;
/// First opset with `half_pixel_symmetric`.
const SYMMETRIC_OPSET: i64 = 19;

/// First opset that has the operation.
pub(super) fn since(graph: &Graph, node: &Node, resize: &Resize) -> i64 {
    let scales_suffice = scales_suffice(graph, node, resize);
    if resize.coordinates == Coordinates::HalfPixelSymmetric {
        SYMMETRIC_OPSET
    } else if resize.antialias || !scales_suffice {
        ANTIALIAS_OPSET
    } else {
        OPSET
    }
}

/// Whether the lengths of the result are those of the operand times the scales, rounded down.
fn scales_suffice(graph: &Graph, node: &Node, resize: &Resize) -> bool {
    let (input, output) = (graph.shape(node.inputs[0]), graph.shape(node.output));
    resize.axes.iter().all(|own| {
        let scaled = |scale| f64::from(scale) * input[own.axis] as f64;
        own.scale.is_none_or(|scale| scaled(scale).floor() == output[own.axis] as f64)
    })
}

/// Sizes that hold the result and of which one is exact: the proportions are kept within them.
fn frame(input: usize, scale: f32) -> i64 {
    let scaled = f64::from(scale) * input as f64;
    let whole = scaled.round();
    if (scaled - whole).abs() < 1e-6 * scaled { whole as i64 } else { scaled.ceil() as i64 }
}

impl Writer<'_> {
    /// Attributes and operands behind the first one.
    pub(super) fn resize(
        &mut self,
        node: &Node,
        resize: &Resize,
    ) -> (Vec<String>, Vec<AttributeProto>) {
        let (mode, rounding, a) = match resize.interpolation {
            Interpolation::Nearest(rounding) => ("nearest", Some(rounding), None),
            Interpolation::Linear => ("linear", None, None),
            Interpolation::Cubic { a } => ("cubic", None, Some(a)),
        };
        let mut attributes = vec![
            AttributeProto::string("mode", mode),
            AttributeProto::string(
                "coordinate_transformation_mode",
                name_of(&Coordinates::NAMES, resize.coordinates),
            ),
            AttributeProto::int("exclude_outside", resize.exclude_outside.into()),
        ];
        let rounding = rounding.map(|rounding| name_of(&Rounding::NAMES, rounding));
        attributes.extend(rounding.map(|name| AttributeProto::string("nearest_mode", name)));
        attributes.extend(a.map(|a| AttributeProto::float("cubic_coeff_a", a)));
        if resize.antialias {
            attributes.push(AttributeProto::int("antialias", 1));
        }
        if scales_suffice(self.graph, node, resize) {
            return (self.resize_operands(node, resize), attributes);
        }
        let axes: Vec<i64> = resize.axes.iter().map(|own| own.axis as i64).collect();
        attributes.push(AttributeProto::ints("axes", axes));
        attributes.push(AttributeProto::string("keep_aspect_ratio_policy", "not_larger"));
        let input = self.graph.shape(node.inputs[0]);
        let frames = resize.axes.iter().map(|own| frame(input[own.axis], own.scale.unwrap_or(1.0)));
        let sizes = self.integers(&format!("{}_sizes", node.name), frames.collect());
        (vec![String::new(), String::new(), sizes], attributes)
    }

    /// Region, scales, sizes; an empty name is an operand left out.
    fn resize_operands(&mut self, node: &Node, resize: &Resize) -> Vec<String> {
        let (input, output) = (self.graph.shape(node.inputs[0]), self.graph.shape(node.output));
        let of = |axis: usize| resize.axes.iter().find(|own| own.axis == axis);
        let each = |f: &dyn Fn(Option<&ResizedAxis>) -> f32| -> Vec<f32> {
            (0..input.len()).map(|axis| f(of(axis))).collect()
        };
        let crop = |end: usize| each(&|axis| axis.map_or([0.0, 1.0], |own| own.crop)[end]);
        let region = [crop(0), crop(1)].concat();
        let region = (resize.coordinates == Coordinates::TfCropAndResize)
            .then(|| self.constant(&format!("{}_region", node.name), &Tensor::vector(region)));
        let region = region.unwrap_or_default();
        if resize.axes.iter().all(|axis| axis.scale.is_none()) {
            let sizes = output.iter().map(|&length| length as i64).collect();
            let sizes = self.integers(&format!("{}_sizes", node.name), sizes);
            return vec![region, String::new(), sizes];
        }
        let scales = Tensor::vector(each(&|axis| axis.and_then(|own| own.scale).unwrap_or(1.0)));
        vec![region, self.constant(&format!("{}_scales", node.name), &scales)]
    }
}

fn name_of<T: PartialEq>(names: &[(&'static str, T)], value: T) -> &'static str {
    names.iter().find(|(_, own)| *own == value).map_or("", |(name, _)| name)
}
