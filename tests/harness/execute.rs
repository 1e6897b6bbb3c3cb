//! Runs planned networks on values in ONNX's order, on every set of CPU features, in poisoned
//! memory.

use crate::strand_builder::AlignedBytes;
use unbraid_runtime::cpu::Feature;
use unbraid_runtime::dims::Dims;
use unbraid_runtime::{Cpu, Kernels, Model, Port, Session};

/// This machine, and this machine with features taken away; names as for messages.
pub fn cpus() -> Vec<(&'static str, Cpu)> {
    let all = Cpu::detect();
    let mut cpus = vec![
        ("all features", all),
        ("without avx512", all.without(Feature::Avx512)),
        ("without avx2", all.without(Feature::Avx2)),
    ];
    cpus.dedup_by_key(|(_, cpu)| *cpu);
    cpus
}

/// The outputs of one inference in ONNX's order.
///
/// The arena holds NaN before: a step that reads what none has written shows.
pub fn run(model: &Model<'_>, cpu: Cpu, inputs: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let mut arena = AlignedBytes::filled(0xff, model.arena_len(1).expect("addressable"));
    let mut session = Session::new(model, &mut arena, Kernels::new(cpu)).expect("arena fits");
    run_session(&mut session, inputs)
}

/// [`run`] in memory that may have been used before.
pub fn run_session(session: &mut Session<'_>, inputs: &[Vec<f32>]) -> Vec<Vec<f32>> {
    write_inputs(session, inputs);
    session.run();
    let output = |(index, port): (usize, Port<'_>)| {
        let values = session.output(index).expect("an output of the model");
        match is_picture(&port) {
            true => row_major(port.operand.dims, values),
            false => values.to_vec(),
        }
    };
    session.model().outputs().enumerate().map(output).collect()
}

/// Copies values in ONNX's order to where the session reads them.
pub fn write_inputs(session: &mut Session<'_>, inputs: &[Vec<f32>]) {
    let model = *session.model();
    for (index, (port, values)) in model.inputs().zip(inputs).enumerate() {
        let pixels = (port.operand.dims.h * port.operand.dims.w) as usize;
        let columns = if is_picture(&port) { pixels } else { values.len().max(1) };
        let input = session.input_mut(index).expect("an input of the model");
        input.copy_from_slice(&transposed(values, columns));
    }
}

/// Whether a port's values lie pixel by pixel; values of other than four axes lie as in ONNX.
fn is_picture(port: &Port<'_>) -> bool {
    port.axes().len() == 4
}

/// NHWC values of `dims` channel by channel.
pub fn row_major(dims: Dims, values: &[f32]) -> Vec<f32> {
    transposed(values, dims.c as usize)
}

/// A matrix with rows of `columns` values, column by column.
fn transposed(matrix: &[f32], columns: usize) -> Vec<f32> {
    let column = |at: usize| matrix.iter().skip(at).step_by(columns).copied();
    (0..columns).flat_map(column).collect()
}

/// `max|x - y| / max|y|`; infinite if a value is no number.
pub fn relative_error(y: &[f64], x: &[f32]) -> f64 {
    assert_eq!(y.len(), x.len());
    let largest = y.iter().fold(f64::MIN_POSITIVE, |m, v| m.max(v.abs()));
    let differences = y.iter().zip(x).map(|(&y, &x)| (f64::from(x) - y).abs());
    let worst = differences.fold(0.0_f64, |m, d| if d.is_nan() { f64::INFINITY } else { m.max(d) });
    worst / largest
}
