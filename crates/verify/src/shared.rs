//! What a pool's handles, feeders and workers share: the queue behind its lock, and the threads.

use crate::job::{Domain, Failure, Job, JobKey};
use crate::placement::Processors;
use crate::pool::{Settings, TimedOut};
use crate::queue::{Answer, Poll, Queue, Room, Started};
use crate::worker::Worker;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A domain with what is asked of it for every job.
pub(crate) struct Entry {
    pub(crate) domain: Arc<dyn Domain>,
    pub(crate) fingerprint: String,
}

pub(crate) struct Shared {
    pub(crate) domains: Vec<Entry>,
    pub(crate) settings: Settings,
    /// None where the system does not say which there are.
    pub(crate) processors: Option<Arc<Processors>>,
    /// How long a surplus worker waits for a job before it ends.
    idle: Duration,
    state: Mutex<State>,
}

struct State {
    queue: Queue,
    threads: HashMap<u64, JoinHandle<()>>,
    /// Those of the threads that take no further job.
    ending: HashSet<u64>,
    next_thread: u64,
    /// Workers that wait, the last to have worked last: its caches are warmest.
    resting: Vec<(u64, Arc<Condvar>)>,
    /// Workers that were started or woken, or have answered a job, and are about to look for one.
    looking: HashSet<u64>,
    /// Whether there is no pool and no client any more.
    abandoned: bool,
    closing: bool,
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.debug_struct("Shared").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(domains: Vec<Entry>, settings: Settings, idle: Duration) -> Self {
        let state = State {
            queue: Queue::new(settings.workers, settings.most_running),
            threads: HashMap::new(),
            ending: HashSet::new(),
            next_thread: 0,
            resting: Vec::new(),
            looking: HashSet::new(),
            abandoned: false,
            closing: false,
        };
        let processors = Processors::of_this_thread().map(Arc::new);
        Shared { domains, settings, processors, idle, state: Mutex::new(state) }
    }

    /// Nothing of a client's or a domain's runs under the lock, so none of their panics poisons it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn entry(&self, name: &str) -> Option<&Entry> {
        self.domains.iter().find(|entry| entry.domain.name() == name)
    }

    /// What to say of a problem whose domain the pool lacks.
    pub(crate) fn no_domain(&self, name: &str) -> String {
        let names: Vec<&str> = self.domains.iter().map(|entry| entry.domain.name()).collect();
        format!("check.domain: nothing here verifies {name:?}; expected one of: {}", names.join(", "))
    }

    pub(crate) fn add_client(&self, name: &str) -> u64 {
        self.lock().queue.add_client(name)
    }

    pub(crate) fn release_client(&self, client: u64) {
        self.lock().queue.release_client(client);
    }

    pub(crate) fn open(&self, client: u64, deadline: Option<Instant>) -> u64 {
        self.lock().queue.open(client, deadline, Instant::now())
    }

    pub(crate) fn has_room(&self, submission: u64) -> bool {
        matches!(self.lock().queue.room(submission), Room::Free)
    }

    /// Waits until a submission takes another job; false once it takes none.
    pub(crate) fn wait_for_room(&self, submission: u64) -> bool {
        let mut state = self.lock();
        loop {
            match state.queue.room(submission) {
                Room::Free => return true,
                Room::Closed => return false,
                Room::Full(changed) => state = changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    pub(crate) fn push(self: &Arc<Self>, submission: u64, job: Job, key: Option<JobKey>) {
        let mut state = self.lock();
        state.queue.push(submission, job, key, Instant::now());
        self.wake(&mut state);
    }

    pub(crate) fn end_of_jobs(self: &Arc<Self>, submission: u64, failure: Option<Failure>) {
        let mut state = self.lock();
        state.queue.end_of_jobs(submission, failure);
        self.wake(&mut state);
    }

    /// The next answer, or none if there will be none.
    pub(crate) fn next_answer(
        self: &Arc<Self>,
        submission: u64,
        until: Option<Instant>,
    ) -> Result<Option<(usize, Answer)>, TimedOut> {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            let (changed, deadline) = match state.queue.poll(submission, now) {
                Poll::Answer(place, answer) => return Ok(Some((place, answer))),
                Poll::Ended => return Ok(None),
                Poll::Wait(changed, deadline) => (changed, deadline),
            };
            // Asking may have put a job up for its last try.
            self.wake(&mut state);
            if until.is_some_and(|until| until <= now) {
                return Err(TimedOut);
            }
            state = match until.into_iter().chain(deadline).min() {
                None => changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let left = at.saturating_duration_since(now);
                    changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    pub(crate) fn cancel(self: &Arc<Self>, submission: u64) {
        let mut state = self.lock();
        state.queue.cancel(submission);
        // With one client less, another may have more jobs started.
        self.wake(&mut state);
    }

    /// Ends a submission, and the pool if nothing else holds it. Waits for nothing.
    pub(crate) fn close(self: &Arc<Self>, submission: u64) {
        let mut state = self.lock();
        state.queue.close(submission);
        if state.abandoned && !state.queue.has_submissions() {
            state.close();
        }
        self.wake(&mut state);
    }

    /// The last pool or client has gone. Ends the workers and waits for them, unless answers are still
    /// taken: then the last taker ends them.
    pub(crate) fn abandon(&self) {
        let mut state = self.lock();
        state.abandoned = true;
        if state.queue.has_submissions() {
            return;
        }
        state.close();
        let threads = std::mem::take(&mut state.threads);
        drop(state);
        for thread in threads.into_values() {
            // A verifier may hold a client: then a worker drops the last one, and cannot wait for itself.
            if thread.thread().id() != thread::current().id() {
                let _ = thread.join();
            }
        }
    }

    pub(crate) fn give_way(self: &Arc<Self>, run: u64) {
        let mut state = self.lock();
        state.queue.give_way(run);
        self.wake(&mut state);
    }

    /// A worker's thread has answered a job, and comes for the next.
    pub(crate) fn finish(&self, thread: u64, started: Started, answer: Answer) {
        let mut state = self.lock();
        state.queue.finish(started, answer, Instant::now());
        state.looking.insert(thread);
    }

    /// Waits for a job for a worker's thread; none when the worker is to end.
    pub(crate) fn next_job(self: &Arc<Self>, thread: u64, bell: &Arc<Condvar>) -> Option<Started> {
        let mut state = self.lock();
        loop {
            state.looking.remove(&thread);
            if state.closing {
                return None;
            }
            if let Some(started) = state.queue.take(Instant::now()) {
                self.wake(&mut state);
                return Some(started);
            }
            state = self.rest(state, thread, bell)?;
        }
    }

    /// Waits to be woken; none if the worker was not needed for long.
    fn rest<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        thread: u64,
        bell: &Arc<Condvar>,
    ) -> Option<MutexGuard<'a, State>> {
        state.resting.push((thread, Arc::clone(bell)));
        let since = Instant::now();
        while !state.closing && state.resting.iter().any(|(resting, _)| *resting == thread) {
            if state.live() <= self.settings.workers {
                state = bell.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let left = self.idle.saturating_sub(since.elapsed());
            if left.is_zero() {
                state.resting.retain(|(resting, _)| *resting != thread);
                state.ending.insert(thread);
                return None;
            }
            state = bell.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Some(state)
    }

    /// Wakes or starts a worker if a job may start and no worker is about to look for one: no more
    /// wake than there are jobs.
    fn wake(self: &Arc<Self>, state: &mut State) {
        // Whoever looks for a job wakes the next once it has found one.
        if state.closing || !state.looking.is_empty() || !state.queue.can_start() {
            return;
        }
        if let Some((thread, bell)) = state.resting.pop() {
            state.looking.insert(thread);
            bell.notify_all();
        } else if state.live() < self.settings.most_running
            && let Err(error) = self.spawn(state, Some)
        {
            // Those that run go on, and take what waits once they are free.
            tracing::warn!(%error, "a further worker cannot be started");
        }
    }

    fn spawn(
        self: &Arc<Self>,
        state: &mut State,
        prepare: impl FnOnce(Worker) -> Option<Worker> + Send + 'static,
    ) -> io::Result<()> {
        let id = state.next_thread;
        state.next_thread += 1;
        let shared = Arc::clone(self);
        let handle = thread::Builder::new().name(format!("verify-{id}")).spawn(move || {
            // Dropped after the worker, whatever happens.
            let _ending = Ending { shared: &shared, thread: id };
            if let Some(mut worker) = prepare(Worker::new(Arc::clone(&shared))) {
                worker.work(id);
            }
        })?;
        state.threads.insert(id, handle);
        state.looking.insert(id);
        Ok(())
    }

    /// A worker's verifiers have gone. Until then whoever ends the pool waits for its thread.
    fn ended(&self, thread: u64) {
        let mut state = self.lock();
        state.looking.remove(&thread);
        state.ending.remove(&thread);
        state.threads.remove(&thread);
    }

    /// Starts a worker that `prepare` may end before its first job.
    pub(crate) fn start_worker(
        self: &Arc<Self>,
        prepare: impl FnOnce(Worker) -> Option<Worker> + Send + 'static,
    ) -> io::Result<()> {
        self.spawn(&mut self.lock(), prepare)
    }

    #[cfg(test)]
    pub(crate) fn threads(&self) -> usize {
        self.lock().live()
    }
}

/// Takes a worker's thread off the list when it ends.
struct Ending<'a> {
    shared: &'a Shared,
    thread: u64,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.shared.ended(self.thread);
    }
}

impl State {
    /// Workers that take jobs.
    fn live(&self) -> usize {
        self.threads.len().saturating_sub(self.ending.len())
    }

    fn close(&mut self) {
        self.closing = true;
        for (_, bell) in &self.resting {
            bell.notify_all();
        }
    }
}
