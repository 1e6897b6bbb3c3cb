//! [`Workers`]: who executes bands at the same time. The runtime itself creates no threads.

/// Something that can call a function several times at once: a thread pool.
pub trait Workers: Sync {
    /// Calls `task(0)` to `task(tasks - 1)`, once each, in any order and possibly at the same time,
    /// and returns when all calls have returned.
    ///
    /// An implementation that leaves calls out gets wrong results; no implementation can break
    /// memory safety.
    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync));
}

/// One call after the other, on the caller's thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct Serial;

impl Workers for Serial {
    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        (0..tasks).for_each(task);
    }
}
