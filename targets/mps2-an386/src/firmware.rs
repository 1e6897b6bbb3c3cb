//! Entry, panic handler and the inference.

use core::panic::PanicInfo;
use cortex_m as _; // Its critical section serves the semihosting crate.
use cortex_m_rt::{ExceptionFrame, entry, exception};
use cortex_m_semihosting::debug::{self, EXIT_FAILURE, EXIT_SUCCESS};
use cortex_m_semihosting::hio;
use unbraid_runtime::{Arena, Kernels, Model, Session, arena_len, expanded_len, include_strand};
#[cfg(feature = "detection")]
use unbraid_runtime::{
    detect::{Candidate, Letterbox},
    dims::Hw,
};

static MODEL: &[u8] = include_strand!(concat!(env!("OUT_DIR"), "/model.strand"));
static INPUT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/input.f32"));
static EXPECTED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/expected.f32"));
/// Nothing, unless the weights are stored sparsely.
static WEIGHTS: Arena<{ expanded_len(MODEL) }> = Arena::new();
static ARENA: Arena<{ arena_len(MODEL, 1) }> = Arena::new();

/// What went wrong, in words for the console.
type Complaint = &'static [u8];

#[entry]
fn main() -> ! {
    match infer() {
        Ok(class) => {
            print(b"class ");
            print_number(class);
            print(b"\nok\n");
            debug::exit(EXIT_SUCCESS);
        }
        Err(complaint) => {
            print(complaint);
            print(b"\n");
            debug::exit(EXIT_FAILURE);
        }
    }
    loop {
        cortex_m::asm::wfi();
    }
}

/// Index of the largest score, if all of them are as expected.
fn infer() -> Result<usize, Complaint> {
    let weights = WEIGHTS.take().ok_or(&b"the weights' memory was taken before"[..])?;
    let model = Model::expand(MODEL, weights).map_err(|_| &b"the model is refused"[..])?;
    model.verify().map_err(|_| &b"the weights are damaged"[..])?;
    let arena = ARENA.take().ok_or(&b"the arena was taken before"[..])?;
    let session = Session::new(&model, arena, Kernels::detect());
    let mut session = session.map_err(|_| &b"the session is refused"[..])?;
    let input = session.input_mut(0).ok_or(&b"the model has no input"[..])?;
    if input.len() != values(INPUT).len() {
        return Err(b"the input has another length");
    }
    input.iter_mut().zip(values(INPUT)).for_each(|(to, from)| *to = from);
    let scores = session.run();
    #[cfg(feature = "panicking")]
    let scores = &scores[values(EXPECTED).len()..];
    let bits = scores.iter().map(|score| score.to_bits());
    if !bits.eq(values(EXPECTED).map(f32::to_bits)) {
        return Err(b"the scores differ from the host's");
    }
    #[cfg(feature = "detection")]
    if let Some(count) = things(&model, scores) {
        return Ok(count);
    }
    let best = scores.iter().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b));
    best.map(|(class, _)| class).ok_or(b"there are no scores")
}

/// How many things a detector with one output finds in a picture of twice its input's size.
#[cfg(feature = "detection")]
fn things(model: &Model<'_>, output: &[f32]) -> Option<usize> {
    let head = model.head()?;
    let source = Hw { h: head.input.h.checked_mul(2)?, w: head.input.w.checked_mul(2)? };
    let letterbox = Letterbox::new(head.picture.fit, source, head.input)?;
    let mut found = [Candidate::default(); 64];
    head.detect(&[output], &letterbox, &mut found).ok()
}

/// Little-endian f32.
fn values(bytes: &'static [u8]) -> impl ExactSizeIterator<Item = f32> {
    bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes))
}

fn print(text: &[u8]) {
    if let Ok(mut console) = hio::hstdout() {
        let _ = console.write_all(text);
    }
}

/// In decimal; `core::fmt` would link panics.
fn print_number(number: usize) {
    let mut digits = [b'0'; 10];
    let (mut rest, mut count) = (number, 0);
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        (rest, count) = (rest / 10, count + 1);
        if rest == 0 {
            break;
        }
    }
    print(digits.get(10 - count..).unwrap_or_default());
}

#[exception]
unsafe fn HardFault(_: &ExceptionFrame) -> ! {
    print(b"hard fault\n");
    debug::exit(EXIT_FAILURE);
    loop {
        cortex_m::asm::wfi();
    }
}

// SAFETY: never called and never defined: a program that could call it does not link.
unsafe extern "C" {
    safe fn unbraid_panic_path_is_linked() -> !;
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    unbraid_panic_path_is_linked()
}
