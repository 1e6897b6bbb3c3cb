//! Every `MobileOne`, from its training-time graph: the published structure, to the last parameter.
#![forbid(unsafe_code)]

use prost::Message;
use unbraid_converter::fuse::{FuseMode, fuse};
use unbraid_converter::graph::{Graph, Op};
use unbraid_converter::import::{Options, from_bytes};
use unbraid_converter::plan::{self, plan};
use unbraid_converter::report::GraphFacts;
use unbraid_converter::write::strand;
use unbraid_runtime::Model;
use unbraid_tests::mobileone::{SIZES, Size, training_model};
use unbraid_tests::network::Settings;

/// Import, fuse, and count.
fn fused(size: &Size) -> Graph {
    let bytes = training_model(size, Settings::default()).encode_to_vec();
    let graph = from_bytes(bytes, &Options::default()).unwrap();
    let fused = fuse(graph, FuseMode::Free, &mut |_| {});
    let (facts, cost) = (GraphFacts::new(&fused.graph), size.cost(224, 1000));
    assert_eq!((facts.convs, facts.params), (size.convs(), size.deploy_params), "{}", size.name);
    assert_eq!(facts.macs, (cost.macs + cost.gate_macs) as u64, "{}", size.name);
    let depthwise = |op: &Op| matches!(op, Op::Conv(conv) if conv.groups > 1);
    assert_eq!(fused.graph.nodes.iter().filter(|node| depthwise(&node.op)).count(), 21);
    let left = |op: &Op| matches!(op, Op::BatchNorm { .. } | Op::Add { .. });
    assert!(!fused.graph.nodes.iter().any(|node| left(&node.op)), "{}", size.name);
    fused.graph
}

fn is_conv(op: &&str) -> bool {
    ["conv", "depthwise"].contains(op)
}

#[test]
fn every_size_has_its_published_structure() {
    for size in SIZES {
        let graph = fused(size);
        let strand = strand(&plan(&graph, &plan::Options::default()).unwrap()).unwrap();
        let model = Model::new(&strand).unwrap();
        let steps: Vec<&str> = model.steps().map(|step| step.op.name()).collect();
        let convs: Vec<&&str> = steps.iter().filter(|op| is_conv(op)).collect();
        assert_eq!(convs.len(), size.convs(), "{}", size.name);
        assert_eq!(convs.iter().filter(|&&&op| op == "depthwise").count(), 21, "{}", size.name);
        let (body, head) = steps.split_at(steps.len() - 2);
        assert_eq!(head, ["global_average_pool", "linear"]);
        assert!(size.gated || body.iter().all(is_conv), "{steps:?}");
        assert_eq!(model.params(), size.deploy_params);
        let cost = size.cost(224, 1000);
        assert_eq!(model.header().macs, (cost.macs + cost.gate_macs) as u64);
    }
}
