//! Element-wise nodes that are one function are told by their values, however they are written.

use unbraid_converter::fuse::{FuseMode, Fused, fuse};
use unbraid_converter::onnx::AttributeProto;
use unbraid_tests::onnx_file::OnnxFile;

fn picture() -> OnnxFile {
    OnnxFile::new(13, &[1, 4, 3, 5]).floats("half", &[], &[0.5]).floats("one", &[1], &[1.0])
}

fn fused(file: &OnnxFile) -> Fused {
    fuse(file.import(), FuseMode::Free, &mut |_| {})
}

fn ops(fused: &Fused) -> Vec<&'static str> {
    fused.graph.nodes.iter().map(|node| node.op.name()).collect()
}

fn gelu(file: OnnxFile) -> OnnxFile {
    let file = file.floats("root", &[], &[std::f32::consts::SQRT_2]).node("Div", "x root", "d");
    file.node("Erf", "d", "e").node("Add", "e one", "s")
}

#[test]
fn gelu_is_gelu_in_every_order_of_its_products() {
    let early = gelu(picture()).node("Mul", "x s", "m").node("Mul", "m half", "y");
    let late = gelu(picture()).node("Mul", "x half", "h").node("Mul", "s h", "y");
    for file in [early, late] {
        let fused = fused(&file);
        assert_eq!(ops(&fused), ["Gelu"]);
        let [found] = &fused.functions[..] else { panic!("{:?}", fused.functions) };
        assert!(found.nodes.len() == 5 && found.error > 0.0 && found.error < 1e-7, "{found:?}");
    }
}

#[test]
fn silu_and_hard_swish_are_told_from_two_and_from_four_nodes() {
    let silu = picture().node("Sigmoid", "x", "s").node("Mul", "x s", "y");
    assert_eq!(ops(&fused(&silu)), ["Swish"]);
    let clip = picture().floats("three", &[], &[3.0]).floats("zero", &[], &[0.0]);
    let clip = clip.floats("six", &[], &[6.0]).node("Add", "x three", "a");
    let clip = clip.node("Clip", "a zero six", "c");
    let swish = clip.clone().node("Mul", "x c", "m").node("Div", "m six", "y");
    assert_eq!(ops(&fused(&swish)), ["HardSwish"]);
    assert_eq!(ops(&fused(&clip.node("Div", "c six", "y"))), ["HardSigmoid"]);
}

#[test]
fn a_function_that_is_only_near_a_known_one_stays_as_it_is() {
    // The approximation of GELU by tanh differs from it by up to 5e-4.
    let cubic = picture().floats("k", &[], &[0.044_715]).floats("c", &[], &[0.797_884_6]);
    let cubic = cubic.node("Mul", "x x", "xx").node("Mul", "xx x", "xxx").node("Mul", "xxx k", "t");
    let file = cubic.node("Add", "x t", "u").node("Mul", "u c", "v").node("Tanh", "v", "w");
    let file = file.node("Add", "w one", "p").node("Mul", "x p", "q").node("Mul", "q half", "y");
    let fused = fused(&file);
    assert!(fused.functions.is_empty() && !ops(&fused).contains(&"Gelu"), "{:?}", ops(&fused));
}

#[test]
fn a_value_that_others_read_is_not_swallowed() {
    let file = picture().node("Sigmoid", "x", "s").node("Mul", "x s", "m");
    let file = file.node_with("Concat", "s m", "y", vec![AttributeProto::int("axis", 1)]);
    assert_eq!(ops(&fused(&file)), ["Sigmoid", "Mul", "Concat"]);
}

#[test]
fn a_gate_of_another_value_is_no_function() {
    let file = picture().random("w", &[4, 4, 1, 1]).node("Conv", "x w", "g");
    let file = file.node("Sigmoid", "g", "s").node("Mul", "x s", "y");
    assert_eq!(ops(&fused(&file)), ["Conv", "Sigmoid", "Mul"]);
}
