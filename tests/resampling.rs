//! Resizing: the step against its formula, every mode from import to runtime, export, refusals.
//! (That modes are what ONNX means by them: `operators.rs`.)
#![forbid(unsafe_code)]

use unbraid_converter::export::to_onnx;
use unbraid_converter::graph::{Graph, Op, ValueId};
use unbraid_converter::import::{Options, Refusal, from_bytes};
use unbraid_converter::onnx::AttributeProto;
use unbraid_converter::reference;
use unbraid_converter::resize::{Coordinates, Interpolation, Resize, ResizedAxis, Rounding};
use unbraid_runtime::dims::Dims;
use unbraid_runtime::step::{self, Resample, Taps};
use unbraid_tests::agreement::{check, check_names};
use unbraid_tests::formula::{self, MAPS, at, each};
use unbraid_tests::graphs::{Builder, Layer};
use unbraid_tests::onnx_file::OnnxFile;
use unbraid_tests::rng::Random;
use unbraid_tests::strand_builder::StrandBuilder;

/// A table of `output` random runs of `count` taps, some of weight 0, and as the formula reads it.
fn table(random: &mut Random, count: u32, input: u32, output: u32) -> Vec<(u32, Vec<f32>)> {
    let entry = |_| {
        let first = random.bits() % (input - count + 1);
        let weight = |_| random.pick(&[0.0, 1.0, -0.5, 0.25, 0.75]);
        (first, (0..count).map(weight).collect())
    };
    (0..output).map(entry).collect()
}

fn stored(net: &mut StrandBuilder, table: &[(u32, Vec<f32>)]) -> Taps {
    let entries = table.iter().flat_map(|(first, w)| [&[*first as f32], &w[..]].concat());
    let entries: Vec<f32> = entries.collect();
    let count = u32::try_from(table[0].1.len()).unwrap();
    Taps { count, table: net.weights(&entries) }
}

/// A network of one resampling.
fn resampled(dims: Dims, tables: [&[(u32, Vec<f32>)]; 2]) -> (StrandBuilder, Dims) {
    let mut net = StrandBuilder::new();
    let [h, w] = tables.map(|table| u32::try_from(table.len()).unwrap());
    let output = Dims { h, w, c: dims.c };
    let [rows, columns] = tables.map(|table| stored(&mut net, table));
    net.scratch = dims.w * dims.c * 4;
    let x = net.input("x", dims);
    let y = net.step(x, output, step::Op::Resample(Resample { rows, columns }));
    net.output("y", y);
    (net, output)
}

#[test]
fn runs_of_rows_and_columns_match_their_formula() {
    let mut random = Random(1);
    for dims in MAPS {
        let x = random.vec(dims.elements().unwrap());
        for (rows, columns) in [(1, 1), (1, 2), (2, 1), (2, 2), (4, 3), (3, 5)] {
            let (rows, columns) = (dims.h.min(rows), dims.w.min(columns));
            let (h, w) = (random.pick(&[1, 3, 9]), random.pick(&[2, 5, 7]));
            let rows = table(&mut random, rows, dims.h, h);
            let columns = table(&mut random, columns, dims.w, w);
            let (net, output) = resampled(dims, [&rows, &columns]);
            let expected = each(output, |i, j, c| {
                let ((top, vertical), (left, horizontal)) =
                    (&rows[i as usize], &columns[j as usize]);
                let taps = (*top..)
                    .zip(vertical)
                    .flat_map(|y| (*left..).zip(horizontal).map(move |x| (y, x)));
                let products = taps.map(|((row, a), (column, b))| {
                    f64::from(*a) * f64::from(*b) * f64::from(x[at(dims, row, column, c)])
                });
                products.sum()
            });
            formula::check(&net, &x, &expected, &format!("{dims:?} to {output:?}"));
        }
    }
}

#[test]
fn runs_that_would_end_outside_are_moved_inside() {
    let dims = Dims { h: 1, w: 3, c: 1 };
    for (first, expected) in [
        (-7.0, 1.0),
        (f32::NAN, 1.0),
        (f32::NEG_INFINITY, 1.0),
        (1.0, 3.0),
        (1.9, 3.0),
        (2.0, 3.0),
        (1e30, 3.0),
    ] {
        let mut net = StrandBuilder::new();
        let x = net.input("x", dims);
        let rows = stored(&mut net, &[(0, vec![1.0])]);
        let columns = Taps { count: 2, table: net.weights(&[first, 0.5, 0.5]) };
        let resample = step::Op::Resample(Resample { rows, columns });
        let y = net.step(x, Dims { w: 1, ..dims }, resample);
        net.output("y", y);
        formula::check(&net, &[0.0, 2.0, 4.0], &[expected], &format!("from {first}"));
    }
}

#[test]
fn elements_of_weight_0_are_not_read() {
    let dims = Dims { h: 2, w: 2, c: 1 };
    for tables in [
        [vec![(0, vec![0.0, 1.0])], vec![(0, vec![0.0, 1.0])]],
        [vec![(1, vec![1.0])], vec![(0, vec![0.0, 1.0])]],
    ] {
        let (net, _) = resampled(dims, [&tables[0], &tables[1]]);
        let nan = f32::NAN;
        formula::check(&net, &[nan, nan, nan, 3.0], &[3.0], "the last element alone");
    }
    let (net, _) = resampled(dims, [&[(0, vec![0.0])], &[(0, vec![1.0])]]);
    formula::check(&net, &[f32::INFINITY; 4], &[0.0], "none");
}

/// Every way to interpolate.
fn kinds() -> Vec<Resize> {
    let plain = Resize {
        axes: vec![],
        interpolation: Interpolation::Linear,
        coordinates: Coordinates::HalfPixel,
        exclude_outside: false,
        antialias: false,
    };
    let cubic = Interpolation::Cubic { a: -0.75 };
    let mut kinds = vec![
        Resize { antialias: true, ..plain.clone() },
        Resize { interpolation: cubic, antialias: true, exclude_outside: true, ..plain.clone() },
        Resize { interpolation: cubic, exclude_outside: true, ..plain.clone() },
    ];
    for (_, coordinates) in Coordinates::NAMES {
        for interpolation in [Interpolation::Linear, cubic] {
            kinds.push(Resize { interpolation, coordinates, ..plain.clone() });
        }
        for (_, rounding) in Rounding::NAMES {
            let interpolation = Interpolation::Nearest(rounding);
            kinds.push(Resize { interpolation, coordinates, ..plain.clone() });
        }
    }
    kinds
}

/// Axes of `x` resized to these lengths.
fn to_lengths(net: &mut Builder, x: ValueId, kind: &Resize, lengths: &[(usize, usize)]) -> ValueId {
    let mut shape = net.graph.shape(x).to_vec();
    lengths.iter().for_each(|&(axis, length)| shape[axis] = length);
    let axis = |&(axis, _): &(usize, usize)| ResizedAxis { axis, scale: None, crop: [-0.2, 0.9] };
    let axes = lengths.iter().map(axis).collect();
    net.node(Op::Resize(Resize { axes, ..kind.clone() }), vec![x], &shape)
}

/// A net that resizes what a convolution leaves.
fn net_of(kind: &Resize, lengths: &[(usize, usize)]) -> Graph {
    let (mut net, x) = Builder::new(3, 3, [5, 8]);
    let x = net.conv(x, Layer::of(6, 3, 1, 1).biased());
    let y = to_lengths(&mut net, x, kind, lengths);
    let z = net.conv(y, Layer::of(4, 1, 1, 1).biased());
    net.finish(&[y, z])
}

#[test]
fn every_mode_gives_what_the_oracle_says() {
    for kind in kinds() {
        for (h, w) in [(10, 16), (3, 5), (5, 20), (12, 1), (1, 3), (7, 8)] {
            let graph = net_of(&kind, &[(2, h), (3, w)]);
            check(&graph);
            check_names(&graph);
        }
    }
}

#[test]
fn any_axes_can_be_resized() {
    for lengths in [&[(1, 9), (2, 3)][..], &[(1, 3), (3, 4)], &[(1, 11)], &[(2, 2)], &[(3, 17)]] {
        for kind in kinds().iter().step_by(5) {
            check(&net_of(kind, lengths));
        }
    }
    let kind = &kinds()[0];
    for shape in [&[6, 40][..], &[1, 6, 40], &[2, 3, 5, 8], &[1, 2, 3, 5, 8]] {
        for axes in 1..=2 {
            let (mut net, x) = Builder::new(3, 6, [5, 8]);
            let x = net.conv(x, Layer::of(6, 3, 1, 1).biased());
            let y = net.reshape(x, shape);
            let first = shape.len() - axes;
            let lengths: Vec<_> = (first..shape.len()).map(|axis| (axis, 2 * axis + 3)).collect();
            let y = to_lengths(&mut net, y, kind, &lengths);
            check(&net.finish(&[y]));
        }
    }
}

fn run(graph: &Graph) -> (Vec<usize>, Vec<f64>) {
    let x = Random(5).vec(graph.shape(graph.inputs[0]).iter().product());
    let x = x.into_iter().map(f64::from).collect();
    let y = reference::run(graph, &[x]).unwrap().swap_remove(0);
    (graph.shape(graph.outputs[0]).to_vec(), y)
}

#[test]
fn what_was_resized_comes_back_from_onnx() {
    for kind in kinds() {
        let graph = net_of(&kind, &[(2, 9), (3, 3)]);
        let again = from_bytes(to_onnx(&graph), &Options::default()).unwrap();
        assert_eq!(run(&graph), run(&again), "{kind:?}");
    }
    let kind = |name, value| vec![AttributeProto::string(name, value)];
    let sized = OnnxFile::new(18, &[1, 1, 3, 7]).ints("s", &[1, 1, 5, 9]);
    for policy in ["stretch", "not_larger", "not_smaller"] {
        let file = sized.clone();
        let file =
            file.node_with("Resize", "x _ _ s", "y", kind("keep_aspect_ratio_policy", policy));
        let graph = file.import();
        let again = from_bytes(to_onnx(&graph), &Options::default()).unwrap();
        assert_eq!(run(&graph), run(&again), "{policy}");
    }
    for scale in [0.6, 1.3, 2.0] {
        let file = OnnxFile::new(13, &[1, 1, 3, 7]).floats("s", &[4], &[1.0, 1.0, scale, scale]);
        let graph = file.node_with("Resize", "x _ s", "y", kind("mode", "cubic")).import();
        let again = from_bytes(to_onnx(&graph), &Options::default()).unwrap();
        assert_eq!(run(&graph), run(&again), "{scale}");
    }
}

#[test]
fn more_than_two_axes_are_resized_in_pairs() {
    let file = OnnxFile::new(13, &[1, 2, 3, 4]).ints("s", &[1, 3, 5, 7]);
    let graph =
        file.node_with("Resize", "x _ _ s", "y", vec![AttributeProto::string("mode", "linear")]);
    let graph = graph.import();
    assert_eq!(graph.nodes.len(), 2);
    assert_eq!(graph.shape(graph.outputs[0]), [1, 3, 5, 7]);
    check(&graph);
}

#[test]
fn resizing_to_the_same_size_is_nothing() {
    let file = OnnxFile::new(11, &[1, 2, 3, 4]).floats("s", &[4], &[1.0; 4]).floats("r", &[0], &[]);
    let graph = file.node("Resize", "x r s", "z").node("Relu", "z", "y").import();
    assert_eq!(graph.nodes.len(), 1);
}

#[test]
fn before_coordinates_had_names_the_nearest_element_depends_on_the_direction() {
    let resized = |op: &str, opset, scale| {
        let file = OnnxFile::new(opset, &[1, 1, 1, 4]).floats("s", &[4], &[1.0, 1.0, 1.0, scale]);
        let graph = file.node(op, "x s", "y").import();
        reference::run(&graph, &[vec![0.0, 1.0, 2.0, 3.0]]).unwrap().swap_remove(0)
    };
    assert_eq!(resized("Upsample", 9, 2.0), [0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0]);
    assert_eq!(resized("Resize", 10, 2.0), [0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0]);
    assert_eq!(resized("Resize", 10, 0.6), [0.0, 2.0]);
}

#[test]
fn impossible_sizes_and_modes_are_refused() {
    let file = || OnnxFile::new(13, &[1, 2, 3, 4]);
    let scaled = |scales: &[f32]| file().floats("s", &[scales.len()], scales);
    for scales in [&[1.0, 1.0, -1.0, 1.0], &[1.0, 1.0, f32::NAN, 1.0], &[1.0, 1.0, 0.0, 1.0]] {
        let refusal = scaled(scales).node("Resize", "x _ s", "y").refusal();
        assert!(matches!(refusal, Refusal::Attribute { name: "scales", .. }), "{refusal}");
    }
    let refusal = scaled(&[1.0, 1.0, 1e-3, 1.0]).node("Resize", "x _ s", "y").refusal();
    assert!(matches!(refusal, Refusal::TooLarge { .. }), "{refusal}");
    let refusal = scaled(&[2.0, 2.0]).node("Resize", "x _ s", "y").refusal();
    assert!(matches!(refusal, Refusal::Shape { role: "its scales", .. }), "{refusal}");
    let refusal = file().ints("s", &[1, 2, 0, 4]).node("Resize", "x _ _ s", "y").refusal();
    assert!(matches!(refusal, Refusal::Attribute { name: "sizes", .. }), "{refusal}");
    let refusal = file().node("Resize", "x", "y").refusal();
    assert!(matches!(refusal, Refusal::MissingOperand(_)), "{refusal}");
    for (name, value) in
        [("mode", "area"), ("nearest_mode", "up"), ("coordinate_transformation_mode", "?")]
    {
        let attributes = vec![AttributeProto::string(name, value)];
        let refusal = scaled(&[2.0; 4]).node_with("Resize", "x _ s", "y", attributes).refusal();
        assert!(
            matches!(refusal, Refusal::Attribute { name: found, .. } if found == name),
            "{refusal}"
        );
    }
}
