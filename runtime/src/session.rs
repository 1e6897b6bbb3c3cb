//! [`Session`]: a network, memory and kernels. After [`Session::new`] nothing can fail.
//!
//! The arena holds the feature maps at the places that the file names, and behind them the scratch
//! of each worker. A step is executed in bands of output rows, one a worker at most; results do
//! not depend on how many there are.

mod job;

#[cfg(target_has_atomic = "8")]
use crate::arena::MAX_WORKERS;
use crate::arena::{Bands, Cut};
use crate::error::SessionError;
use crate::kernels::Kernels;
use crate::model::{Model, Port, scratch_bytes};
use crate::observer::{Blind, Observer, Values};
use crate::step::{Element, Operand, Step};
use crate::workers::{Serial, Workers};
use core::fmt;
use job::Job;

/// A network that can be executed, over and over, in the same memory.
pub struct Session<'a> {
    model: Model<'a>,
    kernels: Kernels,
    /// Feature maps, then the scratch of each worker.
    arena: &'a mut [u8],
    workers: &'a dyn Workers,
    worker_count: usize,
}

impl<'a> Session<'a> {
    /// Prepares `model` for execution by the caller's thread alone.
    ///
    /// `arena` needs [`Model::arena_len`]`(1)` bytes at a multiple of 64; what it holds does not
    /// matter.
    ///
    /// # Errors
    ///
    /// When the arena is too small or misaligned, or a step needs a kernel that only the feature `full`
    /// compiles in.
    pub fn new(
        model: &Model<'a>,
        arena: &'a mut [u8],
        kernels: Kernels,
    ) -> Result<Self, SessionError> {
        let found = arena.len();
        let needed = model.arena_len(1).unwrap_or(usize::MAX);
        if !arena.as_ptr().addr().is_multiple_of(64) {
            return Err(SessionError::Misaligned);
        }
        if found < needed {
            return Err(SessionError::ArenaTooSmall { needed, found });
        }
        let mut session = Self { model: *model, kernels, arena, workers: &Serial, worker_count: 1 };
        session.prove_steps()?;
        Ok(session)
    }

    /// Lets up to `count` tasks of `workers` execute each step.
    ///
    /// # Errors
    ///
    /// When `count` is 0 or above [`MAX_WORKERS`](crate::MAX_WORKERS), or the arena has fewer than
    /// [`Model::arena_len`]`(count)` bytes.
    #[cfg(target_has_atomic = "8")]
    pub fn with_workers(
        self,
        workers: &'a dyn Workers,
        count: usize,
    ) -> Result<Self, SessionError> {
        if !(1..=MAX_WORKERS).contains(&count) {
            return Err(SessionError::WorkerCount { found: count });
        }
        let needed = self.model.arena_len(count).unwrap_or(usize::MAX);
        let found = self.arena.len();
        if found < needed {
            return Err(SessionError::ArenaTooSmall { needed, found });
        }
        Ok(Self { workers, worker_count: count, ..self })
    }

    /// The network.
    pub fn model(&self) -> &Model<'a> {
        &self.model
    }

    /// Name of the kernel that executes `step`.
    pub fn kernel_name(&self, step: &Step) -> &'static str {
        self.kernels.name(step)
    }

    /// The values of an f32 input, NHWC, by index or name; `None` if there is no such input.
    ///
    /// An inference overwrites them: write all inputs before each.
    pub fn input_mut<'k>(&mut self, port: impl Into<PortKey<'k>>) -> Option<&mut [f32]> {
        let port = port.into().find(self.model.inputs())?;
        let f32s = port.operand.element == Element::F32;
        bytemuck::try_cast_slice_mut(self.bytes_mut(f32s.then_some(port)?)?).ok()
    }

    /// [`Session::input_mut`] of an s8 input.
    pub fn input_s8_mut<'k>(&mut self, port: impl Into<PortKey<'k>>) -> Option<&mut [i8]> {
        let port = port.into().find(self.model.inputs())?;
        let s8s = port.operand.element != Element::F32;
        bytemuck::try_cast_slice_mut(self.bytes_mut(s8s.then_some(port)?)?).ok()
    }

    fn bytes_mut(&mut self, port: Port<'_>) -> Option<&mut [u8]> {
        self.arena.get_mut(port.operand.span.range()?)
    }

    /// Copies raw pixels (NHWC) into the first input, an s8 one: pixel `p` becomes `p - 128`, so that
    /// scale 1 and zero point -128 stand for the pixel itself.
    ///
    /// # Errors
    ///
    /// When the input is no s8 one, or has another number of values.
    pub fn write_pixels(&mut self, pixels: &[u8]) -> Result<(), SessionError> {
        let input = self.input_s8_mut(0).unwrap_or_default();
        if input.len() != pixels.len() {
            let (needed, found) = (input.len(), pixels.len());
            return Err(SessionError::InputLength { needed, found });
        }
        let signed = |pixel: u8| (pixel ^ 0x80).cast_signed();
        input.iter_mut().zip(pixels).for_each(|(to, &from)| *to = signed(from));
        Ok(())
    }

    /// Copies `values` (NHWC) into the first input.
    ///
    /// # Errors
    ///
    /// When the input has another number of values.
    pub fn write_input(&mut self, values: &[f32]) -> Result<(), SessionError> {
        let input = self.input_mut(0).unwrap_or_default();
        if input.len() != values.len() {
            let (needed, found) = (input.len(), values.len());
            return Err(SessionError::InputLength { needed, found });
        }
        input.iter_mut().zip(values).for_each(|(to, from)| *to = *from);
        Ok(())
    }

    /// The values of an f32 output, NHWC, by index or name; `None` if there is no such output.
    ///
    /// They are those of the last inference, until an input is written.
    pub fn output<'k>(&self, port: impl Into<PortKey<'k>>) -> Option<&[f32]> {
        match self.values(port.into().find(self.model.outputs())?.operand)? {
            Values::F32(values) => Some(values),
            Values::S8(_) => None,
        }
    }

    /// [`Session::output`] of an s8 output.
    pub fn output_s8<'k>(&self, port: impl Into<PortKey<'k>>) -> Option<&[i8]> {
        match self.values(port.into().find(self.model.outputs())?.operand)? {
            Values::F32(_) => None,
            Values::S8(values) => Some(values),
        }
    }

    fn values(&self, operand: Operand) -> Option<Values<'_>> {
        let bytes = self.arena.get(operand.span.range()?)?;
        Some(match operand.element {
            Element::F32 => Values::F32(bytemuck::try_cast_slice(bytes).ok()?),
            Element::S8(_) => Values::S8(bytemuck::try_cast_slice(bytes).ok()?),
        })
    }

    /// One inference; the first output, if it is an f32 one.
    pub fn run(&mut self) -> &[f32] {
        self.run_observed(&mut Blind)
    }

    /// [`Session::run`] with a witness.
    pub fn run_observed(&mut self, observer: &mut dyn Observer) -> &[f32] {
        for (index, step) in self.model.steps().enumerate() {
            observer.begin(index, &step);
            // Never `None`: `prove_steps` has built the same job.
            let _ = self.execute(&step);
            let output = self.values(step.output).unwrap_or(Values::F32(&[]));
            observer.end(index, &step, self.kernels.name(&step), output);
        }
        self.output(0).unwrap_or_default()
    }

    /// Builds the job of every step once: the contracts' own bounds checks, before the first inference.
    fn prove_steps(&mut self) -> Result<(), SessionError> {
        for (index, step) in self.model.steps().enumerate() {
            if !self.kernels.has(&step.op) {
                return Err(SessionError::NotCompiled { index, op: step.op.name() });
            }
            let (maps, _) = split(&self.model, self.arena).ok_or(SessionError::Step { index })?;
            Job::new(&step, &self.model, maps).ok_or(SessionError::Step { index })?;
        }
        Ok(())
    }

    fn execute(&mut self, step: &Step) -> Option<()> {
        let (maps, scratch) = split(&self.model, self.arena)?;
        let (job, y) = Job::new(step, &self.model, maps)?;
        let cut = job.cut(self.worker_count);
        let scratch_len = usize::try_from(self.model.header().scratch_per_worker).ok()?;
        let scratch_cut = Cut::new(cut.bands(), 1, cut.bands());
        let (bands, scratches) =
            (Bands::new(y, job.row_len, cut), Bands::new(scratch, scratch_len, scratch_cut));
        let kernels = &self.kernels;
        let task = |index: usize| {
            let (Some((rows, y)), Some((_, scratch))) = (bands.take(index), scratches.take(index))
            else {
                return;
            };
            // Never `None`: rows and lengths are those that the job itself named.
            let _ = job.run(kernels, rows, y, scratch_of(step, scratch));
        };
        match cut.bands() {
            1 => task(0),
            bands => self.workers.run(bands, &task),
        }
        Some(())
    }
}

/// Feature maps and scratch.
fn split<'s>(model: &Model<'_>, arena: &'s mut [u8]) -> Option<(&'s mut [u8], &'s mut [u8])> {
    let base = usize::try_from(model.header().arena_base).ok()?;
    arena.split_at_mut_checked(base)
}

/// What the plan gives this step: never more, so that a result or its speed cannot depend on other steps.
fn scratch_of<'s>(step: &Step, scratch: &'s mut [u8]) -> &'s mut [u8] {
    let bytes = scratch_bytes(step).and_then(|bytes| usize::try_from(bytes).ok());
    scratch.get_mut(..bytes.unwrap_or(0)).unwrap_or_default()
}

impl fmt::Debug for Session<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("model", &self.model)
            .field("kernels", &self.kernels)
            .field("arena", &self.arena.len())
            .field("workers", &self.worker_count)
            .finish()
    }
}

/// Which input or output: its index or its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortKey<'k> {
    /// In ONNX order, from 0.
    Index(usize),
    /// The ONNX name.
    Name(&'k str),
}

impl From<usize> for PortKey<'_> {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

impl<'k> From<&'k str> for PortKey<'k> {
    fn from(name: &'k str) -> Self {
        Self::Name(name)
    }
}

impl PortKey<'_> {
    fn find<'m>(self, mut ports: impl Iterator<Item = Port<'m>>) -> Option<Port<'m>> {
        match self {
            Self::Index(index) => ports.nth(index),
            Self::Name(name) => ports.find(|port| port.name == name),
        }
    }
}

#[cfg(all(test, not(feature = "full")))]
mod tests {
    use super::Session;
    use crate::dims::Dims;
    use crate::error::SessionError;
    use crate::kernels::Kernels;
    use crate::model::header::{HEADER_LEN, Header};
    use crate::model::section::{ENTRY_LEN, SectionEntry, SectionKind};
    use crate::model::{Aligned, Model, Port, crc32};
    use crate::span::Span;
    use crate::step::{Op, Operand, Reduction, Step};

    /// A file of one step that sums two values.
    fn one_sum(file: &mut [u8]) -> &[u8] {
        let map = |offset, len, c| Operand {
            span: Span { offset, len },
            dims: Dims::vector(c),
            ..Operand::default()
        };
        let (input, output) = (map(0, 8, 2), map(64, 4, 1));
        let port = |name, is_output, operand: Operand| {
            let shape = [operand.dims.c, 0, 0, 0, 0];
            Port { name, is_output, operand, rank: 1, shape }
        };
        let (mut plan, mut ports) = ([0; 64], [0; 64]);
        let step = Step { input, output, op: Op::Reduce(Reduction::Sum) };
        let plan = postcard::to_slice(&step, &mut plan).unwrap();
        let both = (port("x", false, input), port("y", true, output));
        let ports = postcard::to_slice(&both, &mut ports).unwrap();
        let kinds = [SectionKind::Plan, SectionKind::Weights, SectionKind::Ports];
        let bodies: [&[u8]; 3] = [plan, &[], ports];
        let (mut end, mut table) = (HEADER_LEN + 3 * ENTRY_LEN, [0; 3 * ENTRY_LEN]);
        for ((kind, body), entry) in kinds.iter().zip(bodies).zip(table.chunks_mut(ENTRY_LEN)) {
            let section = SectionEntry::after(end as u32, *kind, body).unwrap();
            entry.copy_from_slice(&section.to_bytes());
            end = section.end() as usize;
            file[section.offset as usize..end].copy_from_slice(body);
        }
        let header = Header {
            target: 0,
            arena_base: 128,
            scratch_per_worker: 0,
            macs: 0,
            file_len: end as u32,
            section_count: 3,
            step_count: 1,
            table_crc: crc32(&table),
            expanded: 0,
        };
        file[..HEADER_LEN].copy_from_slice(&header.to_bytes());
        file[HEADER_LEN..HEADER_LEN + table.len()].copy_from_slice(&table);
        &file[..end]
    }

    #[test]
    fn a_step_without_a_kernel_in_this_build_is_named() {
        let (mut file, mut arena) = (Aligned([0; 1024]), Aligned([0; 128]));
        let model = Model::new(one_sum(&mut file.0)).unwrap();
        let refused = Session::new(&model, &mut arena.0, Kernels::PORTABLE).err();
        let expected = SessionError::NotCompiled { index: 0, op: "reduce_sum" };
        assert_eq!(refused, Some(expected));
    }
}
