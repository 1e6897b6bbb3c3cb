//! Trained models on real pictures: fusion and the runtime change no answer.
//!
//! The first 1,000 test pictures of Fashion-MNIST; `UNBRAID_PICTURES=10000` takes all.
#![forbid(unsafe_code)]

use rayon::prelude::*;
use serde_json::Value;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use unbraid_converter::fuse::{FuseMode, fuse};
use unbraid_converter::graph::Graph;
use unbraid_converter::import;
use unbraid_converter::plan::{Options, plan};
use unbraid_converter::reference;
use unbraid_converter::report::{GraphFacts, Report};
use unbraid_converter::write::{Strand, strand};
use unbraid_runtime::{Cpu, Kernels, Model, Session};
use unbraid_tests::execute::{cpus, relative_error, run_session};
use unbraid_tests::fashion::Pictures;
use unbraid_tests::strand_builder::AlignedBytes;

/// Largest difference that fusion may make, relative to the largest logit.
const FUSED: f64 = 2e-6;
/// Largest difference that the runtime may make.
const EXECUTED: f64 = 1e-5;

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models")
}

/// What the training script says.
fn index() -> String {
    std::fs::read_to_string(models().join("models.json")).unwrap()
}

/// What it says about a model: `[net]`.
fn trained(net: &str) -> Value {
    let json: Value = serde_json::from_str(&index()).unwrap();
    json["nets"][net].clone()
}

fn pictures() -> Pictures {
    let count = std::env::var("UNBRAID_PICTURES").map_or(1000, |n| n.parse().expect("a number"));
    Pictures::test(count).unwrap()
}

fn load(file: &str) -> Graph {
    import::load(&models().join(file), &import::Options::default()).unwrap()
}

/// Logits of the oracle, a picture each.
fn interpreted(graph: &Graph, pictures: &Pictures) -> Vec<Vec<f64>> {
    let logits = |index| {
        let picture = pictures.normalised(index).into_iter().map(f64::from).collect();
        reference::run(graph, &[picture]).unwrap().swap_remove(0)
    };
    (0..pictures.len()).into_par_iter().map(logits).collect()
}

/// Logits of the runtime.
fn executed(strand: &Strand, cpu: Cpu, pictures: &Pictures) -> Vec<Vec<f32>> {
    let model = Model::new(strand).unwrap();
    let mut arena = AlignedBytes::filled(0xff, model.arena_len(1).unwrap());
    let mut session = Session::new(&model, &mut arena, Kernels::new(cpu)).unwrap();
    let logits = |index| run_session(&mut session, &[pictures.normalised(index)]).swap_remove(0);
    (0..pictures.len()).map(logits).collect()
}

fn class<T: PartialOrd>(logits: &[T]) -> usize {
    (0..logits.len()).fold(0, |best, k| if logits[k] > logits[best] { k } else { best })
}

fn classes<T: PartialOrd>(logits: &[Vec<T>]) -> Vec<usize> {
    logits.iter().map(|logits| class(logits)).collect()
}

fn correct(classes: &[usize], pictures: &Pictures) -> usize {
    let pairs = classes.iter().zip(&pictures.labels);
    pairs.filter(|&(&class, &label)| class == usize::from(label)).count()
}

fn worst(y: &[Vec<f64>], x: &[Vec<f32>]) -> f64 {
    y.iter().zip(x).map(|(y, x)| relative_error(y, x)).fold(0.0, f64::max)
}

fn cast(logits: &[Vec<f64>]) -> Vec<Vec<f32>> {
    logits.iter().map(|logits| logits.iter().map(|&v| v as f32).collect()).collect()
}

fn file_of(graph: &Graph) -> Strand {
    strand(&plan(graph, &Options::default()).unwrap()).unwrap()
}

/// Prints a measured figure also where the test passes: the harness captures macros only.
fn say(line: &str) {
    writeln!(std::io::stderr(), "{line}").expect("standard error takes text");
}

/// Unfused and fused, interpreted and executed: the same class for every picture; and as many
/// convolutions are left as the network has layers.
fn check(net: &str, export: &str, convs: usize) {
    let pictures = pictures();
    let graph = load(&format!("{net}_{export}.onnx"));
    let fused = fuse(graph.clone(), FuseMode::Free, &mut |_| {}).graph;
    assert_eq!(GraphFacts::new(&fused).convs, convs, "{net} {export}");
    let before = interpreted(&graph, &pictures);
    let after = interpreted(&fused, &pictures);
    let error = worst(&before, &cast(&after));
    assert!(error <= FUSED, "{net} {export}: fusion changes logits by {error:e}");
    assert_eq!(classes(&before), classes(&after), "{net} {export}: fusion changes classes");
    let correct = |logits: &[Vec<f64>]| correct(&classes(logits), &pictures);
    say(&format!(
        "{net} {export}: {} of {} right before fusion, {} after; {error:.1e} apart",
        correct(&before),
        pictures.len(),
        correct(&after),
    ));
    for (form, graph) in [("unfused", &graph), ("fused", &fused)] {
        let strand = file_of(graph);
        for (name, cpu) in cpus() {
            let found = executed(&strand, cpu, &pictures);
            let error = worst(&before, &found);
            assert!(error <= EXECUTED, "{net} {export} {form}, {name}: {error:e}");
            assert_eq!(classes(&found), classes(&before), "{net} {export} {form}, {name}");
            say(&format!("{net} {export} {form}, {name}: {error:.1e} from the oracle"));
        }
    }
    if pictures.len() == 10_000 {
        assert_eq!(Value::from(correct(&before)), trained(net)["test_correct"]);
    }
}

macro_rules! trained {
    ($($test:ident $net:literal $convs:literal)*) => {
        $(
            #[test]
            fn $test() {
                check($net, "eval", $convs);
                check($net, "preserve", $convs);
            }
        )*

        /// The trained networks.
        const NETS: &[&str] = &[$($net),*];
    };
}

// Test, network, convolutions after fusion.
trained! {
    repvgg_answers_as_before_fusion "repvgg" 7
    mobileone_answers_as_before_fusion "mobileone" 11
    plain_network_answers_as_before_fusion "plain" 7
    diverse_branches_answer_as_before_fusion "dbb" 5
    acnet_answers_as_before_fusion "acnet" 5
    qarepvgg_answers_as_before_fusion "qarepvgg" 5
    repmlp_answers_as_before_fusion "repmlp" 6
    edge_blocks_answer_as_before_fusion "ecb" 4
}

#[test]
fn every_trained_network_is_tested() {
    let json: Value = serde_json::from_str(&index()).unwrap();
    let mut trained: Vec<&String> = json["nets"].as_object().unwrap().keys().collect();
    let mut tested = NETS.to_vec();
    trained.sort();
    tested.sort_unstable();
    assert_eq!(trained, tested);
}

#[test]
fn oracle_agrees_with_the_framework_that_trained_the_models() {
    let pictures = Pictures::test(4).unwrap();
    for &net in NETS {
        let expected: Vec<Vec<f64>> =
            serde_json::from_value(trained(net)["logits_first_4_test"].clone()).unwrap();
        for export in ["eval", "preserve"] {
            let logits = interpreted(&load(&format!("{net}_{export}.onnx")), &pictures);
            let error = worst(&expected, &cast(&logits));
            assert!(error <= 2e-6, "{net} {export}: {error:e}");
        }
    }
}

#[test]
fn report_says_what_was_fused_and_fits_a_terminal() {
    let graph = load("repvgg_preserve.onnx");
    let before = GraphFacts::new(&graph);
    assert_eq!(Value::from(before.params), trained("repvgg")["parameters"]);
    let fused = fuse(graph, FuseMode::Free, &mut |_| {});
    let plan = plan(&fused.graph, &Options::default()).unwrap();
    let strand = strand(&plan).unwrap();
    let report = Report::new(before, &fused, &plan, strand.len());

    let json: Value = serde_json::from_str(&report.to_json()).unwrap();
    assert_eq!(json["after"]["convs"], 7);
    assert_eq!(json["regions"].as_array().map(Vec::len), Some(7));
    assert_eq!(json["file"]["file_bytes"], strand.len());
    let interior = json["regions"][0]["certificate"]["exact"]["interior"].as_f64();
    assert!(interior.is_some_and(|error| error < 1e-12), "{interior:?}");

    let text = report.to_string();
    for region in &report.regions {
        assert!(text.contains(&region.name), "{text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
}
