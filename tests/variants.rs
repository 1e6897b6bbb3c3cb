//! Every RepVGG and RepOpt-VGG, from its training-time graph to the file: the published structure, to the
//! last parameter.
#![forbid(unsafe_code)]

use prost::Message;
use unbraid_converter::fuse::{FuseMode, fuse};
use unbraid_converter::graph::{Activation, Graph, Hw, Op, ValueId};
use unbraid_converter::import;
use unbraid_converter::plan::{Options, plan};
use unbraid_converter::reference;
use unbraid_converter::report::GraphFacts;
use unbraid_converter::write::strand;
use unbraid_runtime::Model;
use unbraid_tests::agreement;
use unbraid_tests::graphs::{RELU, values};
use unbraid_tests::network::Settings;
use unbraid_tests::repvgg::{Extras, VARIANTS, Variant, training_model};
use unbraid_tests::rng::Random;

/// Convolutions of a variant's gates: one that squeezes and one that excites a block.
fn gate_convs(variant: &Variant) -> usize {
    match variant.extras {
        Extras::Branches | Extras::Nothing => 0,
        Extras::GateBefore | Extras::GateAfterAndHeads => 2 * variant.convs(),
    }
}

/// The training-time graph, with all outputs or with these.
fn imported(variant: &Variant, settings: Settings, outputs: Option<&str>) -> Graph {
    let bytes = training_model(variant, settings).encode_to_vec();
    let outputs = outputs.map(|name| vec![name.to_owned()]);
    let options = import::Options { outputs, ..import::Options::default() };
    import::from_bytes(bytes, &options).unwrap()
}

fn check(name: &str) {
    let variant = Variant::named(name).expect("in the table");
    // Only RepVGG-plus has more outputs.
    let graph = imported(variant, Settings::default(), Some("logits"));
    assert_eq!(GraphFacts::new(&graph).params, variant.train_params);

    let fused = fuse(graph, FuseMode::Free, &mut |_| {});
    let after = GraphFacts::new(&fused.graph);
    let convs = variant.convs() + gate_convs(variant);
    assert_eq!((after.convs, after.params), (convs, variant.deploy_params));
    assert_eq!((after.macs as f64 / 1e6).round() / 1e3, variant.gmacs);
    assert_eq!(after.macs, variant.macs(224, 1000));
    check_file(fused.graph, variant);
}

/// A network without gates is its convolutions, an average and a dense layer, and nothing else.
fn check_file(graph: Graph, variant: &Variant) {
    let plan = plan(&graph, &Options::default()).unwrap();
    drop(graph);
    let strand = strand(&plan).unwrap();
    let model = Model::new(&strand).unwrap();
    assert_eq!(model.params(), variant.deploy_params);
    assert_eq!(model.header().macs, variant.macs(224, 1000));
    let steps: Vec<&str> = model.steps().map(|step| step.op.name()).collect();
    let (body, head) = steps.split_at(steps.len() - 2);
    assert_eq!(head, ["global_average_pool", "linear"]);
    let convs = body.iter().filter(|&&op| op == "conv").count();
    assert_eq!(convs, variant.convs() + gate_convs(variant), "{steps:?}");
    assert!(gate_convs(variant) > 0 || body.len() == convs, "{steps:?}");
}

macro_rules! variants {
    ($($test:ident $name:literal)*) => {
        $(
            #[test]
            fn $test() {
                check($name);
            }
        )*

        #[test]
        fn no_variant_is_left_out() {
            let names: Vec<&str> = VARIANTS.iter().map(|variant| variant.name).collect();
            assert_eq!(names, [$($name),*]);
        }
    };
}

variants! {
    a0_has_its_published_structure "A0"
    a1_has_its_published_structure "A1"
    a2_has_its_published_structure "A2"
    b0_has_its_published_structure "B0"
    b1_has_its_published_structure "B1"
    b1g2_has_its_published_structure "B1g2"
    b1g4_has_its_published_structure "B1g4"
    b2_has_its_published_structure "B2"
    b2g2_has_its_published_structure "B2g2"
    b2g4_has_its_published_structure "B2g4"
    b3_has_its_published_structure "B3"
    b3g2_has_its_published_structure "B3g2"
    b3g4_has_its_published_structure "B3g4"
    d2se_has_its_published_structure "D2se"
    plus_has_its_published_structure_without_its_auxiliary_heads "plus-L2pse"
    repopt_b1_has_its_published_structure "RepOpt-B1"
    repopt_b2_has_its_published_structure "RepOpt-B2"
    repopt_l1_has_its_published_structure "RepOpt-L1"
    repopt_l2_has_its_published_structure "RepOpt-L2"
}

const SMALL: Settings = Settings { size: 64, classes: 10, seed: 1 };

/// A variant with few channels and blocks: small enough to run.
fn narrow(name: &str) -> Variant {
    let whole = *Variant::named(name).expect("in the table");
    Variant { blocks: [2, 2, 4, 1], widths: [16, 16, 24, 40, 56], ..whole }
}

#[test]
fn gates_stay_outside_the_convolutions_that_they_scale() {
    for (name, activation) in [("D2se", Activation::None), ("plus-L2pse", RELU)] {
        let variant = narrow(name);
        let graph = fuse(imported(&variant, SMALL, Some("logits")), FuseMode::Free, &mut |_| {});
        let graph = graph.graph;
        let producers = graph.producers();
        let is_block = |&id: &ValueId| {
            let conv = producers[id.index()].map(|k| &graph.nodes[k].op);
            matches!(conv, Some(Op::Conv(c))
                if c.window.kernel == Hw::square(3) && c.activation == activation)
        };
        let gates = graph.nodes.iter().filter(|node| node.op == Op::Mul);
        let scaled = gates.filter(|gate| gate.inputs.iter().filter(|id| is_block(id)).count() == 1);
        assert_eq!(scaled.count(), variant.convs(), "{name}");
        assert_eq!(GraphFacts::new(&graph).convs, variant.convs() + gate_convs(&variant), "{name}");
        agreement::check(&graph);
    }
}

#[test]
fn heads_that_only_training_needs_go_with_their_outputs() {
    let variant = narrow("plus-L2pse");
    let (all, kept) = (imported(&variant, SMALL, None), imported(&variant, SMALL, Some("logits")));
    assert_eq!((all.outputs.len(), kept.outputs.len()), (4, 1));
    let of_heads = |graph: &Graph| graph.nodes.iter().filter(|n| n.name.contains("aux")).count();
    assert!(of_heads(&all) > 0);
    assert_eq!(of_heads(&kept), 0);
    let x = [values(&mut Random(2), 3 * SMALL.size * SMALL.size)];
    let logits = |graph: &Graph| {
        let at = graph.outputs.iter().position(|&id| graph.get(id).name == "logits");
        reference::run(graph, &x).unwrap().swap_remove(at.expect("kept"))
    };
    assert_eq!(logits(&all), logits(&kept));
    agreement::check(&fuse(all, FuseMode::Free, &mut |_| {}).graph);
}
