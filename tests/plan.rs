//! Claims about planning: what lies where, and that nothing that is still needed is overwritten.
#![forbid(unsafe_code)]

use unbraid_converter::graph::{Activation, Graph, Op, Pad};
use unbraid_converter::plan::arena::{Arena, Lifetime, lower_bound, place};
use unbraid_converter::plan::{Kind, Options, Plan, PlanError, plan};
use unbraid_converter::write::strand;
use unbraid_runtime::step;
use unbraid_tests::conv_cases::Random;
use unbraid_tests::net::{Net, RELU, square};

fn planned(graph: &Graph) -> Plan {
    plan(graph, &Options::default()).unwrap_or_else(|error| panic!("{error}"))
}

fn refused(graph: &Graph) -> PlanError {
    plan(graph, &Options::default()).expect_err("the steps cannot express this")
}

fn ops(plan: &Plan) -> Vec<&'static str> {
    plan.steps.iter().map(|step| step.op.name()).collect()
}

fn random_lifetimes(random: &mut Random) -> Vec<Lifetime> {
    let count = 1 + random.bits() as usize % 40;
    let lifetime = |k: usize, random: &mut Random| {
        let first = k.saturating_sub(random.bits() as usize % 3);
        let last = first + random.pick(&[0, 1, 1, 1, 2, 7]);
        Lifetime { bytes: u64::from(1 + random.bits() % 5000), first, last }
    };
    (0..count).map(|k| lifetime(k, random)).collect()
}

fn check_arena(lifetimes: &[Lifetime], arena: &Arena) {
    for (a, (&from, one)) in arena.offsets.iter().zip(lifetimes).enumerate() {
        assert!(from.is_multiple_of(64) && from + one.bytes <= arena.bytes);
        for (&start, other) in arena.offsets.iter().zip(lifetimes).skip(a + 1) {
            let apart = from + one.bytes <= start || start + other.bytes <= from;
            let together = (one.first..=one.last).any(|t| (other.first..=other.last).contains(&t));
            assert!(apart || !together, "{one:?} at {from}, {other:?} at {start}");
        }
    }
}

#[test]
fn arena_never_overlaps_live_buffers() {
    let mut random = Random(1);
    for _ in 0..2000 {
        let lifetimes = random_lifetimes(&mut random);
        let arena = place(&lifetimes);
        check_arena(&lifetimes, &arena);
        assert!(arena.bytes >= lower_bound(&lifetimes));
        assert_eq!(arena, place(&lifetimes));
    }
}

#[test]
fn arena_of_a_chain_is_its_largest_pair_of_neighbours() {
    let mut random = Random(2);
    for length in (2..60).cycle().take(500) {
        let sizes: Vec<u64> = (0..length).map(|_| u64::from(1 + random.bits() % 99) * 64).collect();
        let lifetime = |k: usize| Lifetime { bytes: sizes[k], first: k.saturating_sub(1), last: k };
        let lifetimes: Vec<Lifetime> = (0..length).map(lifetime).collect();
        let pair = sizes.windows(2).map(|pair| pair[0] + pair[1]).max();
        assert_eq!(Some(place(&lifetimes).bytes), pair);
    }
}

/// RepVGG-A0 after fusion: 22 convolutions with ReLU, a global average, a dense layer.
fn repvgg_a0(size: usize) -> Graph {
    let mut net = Net::new(3);
    let mut x = net.input(&[1, 3, size, size]);
    for (blocks, width) in [(1, 48), (2, 48), (4, 96), (14, 192), (1, 1280)] {
        for block in 0..blocks {
            let stride = if block == 0 { 2 } else { 1 };
            x = net.conv(x, width, square(3, stride), 1, RELU);
        }
    }
    x = net.node(Op::GlobalAveragePool, &[x], &[1, 1280, 1, 1]);
    x = net.node(Op::Reshape, &[x], &[1, 1280]);
    x = net.linear(x, 1000);
    net.output(x);
    net.graph
}

#[test]
fn repvgg_a0_needs_two_neighbouring_feature_maps() {
    let plan = planned(&repvgg_a0(224));
    assert_eq!(plan.arena_base, 3_010_560);
    assert_eq!(plan.macs, 1_361_451_008);
    assert!(plan.scratch_per_worker <= 256 << 10);
    let convs = plan.steps.iter().filter(|step| matches!(step.op, step::Op::Conv(_))).count();
    assert_eq!((convs, plan.steps.len()), (22, 24));
}

#[test]
fn same_graph_and_options_give_the_same_bytes() {
    let graph = repvgg_a0(32);
    let once = strand(&planned(&graph)).unwrap();
    assert_eq!(*once, *strand(&planned(&graph)).unwrap());
    let tunable = Options { tunable: true, ..Options::default() };
    let tunable = strand(&plan(&graph, &tunable).unwrap()).unwrap();
    assert!(tunable.len() > once.len() + 7_000_000 * 4);
}

#[test]
fn equal_weights_are_stored_once() {
    let mut net = Net::new(4);
    let x = net.input(&[1, 8, 9, 9]);
    let mut y = net.conv(x, 8, square(3, 1), 1, RELU);
    let first = net.graph.nodes[0].inputs.clone();
    y = {
        let op = net.graph.nodes[0].op.clone();
        net.node(op, &[y, first[1], first[2]], &[1, 8, 9, 9])
    };
    net.output(y);
    let plan = planned(&net.graph);
    assert_eq!(plan.weights.len(), (9 * 8 * 16 + 16) * 4);
}

#[test]
fn views_need_no_step() {
    let mut net = Net::new(5);
    let x = net.input(&[1, 6, 5, 4]);
    let mut y = net.node(Op::Reshape, &[x], &[1, 6, 20]);
    y = net.node(Op::Reshape, &[y], &[1, 6, 5, 4]);
    y = net.conv(y, 7, square(3, 1), 1, RELU);
    y = net.unary(Op::Activation(Activation::None), y);
    y = net.node(Op::Reshape, &[y], &[1, 140]);
    y = net.linear(y, 3);
    y = net.node(Op::Reshape, &[y], &[1, 3, 1, 1]);
    net.output(y);
    assert_eq!(ops(&planned(&net.graph)), ["conv", "linear"]);
}

#[test]
fn pictures_leave_in_onnx_order_under_another_rank() {
    let mut net = Net::new(6);
    let x = net.input(&[1, 6, 5, 4]);
    let y = net.node(Op::Reshape, &[x], &[1, 6, 20]);
    net.output(y);
    net.output(x);
    let plan = planned(&net.graph);
    assert_eq!(ops(&plan), ["to_planar"]);
    assert_eq!(plan.outputs[0].shape, [1, 6, 20]);
    assert_eq!(plan.outputs[1].operand, plan.inputs[0].operand);
}

#[test]
fn elementwise_steps_write_over_operands_that_nobody_reads_later() {
    let mut net = Net::new(7);
    let x = net.input(&[1, 16, 8, 8]);
    let a = net.conv(x, 16, square(3, 1), 1, Activation::None);
    let b = net.unary(Op::Sigmoid, a);
    let c = net.node(Op::Add { activation: RELU }, &[x, b], &[1, 16, 8, 8]);
    net.output(c);
    net.output(x);
    let plan = planned(&net.graph);
    assert_eq!(plan.arena_base, 2 * 16 * 64 * 4);
    let [_, sigmoid, add] = &plan.steps[..] else { panic!("three steps") };
    assert_eq!(sigmoid.output.span, sigmoid.input.span);
    assert_eq!(add.output.span, sigmoid.output.span, "the input is still an output of the network");
}

#[test]
fn zero_padding_goes_into_the_window_that_reads_it() {
    let mut net = Net::new(8);
    let x = net.input(&[1, 3, 7, 7]);
    let pad = Pad { top: 1, left: 2, bottom: 1, right: 0 };
    let y = net.node(Op::Pad { pad, value: 0.0 }, &[x], &[1, 3, 9, 9]);
    let y = net.conv(y, 4, square(3, 1), 1, RELU);
    net.output(y);
    let plan = planned(&net.graph);
    let [step::Step { op: step::Op::Conv(conv), .. }] = plan.steps[..] else { panic!("one step") };
    assert_eq!(conv.window.pad, Pad { top: 2, left: 3, bottom: 2, right: 1 });
}

#[test]
fn all_problems_are_reported_at_once() {
    let mut net = Net::new(9);
    let x = net.input(&[1, 4, 6, 6]);
    let map = net.constant(&[1, 4, 6, 6], 1.0);
    let a = net.node(Op::Add { activation: Activation::None }, &[x, map], &[1, 4, 6, 6]);
    let b = net.node(Op::Mul, &[a, x], &[1, 4, 6, 6]);
    let pooled = net.node(Op::GlobalAveragePool, &[b], &[1, 4, 1, 1]);
    let c = net.node(Op::Add { activation: RELU }, &[b, pooled], &[1, 4, 6, 6]);
    let one = net.fixed(&[], vec![1.0]);
    let d = net.node(Op::Div, &[one, c], &[1, 4, 6, 6]);
    net.output(d);
    let PlanError { problems } = refused(&net.graph);
    let names: Vec<&str> = problems.iter().map(|problem| problem.node.as_str()).collect();
    assert_eq!(names, ["node0", "node1", "node3", "node4"]);
    assert!(matches!(problems[0].kind, Kind::Broadcast { .. }));
    assert_eq!(problems[1].kind, Kind::TwoComputed);
    assert!(matches!(problems[2].kind, Kind::Broadcast { .. }));
    assert_eq!(problems[3].kind, Kind::ComputedDivisor);
}
