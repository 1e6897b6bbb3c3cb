//! Networks on a GPU beside the same networks on the CPU.

use crate::conv_cases::Random;
use crate::strand_builder::{AlignedBytes, StrandBuilder, open};
use unbraid_runtime::{Cpu, Kernels, Model, Session};
use unbraid_shaders::{Gpu, GpuError};

/// Largest difference from the portable result, in units of its largest value.
pub const TOLERANCE: f32 = 1e-5;

/// The network on the first adapter; `None`, with the reason printed, where there is none.
///
/// # Panics
/// When there is none and `UNBRAID_REQUIRE_GPU` is `1`, and on every other error.
pub fn open_gpu(model: &Model<'_>) -> Option<Gpu> {
    match Gpu::new(model, None) {
        Ok(gpu) => Some(gpu),
        Err(error @ GpuError::NoAdapter { .. }) => {
            assert!(std::env::var_os("UNBRAID_REQUIRE_GPU").is_none_or(|v| v != "1"), "{error}");
            eprintln!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// The outputs that the runtime computes on the CPU. Memory that no step wrote holds NaN.
///
/// # Panics
/// When the runtime refuses the model or an input has another length than the network's.
pub fn on_cpu(model: &Model<'_>, cpu: Cpu, inputs: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let mut arena = AlignedBytes::filled(0xff, model.arena_len(1).unwrap());
    let mut session = Session::new(model, &mut arena, Kernels::new(cpu)).unwrap();
    for (index, input) in inputs.iter().enumerate() {
        session.input_mut(index).unwrap().copy_from_slice(input);
    }
    session.run();
    (0..model.outputs().count()).map(|k| session.output(k).unwrap().to_vec()).collect()
}

/// Random inputs between -2 and 2, one for each input of the network.
fn random_inputs(model: &Model<'_>, random: &mut Random) -> Vec<Vec<f32>> {
    let values = |random: &mut Random, len| random.vec(len).iter().map(|x| x * 2.0).collect();
    model.inputs().map(|port| values(random, port.operand.dims.elements().unwrap())).collect()
}

/// Two random frames on the GPU and with the portable kernels, the same values.
///
/// # Panics
/// When they differ, and as [`open_gpu`].
pub fn assert_gpu_equals_portable(strand: &StrandBuilder) {
    let bytes = strand.finish();
    let model = open(&bytes);
    let Some(mut gpu) = open_gpu(&model) else { return };
    let mut random = Random(23);
    // The second frame meets what the first one left in memory.
    for frame in 0..2 {
        let inputs = random_inputs(&model, &mut random);
        let expected = on_cpu(&model, Cpu::PORTABLE, &inputs);
        let inputs: Vec<_> = inputs.iter().map(Vec::as_slice).collect();
        let found = gpu.run_all(&inputs).unwrap();
        for ((port, expected), found) in model.outputs().zip(&expected).zip(found) {
            assert_close(&format!("{}, frame {frame}", port.name), expected, found);
        }
    }
}

/// All values within [`TOLERANCE`].
///
/// # Panics
/// When one is not.
pub fn assert_close(what: &str, expected: &[f32], found: &[f32]) {
    assert_eq!(expected.len(), found.len(), "{what}");
    let largest = expected.iter().fold(0.0f32, |largest, y| largest.max(y.abs()));
    for (index, (y, x)) in expected.iter().zip(found).enumerate() {
        let close = (y - x).abs() <= TOLERANCE * largest;
        assert!(close, "{what}: value {index} is {x}, must be {y}, largest {largest}");
    }
}
