//! Products of matrices: the step against its formula, factors of every rank and order, from import to
//! runtime, export, refusals. (That operators are what ONNX means by them: `operators.rs`.)
#![forbid(unsafe_code)]

use std::num::NonZero;
use unbraid_converter::export::to_onnx;
use unbraid_converter::graph::{Function, Graph, Op, ValueId};
use unbraid_converter::import::{Options, Refusal, from_bytes};
use unbraid_converter::onnx::AttributeProto;
use unbraid_converter::plan::plan;
use unbraid_converter::reference;
use unbraid_linux::Pool;
use unbraid_runtime::dims::Dims;
use unbraid_runtime::step::{self, MatMul, Source};
use unbraid_runtime::{Cpu, Kernels, Session};
use unbraid_tests::agreement::check;
use unbraid_tests::execute::write_inputs;
use unbraid_tests::formula::{self, at, each};
use unbraid_tests::graphs::{Builder, Layer};
use unbraid_tests::onnx_file::OnnxFile;
use unbraid_tests::rng::Random;
use unbraid_tests::strand_builder::{AlignedBytes, StrandBuilder, open};

/// Matrices, rows, depth, columns: around tiles of four rows and panels of sixteen columns.
const SIZES: [(u32, u32, u32, u32); 8] = [
    (1, 1, 1, 1),
    (1, 3, 5, 15),
    (1, 4, 16, 16),
    (1, 5, 7, 17),
    (3, 9, 33, 40),
    (2, 40, 120, 40),
    (4, 1, 64, 50),
    (5, 13, 1, 3),
];

/// A network of one product: its second factor is constant, or computed from the first input's map.
fn one_product(
    (h, m, k, n): (u32, u32, u32, u32),
    shared: bool,
    transposed: bool,
    constant: Option<&[f32]>,
) -> StrandBuilder {
    let count = if shared { 1 } else { h };
    let (rows, columns) = if transposed { (n, k) } else { (k, n) };
    let factor = Dims { h: count, w: rows, c: columns };
    let mut net = StrandBuilder::new();
    net.scratch = k * 16 * 4;
    let x = net.input("x", Dims { h, w: m, c: k });
    let other = match constant {
        Some(values) => Source::Weights { span: net.weights(values), dims: factor },
        None => Source::Arena(net.input("other", factor)),
    };
    let op = step::Op::MatMul(MatMul { other, transposed });
    let y = net.step(x, Dims { h, w: m, c: n }, op);
    net.output("y", y);
    net
}

#[test]
fn products_match_their_formula() {
    let mut random = Random(1);
    for (size, shared) in SIZES.into_iter().flat_map(|size| [(size, true), (size, false)]) {
        let (h, m, k, n) = size;
        let count = if shared { 1 } else { h };
        let x = random.vec((h * m * k) as usize);
        let other = random.vec((count * k * n) as usize);
        for transposed in [false, true] {
            let expected = each(Dims { h, w: m, c: n }, |b, row, column| {
                let matrix = if shared { 0 } else { b };
                let products = (0..k).map(|i| {
                    let left = x[at(Dims { h, w: m, c: k }, b, row, i)];
                    let right = match transposed {
                        true => other[at(Dims { h: count, w: n, c: k }, matrix, column, i)],
                        false => other[at(Dims { h: count, w: k, c: n }, matrix, i, column)],
                    };
                    f64::from(left) * f64::from(right)
                });
                products.sum()
            });
            let net = one_product(size, shared, transposed, Some(&other));
            formula::check(&net, &x, &expected, &format!("{size:?} {shared} {transposed}"));
        }
    }
}

#[test]
fn products_do_not_depend_on_workers() {
    let size = (3, 41, 70, 50);
    let mut random = Random(2);
    let net = one_product(size, false, false, None);
    let file = net.finish();
    let model = open(&file);
    let inputs = [random.vec(3 * 41 * 70), random.vec(3 * 70 * 50)];
    let run = |count: usize| {
        let pool = Pool::new(NonZero::new(count).unwrap()).unwrap();
        let mut arena = AlignedBytes::filled(0, model.arena_len(count).unwrap());
        let session = Session::new(&model, &mut arena, Kernels::new(Cpu::detect())).unwrap();
        let mut session = session.with_workers(&pool, count).unwrap();
        write_inputs(&mut session, &inputs);
        session.run().to_vec()
    };
    let alone = run(1);
    assert!(alone.iter().any(|&y| y != 0.0));
    for count in [2, 3, 7] {
        assert_eq!(run(count), alone, "{count} workers");
    }
}

fn transposed(net: &mut Builder, x: ValueId, perm: &[usize]) -> ValueId {
    let old = net.graph.shape(x).to_vec();
    let new: Vec<usize> = perm.iter().map(|&axis| old[axis]).collect();
    net.node(Op::Transpose { perm: perm.to_vec() }, vec![x], &new)
}

/// Queries, keys and values as attention takes them from one dense layer: `[heads, tokens, depth]` each.
fn attention(tokens: usize, heads: usize, depth: usize) -> Graph {
    let (mut net, x) = Builder::new(4, 6, [tokens, 1]);
    let all = 3 * heads * depth;
    let y = net.conv(x, Layer::of(all, 1, 1, 1).biased());
    let y = transposed(&mut net, y, &[0, 2, 3, 1]);
    let y = net.reshape(y, &[tokens, 3, heads, depth]);
    let y = transposed(&mut net, y, &[1, 2, 0, 3]);
    let part = |net: &mut Builder, k: usize| {
        let slice = Op::Slice { starts: vec![k, 0, 0, 0], steps: vec![1; 4] };
        let y = net.node(slice, vec![y], &[1, heads, tokens, depth]);
        net.reshape(y, &[heads, tokens, depth])
    };
    let (q, k, v) = (part(&mut net, 0), part(&mut net, 1), part(&mut net, 2));
    let k = transposed(&mut net, k, &[0, 2, 1]);
    let scores = net.node(Op::MatMul, vec![q, k], &[heads, tokens, tokens]);
    let scores = net.node(Op::Softmax { axis: 2 }, vec![scores], &[heads, tokens, tokens]);
    let y = net.node(Op::MatMul, vec![scores, v], &[heads, tokens, depth]);
    let y = transposed(&mut net, y, &[1, 0, 2]);
    let y = net.reshape(y, &[1, tokens * heads * depth]);
    net.finish(&[y])
}

#[test]
fn attention_is_what_the_oracle_says() {
    for (tokens, heads, depth) in [(7, 2, 3), (40, 8, 15), (1, 1, 16)] {
        check(&attention(tokens, heads, depth));
    }
}

#[test]
fn keys_are_read_as_they_lie() {
    let plan = plan(&attention(12, 2, 8), &Default::default()).unwrap();
    let products = plan.steps.iter().filter_map(|step| match step.op {
        step::Op::MatMul(matmul) => Some(matmul.transposed),
        _ => None,
    });
    assert_eq!(products.collect::<Vec<_>>(), [true, false]);
}

/// A product of two values that are computed from the input, of these shapes.
fn computed(left: &[usize], right: &[usize]) -> Graph {
    let sizes = [left, right].map(|shape| shape.iter().product::<usize>());
    let file = OnnxFile::new(13, &[1, sizes[0] + sizes[1]]);
    let shape = |shape: &[usize]| shape.iter().map(|&n| n as i64).collect::<Vec<_>>();
    let (middle, end) = (sizes[0] as i64, (sizes[0] + sizes[1]) as i64);
    let file =
        file.ints("zero", &[0]).ints("middle", &[middle]).ints("end", &[end]).ints("one", &[1]);
    let file = file.ints("left", &shape(left)).ints("right", &shape(right));
    let file = file.node("Slice", "x zero middle one", "l").node("Reshape", "l left", "a");
    let file = file.node("Slice", "x middle end one", "r").node("Reshape", "r right", "b");
    file.node("MatMul", "a b", "m").node("Relu", "m", "y").import()
}

#[test]
fn factors_of_every_rank_meet() {
    let cases: [(&[usize], &[usize], &[usize]); 10] = [
        (&[4], &[4], &[]),
        (&[4], &[4, 3], &[3]),
        (&[2, 4], &[4], &[2]),
        (&[2, 4], &[4, 3], &[2, 3]),
        (&[5, 2, 4], &[4, 3], &[5, 2, 3]),
        (&[2, 4], &[5, 4, 3], &[5, 2, 3]),
        (&[5, 2, 4], &[5, 4, 3], &[5, 2, 3]),
        (&[2, 1, 2, 4], &[1, 3, 4, 3], &[2, 3, 2, 3]),
        (&[2, 3, 2, 4], &[3, 4, 3], &[2, 3, 2, 3]),
        (&[4], &[2, 3, 4, 3], &[2, 3, 3]),
    ];
    for (left, right, result) in cases {
        let graph = computed(left, right);
        assert_eq!(graph.shape(graph.outputs[0]), result, "{left:?} {right:?}");
        check(&graph);
    }
}

#[test]
fn products_by_constants_are_dense_layers() {
    let file = |own: &[usize]| OnnxFile::new(13, own).node("Sigmoid", "x", "s");
    for (own, factor, inputs) in [
        (&[1, 6, 4][..], &[4, 5][..], "s c"),
        (&[1, 2, 3, 4], &[4, 5], "s c"),
        (&[1, 3, 4], &[4], "s c"),
        (&[1, 4, 6], &[5, 4], "c s"),
        (&[1, 2, 4, 6], &[5, 4], "c s"),
        (&[1, 4], &[3, 1], "c s"),
    ] {
        let graph = file(own).random("c", factor).node("MatMul", inputs, "y").import();
        let ops: Vec<_> = graph.nodes.iter().map(|node| node.op.name()).collect();
        assert!(ops.contains(&"Gemm") && !ops.contains(&"MatMul"), "{ops:?}");
        check(&graph);
    }
    let many = file(&[1, 2, 3, 4]).random("c", &[2, 4, 5]).node("MatMul", "s c", "y").import();
    assert!(many.nodes.iter().any(|node| node.op == Op::MatMul));
    check(&many);
}

#[test]
fn gemm_takes_computed_operands_in_any_order() {
    for (trans_a, trans_b) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let file = OnnxFile::new(13, &[4, 4]).node("Sigmoid", "x", "s").node("Tanh", "x", "t");
        let flags = vec![
            AttributeProto::int("transA", trans_a),
            AttributeProto::int("transB", trans_b),
            AttributeProto::float("alpha", 0.5),
            AttributeProto::float("beta", -2.0),
        ];
        let file = file.random("w", &[4, 4]).random("c", &[4, 1]);
        for inputs in ["s t", "s t c", "s t x", "w t c", "s w c", "s w x"] {
            check(&file.clone().node_with("Gemm", inputs, "y", flags.clone()).import());
        }
    }
}

#[test]
fn products_come_back_from_onnx() {
    let graph = attention(5, 2, 3);
    let again = from_bytes(to_onnx(&graph), &Options::default()).unwrap();
    let x: Vec<f64> = Random(3).vec(30).into_iter().map(f64::from).collect();
    let run = |graph: &Graph| reference::run(graph, std::slice::from_ref(&x)).unwrap();
    assert_eq!(run(&graph), run(&again));
}

#[test]
fn factors_that_do_not_fit_are_refused() {
    let file = || OnnxFile::new(13, &[1, 2, 4]);
    let refusal = file().random("c", &[3, 5]).node("MatMul", "x c", "y").refusal();
    assert!(matches!(refusal, Refusal::Shape { role: "its second operand", .. }), "{refusal}");
    let refusal = file().random("c", &[]).node("MatMul", "x c", "y").refusal();
    assert!(matches!(refusal, Refusal::Shape { .. }), "{refusal}");
    let refusal = file().node("Gemm", "x x", "y").refusal();
    assert!(matches!(refusal, Refusal::Shape { .. }), "{refusal}");
}

#[test]
fn what_follows_a_product_reads_it_where_it_lies() {
    let (mut net, x) = Builder::new(7, 1, [24, 5]);
    let a = net.reshape(x, &[4, 6, 5]);
    let b = transposed(&mut net, a, &[0, 2, 1]);
    let y = net.node(Op::MatMul, vec![a, b], &[4, 6, 6]);
    let y = net.node(Op::Unary(Function::Tanh), vec![y], &[4, 6, 6]);
    let y = net.reshape(y, &[1, 144]);
    let graph = net.finish(&[y]);
    check(&graph);
    let plan = plan(&graph, &Default::default()).unwrap();
    let names: Vec<_> = plan.steps.iter().map(|step| step.op.name()).collect();
    assert_eq!(names, ["matmul", "tanh"]);
}
