//! [`Pool`]: threads that share the bands of a step, behind the runtime's one-method trait.

use crate::sys::bag::Bag;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use unbraid_runtime::Workers;

/// The caller and `threads - 1` helpers.
///
/// Helpers spin for some tens of microseconds after their last task and then sleep, so that the
/// steps of one inference start without a system call and an idle pool costs nothing. Dropping
/// the pool ends its threads.
#[derive(Debug)]
pub struct Pool {
    bag: Arc<Bag>,
    helpers: Vec<JoinHandle<()>>,
}

impl Pool {
    /// A pool in which `threads` tasks run at once, the caller's own included.
    ///
    /// # Errors
    /// The system refuses to start a thread.
    pub fn new(threads: NonZeroUsize) -> io::Result<Self> {
        let mut pool = Self { bag: Arc::new(Bag::new()), helpers: Vec::new() };
        for index in 1..threads.get() {
            let bag = Arc::clone(&pool.bag);
            let builder = thread::Builder::new().name(format!("unbraid-{index}"));
            pool.helpers.push(builder.spawn(move || bag.help())?);
        }
        Ok(pool)
    }

    /// How many tasks run at once.
    pub fn threads(&self) -> usize {
        self.helpers.len() + 1
    }
}

impl Workers for Pool {
    /// Tasks run on the caller alone if another caller, or a task of this pool, is in here already.
    ///
    /// # Panics
    /// If a task panics, with its payload, when no task runs any more; the pool stays usable.
    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        let lent = match u32::try_from(tasks) {
            Ok(count) if count > 1 && !self.helpers.is_empty() => self.bag.lend(count, task),
            _ => false,
        };
        if !lent {
            (0..tasks).for_each(task);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.bag.close();
        for helper in self.helpers.drain(..) {
            // Tasks' panics are caught where they run: a helper's own end has nothing to tell.
            let _ = helper.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{self, AssertUnwindSafe};
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    fn pool(threads: usize) -> Pool {
        Pool::new(NonZeroUsize::new(threads).unwrap()).unwrap()
    }

    fn runs_of_each(pool: &Pool, tasks: usize) -> Vec<usize> {
        let runs: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
        pool.run(tasks, &|i| {
            runs[i].fetch_add(1, Ordering::Relaxed);
        });
        runs.into_iter().map(AtomicUsize::into_inner).collect()
    }

    #[test]
    fn every_task_runs_exactly_once() {
        for threads in 1..=8 {
            let pool = pool(threads);
            assert_eq!(pool.threads(), threads);
            for round in 0..2_000 {
                let tasks = round % 19;
                assert_eq!(runs_of_each(&pool, tasks), vec![1; tasks], "{threads} threads");
            }
            assert_eq!(runs_of_each(&pool, 10_000), vec![1; 10_000], "{threads} threads");
        }
    }

    #[test]
    fn what_tasks_write_is_visible_to_the_next_round() {
        let pool = pool(4);
        let cells: Vec<AtomicUsize> = (0..4).map(|_| AtomicUsize::new(0)).collect();
        for round in 0..20_000 {
            pool.run(4, &|i| {
                let neighbour = cells[(i + 1) % 4].load(Ordering::Relaxed);
                assert!(neighbour == round || neighbour == round + 1);
                cells[i].store(round + 1, Ordering::Relaxed);
            });
            assert!(cells.iter().all(|cell| cell.load(Ordering::Relaxed) == round + 1));
        }
    }

    #[test]
    fn as_many_tasks_run_at_once_as_there_are_threads() {
        for threads in 1..=8 {
            let together = Barrier::new(threads);
            pool(threads).run(threads, &|_| {
                together.wait();
            });
        }
    }

    #[test]
    fn sleeping_threads_wake_for_the_next_round() {
        let pool = pool(3);
        let together = Barrier::new(3);
        for _ in 0..20 {
            thread::sleep(Duration::from_millis(2));
            pool.run(3, &|i| {
                together.wait();
                // The caller runs out of patience too, and must be woken by the last task.
                thread::sleep(Duration::from_micros(200 * i as u64));
            });
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_after_all_tasks_and_the_pool_stays_usable() {
        for threads in 1..=4 {
            let pool = pool(threads);
            for bad in 0..6 {
                let run = || {
                    pool.run(6, &|i| {
                        if i == bad {
                            panic::resume_unwind(Box::new(i)); // without a message
                        }
                    });
                };
                let payload = panic::catch_unwind(AssertUnwindSafe(run)).unwrap_err();
                assert_eq!(payload.downcast_ref::<usize>(), Some(&bad));
                assert_eq!(runs_of_each(&pool, 6), vec![1; 6]);
            }
        }
    }

    #[test]
    fn a_task_may_use_its_own_pool() {
        let pool = pool(3);
        let inner = AtomicUsize::new(0);
        pool.run(3, &|_| {
            pool.run(5, &|_| {
                inner.fetch_add(1, Ordering::Relaxed);
            });
        });
        assert_eq!(inner.into_inner(), 15);
    }

    #[test]
    fn callers_on_several_threads_share_one_pool() {
        let pool = pool(3);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        assert_eq!(runs_of_each(&pool, 7), vec![1; 7]);
                    }
                });
            }
        });
    }

    #[test]
    fn a_dropped_pool_leaves_no_thread_behind() {
        for round in 0..200 {
            let pool = pool(1 + round % 5);
            let bag = Arc::clone(&pool.bag);
            runs_of_each(&pool, round % 7);
            drop(pool);
            assert_eq!(Arc::strong_count(&bag), 1);
        }
    }
}
