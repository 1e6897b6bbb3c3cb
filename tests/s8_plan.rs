//! Claims about quantized graphs: what the oracle makes of them, and what planning makes of them.
#![forbid(unsafe_code)]

use unbraid_converter::graph::{Graph, Quantization, QuantizationFault, ValueId};
use unbraid_converter::plan::{Kind, Options, plan};
use unbraid_converter::reference;
use unbraid_converter::tensor::Tensor;
use unbraid_tests::graphs::{Builder, Layer};

/// A convolution with ReLU, and the value that it leaves.
fn one_conv() -> (Graph, ValueId) {
    let (mut net, x) = Builder::new(1, 3, [6, 5]);
    let y = net.conv_relu(x, Layer::of(4, 3, 1, 1));
    (net.finish(&[y]), y)
}

#[test]
fn the_oracle_rounds_what_nodes_compute_and_what_goes_in() {
    let (mut graph, y) = one_conv();
    let x = graph.inputs[0];
    let (of_x, of_y) =
        (Quantization::of_activation(0.5, 0), Quantization::of_activation(0.125, -128));
    let input: Vec<f64> = (0..90).map(|k| f64::from(k % 7) * 0.3 - 0.9).collect();
    graph.values[x.index()].quantization = Some(of_x.clone());
    let rounded: Vec<f64> = input.iter().map(|&v| of_x.rounded(v)).collect();
    let exact = reference::run(&graph, &[input.clone()]).expect("runs").remove(0);
    graph.values[x.index()].quantization = None;
    assert_eq!(exact, reference::run(&graph, &[rounded.clone()]).expect("runs").remove(0));

    graph.values[y.index()].quantization = Some(of_y.clone());
    let on_grid = reference::run(&graph, &[rounded]).expect("runs").remove(0);
    let expected: Vec<f64> = exact.iter().map(|&v| of_y.rounded(v)).collect();
    assert_eq!(on_grid, expected);
    assert!(on_grid.iter().any(|&v| v > 0.0) && on_grid.iter().all(|v| (v / 0.125).fract() == 0.0));
}

#[test]
fn integers_stand_for_the_nearest_real_and_halves_go_to_the_even_one() {
    let quantization = Quantization::of_activation(0.5, 10);
    let found = [0.25, 0.75, -0.25, 1e9, f64::NEG_INFINITY, f64::NAN, 58.4];
    let found = found.map(|v| quantization.nearest(v));
    assert_eq!(found, [10, 12, 10, 127, -128, -128, 127]);
    assert_eq!((quantization.real(12), quantization.rounded(0.8)), (1.0, 1.0));
}

/// Plans a convolution of which a value has the quantization: the refused value and why.
fn refused(value: impl Fn(&Graph) -> ValueId, quantization: Quantization) -> QuantizationFault {
    let (mut graph, _) = one_conv();
    let id = value(&graph);
    graph.values[id.index()].quantization = Some(quantization);
    let error = plan(&graph, &Options::default()).expect_err("no step has it");
    let [problem] = &error.problems[..] else { panic!("one problem: {error}") };
    assert_eq!((&problem.node, problem.op), (&graph.get(id).name, "quantization of"));
    let Kind::Quantization { fault } = problem.kind else { panic!("{error}") };
    fault
}

#[test]
fn a_quantization_that_no_step_can_have_is_refused_by_the_name_of_its_value() {
    let output = |graph: &Graph| graph.outputs[0];
    let weight = |graph: &Graph| graph.nodes[0].inputs[1];
    for scale in [0.0, f32::NAN, -1.0, f32::INFINITY, 1e-40] {
        let fault = refused(output, Quantization::of_activation(scale, 0));
        let QuantizationFault::Scale { scale: found } = fault else { panic!("{fault}") };
        assert_eq!(found.to_bits(), scale.to_bits());
    }
    let scales = |count: usize| vec![0.1; count];
    let fault = refused(output, Quantization::of_weights(scales(4)));
    assert_eq!(fault, QuantizationFault::Scales { found: 4, expected: 1 });
    let fault = refused(weight, Quantization::of_weights(scales(3)));
    assert_eq!(fault, QuantizationFault::Scales { found: 3, expected: 4 });
    let fault = refused(weight, Quantization { bits: 5, ..Quantization::of_weights(scales(4)) });
    assert_eq!(fault, QuantizationFault::Bits { bits: 5 });
    let fault = refused(output, Quantization { bits: 4, ..Quantization::of_activation(0.1, 0) });
    assert_eq!(fault, QuantizationFault::Bits { bits: 4 });
    let fault = refused(weight, Quantization::of_weights(scales(4)));
    assert!(matches!(fault, QuantizationFault::OffGrid { at: 0, .. }), "{fault}");
}

#[test]
fn constants_on_the_grid_are_their_integers() {
    let scales = [0.1_f32, 3e-4];
    let integers = [127, -127, 5, 0, -1, 126];
    let values = integers.iter().enumerate().map(|(k, &q)| q as f32 * scales[k / 3]).collect();
    let tensor = Tensor::f32([2, 3], values).expect("six values");
    let quantization = Quantization::of_weights(scales.to_vec());
    assert_eq!(quantization.integers(&tensor), Ok(integers.map(|q| q as i8).to_vec()));
    let narrow = Quantization { bits: 4, ..quantization };
    let fault = QuantizationFault::OffGrid { at: 0, value: 12.7, scale: 0.1 };
    assert_eq!(narrow.integers(&tensor), Err(fault));
}
