//! Keeps a worker, its verifiers' processes and their children on one processor.
//!
//! Worker, interpreter and candidate take turns: only one of them runs at a time. Left alone, the
//! scheduler wakes each on another processor, where its caches and page tables are cold: that costs
//! a fifth to a third of the rate on two cores. A worker looks for a free processor anew now and
//! then, so that other work on the machine is made way for. What runs long goes where it likes.

use rustix::process::Pid;
use rustix::thread::{CpuSet, gettid, sched_getaffinity, sched_getcpu, sched_setaffinity};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a worker stays before it looks again.
const STAY: Duration = Duration::from_millis(250);
/// Long enough asleep that the scheduler chooses a processor to wake up on.
const NAP: Duration = Duration::from_micros(50);
/// Processes of one job that are set free when it runs long; further ones stay where they are.
const MOST_PROCESSES: usize = 256;

/// The processors that the workers of one pool run on.
#[derive(Debug)]
pub(crate) struct Processors {
    allowed: CpuSet,
    taken: Mutex<CpuSet>,
}

impl Processors {
    /// Those that the calling thread may run on; none where the system does not say which.
    pub(crate) fn of_this_thread() -> Option<Self> {
        Some(Processors { allowed: sched_getaffinity(None).ok()?, taken: Mutex::default() })
    }

    fn taken(&self) -> MutexGuard<'_, CpuSet> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a processor again, if nobody has it.
    fn take(&self, processor: usize) -> bool {
        let mut taken = self.taken();
        let free = !taken.is_set(processor);
        taken.set(processor);
        free
    }

    /// The processor that the calling thread wakes up on, or another one if a worker of this pool has
    /// it: two of them on one processor is the one thing to avoid.
    fn take_free(&self) -> Option<usize> {
        std::thread::sleep(NAP);
        let here = sched_getcpu();
        let mut taken = self.taken();
        let is_free = |&at: &usize| self.allowed.is_set(at) && !taken.is_set(at);
        let free = std::iter::once(here).chain(0..CpuSet::MAX_CPU).find(is_free)?;
        taken.set(free);
        Some(free)
    }

    fn give_back(&self, processor: usize) {
        self.taken().unset(processor);
    }
}

/// Where one worker's thread runs.
#[derive(Debug)]
pub(crate) struct Place {
    processors: Arc<Processors>,
    thread: Pid,
    at: Mutex<At>,
}

#[derive(Debug, Default)]
struct At {
    /// What the thread is bound to.
    processor: Option<usize>,
    /// Whether no other worker of the pool may have it: while a job runs, unless that runs long.
    taken: bool,
    since: Option<Instant>,
    processes: Vec<Pid>,
}

impl Place {
    /// For the calling thread, which has not settled yet.
    pub(crate) fn of_this_thread(processors: Arc<Processors>) -> Self {
        Place { processors, thread: gettid(), at: Mutex::default() }
    }

    fn at(&self) -> MutexGuard<'_, At> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Before a job, on the worker's thread. Stays, or moves to the processor that the scheduler
    /// thinks best; `processes` follow, and what the thread starts from then on starts there. Where
    /// more workers run than there are processors, some stay nowhere in particular. Failing to move
    /// does no harm.
    pub(crate) fn settle(&self, processes: &[u32]) {
        let mut at = self.at();
        at.processes = processes.iter().filter_map(|&id| Pid::from_raw(i32::try_from(id).ok()?)).collect();
        if at.since.is_some_and(|since| since.elapsed() < STAY) {
            at.taken = at.processor.is_some_and(|processor| self.processors.take(processor));
            if at.taken || at.processor.is_none() {
                return;
            }
        }
        self.bind(&self.processors.allowed, &[]);
        at.processor = self.processors.take_free();
        at.taken = at.processor.is_some();
        let mut here = self.processors.allowed;
        if let Some(processor) = at.processor {
            here = CpuSet::new();
            here.set(processor);
        }
        self.bind(&here, &at.processes);
        at.since = Some(Instant::now());
    }

    /// Remembers processes that were started since, where they are.
    pub(crate) fn remember(&self, processes: &[u32]) {
        let ids = processes.iter().filter_map(|&id| Pid::from_raw(i32::try_from(id).ok()?));
        self.at().processes = ids.collect();
    }

    /// After a job: another worker may come here.
    pub(crate) fn rest(&self) {
        self.release(&mut self.at());
    }

    /// The job runs long: another worker may come here, and the job's processes may run anywhere.
    pub(crate) fn spread(&self) {
        let mut at = self.at();
        self.release(&mut at);
        at.processor = None;
        at.since = None;
        let mut processes = at.processes.clone();
        let mut next = 0;
        while next < processes.len() && processes.len() < MOST_PROCESSES {
            processes.extend(children(processes[next]));
            next += 1;
        }
        self.bind(&self.processors.allowed, &processes);
    }

    fn release(&self, at: &mut At) {
        if let Some(processor) = at.processor.filter(|_| at.taken) {
            self.processors.give_back(processor);
        }
        at.taken = false;
    }

    fn bind(&self, to: &CpuSet, processes: &[Pid]) {
        let _ = sched_setaffinity(Some(self.thread), to);
        for &process in processes {
            let _ = sched_setaffinity(Some(process), to);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.rest();
    }
}

/// The children of a process's first thread; none where the system does not say.
pub fn children(process: Pid) -> Vec<Pid> {
    let id = process.as_raw_nonzero();
    let text = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    text.split_ascii_whitespace().filter_map(|word| Pid::from_raw(word.parse().ok()?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn allowed_of(process: Option<Pid>) -> u32 {
        sched_getaffinity(process).expect("affinity").count()
    }

    #[test]
    fn a_worker_and_its_processes_are_on_one_processor_until_a_job_runs_long() {
        let Some(processors) = Processors::of_this_thread().map(Arc::new) else { return };
        let all = processors.allowed.count();
        let place = Place::of_this_thread(Arc::clone(&processors));
        place.settle(&[]);
        let mut child = Command::new("sh").args(["-c", "sleep 60 & wait"]).spawn().expect("sh");
        let parent = Pid::from_raw(i32::try_from(child.id()).expect("a pid")).expect("a pid");
        while children(parent).is_empty() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let grandchild = children(parent)[0];
        let allowed = || (allowed_of(None), allowed_of(Some(parent)), allowed_of(Some(grandchild)));
        place.remember(&[child.id()]);
        assert_eq!(allowed(), (1, 1, 1));
        let first = place.at().processor;
        place.rest();
        place.settle(&[child.id()]);
        assert_eq!(place.at().processor, first, "it stays for a while");
        place.spread();
        assert_eq!(allowed(), (all, all, all));
        assert_eq!(processors.taken().count(), 0);
        place.settle(&[child.id()]);
        assert_eq!(allowed(), (1, 1, all));
        rustix::process::kill_process(grandchild, rustix::process::Signal::KILL).expect("kill");
        child.wait().expect("wait");
    }

    #[test]
    fn two_busy_workers_are_never_on_one_processor() {
        let Some(processors) = Processors::of_this_thread().map(Arc::new) else { return };
        let first = Place::of_this_thread(Arc::clone(&processors));
        let second = Place::of_this_thread(Arc::clone(&processors));
        first.settle(&[]);
        second.settle(&[]);
        assert_ne!(first.at().processor, second.at().processor);
        first.rest();
        let third = Place::of_this_thread(Arc::clone(&processors));
        third.settle(&[]);
        assert!(third.at().processor.is_some(), "one that rests makes room");
        assert_ne!(third.at().processor, second.at().processor);
    }
}
