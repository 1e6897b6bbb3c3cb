//! Elements picked along an axis, by indices or because they are the best: the step against its formula,
//! any axis of any value, from import to runtime, export, refusals. (That operators are what ONNX means
//! by them: `operators.rs`.)
#![forbid(unsafe_code)]

use unbraid_converter::export::to_onnx;
use unbraid_converter::graph::{Graph, Op};
use unbraid_converter::import::{Options, Refusal, from_bytes};
use unbraid_converter::onnx::AttributeProto;
use unbraid_converter::reference;
use unbraid_runtime::dims::Dims;
use unbraid_runtime::step::{self, TopK};
use unbraid_tests::agreement::{check, check_names};
use unbraid_tests::formula::{self, MAPS, at, one_step};
use unbraid_tests::graphs::{Builder, Layer};
use unbraid_tests::onnx_file::OnnxFile;
use unbraid_tests::rng::Random;

#[test]
fn the_best_channels_match_their_formula() {
    let mut random = Random(1);
    for dims in MAPS.into_iter().chain([Dims { h: 2, w: 3, c: 1000 }]) {
        // Few different values, many of them equal, and no negative zero.
        let x: Vec<f32> =
            random.vec(dims.elements().unwrap()).iter().map(|x| (x * 8.0).round() + 0.0).collect();
        for count in [1, 2, 3, 16, 17, 300].into_iter().filter(|&count| count <= dims.c) {
            for (largest, last) in [(true, false), (true, true), (false, false), (false, true)] {
                let mut expected = Vec::new();
                for (y, column) in (0..dims.h).flat_map(|y| (0..dims.w).map(move |x| (y, x))) {
                    let value = |c: u32| f64::from(x[at(dims, y, column, c)]);
                    let mut order: Vec<u32> = (0..dims.c).collect();
                    order.sort_by(|&a, &b| {
                        let by_value = value(a).total_cmp(&value(b));
                        let by_value = if largest { by_value.reverse() } else { by_value };
                        by_value.then(if last { b.cmp(&a) } else { a.cmp(&b) })
                    });
                    order.truncate(count as usize);
                    expected.extend(order.iter().map(|&c| value(c)));
                    expected.extend(order.iter().map(|&c| f64::from(c)));
                }
                let op = TopK { count, largest, last };
                let net = one_step(dims, Dims { c: 2 * count, ..dims }, step::Op::TopK(op));
                formula::check(&net, &x, &expected, &format!("{op:?} of {dims:?}"));
            }
        }
    }
}

/// A net of one operation on what a convolution leaves, seen under a shape.
fn net_of(shape: &[usize], op: Op, result: &[usize]) -> Graph {
    let (mut net, x) = Builder::new(3, 4, [6, 5]);
    let x = net.conv(x, Layer::of(8, 3, 1, 1).biased());
    let x = net.reshape(x, shape);
    let y = net.node(op, vec![x], result);
    net.finish(&[y])
}

const SHAPES: [&[usize]; 6] =
    [&[240], &[8, 30], &[1, 8, 30], &[1, 8, 6, 5], &[2, 4, 6, 5], &[1, 2, 4, 6, 5]];

/// Every axis of every shape that has several elements.
fn axes() -> impl Iterator<Item = (&'static [usize], usize)> {
    let axes = |shape: &'static [usize]| (0..shape.len()).map(move |axis| (shape, axis));
    SHAPES.into_iter().flat_map(axes).filter(|(shape, axis)| shape[*axis] > 1)
}

#[test]
fn elements_at_indices_of_any_axis() {
    for (shape, axis) in axes() {
        let last = shape[axis] - 1;
        for indices in [vec![last, 0, 0], vec![0, 1, last, 1, 0], vec![last / 2]] {
            let mut result = shape.to_vec();
            result[axis] = indices.len();
            let graph = net_of(shape, Op::Gather { axis, indices }, &result);
            check(&graph);
            check_names(&graph);
        }
    }
}

#[test]
fn the_best_elements_of_any_axis() {
    for (shape, axis) in axes() {
        for (count, last) in [(1, false), (1, true), (shape[axis].min(5), false)] {
            let mut result = shape.to_vec();
            result[axis] = 2 * count;
            let op = Op::TopK { axis, count, largest: count == 1, last };
            check(&net_of(shape, op, &result));
        }
    }
}

fn run(graph: &Graph) -> Vec<Vec<f64>> {
    let x: Vec<f64> = Random(5).vec(120).into_iter().map(f64::from).collect();
    reference::run(graph, &[x]).unwrap()
}

#[test]
fn what_was_picked_comes_back_from_onnx() {
    let top = |count, largest, last| Op::TopK { axis: 1, count, largest, last };
    let cases = [
        (Op::Gather { axis: 1, indices: vec![3, 3, 0] }, 3),
        (top(2, true, false), 4),
        (top(3, false, false), 6),
        (top(1, true, true), 2),
        (top(1, false, true), 2),
    ];
    for (op, length) in cases {
        let graph = net_of(&[8, 30], op.clone(), &[8, length]);
        let again = from_bytes(to_onnx(&graph), &Options::default()).unwrap();
        assert_eq!(run(&graph), run(&again), "{op:?}");
    }
}

#[test]
fn evenly_spaced_indices_are_a_slice() {
    for (indices, name) in [
        (&[1, 2, 3][..], "Slice"),
        (&[3, 1], "Slice"),
        (&[-1], "Slice"),
        (&[0, 0], "Gather"),
        (&[0, 1, 3], "Gather"),
    ] {
        let file = OnnxFile::new(13, &[1, 4, 5]).ints("i", indices).node("Sigmoid", "x", "s");
        let axis = vec![AttributeProto::int("axis", 1)];
        let graph = file.node_with("Gather", "s i", "y", axis).import();
        assert_eq!(graph.nodes[1].op.name(), name, "{indices:?}");
        assert_eq!(graph.shape(graph.outputs[0]), [1, indices.len(), 5]);
        check(&graph);
    }
}

#[test]
fn impossible_choices_are_refused() {
    let file = || OnnxFile::new(13, &[1, 4]);
    for index in [4, -5] {
        let axis = vec![AttributeProto::int("axis", 1)];
        let refusal = file().ints("i", &[index]).node_with("Gather", "x i", "y", axis).refusal();
        assert!(matches!(refusal, Refusal::Attribute { name: "indices", .. }), "{refusal}");
    }
    for count in [0, 5, -1] {
        let refusal = file().ints("k", &[count]).node("TopK", "x k", "y").refusal();
        assert!(matches!(refusal, Refusal::Attribute { name: "K", .. }), "{refusal}");
    }
    let refusal = file().node("Gather", "x x", "y").refusal();
    assert!(matches!(refusal, Refusal::NotConstant { .. }), "{refusal}");
}
