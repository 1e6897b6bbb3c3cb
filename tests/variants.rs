//! Every RepVGG and RepOpt-VGG, from its training-time graph to the file: the published structure, to the
//! last parameter.
#![forbid(unsafe_code)]

use prost::Message;
use unbraid_converter::fuse::{FuseMode, fuse};
use unbraid_converter::graph::Graph;
use unbraid_converter::import;
use unbraid_converter::plan::{Options, plan};
use unbraid_converter::report::GraphFacts;
use unbraid_converter::write::strand;
use unbraid_runtime::Model;
use unbraid_tests::network::Settings;
use unbraid_tests::repvgg::{Extras, VARIANTS, Variant, training_model};

/// Convolutions of a variant's gates: one that squeezes and one that excites a block.
fn gate_convs(variant: &Variant) -> usize {
    match variant.extras {
        Extras::Branches | Extras::Nothing => 0,
        Extras::GateBefore | Extras::GateAfterAndHeads => 2 * variant.convs(),
    }
}

fn check(name: &str) {
    let variant = Variant::named(name).expect("in the table");
    let bytes = training_model(variant, Settings::default()).encode_to_vec();
    // Only RepVGG-plus has more outputs.
    let outputs = Some(vec!["logits".to_owned()]);
    let options = import::Options { outputs, ..import::Options::default() };
    let graph = import::from_bytes(bytes, &options).unwrap();
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
