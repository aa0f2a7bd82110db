//! Keeps a worker, its interpreters and their children on one processor.
//!
//! Judge, interpreter and candidate take turns: only one of them runs at a time. Left alone, the
//! scheduler wakes each on another processor, where its caches and page tables are cold: that costs
//! a fifth to a third of the rate on two cores. A worker looks for a free processor anew now and then, so that
//! other work on the machine is made way for.

use crate::judge::Slot;
use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a worker stays before it looks again.
const STAY: Duration = Duration::from_millis(250);
/// Long enough asleep that the scheduler chooses a processor to wake up on.
const NAP: Duration = Duration::from_micros(50);

/// The processors that the workers of one pool run on.
pub struct Processors {
    allowed: CpuSet,
    taken: Mutex<CpuSet>,
}

impl Processors {
    /// For the threads that the calling one starts; none where the system does not say what they
    /// may run on.
    pub fn of_this_process() -> Option<Self> {
        Some(Processors { allowed: sched_getaffinity(None).ok()?, taken: Mutex::default() })
    }

    /// The processor that the calling thread woke up on, or another one if a worker of this pool has
    /// it: two of them on one processor is the one thing to avoid.
    fn take_free(&self) -> Option<usize> {
        std::thread::sleep(NAP);
        let here = sched_getcpu();
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let is_free = |&at: &usize| self.allowed.is_set(at) && !taken.is_set(at);
        let free = std::iter::once(here).chain(0..CpuSet::MAX_CPU).find(is_free)?;
        taken.set(free);
        Some(free)
    }

    fn give_back(&self, processor: usize) {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).unset(processor);
    }
}

/// Where one worker's thread runs.
pub struct Place<'a> {
    processors: &'a Processors,
    processor: Option<usize>,
    since: Option<Instant>,
}

impl<'a> Place<'a> {
    /// A worker that has not settled yet.
    pub fn among(processors: &'a Processors) -> Self {
        Place { processors, processor: None, since: None }
    }

    /// Stays, or moves to the processor that the scheduler thinks best; what `slot` holds follows.
    /// What the thread starts from then on starts there. Where there are more workers than
    /// processors, some stay nowhere in particular. Failing to move does no harm.
    pub fn settle(&mut self, slot: &mut Slot) {
        if self.since.is_some_and(|since| since.elapsed() < STAY) {
            return;
        }
        self.leave();
        self.processor = self.processors.take_free();
        let mut here = self.processors.allowed;
        if let Some(processor) = self.processor {
            here = CpuSet::new();
            here.set(processor);
        }
        let _ = sched_setaffinity(None, &here);
        for process in slot.processes() {
            let _ = sched_setaffinity(Some(process), &here);
        }
        self.since = Some(Instant::now());
    }

    fn leave(&mut self) {
        let _ = sched_setaffinity(None, &self.processors.allowed);
        if let Some(processor) = self.processor.take() {
            self.processors.give_back(processor);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}
