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
use crate::observer::{Blind, Observer};
use crate::step::Step;
use crate::workers::{Serial, Workers};
use core::fmt;
use job::Job;

/// A network that can be executed, over and over, in the same memory.
pub struct Session<'a> {
    model: Model<'a>,
    kernels: Kernels,
    /// Feature maps, then the scratch of each worker.
    arena: &'a mut [f32],
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
        let whole = arena.get_mut(..found - found % size_of::<f32>()).unwrap_or_default();
        let arena = bytemuck::try_cast_slice_mut(whole).map_err(|_| SessionError::Misaligned)?;
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
        let found = size_of_val(self.arena);
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
        self.kernels.name(&step.op)
    }

    /// The values of an input, NHWC, by index or name; `None` if there is no such input.
    ///
    /// An inference overwrites them: write all inputs before each.
    pub fn input_mut<'k>(&mut self, port: impl Into<PortKey<'k>>) -> Option<&mut [f32]> {
        let port = port.into().find(self.model.inputs())?;
        self.arena.get_mut(port.operand.span.values()?)
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

    /// The values of an output, NHWC, by index or name; `None` if there is no such output.
    ///
    /// They are those of the last inference, until an input is written.
    pub fn output<'k>(&self, port: impl Into<PortKey<'k>>) -> Option<&[f32]> {
        let port = port.into().find(self.model.outputs())?;
        self.arena.get(port.operand.span.values()?)
    }

    /// One inference; the first output.
    pub fn run(&mut self) -> &[f32] {
        self.run_observed(&mut Blind)
    }

    /// [`Session::run`] with a witness.
    pub fn run_observed(&mut self, observer: &mut dyn Observer) -> &[f32] {
        for (index, step) in self.model.steps().enumerate() {
            observer.begin(index, &step);
            // Never `None`: `prove_steps` has built the same job.
            let _ = self.execute(&step);
            let output = step.output.span.values().and_then(|range| self.arena.get(range));
            observer.end(index, &step, self.kernels.name(&step.op), output.unwrap_or_default());
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
        let scratch_len = usize::try_from(self.model.header().scratch_per_worker).ok()? / 4;
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
fn split<'s>(model: &Model<'_>, arena: &'s mut [f32]) -> Option<(&'s mut [f32], &'s mut [f32])> {
    let base = usize::try_from(model.header().arena_base).ok()?;
    arena.split_at_mut_checked(base / size_of::<f32>())
}

/// What the plan gives this step: never more, so that a result or its speed cannot depend on other steps.
fn scratch_of<'s>(step: &Step, scratch: &'s mut [f32]) -> &'s mut [f32] {
    let bytes = scratch_bytes(step).and_then(|bytes| usize::try_from(bytes).ok());
    scratch.get_mut(..bytes.unwrap_or(0) / size_of::<f32>()).unwrap_or_default()
}

impl fmt::Debug for Session<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("model", &self.model)
            .field("kernels", &self.kernels)
            .field("arena", &size_of_val(self.arena))
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
        let map = |offset, len, c| Operand { span: Span { offset, len }, dims: Dims::vector(c) };
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
