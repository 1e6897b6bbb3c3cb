//! [`timeline`]: how much of the arena is in use while each step runs, read off the plan's spans.

use crate::plan::Plan;
use serde::Serialize;
use std::collections::BTreeMap;
use unbraid_runtime::model::ALIGN;
use unbraid_runtime::step::{Op, Operand, Step};

/// The arena while one step runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepMemory {
    /// Name of the step.
    pub step: String,
    /// What it computes.
    pub op: &'static str,
    /// Bytes of the arena whose values it writes or reads, or a later step reads; every feature
    /// map counts as whole cache lines.
    pub live_bytes: u64,
}

/// One entry a step, in execution order.
///
/// Liveness is found from the end: what is read is needed before, what is written is not.
pub(super) fn timeline(plan: &Plan) -> Vec<StepMemory> {
    // Offset of each feature map that is needed, and its bytes.
    let mut live: BTreeMap<u32, u64> = plan.outputs.iter().map(|port| span(port.operand)).collect();
    let mut timeline = Vec::with_capacity(plan.steps.len());
    for (step, name) in plan.steps.iter().zip(&plan.names).rev() {
        let (output, bytes) = span(step.output);
        live.insert(output, bytes);
        live.extend(read(step).map(span));
        let live_bytes = live.values().sum();
        timeline.push(StepMemory { step: name.clone(), op: step.op.name(), live_bytes });
        if begins_output(step) {
            live.remove(&output);
        }
        // Again: an element-wise step may write over what it reads.
        live.extend(read(step).map(span));
    }
    timeline.reverse();
    timeline
}

fn span(operand: Operand) -> (u32, u64) {
    (operand.span.offset, u64::from(operand.span.len).next_multiple_of(ALIGN.into()))
}

fn read(step: &Step) -> impl Iterator<Item = Operand> {
    let other = match step.op {
        Op::Binary { other, .. } => other.map(),
        Op::MatMul(matmul) => matmul.other.map(),
        Op::PairS8(pair) => pair.other.map(),
        _ => None,
    };
    std::iter::once(step.input).chain(other)
}

/// Whether nothing of the output is there before. Concatenation fills it operand by operand, the
/// first corner first.
fn begins_output(step: &Step) -> bool {
    !matches!(step.op, Op::CopyInto { at } if at != [0; 3])
}
