//! A few threads with a verifier each, behind a queue that is fair between clients.

use crate::job::{Ask, Domain, Job, ProblemError, Question, StartError};
use crate::replies::{Replies, feed};
use crate::shared::{Entry, Shared};
use crate::worker::Worker;
use records::Problem;
use std::fmt;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// How long a worker beyond [`Settings::workers`] waits for a job before it ends and its verifiers'
/// memory goes back.
const IDLE: Duration = Duration::from_secs(10);

/// How a pool works.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Jobs that run at the same time, long-running ones apart. At least 1; 0 is taken as 1.
    pub workers: usize,
    /// Time after which a running job no longer keeps others from starting.
    pub slice: Duration,
    /// Jobs that run at the same time, long-running ones included: what bounds memory. At least
    /// [`workers`](Self::workers); less is taken as that. With several times as many, a new client's
    /// job starts at once however many of the others' run long.
    pub most_running: usize,
}

impl Default for Settings {
    /// A worker for each processor, slices of 100 ms, and room for four long-running jobs a worker and
    /// 16 more.
    fn default() -> Self {
        let workers = thread::available_parallelism().map_or(1, usize::from);
        Settings { workers, slice: Duration::from_millis(100), most_running: 4 * workers + 16 }
    }
}

/// One candidate to judge or observe.
#[derive(Clone, Copy, Debug)]
pub struct Task<'a> {
    /// What it answers.
    pub problem: &'a Problem,
    /// Its index, for the verdict.
    pub index: usize,
    /// The solution.
    pub solution: &'a str,
}

/// No answer came in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no answer came in time")]
pub struct TimedOut;

/// A pool of verifiers. Clones are the same pool. It ends, and its verifiers with it, when the last
/// pool, client and [`Replies`] go; the last pool or client to go waits for that.
#[derive(Clone)]
pub struct Pool {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.abandon();
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let names: Vec<_> = self.handle.shared.domains.iter().map(|entry| entry.domain.name()).collect();
        formatter.debug_struct("Pool").field("domains", &names).finish_non_exhaustive()
    }
}

/// Submits jobs; the pool's time is shared evenly between clients. Clones are the same client.
///
/// The next job to start is one of the client with the fewest running jobs. A client whose jobs run
/// long has fewer of them started the fuller the pool is, so that others always find room.
#[derive(Clone)]
pub struct Client {
    handle: Arc<ClientHandle>,
}

struct ClientHandle {
    id: u64,
    name: String,
    pool: Pool,
}

impl Drop for ClientHandle {
    fn drop(&mut self) {
        self.pool.handle.shared.release_client(self.id);
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.debug_struct("Client").field("name", &self.handle.name).finish_non_exhaustive()
    }
}

impl Pool {
    /// Starts one verifier of each domain, so that what cannot work here is known at once; the
    /// others start when they are needed.
    ///
    /// # Errors
    /// Where a domain's verifier cannot be started, or two domains have one name.
    pub fn start(domains: Vec<Arc<dyn Domain>>, settings: Settings) -> Result<Self, StartError> {
        Self::start_with(domains, settings, IDLE)
    }

    pub(crate) fn start_with(
        domains: Vec<Arc<dyn Domain>>,
        settings: Settings,
        idle: Duration,
    ) -> Result<Self, StartError> {
        for (place, domain) in domains.iter().enumerate() {
            if domains[..place].iter().any(|other| other.name() == domain.name()) {
                return Err(StartError(format!("two domains are named {}", domain.name()).into()));
            }
        }
        let workers = settings.workers.max(1);
        let most_running = settings.most_running.max(workers);
        let settings = Settings { workers, most_running, ..settings };
        let entry = |domain: Arc<dyn Domain>| Entry { fingerprint: domain.fingerprint(), domain };
        let entries = domains.into_iter().map(entry).collect();
        let shared = Arc::new(Shared::new(entries, settings, idle));
        let pool = Pool { handle: Arc::new(Handle { shared: Arc::clone(&shared) }) };
        let (tell, told) = mpsc::sync_channel(1);
        let first = move |mut worker: Worker| {
            let started = worker.start_all();
            let works = started.is_ok();
            // Who started the pool waits for this.
            let _ = tell.send(started);
            works.then_some(worker)
        };
        shared.start_worker(first).map_err(|error| StartError(Box::new(error)))?;
        let gone = || Err(StartError("the first worker ended before it was ready".into()));
        told.recv().unwrap_or_else(|_| gone())?;
        Ok(pool)
    }

    /// A new submitter, named for traces.
    pub fn client(&self, name: &str) -> Client {
        let id = self.handle.shared.add_client(name);
        Client { handle: Arc::new(ClientHandle { id, name: name.to_owned(), pool: self.clone() }) }
    }

    /// The domain of a name.
    pub fn domain(&self, name: &str) -> Option<&Arc<dyn Domain>> {
        self.handle.shared.entry(name).map(|entry| &entry.domain)
    }

    /// Looks at problems before any solution is judged.
    ///
    /// # Errors
    /// The first that no solution can be judged by: its domain says so, or is not in the pool.
    pub fn prepare<'a>(&self, problems: impl IntoIterator<Item = &'a Problem>) -> Result<(), ProblemError> {
        problems.into_iter().try_for_each(|problem| match self.domain(&problem.check.domain) {
            Some(domain) => domain.prepare(problem),
            None => {
                let message = self.handle.shared.no_domain(&problem.check.domain);
                Err(ProblemError { problem: problem.id.clone(), message })
            }
        })
    }

    /// Names what a task's verdict would hold for: the key of its job. A problem whose domain the pool
    /// lacks has a key too, under an empty fingerprint.
    pub fn key(&self, task: &Task, ask: &Ask) -> String {
        self.question(task.problem, ask).key(task.solution).0
    }

    pub(crate) fn question(&self, problem: &Problem, ask: &Ask) -> Question {
        let entry = self.handle.shared.entry(&problem.check.domain);
        Question::new(problem, ask, entry.map_or("", |entry| &entry.fingerprint))
    }

    #[cfg(test)]
    pub(crate) fn threads(&self) -> usize {
        self.handle.shared.threads()
    }
}

impl Client {
    /// The pool that it submits to.
    pub fn pool(&self) -> &Pool {
        &self.handle.pool
    }

    /// Submits jobs, which are drawn from the iterator as there is room for them: a few for each worker
    /// are in the pool at once, answers not yet taken included. The iterator is drawn on a thread of
    /// its own and may wait for something; if it panics, the answer in the next place tells.
    ///
    /// A job that the verifier fails on is tried again at once on a fresh one, and a last time when
    /// all others are answered, or nothing else of the submission waits or runs and no further job
    /// comes for a while; then its answer is the failure.
    pub fn submit(&self, jobs: impl Iterator<Item = Job> + Send + 'static) -> Replies {
        self.submit_until(jobs, None)
    }

    /// As [`submit`](Self::submit). A job that has no answer at the deadline is answered with a
    /// failure that says so, as are those drawn later; what runs is told to end.
    pub fn submit_until(
        &self,
        jobs: impl Iterator<Item = Job> + Send + 'static,
        deadline: Option<Instant>,
    ) -> Replies {
        let replies = self.open(deadline);
        feed(&replies.shared, replies.submission, jobs);
        replies
    }

    /// A submission without jobs yet.
    pub(crate) fn open(&self, deadline: Option<Instant>) -> Replies {
        let shared = Arc::clone(&self.handle.pool.handle.shared);
        let submission = shared.open(self.handle.id, deadline);
        Replies { shared, submission }
    }
}
