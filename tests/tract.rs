//! Tract, an implementation of ONNX that shares nothing with ours, as a second opinion.

use std::io::Cursor;
use tract_onnx::prelude::*;

/// Outputs of a model that has one input, as tract computes them.
pub(crate) fn tract(bytes: &[u8], shape: &[usize], x: &[f32]) -> TractResult<Vec<Vec<f32>>> {
    let model = onnx()
        .model_for_read(&mut Cursor::new(bytes))?
        .with_input_fact(0, f32::fact(shape).into())?
        .into_typed()?
        .into_runnable()?;
    let input = Tensor::from_shape(shape, x)?;
    let outputs = model.run(tvec!(input.into_tvalue()))?;
    let values = |output: &TValue| {
        let output = output.cast_to::<f32>()?;
        Ok(output.try_as_plain_ram()?.as_slice::<f32>()?.to_vec())
    };
    outputs.iter().map(values).collect()
}
