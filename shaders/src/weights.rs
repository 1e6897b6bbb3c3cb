//! The weights on the GPU: each span of the file once, at offsets that can be bound, in as many
//! buffers as the limit of a buffer demands.

use crate::adapter::{Device, RANGE_ALIGN};
use crate::error::{GpuError, Place};
use std::collections::BTreeMap;
use unbraid_runtime::model::Model;
use unbraid_runtime::span::Span;
use wgpu::{Buffer, BufferUsages};

/// What is bound where a step has no such operand: no binding may be empty.
const NOTHING: &[f32] = &[0.0; 4];
const NOTHING_LEN: u64 = 16;

/// Uploaded weights.
#[derive(Debug)]
pub(crate) struct Weights {
    pub(crate) buffers: Vec<Buffer>,
    /// By offset and length in the file.
    ranges: BTreeMap<(u32, u32), WeightRange>,
}

/// Bytes of one of the buffers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WeightRange {
    pub(crate) buffer: usize,
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

impl Weights {
    /// Uploads the spans that the steps name.
    pub(crate) fn upload(
        device: &Device,
        model: &Model<'_>,
        spans: impl Iterator<Item = (Span, Place)>,
    ) -> Result<Self, GpuError> {
        let (mut ranges, mut lens) = (BTreeMap::new(), Vec::new());
        for (span, place) in spans {
            let len = u64::from(span.len).max(NOTHING_LEN);
            device.check_binding(place, len)?;
            device.check_buffer(place, len)?;
            ranges
                .entry((span.offset, span.len))
                .or_insert_with(|| append(&mut lens, len, device.limits.max_buffer_size));
        }
        let usage = BufferUsages::STORAGE | BufferUsages::COPY_DST;
        let buffers: Vec<_> =
            lens.iter().map(|&len| device.buffer("weights", len, usage)).collect();
        for (&(offset, len), range) in &ranges {
            let values = match len {
                0 => NOTHING,
                _ => model.weights_f32(Span { offset, len }),
            };
            let (buffer, bytes) = (&buffers[range.buffer], bytemuck::cast_slice(values));
            device.queue.write_buffer(buffer, range.offset, bytes);
        }
        // Sends the copies on their way, so that the first frame need not.
        device.queue.submit([]);
        Ok(Self { buffers, ranges })
    }

    /// Where a span lies that was uploaded.
    pub(crate) fn range(&self, span: Span) -> WeightRange {
        self.ranges[&(span.offset, span.len)]
    }
}

/// Puts `len` bytes behind the last buffer's, or into a new buffer where they would not fit.
fn append(lens: &mut Vec<u64>, len: u64, max: u64) -> WeightRange {
    let offset = lens.last().map_or(0, |last| last.next_multiple_of(RANGE_ALIGN));
    if lens.is_empty() || offset + len > max {
        lens.push(len);
        return WeightRange { buffer: lens.len() - 1, offset: 0, len };
    }
    let buffer = lens.len() - 1;
    lens[buffer] = offset + len;
    WeightRange { buffer, offset, len }
}
