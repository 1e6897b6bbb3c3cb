//! ONNX's own tests of every operator that import takes: the oracle and the runtime, on every set
//! of CPU features, give what the operator's definition demands.
//!
//! ONNX's tests pass weights as inputs at run time; networks have them as initialisers. Operands
//! that [`WEIGHTS`] lists, and all that are no floats, are therefore bound to the test's values. The
//! others are computed ones, all at once, and each of several alone beside constants, and none:
//! then the node is folded. A case passes if all these models do.
#![forbid(unsafe_code)]

use prost::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use unbraid_converter::graph::{Graph, ValueId};
use unbraid_converter::onnx::{ModelProto, TensorProto};
use unbraid_converter::{import, plan, reference, write};
use unbraid_runtime::Model;
use unbraid_tests::execute::{cpus, run};
use unbraid_tests::operator_case::{Case, cases, folder, precision, values};

/// Operands that are weights or settings, by operator.
const WEIGHTS: &[(&str, &[usize])] = &[
    ("BatchNormalization", &[1, 2, 3, 4]),
    ("Conv", &[1, 2]),
    ("ConvTranspose", &[1, 2]),
    ("DequantizeLinear", &[1, 2]),
    ("Dropout", &[1]),
    ("Gemm", &[2]),
    ("GroupNormalization", &[1, 2]),
    ("InstanceNormalization", &[1, 2]),
    ("LayerNormalization", &[1, 2]),
    ("Pad", &[2]),
    ("QLinearConv", &[1, 2, 3, 4, 5, 6, 7, 8]),
    ("QLinearMatMul", &[1, 2, 3, 4, 5, 6, 7]),
    ("QuantizeLinear", &[1, 2]),
    ("Range", &[0, 1, 2]),
    ("Resize", &[1, 2]),
    ("RMSNormalization", &[1]),
    ("Upsample", &[1]),
];

/// Why some cases are not run: patterns of names, in which `*` stands for anything, and the reason.
/// A case that is listed and passes is an error.
const SKIPPED: &[(&str, &str)] = &[
    ("averagepool_2d_ceil_last_window_starts_on_pad", "results given with four digits"),
    ("*pool_3d_*", THREE_D),
    ("convtranspose_3d", THREE_D),
    ("maxpool_with_argmax_*", "positions of the largest values are read"),
    ("maxpool_2d_uint8", INTEGERS),
    ("pow_types_int*_float32", INTEGERS),
    ("top_k_same_values*", INTEGERS),
    ("top_k_uint64", INTEGERS),
    ("edge_pad", INTEGERS),
    ("reflect_pad", INTEGERS),
    ("wrap_pad", INTEGERS),
    ("batchnorm_*_training_mode", TRAINING),
    ("training_dropout*", TRAINING),
    ("dropout_default_mask*", TRAINING),
    ("not_*", "models of operator set 1; 7 is the oldest supported"),
    ("equal_string*", "text as data"),
    ("cast_*FLOAT4*", NARROW),
    ("cast_*FLOAT8*", NARROW),
    ("cast_*INT2*", NARROW),
    ("cast_*INT4*", NARROW),
    ("cos*", COMPUTED),
    ("sin", COMPUTED),
    ("sin_example", COMPUTED),
    ("einsum_batch_diagonal", COMPUTED),
    ("einsum_batch_matmul*", COMPUTED),
    ("einsum_inner_prod", COMPUTED),
    ("einsum_scalar", COMPUTED),
    ("einsum_sum*", COMPUTED),
    ("einsum_transpose*", COMPUTED),
    ("mod_*float*", COMPUTED),
    ("reduce_l*_empty_set", EMPTY),
    ("reduce_m*_empty_set*", EMPTY),
    ("reduce_m*_bool_inputs", INTEGERS),
    ("reduce_sum_square_empty_set", EMPTY),
    ("reduce_sum_empty_set_non*", EMPTY),
    ("scatternd*", COMPUTED),
    ("constantofshape_int_shape_zero", EMPTY),
    ("reshape_allowzero_reordered", EMPTY),
    ("shape_start_greater_than_end", EMPTY),
    ("dequantizelinear_blocked", "a scale a block of values"),
    ("dequantizelinear_e*", NARROW),
    ("dequantizelinear_float4e2m1", NARROW),
    ("dequantizelinear_*int2", NARROW),
    ("dequantizelinear_*int4", NARROW),
    ("quantizelinear*", RESULTS),
    ("qlinear*", RESULTS),
    ("slice_start_out_of_bounds", EMPTY),
    ("split_zero_size_splits_*", EMPTY),
    ("unsqueeze_three_axes", "inputs or outputs of six axes; a file holds five"),
    ("unsqueeze_unsorted_axes", "inputs or outputs of six axes; a file holds five"),
];

const COMPUTED: &str = "operands that are computed, where they must be constant";
const EMPTY: &str = "results without elements";
const INTEGERS: &str = "integers as data";
const RESULTS: &str = "integers as results";
const NARROW: &str = "numbers of less than 16 bits";
const THREE_D: &str = "windows of three axes";
const TRAINING: &str = "training behaviour";

/// Largest difference, relative to the largest value, of results with as many significant bits as
/// f32; what half precision rounds away comes on top.
const BOUND: f64 = 1e-5;

fn skipped(name: &str) -> Option<&'static str> {
    SKIPPED.iter().find(|(pattern, _)| matches(pattern, name)).map(|(_, reason)| *reason)
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => name.strip_prefix(head).is_some_and(|rest| {
            (0..=rest.len()).any(|at| rest.is_char_boundary(at) && matches(tail, &rest[at..]))
        }),
    }
}

/// Compares one result with what it must be.
fn compare(truth: &TensorProto, found: &[f64], who: &str) -> Result<(), String> {
    let wanted = values(truth).ok_or("its results are no numbers of whole bytes")?;
    if wanted.len() != found.len() {
        return Err(format!("{who}: {} values, expected {}", found.len(), wanted.len()));
    }
    let finite = |v: &&f64| v.is_finite();
    let largest = wanted.iter().filter(finite).fold(f64::MIN_POSITIVE, |m, v| m.max(v.abs()));
    let bound = (BOUND + 2_f64.powi(1 - precision(truth))) * largest;
    let same = |a: f64, b: f64| a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= bound;
    match wanted.iter().zip(found).position(|(&a, &b)| !same(a, b)) {
        None => Ok(()),
        Some(at) => Err(format!("{who}: {} at {at}, expected {}", found[at], wanted[at])),
    }
}

/// Imports the model with these inputs at the sizes of their values.
fn imported(case: &Case, model: &ModelProto) -> Result<Graph, String> {
    let inputs = model.graph.iter().flat_map(|graph| &graph.input);
    let shape = |name: &str| case.input(name).map(|(shape, _)| (name.to_owned(), shape));
    let input_shapes = inputs.filter_map(|info| shape(&info.name)).collect();
    let options = import::Options { input_shapes, ..import::Options::default() };
    import::from_bytes(model.encode_to_vec(), &options).map_err(|error| error.to_string())
}

/// Runs one model on the oracle and on every kernel, and compares every output.
fn check(case: &Case, computed: &[String]) -> Result<(), String> {
    let graph = imported(case, &case.model(computed))?;
    let value = |&id: &ValueId| case.input(&graph.get(id).name).map(|(_, values)| values);
    let inputs: Vec<Vec<f32>> = graph.inputs.iter().filter_map(value).collect();
    let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
    let wide_inputs: Vec<Vec<f64>> = inputs.iter().map(|values| wide(values)).collect();
    let found = reference::run(&graph, &wide_inputs).map_err(|error| error.to_string())?;
    for (truth, found) in case.outputs.iter().zip(&found) {
        compare(truth, found, "oracle")?;
    }
    let plan =
        plan::plan(&graph, &plan::Options::default()).map_err(|error| format!("{error:?}"))?;
    let strand = write::strand(&plan).map_err(|error| error.to_string())?;
    let model = Model::new(&strand).map_err(|error| format!("{error:?}"))?;
    for (name, cpu) in cpus() {
        for (truth, found) in case.outputs.iter().zip(run(&model, cpu, &inputs)) {
            compare(truth, &wide(&found), name)?;
        }
    }
    Ok(())
}

/// Every model of a case: which operands are computed.
fn models(case: &Case) -> Vec<Vec<String>> {
    let weights = WEIGHTS.iter().find(|(op, _)| *op == case.op()).map_or(&[][..], |(_, at)| at);
    let all = case.computable(weights);
    let mut models = Vec::new();
    models.extend((!all.is_empty()).then(|| all.clone()));
    if all.len() > 1 {
        models.extend(all.iter().map(|name| vec![name.clone()]));
    }
    // Import refuses constants that are no numbers.
    let numbers = |t: &TensorProto| values(t).is_none_or(|v| v.iter().all(|v| v.is_finite()));
    if all.is_empty() || case.outputs.iter().all(numbers) {
        models.push(Vec::new());
    }
    models
}

/// Cases of one operator.
#[derive(Default)]
struct Tally {
    passed: usize,
    skipped: BTreeMap<&'static str, usize>,
}

#[test]
fn every_operator_that_is_imported_meets_onnx_own_tests() {
    let known = import::operators();
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    let mut wrong = String::new();
    for case in cases(&folder()).unwrap().iter().filter(|case| known.contains(&case.op())) {
        let failed = |computed: Vec<String>| {
            let failure = check(case, &computed).err()?;
            Some(format!("with {computed:?} computed: {failure}"))
        };
        let failure = models(case).into_iter().find_map(failed);
        let tally = tallies.entry(case.op().to_owned()).or_default();
        match (failure, skipped(&case.name)) {
            (None, None) => tally.passed += 1,
            (Some(_), Some(reason)) => *tally.skipped.entry(reason).or_default() += 1,
            (Some(failure), None) => writeln!(wrong, "{}: {failure}", case.name).unwrap(),
            (None, Some(reason)) => {
                writeln!(wrong, "{} passes, but is skipped: {reason}", case.name).unwrap();
            }
        }
    }
    let rows = print(&tallies);
    assert!(tallies.len() > 50, "the folder holds cases of {} operators", tallies.len());
    assert!(wrong.is_empty(), "{} cases:\n{wrong}", wrong.lines().count());
    let readme = include_str!("../README.md");
    let stated = rows.iter().all(|row| readme.contains(row));
    assert!(stated, "the README must say:\n{}", rows.join("\n"));
}

/// Prints a row an operator, and gives those of the README: totals, and a reason each.
fn print(tallies: &BTreeMap<String, Tally>) -> Vec<String> {
    println!("| operator | passed | skipped |\n|---|---|---|");
    let mut passed = 0;
    let mut reasons: BTreeMap<&str, (usize, BTreeSet<&str>)> = BTreeMap::new();
    for (op, tally) in tallies {
        let own = tally.skipped.iter().map(|(reason, count)| format!("{count}: {reason}"));
        println!("| {op} | {} | {} |", tally.passed, own.collect::<Vec<_>>().join("; "));
        passed += tally.passed;
        for (&reason, count) in &tally.skipped {
            let (total, ops) = reasons.entry(reason).or_default();
            *total += count;
            ops.insert(op);
        }
    }
    let skipped: usize = reasons.values().map(|(count, _)| count).sum();
    let mut rows = vec![
        format!("| passed, of {} operators | {passed} | |", tallies.len()),
        format!("| skipped | {skipped} | |"),
    ];
    rows.extend(reasons.into_iter().map(|(reason, (count, ops))| {
        format!("| {reason} | {count} | {} |", ops.into_iter().collect::<Vec<_>>().join(", "))
    }));
    rows.iter().for_each(|row| println!("{row}"));
    rows
}
