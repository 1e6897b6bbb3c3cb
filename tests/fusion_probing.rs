//! Fusion against impulses: networks of every affine operation, of which many are not one convolution.
//! What fuses must answer impulses as one convolution does; what does not must not, or must be cheaper
//! as it is.

use std::collections::{BTreeMap, BTreeSet};
use unbraid_converter::fuse::{Cost, FuseMode, fuse};
use unbraid_converter::graph::{Graph, Node, Op};
use unbraid_tests::affine::random_affine_braid;
use unbraid_tests::graphs::difference;
use unbraid_tests::probe::{Probed, Response};

/// Networks tried.
const NETWORKS: u64 = 800;
/// Bias vectors beyond which fusion leaves a border as it is.
const BIAS_VECTORS: usize = 25;

/// Every operation that is affine in what it reads.
const AFFINE: [&str; 18] = [
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Concat",
    "Conv",
    "DepthToSpace",
    "Div",
    "Gemm",
    "GlobalAveragePool",
    "Identity",
    "Mul",
    "Neg",
    "Pad",
    "Reshape",
    "Slice",
    "SpaceToDepth",
    "Sub",
    "Transpose",
];

/// What became of a network, and what impulses say to that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    /// One convolution or scale, and answers like one.
    OneConvolution,
    /// One dense layer from all numbers to all.
    OneDenseLayer,
    /// No convolution answers so.
    NoConvolution,
    /// One convolution would, but costs more than what is left or what was given.
    CostsMore,
    /// One convolution would, with too many classes of border pixels.
    ManyBorders,
    /// One convolution would, and fusion did not find it.
    Missed,
}

/// Multiplications and weights as fusion counts them: averages and scales, too.
fn cost(graph: &Graph) -> Cost {
    let costs: Vec<Cost> = graph.nodes.iter().map(|node| node_cost(graph, node)).collect();
    Cost {
        macs: costs.iter().map(|cost| cost.macs).sum(),
        weights: costs.iter().map(|cost| cost.weights).sum(),
    }
}

fn node_cost(graph: &Graph, node: &Node) -> Cost {
    let len = |id| graph.shape(id).iter().product::<usize>() as u64;
    let (outputs, channels) = (len(node.output), graph.shape(node.output)[1] as u64);
    let scale = Cost { macs: outputs, weights: channels };
    match &node.op {
        Op::Conv(_) | Op::Linear { .. } => {
            let weights = len(node.inputs[1]);
            Cost { macs: outputs / channels * weights, weights }
        }
        Op::AveragePool { window, .. } => {
            Cost { macs: outputs * u64::from(window.kernel.h * window.kernel.w), weights: 0 }
        }
        Op::BatchNorm { .. } | Op::Pad { .. } => scale,
        Op::Add { .. } | Op::Sub | Op::Mul | Op::Div => {
            let constant = node.inputs.iter().any(|&id| graph.get(id).constant.is_some());
            if constant { scale } else { Cost::default() }
        }
        _ => Cost::default(),
    }
}

fn verdict(before: &Graph, after: &Graph) -> Verdict {
    let probed = Response::of(before).convolution();
    let steps: Vec<&Node> = after.nodes.iter().filter(|node| node.op != Op::Reshape).collect();
    let reshaped = steps.len() < after.nodes.len();
    match (&steps[..], probed) {
        ([Node { op: Op::Conv(_) | Op::Linear { .. }, .. }], _) if reshaped => {
            Verdict::OneDenseLayer
        }
        ([Node { op: Op::Conv(_) | Op::BatchNorm { .. }, .. }], None) => {
            panic!("impulses deny that this is one convolution: {:#?}", before.nodes)
        }
        (_, None) => Verdict::NoConvolution,
        ([] | [_], Some(_)) => Verdict::OneConvolution,
        (_, Some(one)) => why_not(one, cost(before), cost(after)),
    }
}

/// Why several steps are left where one convolution would do.
fn why_not(one: Probed, given: Cost, left: Cost) -> Verdict {
    let dearer = |than: Cost| one.cost.macs > than.macs || one.cost.weights > than.weights;
    if dearer(given) || dearer(left) {
        Verdict::CostsMore
    } else if one.bias_vectors > BIAS_VECTORS {
        Verdict::ManyBorders
    } else {
        Verdict::Missed
    }
}

#[test]
fn impulses_confirm_what_fuses_and_what_does_not() {
    let mut counts: BTreeMap<Verdict, u64> = BTreeMap::new();
    for seed in 0..NETWORKS {
        let before = random_affine_braid(seed);
        let after = fuse(before.clone(), FuseMode::Free, &mut |_| {}).graph;
        let error = difference(&before, &after);
        assert!(error < 1e-5, "seed {seed}: {error:e}");
        *counts.entry(verdict(&before, &after)).or_default() += 1;
    }
    let of = |verdict| counts.get(&verdict).copied().unwrap_or(0);
    let one = of(Verdict::OneConvolution) + of(Verdict::OneDenseLayer);
    let refused = of(Verdict::NoConvolution) + of(Verdict::CostsMore) + of(Verdict::ManyBorders);
    let missed = of(Verdict::Missed);
    println!("{NETWORKS} affine networks: {one} fused to one layer, {refused} refused as impulses");
    println!("confirm, {missed} missed: {counts:?}");
    assert!(one * 10 >= NETWORKS * 3, "{one} of {NETWORKS} fused to one layer");
    assert!(refused * 10 >= NETWORKS * 3, "{refused} of {NETWORKS} refused");
    assert!(of(Verdict::NoConvolution) * 5 >= NETWORKS && of(Verdict::CostsMore) * 10 >= NETWORKS);
    // Maps that read few of their channels, and paddings of paddings that are not zero.
    assert!(missed * 50 <= NETWORKS, "{missed} of {NETWORKS} missed");
}

#[test]
fn the_networks_have_every_affine_operation() {
    let graphs = (0..NETWORKS).map(random_affine_braid);
    let names: BTreeSet<&str> =
        graphs.flat_map(|graph| graph.nodes.into_iter().map(|node| node.op.name())).collect();
    assert!(AFFINE.iter().all(|name| names.contains(name)), "{names:?}");
}
