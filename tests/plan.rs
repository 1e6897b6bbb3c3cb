//! Claims about planning: what lies where, and that nothing that is still needed is overwritten.
#![forbid(unsafe_code)]

use unbraid_converter::graph::{Activation, Conv, DepthOrder, Function, Graph, Op, Pad, PadMode};
use unbraid_converter::plan::arena::{Arena, Lifetime, lower_bound, place};
use unbraid_converter::plan::{Kind, Options, Plan, PlanError, plan};
use unbraid_converter::write::strand;
use unbraid_runtime::step;
use unbraid_tests::graphs::{Builder, Layer, square};
use unbraid_tests::quantized::repvgg_a0;
use unbraid_tests::rng::Random;

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
    let (mut net, x) = Builder::new(4, 8, [9, 9]);
    let y = net.conv_relu(x, Layer::of(8, 3, 1, 1));
    let (op, inputs) = (net.graph.nodes[0].op.clone(), net.graph.nodes[0].inputs.clone());
    let y = net.node(op, vec![y, inputs[1], inputs[2]], &[1, 8, 9, 9]);
    let plan = planned(&net.finish(&[y]));
    assert_eq!(plan.weights.len(), (9 * 8 * 16 + 16) * 4);
}

#[test]
fn views_need_no_step() {
    let (mut net, x) = Builder::new(5, 6, [5, 4]);
    let mut y = net.node(Op::Reshape, vec![x], &[1, 6, 20]);
    y = net.node(Op::Reshape, vec![y], &[1, 6, 5, 4]);
    y = net.conv_relu(y, Layer::of(7, 3, 1, 1));
    y = net.node(Op::Activation(Activation::None), vec![y], &[1, 7, 5, 4]);
    y = net.node(Op::Reshape, vec![y], &[1, 140]);
    y = net.linear(y, 3);
    y = net.node(Op::Reshape, vec![y], &[1, 3, 1, 1]);
    assert_eq!(ops(&planned(&net.finish(&[y]))), ["conv", "linear"]);
}

#[test]
fn pictures_leave_in_onnx_order_under_another_rank() {
    let (mut net, x) = Builder::new(6, 6, [5, 4]);
    let y = net.node(Op::Reshape, vec![x], &[1, 6, 20]);
    let plan = planned(&net.finish(&[y, x]));
    assert_eq!(ops(&plan), ["rearrange"]);
    assert_eq!(plan.outputs[0].shape, [1, 6, 20]);
    assert_eq!(plan.outputs[1].operand, plan.inputs[0].operand);
}

#[test]
fn elementwise_steps_write_over_operands_that_nobody_reads_later() {
    let (mut net, x) = Builder::new(7, 16, [8, 8]);
    let a = net.conv(x, Layer::of(16, 3, 1, 1));
    let b = net.node(Op::Unary(Function::Sigmoid), vec![a], &[1, 16, 8, 8]);
    let c = net.add(x, b);
    let plan = planned(&net.finish(&[c, x]));
    assert_eq!(plan.arena_base, 2 * 16 * 64 * 4);
    let [_, sigmoid, add] = &plan.steps[..] else { panic!("three steps") };
    assert_eq!(sigmoid.output.span, sigmoid.input.span);
    assert_eq!(add.output.span, sigmoid.output.span, "the input is still an output of the network");
}

#[test]
fn zero_padding_goes_into_the_window_that_reads_it() {
    let (mut net, x) = Builder::new(8, 3, [7, 7]);
    let pad = Pad { top: 1, left: 2, bottom: 1, right: 0 };
    let y = net.node(Op::Pad { pad, mode: PadMode::Constant(0.0) }, vec![x], &[1, 3, 9, 9]);
    let y = net.conv_relu(y, Layer::of(4, 3, 1, 1));
    let plan = planned(&net.finish(&[y]));
    let [step::Step { op: step::Op::Conv(conv), .. }] = plan.steps[..] else { panic!("one step") };
    assert_eq!(conv.window.pad, Pad { top: 2, left: 3, bottom: 2, right: 1 });
}

#[test]
fn all_problems_are_reported_at_once() {
    let (mut net, x) = Builder::new(9, 4, [6, 6]);
    let layer =
        Conv { window: square(1, 1, 0), groups: 1, border: None, activation: Activation::None };
    let weight = net.node(Op::Reshape, vec![x], &[4, 4, 3, 3]);
    let a = net.node(Op::Conv(layer), vec![x, weight], &[1, 4, 4, 4]);
    let b = net.node(Op::Sub, vec![a, x], &[1, 4, 4, 4]);
    let c = net.node(Op::Softmax { axis: 4 }, vec![b], &[1, 4, 4, 4]);
    let PlanError { problems } = refused(&net.finish(&[c]));
    let names: Vec<&str> = problems.iter().map(|problem| problem.node.as_str()).collect();
    assert_eq!(names, ["Conv_1", "Sub_2", "Softmax_3"]);
    assert!(matches!(problems[0].kind, Kind::NotConstant { .. }));
    assert!(matches!(problems[1].kind, Kind::Broadcast { .. }));
    assert!(matches!(problems[2].kind, Kind::SoftmaxAxis { .. }));
}

#[test]
fn moves_that_bytes_can_stay_for_need_no_step() {
    let (mut net, x) = Builder::new(10, 6, [4, 4]);
    // To pixels, where the picture lies pixel by pixel already, and back.
    let y = net.node(Op::Transpose { perm: vec![0, 2, 3, 1] }, vec![x], &[1, 4, 4, 6]);
    let y = net.node(Op::Reshape, vec![y], &[16, 6]);
    let y = net.linear(y, 8);
    let y = net.node(Op::Reshape, vec![y], &[1, 4, 4, 8]);
    let y = net.node(Op::Transpose { perm: vec![0, 3, 1, 2] }, vec![y], &[1, 8, 4, 4]);
    let y = net.conv_relu(y, Layer::of(5, 3, 1, 1));
    assert_eq!(ops(&planned(&net.finish(&[y]))), ["conv", "conv"]);
}

#[test]
fn a_pixel_shuffle_is_one_step_however_it_is_spelt() {
    let order = DepthOrder::ChannelFirst;
    let (mut net, x) = Builder::new(11, 12, [4, 5]);
    let y = net.node(Op::DepthToSpace { block: 2, order }, vec![x], &[1, 3, 8, 10]);
    let one = planned(&net.finish(&[y]));
    let (mut net, x) = Builder::new(11, 12, [4, 5]);
    let y = net.node(Op::Reshape, vec![x], &[1, 3, 2, 2, 4, 5]);
    let perm = vec![0, 1, 4, 2, 5, 3];
    let y = net.node(Op::Transpose { perm }, vec![y], &[1, 3, 4, 2, 5, 2]);
    let y = net.node(Op::Reshape, vec![y], &[1, 3, 8, 10]);
    let three = planned(&net.finish(&[y]));
    assert_eq!(ops(&one), ["rearrange"]);
    assert_eq!(one.steps, three.steps);
}

#[test]
fn gates_are_repeated_without_a_step() {
    let (mut net, x) = Builder::new(12, 8, [6, 6]);
    let y = net.node(Op::GlobalAveragePool, vec![x], &[1, 8, 1, 1]);
    let y = net.conv_relu(y, Layer::of(2, 1, 1, 1));
    let y = net.conv(y, Layer::of(8, 1, 1, 1).biased());
    let gate = net.node(Op::Unary(Function::Sigmoid), vec![y], &[1, 8, 1, 1]);
    let y = net.node(Op::Mul, vec![gate, x], &[1, 8, 6, 6]);
    let plan = planned(&net.finish(&[y]));
    assert_eq!(ops(&plan), ["global_average_pool", "conv", "conv", "sigmoid", "mul"]);
}
