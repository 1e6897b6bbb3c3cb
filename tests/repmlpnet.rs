//! Every `RepMLPNet`, from its training-time graph: each block becomes one grouped dense layer, with
//! the published counts; and they run.
#![forbid(unsafe_code)]

use unbraid_converter::fuse::{FuseMode, fuse};
use unbraid_converter::graph::{Graph, Op};
use unbraid_converter::report::GraphFacts;
use unbraid_tests::agreement::check;
use unbraid_tests::repmlpnet::{ROWS, Row, training_model};

/// The fused network, counted.
fn fused(row: &Row) -> Graph {
    let graph = training_model(row).import();
    let fused = fuse(graph, FuseMode::Free, &mut |_| {});
    let (facts, cost) = (GraphFacts::new(&fused.graph), row.cost());
    assert_eq!((facts.params, facts.macs), (cost.params as u64, cost.macs as u64), "{}", row.name);
    // Embeddings; of each unit a dense layer, two of the gate and two of the FFN.
    assert_eq!(facts.convs, 4 + 5 * row.all_units(), "{}", row.name);
    let norms = fused.graph.nodes.iter().filter(|n| matches!(n.op, Op::BatchNorm { .. })).count();
    assert_eq!(norms, row.all_units(), "{}", row.name);
    fused.graph
}

/// Counts, and runs on every set of CPU features beside the oracle.
fn check_row(name: &str) {
    check(&fused(Row::named(name).expect("in the table")));
}

macro_rules! rows {
    ($($test:ident $name:literal)*) => {
        $(
            #[test]
            fn $test() {
                check_row($name);
            }
        )*

        #[test]
        fn no_row_is_left_out() {
            let names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
            assert_eq!(names, [$($name),*]);
        }
    };
}

rows! {
    t224_has_its_published_counts_and_runs "T224"
    b224_has_its_published_counts_and_runs "B224"
    t256_has_its_published_counts_and_runs "T256"
    b256_has_its_published_counts_and_runs "B256"
    d256_has_its_published_counts_and_runs "D256"
    l256_has_its_published_counts_and_runs "L256"
}
