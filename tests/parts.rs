//! Concatenations and slices of whole runs of bytes cost nothing, and whatever else reads, writes or
//! joins the same values, every output stays right.
#![forbid(unsafe_code)]

use unbraid_converter::graph::{Graph, Op, ValueId};
use unbraid_converter::plan::{Options, plan};
use unbraid_runtime::step;
use unbraid_tests::agreement::check;
use unbraid_tests::graphs::{Builder, Layer};
use unbraid_tests::rng::Random;

/// Steps that only copy.
fn copies(graph: &Graph) -> usize {
    let plan = plan(graph, &Options::default()).unwrap_or_else(|error| panic!("{error}"));
    let copies = |op: &step::Op| matches!(op, step::Op::CopyInto { .. } | step::Op::Rearrange(_));
    plan.steps.iter().filter(|step| copies(&step.op)).count()
}

/// A network under construction, and the shapes of its pictures.
struct Net {
    net: Builder,
    pictures: Vec<(ValueId, [usize; 3])>,
}

impl Net {
    fn new(seed: u64) -> Self {
        let (net, x) = Builder::new(seed, 16, [6, 4]);
        Self { net, pictures: vec![(x, [16, 6, 4])] }
    }

    fn push(&mut self, op: Op, inputs: Vec<ValueId>, [c, h, w]: [usize; 3]) -> ValueId {
        let id = self.net.node(op, inputs, &[1, c, h, w]);
        self.pictures.push((id, [c, h, w]));
        id
    }

    fn conv(&mut self, (x, shape): (ValueId, [usize; 3])) -> ValueId {
        let id = self.net.conv_relu(x, Layer::of(16, 3, 1, 1));
        self.pictures.push((id, [16, shape[1], shape[2]]));
        id
    }

    fn relu(&mut self, (x, shape): (ValueId, [usize; 3])) -> ValueId {
        let id = self.net.relu(x);
        self.pictures.push((id, shape));
        id
    }

    /// Rows `first` to `first + count`.
    fn rows(
        &mut self,
        (x, [c, _, w]): (ValueId, [usize; 3]),
        [first, count]: [usize; 2],
    ) -> ValueId {
        let op = Op::Slice { starts: vec![0, 0, first, 0], steps: vec![1; 4] };
        self.push(op, vec![x], [c, count, w])
    }

    /// One below the other.
    fn stack(&mut self, parts: &[(ValueId, [usize; 3])]) -> ValueId {
        let [c, _, w] = parts[0].1;
        let rows = parts.iter().map(|part| part.1[1]).sum();
        self.push(Op::Concat { axis: 2 }, parts.iter().map(|part| part.0).collect(), [c, rows, w])
    }
}

#[test]
fn whole_rows_are_joined_and_cut_without_copies() {
    let mut net = Net::new(1);
    let x = net.pictures[0];
    let top = (net.conv(x), x.1);
    let bottom = (net.conv(x), x.1);
    let both = (net.stack(&[top, bottom]), [16, 12, 4]);
    // The parts are read elsewhere, too, before and behind.
    let between = (net.conv(top), x.1);
    let all = (net.conv(both), both.1);
    let middle = (net.rows(all, [3, 6]), x.1);
    let sum = net.net.sum(&[middle.0, between.0, top.0]);
    let graph = net.net.finish(&[sum]);
    assert_eq!(copies(&graph), 0);
    check(&graph);
}

#[test]
fn what_joins_itself_or_leaves_the_network_is_copied() {
    let mut net = Net::new(2);
    let x = net.pictures[0];
    let part = (net.conv(x), x.1);
    let twice = net.stack(&[part, part]);
    let graph = net.net.finish(&[twice]);
    assert_eq!(copies(&graph), 2);
    check(&graph);
    let mut net = Net::new(3);
    let x = net.pictures[0];
    let part = (net.conv(x), x.1);
    let joined = net.stack(&[x, part]);
    let graph = net.net.finish(&[joined, part.0]);
    assert_eq!(copies(&graph), 2);
    check(&graph);
}

#[test]
fn random_networks_of_joined_and_cut_pictures_are_right() {
    let (mut operands_moved, mut copied) = (0, 0);
    for seed in 0..300 {
        let (mut net, mut random) = (Net::new(seed), Random(seed));
        for _ in 0..8 {
            let any = random.pick(&net.pictures);
            let alike = |shape: [usize; 3]| shape[0] == any.1[0] && shape[2] == any.1[2];
            let others: Vec<_> = net.pictures.iter().copied().filter(|p| alike(p.1)).collect();
            match random.bits() % 5 {
                0 => net.conv(any),
                1 => net.relu(any),
                2 if any.1[1] < 24 => net.stack(&[any, random.pick(&others)]),
                2 | 3 if any.1[1] > 1 => {
                    let first = random.bits() as usize % any.1[1];
                    net.rows(any, [first, 1 + random.bits() as usize % (any.1[1] - first)])
                }
                _ => net.conv(any),
            };
        }
        let last = net.pictures[net.pictures.len() - 1].0;
        let other = random.pick(&net.pictures[1..]).0;
        let outputs = if other == last { vec![last] } else { vec![last, other] };
        let graph = net.net.finish(&outputs);
        let moves = |op: &Op| matches!(op, Op::Slice { .. } | Op::Concat { .. });
        let operands = |graph: &Graph| {
            let moving = graph.nodes.iter().filter(|node| moves(&node.op));
            moving.map(|node| node.inputs.len()).sum::<usize>()
        };
        operands_moved += operands(&graph);
        copied += copies(&graph);
        check(&graph);
    }
    println!("{operands_moved} operands of concatenations and slices, {copied} copies");
    assert!(copied * 4 < operands_moved * 3, "{copied} copies of {operands_moved}");
}
