//! Sessions: what must not change a result, what is observed, and what is refused.
#![forbid(unsafe_code)]

use unbraid_runtime::dims::{Dims, Hw, Pad, Window};
use unbraid_runtime::step::{Activation, Border, Conv, Function, Layout, Linear, Op, Step};
use unbraid_runtime::{
    Arena, Cpu, Kernels, MAX_WORKERS, Observer, Serial, Session, SessionError, Values, Workers,
    cpu::Feature,
};
use unbraid_tests::execute::cpus;
use unbraid_tests::rng::Random;
use unbraid_tests::steps::{add, planar};
use unbraid_tests::strand_builder::{AlignedBytes, StrandBuilder, open};

/// A network that is worth cutting: convolutions, pools, sums, copies, dense layer.
fn large_network() -> StrandBuilder {
    let mut random = Random(8);
    let mut net = StrandBuilder::new();
    let dims = Dims { h: 37, w: 41, c: 40 };
    let input = net.input("x", dims);
    let pad = Pad { top: 1, left: 1, bottom: 1, right: 1 };
    let window = Window { kernel: Hw::square(3), pad, ..Window::POINT };
    let conv = Conv {
        window,
        groups: 2,
        layout: Layout::F32Nr16,
        weights: net.weights(&random.vec(2 * 2 * 9 * 20 * 16)),
        bias: net.weights(&random.vec(2 * 2 * 16)),
        border: Border::default(),
        activation: Activation::RELU,
        scratch: 64 * 1024,
    };
    net.scratch = conv.scratch;
    let dense = net.step(input, dims, Op::Conv(conv));
    let conv = Conv {
        groups: 40,
        layout: Layout::F32Dw16,
        weights: net.weights(&random.vec(3 * 9 * 16)),
        bias: net.weights(&random.vec(3 * 16)),
        ..conv
    };
    let deep = net.step(dense, dims, Op::Conv(conv));
    let sum = net.step_in_place(deep, add(dense, Activation::None));
    let wide = net.step(sum, Dims { c: 80, ..dims }, Op::CopyInto { at: [0, 0, 40] });
    net.steps.push(Step { input: dense, output: wide, op: Op::CopyInto { at: [0; 3] } });
    let pooled = net.step(wide, wide.dims, Op::MaxPool(window));
    let mean = Op::AveragePool { window, count_include_pad: false };
    let pooled = net.step(pooled, pooled.dims, mean);
    let planar = net.step(pooled, Dims::vector(37 * 41 * 80), planar(pooled.dims));
    let planar = net.step_in_place(planar, Op::Apply(Function::Sigmoid));
    let weights = random.vec(7 * 37 * 41 * 80 * 16);
    let (weights, bias) = (net.weights(&weights), net.weights(&random.vec(7 * 16)));
    let linear = Linear { weights, bias, activation: Activation::None };
    let scores = net.step(planar, Dims::vector(100), Op::Linear(linear));
    net.output("scores", scores);
    net.output("sum", sum);
    net
}

/// As many threads as tasks.
struct Threads;

impl Workers for Threads {
    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        std::thread::scope(|scope| {
            (0..tasks).for_each(|index| drop(scope.spawn(move || task(index))));
        });
    }
}

/// The last task first, each twice: a second call must find nothing to do.
struct Backwards;

impl Workers for Backwards {
    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        (0..tasks).rev().for_each(|index| (0..2).for_each(|_| task(index)));
        task(tasks);
    }
}

/// Both outputs of the large network, as bits.
fn bits_of(file: &AlignedBytes, kernels: Kernels, workers: &dyn Workers, count: usize) -> Vec<u32> {
    let model = open(file);
    let mut arena = AlignedBytes::filled(0x7F, model.arena_len(count).unwrap());
    let session = Session::new(&model, &mut arena, kernels).unwrap();
    let mut session = session.with_workers(workers, count).unwrap();
    let x = Random(9).vec(session.input_mut(0).unwrap().len());
    session.write_input(&x).unwrap();
    session.run();
    let outputs = [session.output("scores").unwrap(), session.output(1).unwrap()];
    outputs.concat().iter().map(|value| value.to_bits()).collect()
}

#[test]
fn results_do_not_depend_on_the_number_of_workers() {
    let file = large_network().finish();
    for (mask, cpu) in cpus() {
        let kernels = Kernels::new(cpu);
        let alone = bits_of(&file, kernels, &Serial, 1);
        for count in [2, 3, 5, MAX_WORKERS] {
            assert_eq!(alone, bits_of(&file, kernels, &Threads, count), "{count} threads, {mask}");
            assert_eq!(
                alone,
                bits_of(&file, kernels, &Backwards, count),
                "{count} backwards, {mask}"
            );
        }
    }
}

#[test]
fn every_mask_agrees_with_portable() {
    let file = large_network().finish();
    let values = |kernels| {
        let bits = bits_of(&file, kernels, &Serial, 1);
        bits.into_iter().map(f32::from_bits).collect::<Vec<_>>()
    };
    let portable = values(Kernels::PORTABLE);
    let scale = portable.iter().fold(0.0, |max: f32, y| max.max(y.abs()));
    for (mask, cpu) in cpus() {
        let kernels = Kernels::new(cpu);
        let other = values(kernels);
        let worst =
            other.iter().zip(&portable).fold(0.0, |max: f32, (a, b)| max.max((a - b).abs()));
        assert!(worst <= 1e-5 * scale, "{mask}: {worst} of {scale}");
    }
}

#[test]
fn nothing_outside_the_arena_is_written_and_old_contents_do_not_matter() {
    let file = large_network().finish();
    let model = open(&file);
    let len = model.arena_len(3).unwrap();
    let mut results = Vec::new();
    for fill in [0x00, 0xFF] {
        let mut memory = AlignedBytes::filled(0xC3, len + 128);
        memory[64..64 + len].fill(fill);
        let kernels = Kernels::detect();
        let session = Session::new(&model, &mut memory[64..64 + len], kernels).unwrap();
        let mut session = session.with_workers(&Threads, 3).unwrap();
        let x = Random(10).vec(session.input_mut("x").unwrap().len());
        for _ in 0..2 {
            session.write_input(&x).unwrap();
            results.push(session.run().to_vec());
        }
        let guards = memory[..64].iter().chain(&memory[64 + len..]);
        assert!(guards.into_iter().all(|&byte| byte == 0xC3), "a guard byte changed");
    }
    assert!(results.windows(2).all(|pair| pair[0] == pair[1]));
}

/// Notes what it is told.
#[derive(Default)]
struct Notes {
    began: Vec<usize>,
    ended: Vec<(usize, &'static str, &'static str)>,
}

impl Observer for Notes {
    fn begin(&mut self, index: usize, _: &Step) {
        self.began.push(index);
    }

    fn end(&mut self, index: usize, step: &Step, kernel: &'static str, output: Values<'_>) {
        let Values::F32(output) = output else { panic!("all steps are f32 ones") };
        assert_eq!(Some(output.len()), step.output.dims.elements());
        self.ended.push((index, step.op.name(), kernel));
    }
}

#[test]
fn an_observer_sees_each_step_and_the_kernel_that_the_mask_leaves() {
    let file = large_network().finish();
    let model = open(&file);
    for (cpu, suffix) in [(Cpu::PORTABLE, "portable"), (Cpu::detect(), "")] {
        let mut arena = AlignedBytes::filled(0, model.arena_len(1).unwrap());
        let mut session = Session::new(&model, &mut arena, Kernels::new(cpu)).unwrap();
        let mut notes = Notes::default();
        session.run_observed(&mut notes);
        assert!(notes.began.iter().copied().eq(0..model.steps().count()));
        for ((step, index), (ended, op, kernel)) in model.steps().zip(0..).zip(notes.ended) {
            assert_eq!((index, step.op.name()), (ended, op));
            assert_eq!(kernel, session.kernel_name(&step));
            assert!(kernel.ends_with(suffix), "{kernel} ran under {cpu:?}");
        }
    }
    if Cpu::detect().has(Some(Feature::Avx2)) {
        let arena = &mut AlignedBytes::filled(0, model.arena_len(1).unwrap());
        let session = Session::new(&model, arena, Kernels::detect()).unwrap();
        let computing =
            model.steps().filter(|step| !matches!(step.op, Op::CopyInto { .. } | Op::Rearrange(_)));
        computing.for_each(|step| assert!(!session.kernel_name(&step).ends_with("portable")));
    }
}

#[test]
fn unfit_memory_and_inputs_are_refused() {
    let file = large_network().finish();
    let model = open(&file);
    let needed = model.arena_len(1).unwrap();
    let refusal = |bytes: &mut [u8]| Session::new(&model, bytes, Kernels::PORTABLE).err();
    let mut memory = AlignedBytes::filled(0, needed + 64);
    let found = needed - 1;
    assert_eq!(refusal(&mut memory[..found]), Some(SessionError::ArenaTooSmall { needed, found }));
    assert_eq!(refusal(&mut memory[4..]), Some(SessionError::Misaligned));
    assert_eq!(refusal(&mut memory[..needed]), None);

    let mut workers = |count| {
        let session = Session::new(&model, &mut memory[..needed], Kernels::PORTABLE).unwrap();
        session.with_workers(&Serial, count).err()
    };
    assert_eq!(workers(0), Some(SessionError::WorkerCount { found: 0 }));
    let found = MAX_WORKERS + 1;
    assert_eq!(workers(found), Some(SessionError::WorkerCount { found }));
    let two = model.arena_len(2).unwrap();
    assert_eq!(workers(2), Some(SessionError::ArenaTooSmall { needed: two, found: needed }));

    let mut session = Session::new(&model, &mut memory, Kernels::PORTABLE).unwrap();
    let needed = 37 * 41 * 40;
    let error = SessionError::InputLength { needed, found: 3 };
    assert_eq!(session.write_input(&[0.0; 3]), Err(error));
    assert!(session.input_mut(1).is_none() && session.input_mut("scores").is_none());
    assert!(session.output(2).is_none() && session.output("x").is_none());
}

#[test]
fn an_arena_is_taken_once() {
    static ARENA: Arena<4096> = Arena::new();
    let bytes = ARENA.take().unwrap();
    assert_eq!((bytes.len(), bytes.as_ptr().addr() % 64), (4096, 0));
    assert!(ARENA.take().is_none());
}
