//! Every RepVGG variant, from its training-time graph to the file: the published structure, to the
//! last parameter.
#![forbid(unsafe_code)]

use prost::Message;
use unbraid_converter::fuse::{FuseMode, fuse};
use unbraid_converter::import;
use unbraid_converter::plan::{Options, plan};
use unbraid_converter::report::GraphFacts;
use unbraid_converter::write::strand;
use unbraid_runtime::Model;
use unbraid_tests::repvgg::{Settings, VARIANTS, Variant, training_model};

/// Multiply-accumulates after fusion, from the layers.
fn macs(variant: &Variant, classes: usize) -> u64 {
    let mut size = 224;
    let convs = variant.layers().into_iter().map(|block| {
        size /= block.stride;
        block.output * block.input / block.groups * 9 * size * size
    });
    (convs.sum::<usize>() + variant.widths[4] * classes) as u64
}

fn check(name: &str) {
    let variant = Variant::named(name).expect("in the table");
    let bytes = training_model(variant, Settings::default()).encode_to_vec();
    let graph = import::from_bytes(bytes, &import::Options::default()).unwrap();
    assert_eq!(GraphFacts::new(&graph).params, variant.train_params);

    let fused = fuse(graph, FuseMode::Free, &mut |_| {});
    let after = GraphFacts::new(&fused.graph);
    assert_eq!(fused.regions.len(), variant.convs());
    assert_eq!((after.convs, after.params), (variant.convs(), variant.deploy_params));
    assert_eq!((after.macs as f64 / 1e6).round() / 1e3, variant.gmacs);

    let plan = plan(&fused.graph, &Options::default()).unwrap();
    drop(fused);
    let strand = strand(&plan).unwrap();
    let model = Model::new(&strand).unwrap();
    let steps: Vec<&str> = model.steps().map(|step| step.op.name()).collect();
    let (convs, head) = steps.split_at(variant.convs());
    assert!(convs.iter().all(|&op| op == "conv"), "{convs:?}");
    assert_eq!(head, ["global_average_pool", "linear"]);
    assert_eq!(model.params(), variant.deploy_params);
    assert_eq!((model.header().macs, after.macs), (macs(variant, 1000), macs(variant, 1000)));
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
}
