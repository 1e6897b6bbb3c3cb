//! [`Bag`]: tasks that one thread lends to others, and the proof that it gets them back.
//!
//! ```text
//! lender: job = task; unfinished = n; unclaimed = n; invite
//!         run tasks while there are any, then wait until unfinished == 0
//! helper: wait for an invitation, then run tasks while there are any
//! a task: unclaimed > 0 ? unclaimed -= 1 : there is none
//!         job(unclaimed); unfinished -= 1, and the last one wakes the lender
//! ```
//!
//! Tasks are claimed, not assigned: a helper that the system has not scheduled holds nobody up.

use super::futex;
use std::any::Any;
use std::hint;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a thread looks again and again before it sleeps: longer than the gap between two
/// steps of a network, too short to matter to the rest of the machine.
const SPIN: Duration = Duration::from_micros(50);

/// What is lent: called with each task's number once.
pub(crate) type Task<'t> = &'t (dyn Fn(usize) + Sync + 't);

/// Numbered tasks of one job at a time, claimed by any thread that looks into the bag.
#[derive(Debug)]
pub(crate) struct Bag {
    /// Held by the lender of the moment.
    lender: Mutex<()>,
    /// The lender's task; it stays valid while `unfinished > 0`.
    job: AtomicPtr<Task<'static>>,
    /// Tasks that nobody has begun.
    unclaimed: AtomicU32,
    /// Tasks that have not ended.
    unfinished: AtomicU32,
    /// Whether the lender sleeps on `unfinished`.
    lender_sleeps: AtomicBool,
    /// Counts jobs and the end: what helpers sleep on.
    invitations: AtomicU32,
    /// Helpers that sleep on `invitations`, or are about to.
    sleeping_helpers: AtomicU32,
    /// Whether helpers should leave.
    closed: AtomicBool,
    /// What tasks of this job panicked with.
    panics: Mutex<Vec<Box<dyn Any + Send>>>,
}

impl Bag {
    /// An empty bag.
    pub(crate) fn new() -> Self {
        Self {
            lender: Mutex::new(()),
            job: AtomicPtr::new(ptr::null_mut()),
            unclaimed: AtomicU32::new(0),
            unfinished: AtomicU32::new(0),
            lender_sleeps: AtomicBool::new(false),
            invitations: AtomicU32::new(0),
            sleeping_helpers: AtomicU32::new(0),
            closed: AtomicBool::new(false),
            panics: Mutex::new(Vec::new()),
        }
    }

    /// Runs tasks `0 .. tasks` here and on every helper that comes; returns when all have ended.
    ///
    /// `false`, and nothing done, if somebody else is lending (a task that lends again, too).
    ///
    /// # Panics
    /// With the payload of a task that panicked, after all others have ended.
    pub(crate) fn lend(&self, tasks: u32, task: Task<'_>) -> bool {
        let Ok(only_lender) = self.lender.try_lock() else { return false };
        self.job.store(ptr::from_ref(&task).cast_mut().cast(), Ordering::Relaxed);
        self.unfinished.store(tasks, Ordering::Relaxed);
        self.unclaimed.store(tasks, Ordering::Release);
        self.invite(tasks.saturating_sub(1));
        while self.run_one() {}
        self.wait_until_finished();
        let panics = mem::take(&mut *self.panics());
        drop(only_lender);
        if let Some(first) = panics.into_iter().next() {
            panic::resume_unwind(first);
        }
        true
    }

    /// Runs tasks of others as they come, until [`Self::close`].
    pub(crate) fn help(&self) {
        loop {
            // Looked at first: whatever came before the invitation that was seen is visible now,
            // and whatever comes later changes the count and ends the wait.
            let seen = self.invitations.load(Ordering::Acquire);
            if self.closed.load(Ordering::Acquire) {
                return;
            }
            while self.run_one() {}
            self.wait_for_invitation(seen);
        }
    }

    /// Sends all helpers away.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.invite(u32::MAX);
    }

    /// Claims and runs one task; `false` if there was none.
    fn run_one(&self) -> bool {
        let claim = |unclaimed: u32| unclaimed.checked_sub(1);
        let claimed = self.unclaimed.fetch_update(Ordering::Acquire, Ordering::Relaxed, claim);
        let Ok(left) = claimed else { return false };
        // SAFETY: the claimed task is unfinished until the end of this function, and `lend`, which
        // stored the address of its own argument before it made tasks claimable (Release there,
        // Acquire here), does not return or store another before all tasks are finished.
        let task = unsafe { *self.job.load(Ordering::Relaxed) };
        let index = left as usize - 1;
        if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(|| task(index))) {
            self.panics().push(payload);
        }
        if self.unfinished.fetch_sub(1, Ordering::SeqCst) == 1
            && self.lender_sleeps.load(Ordering::SeqCst)
        {
            futex::wake(&self.unfinished, 1);
        }
        true
    }

    fn invite(&self, helpers: u32) {
        self.invitations.fetch_add(1, Ordering::SeqCst);
        if helpers > 0 && self.sleeping_helpers.load(Ordering::SeqCst) > 0 {
            futex::wake(&self.invitations, helpers);
        }
    }

    fn wait_for_invitation(&self, seen: u32) {
        if spin_until(|| self.invitations.load(Ordering::Acquire) != seen) {
            return;
        }
        self.sleeping_helpers.fetch_add(1, Ordering::SeqCst);
        futex::wait(&self.invitations, seen);
        self.sleeping_helpers.fetch_sub(1, Ordering::SeqCst);
    }

    fn wait_until_finished(&self) {
        if spin_until(|| self.unfinished.load(Ordering::Acquire) == 0) {
            return;
        }
        self.lender_sleeps.store(true, Ordering::SeqCst);
        loop {
            match self.unfinished.load(Ordering::SeqCst) {
                0 => break,
                left => futex::wait(&self.unfinished, left),
            }
        }
        self.lender_sleeps.store(false, Ordering::SeqCst);
    }

    fn panics(&self) -> MutexGuard<'_, Vec<Box<dyn Any + Send>>> {
        self.panics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn spin_until(done: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    loop {
        for _ in 0..32 {
            if done() {
                return true;
            }
            hint::spin_loop();
        }
        if start.elapsed() > SPIN {
            return false;
        }
    }
}
