//! Keeps a worker, its interpreters and their children on one processor.
//!
//! Judge, interpreter and candidate take turns: only one of them runs at a time. Left alone, the
//! scheduler wakes each on another processor, where its caches and page tables are cold: that costs
//! a third of the rate on two cores. A worker looks for a free processor anew now and then, so that
//! other work on the machine is made way for.

use crate::judge::Slot;
use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use std::time::{Duration, Instant};

/// How long a worker stays before it looks again.
const STAY: Duration = Duration::from_millis(250);
/// Long enough asleep that the scheduler chooses a processor to wake up on.
const NAP: Duration = Duration::from_micros(50);

/// Where one worker's thread runs.
pub struct Processor {
    allowed: CpuSet,
    since: Option<Instant>,
}

impl Processor {
    /// For the calling thread; none where the system does not say what it may run on.
    pub fn of_this_thread() -> Option<Self> {
        Some(Processor { allowed: sched_getaffinity(None).ok()?, since: None })
    }

    /// Stays, or moves to the processor that the scheduler thinks best; what `slot` holds follows.
    /// What the thread starts from then on starts there. Failing to move does no harm.
    pub fn settle(&mut self, slot: &mut Slot) {
        if self.since.is_some_and(|since| since.elapsed() < STAY) {
            return;
        }
        let _ = sched_setaffinity(None, &self.allowed);
        std::thread::sleep(NAP);
        let mut here = CpuSet::new();
        here.set(sched_getcpu());
        let _ = sched_setaffinity(None, &here);
        for process in slot.processes() {
            let _ = sched_setaffinity(Some(process), &here);
        }
        self.since = Some(Instant::now());
    }
}
