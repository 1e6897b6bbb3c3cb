//! An inference allocates nothing: this binary's allocator aborts while it is told to.
#![deny(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use unbraid_runtime::detect::{
    Arrangement, Boxes, Candidate, ChannelOrder, Fit, Head, Letterbox, Level, MAX_LEVELS, Picture,
};
use unbraid_runtime::dims::{Dims, Hw, Pad, Window};
use unbraid_runtime::step::{Activation, Border, Conv, Op};
use unbraid_runtime::{Cpu, Kernels, Model, Session, Workers};
use unbraid_tests::steps::{add, planar};
use unbraid_tests::strand_builder::{AlignedBytes, StrandBuilder};

thread_local! {
    /// Whether this thread must not allocate. The test harness's other threads may.
    static ARMED: Cell<bool> = const { Cell::new(false) };
}

/// The system's allocator, but for armed threads.
struct Guarded;

#[allow(unsafe_code, reason = "an allocator is an unsafe trait")]
// SAFETY: every call goes on to the system's allocator with the caller's own arguments, or ends
// the process.
unsafe impl GlobalAlloc for Guarded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if ARMED.get() {
            std::process::abort();
        }
        // SAFETY: the caller's promise is that of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if ARMED.get() {
            std::process::abort();
        }
        // SAFETY: `pointer` came from `alloc` above, that is from `System`, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Guarded = Guarded;

/// What `f` returns, or the end of the process if it allocates.
fn without_allocating<T>(f: impl FnOnce() -> T) -> T {
    ARMED.set(true);
    let result = f();
    ARMED.set(false);
    result
}

/// One operation of each contract.
fn network() -> AlignedBytes {
    let mut net = StrandBuilder::new();
    let dims = Dims { h: 24, w: 24, c: 32 };
    let input = net.input("x", dims);
    let conv = Conv {
        window: Window {
            kernel: Hw::square(3),
            pad: Pad { top: 1, left: 1, bottom: 1, right: 1 },
            ..Window::POINT
        },
        groups: 1,
        layout: unbraid_runtime::step::Layout::F32Nr16,
        weights: net.weights(&[0.01; 9 * 32 * 32]),
        bias: net.weights(&[0.5; 32]),
        border: Border::default(),
        activation: Activation::RELU,
        scratch: 1 << 16,
    };
    net.scratch = conv.scratch;
    let map = net.step(input, dims, Op::Conv(conv));
    let weights = net.weights(&[0.5; 9 * 32]);
    let layout = unbraid_runtime::step::Layout::F32Dw16;
    let deep = net.step(map, dims, Op::Conv(Conv { groups: 32, weights, layout, ..conv }));
    let sum = net.step_in_place(deep, add(map, Activation::None));
    let planar = net.step(sum, Dims::vector(24 * 24 * 32), planar(sum.dims));
    let softmax = net.step_in_place(planar, Op::Softmax);
    net.port("y", true, softmax, &[1, 24 * 24 * 32]);
    let mean = net.step(sum, Dims::vector(32), Op::GlobalAveragePool);
    net.port("mean", true, mean, &[1, 32]);
    net.finish()
}

/// Both tasks on the caller's thread, so that the guard sees them.
struct Interleaved;

impl Workers for Interleaved {
    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        (0..tasks).for_each(task);
    }
}

#[test]
fn from_bytes_to_scores_nothing_is_allocated() {
    let file = network();
    let x = vec![0.25; 24 * 24 * 32];
    for cpu in [Cpu::PORTABLE, Cpu::detect()] {
        let mut arena = AlignedBytes::filled(0, 1 << 20);
        let sum = without_allocating(|| {
            let model = Model::new(&file).unwrap();
            model.verify().unwrap();
            let session = Session::new(&model, &mut arena, Kernels::new(cpu)).unwrap();
            let mut session = session.with_workers(&Interleaved, 2).unwrap();
            session.write_input(&x).unwrap();
            session.run().iter().sum::<f32>()
        });
        assert!((sum - 1.0).abs() < 1e-3, "a softmax sums to one, not {sum}");
    }
}

#[test]
fn from_outputs_to_boxes_nothing_is_allocated() {
    let mut levels = [Level::default(); MAX_LEVELS];
    levels[0].stride = 8;
    let head = Head {
        input: Hw::square(64),
        classes: 3,
        extra: 0,
        arrangement: Arrangement::Rows,
        boxes: Boxes::Grid,
        objectness: true,
        logits: true,
        level_count: 1,
        anchor_count: 1,
        levels,
        picture: Picture { fit: Fit::Centre, fill: 114, order: ChannelOrder::Rgb },
        score_threshold: 0.1,
        iou_threshold: 0.5,
    };
    let output: Vec<f32> = (0..64 * 8).map(|i| (i % 13) as f32 / 4.0 - 1.0).collect();
    let mut memory = [Candidate::default(); 16];
    let count = without_allocating(|| {
        let letterbox = Letterbox::new(Fit::Centre, Hw { h: 48, w: 99 }, head.input).unwrap();
        head.detect(&[&output], &letterbox, &mut memory).unwrap()
    });
    assert!((2..=16).contains(&count), "{count} boxes");
}
