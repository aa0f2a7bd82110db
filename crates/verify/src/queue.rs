//! What waits, what runs, and what starts next. No thread, no lock and no clock: the callers hold the
//! lock and tell the time.

use crate::job::{Failure, Job, JobKey, Reply};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar};
use std::time::{Duration, Instant};

/// What a job came to.
pub(crate) type Answer = Result<Reply, Failure>;

/// Jobs of one submission in the pool at once (waiting, running, or answered and not yet taken), for
/// each worker: enough that none is ever without work while the submitter handles an answer.
const WINDOW_PER_WORKER: usize = 4;

/// How much a client's slice shrinks at most.
const SHORTEST_SLICE: u32 = 4;

/// How long a submission that may still get jobs is quiet before failed ones are tried a last time.
const GRACE: Duration = Duration::from_millis(100);

pub(crate) fn deadline_passed() -> Failure {
    Failure("deadline passed".to_owned())
}

/// A job that waits for a worker.
struct Waiting {
    submission: u64,
    place: usize,
    job: Job,
    key: Option<JobKey>,
    last_try: bool,
}

/// A job that a worker has taken. It goes back by [`Queue::finish`].
pub(crate) struct Started {
    /// Names the run to [`Queue::give_way`].
    pub(crate) run: u64,
    /// The client's name, for traces.
    pub(crate) client: Arc<str>,
    pub(crate) job: Job,
    pub(crate) key: Option<JobKey>,
    /// Whether a failure is final.
    pub(crate) last_try: bool,
    /// Set once nobody waits for the answer.
    pub(crate) cancelled: Arc<AtomicBool>,
    pub(crate) deadline: Option<Instant>,
    /// What the slice is divided by.
    pub(crate) haste: u32,
    submission: u64,
    place: usize,
}

/// A run as the queue counts it.
struct Run {
    client: u64,
    hot: bool,
}

struct Client {
    name: Arc<str>,
    waiting: VecDeque<Waiting>,
    running: usize,
    long_running: usize,
    /// When it was last served, in turns.
    served: u64,
    /// Its handle and its submissions: without any it goes once nothing of it runs.
    holders: usize,
}

impl Client {
    fn is_active(&self) -> bool {
        self.running > 0 || !self.waiting.is_empty()
    }
}

struct Submission {
    client: u64,
    deadline: Option<Instant>,
    answers: VecDeque<(usize, Answer)>,
    waiting: usize,
    running: HashMap<usize, Arc<AtomicBool>>,
    /// Failed twice; tried a last time when nothing else of the submission waits or runs.
    postponed: VecDeque<Waiting>,
    /// When the last of its runs ended.
    quiet_since: Instant,
    next_place: usize,
    all_pushed: bool,
    cancelled: bool,
    changed: Arc<Condvar>,
}

impl Submission {
    fn answer(&mut self, place: usize, answer: Answer) {
        self.answers.push_back((place, answer));
        self.changed.notify_all();
    }

    fn unanswered(&self) -> usize {
        self.waiting + self.running.len() + self.postponed.len()
    }

    /// Until when failed jobs wait for further ones, where nothing but them is left.
    fn grace(&self) -> Option<Instant> {
        let only_postponed = self.waiting == 0 && self.running.is_empty() && !self.postponed.is_empty();
        only_postponed.then(|| self.quiet_since + GRACE)
    }

    fn is_expired(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|at| at <= now)
    }
}

/// Whether a submission takes another job.
pub(crate) enum Room {
    Free,
    /// Wait for this to be told of a change.
    Full(Arc<Condvar>),
    /// It was cancelled or dropped.
    Closed,
}

/// What a submission has for its taker.
pub(crate) enum Poll {
    Answer(usize, Answer),
    Ended,
    /// Wait for the condition, or until the time, then ask again.
    Wait(Arc<Condvar>, Option<Instant>),
}

/// All clients' jobs.
pub(crate) struct Queue {
    workers: usize,
    most_running: usize,
    clients: BTreeMap<u64, Client>,
    submissions: BTreeMap<u64, Submission>,
    runs: HashMap<u64, Run>,
    /// How many of the runs have not given way.
    hot: usize,
    turn: u64,
    next_id: u64,
}

impl Queue {
    /// For at least one worker.
    pub(crate) fn new(workers: usize, most_running: usize) -> Self {
        Queue {
            workers,
            most_running,
            clients: BTreeMap::new(),
            submissions: BTreeMap::new(),
            runs: HashMap::new(),
            hot: 0,
            turn: 0,
            next_id: 0,
        }
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Whether any submission is open.
    pub(crate) fn has_submissions(&self) -> bool {
        !self.submissions.is_empty()
    }

    pub(crate) fn add_client(&mut self, name: &str) -> u64 {
        let id = self.new_id();
        let client = Client {
            name: name.into(),
            waiting: VecDeque::new(),
            running: 0,
            long_running: 0,
            served: 0,
            holders: 1,
        };
        self.clients.insert(id, client);
        id
    }

    /// A client's handle or submission has gone.
    pub(crate) fn release_client(&mut self, id: u64) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.holders -= 1;
        }
        self.forget_client(id);
    }

    fn forget_client(&mut self, id: u64) {
        if self.clients.get(&id).is_some_and(|client| client.holders == 0 && client.running == 0) {
            self.clients.remove(&id);
        }
    }

    pub(crate) fn open(&mut self, client: u64, deadline: Option<Instant>, now: Instant) -> u64 {
        let id = self.new_id();
        if let Some(client) = self.clients.get_mut(&client) {
            client.holders += 1;
        }
        let submission = Submission {
            client,
            deadline,
            answers: VecDeque::new(),
            waiting: 0,
            running: HashMap::new(),
            postponed: VecDeque::new(),
            quiet_since: now,
            next_place: 0,
            all_pushed: false,
            cancelled: false,
            changed: Arc::default(),
        };
        self.submissions.insert(id, submission);
        id
    }

    fn is_full(&self, open: &Submission) -> bool {
        open.unanswered() + open.answers.len() >= self.workers * WINDOW_PER_WORKER
    }

    pub(crate) fn room(&self, submission: u64) -> Room {
        match self.submissions.get(&submission) {
            Some(open) if !open.cancelled => {
                if self.is_full(open) {
                    Room::Full(Arc::clone(&open.changed))
                } else {
                    Room::Free
                }
            }
            _ => Room::Closed,
        }
    }

    /// Adds a job, at the next place. The caller has looked whether there is room.
    pub(crate) fn push(&mut self, id: u64, job: Job, key: Option<JobKey>, now: Instant) {
        let Some(submission) = self.submissions.get_mut(&id).filter(|open| !open.cancelled) else { return };
        let place = submission.next_place;
        submission.next_place += 1;
        if submission.is_expired(now) {
            submission.answer(place, Err(deadline_passed()));
        } else if let Some(client) = self.clients.get_mut(&submission.client) {
            submission.waiting += 1;
            client.waiting.push_back(Waiting { submission: id, place, job, key, last_try: false });
        }
    }

    /// No more jobs come; `failure` tells why, where they should have.
    pub(crate) fn end_of_jobs(&mut self, id: u64, failure: Option<Failure>) {
        let Some(submission) = self.submissions.get_mut(&id).filter(|open| !open.cancelled) else { return };
        if let Some(failure) = failure {
            let place = submission.next_place;
            submission.answer(place, Err(failure));
        }
        submission.all_pushed = true;
        submission.changed.notify_all();
        self.try_postponed(id, false);
    }

    /// Whose job starts next: the client with the fewest running jobs, of several the one least
    /// recently served.
    fn next_client(&self) -> Option<u64> {
        let running = self.runs.len();
        if self.hot >= self.workers || running >= self.most_running {
            return None;
        }
        let active = self.clients.values().filter(|client| client.is_active()).count();
        let may_start = |client: &Client| {
            // The fuller the pool, the fewer jobs a client may add, so that whoever comes next finds
            // room however many of the others' jobs run long: the last quarter is for clients that
            // have nothing running, and one client alone takes no more than half.
            let share = |part: usize| part.max(self.workers);
            match client.running {
                0 => true,
                count if count < self.workers => running < share(self.most_running - self.most_running / 4),
                _ => active == 1 && running < share(self.most_running / 2),
            }
        };
        let waiting = self.clients.iter().filter(|(_, client)| !client.waiting.is_empty());
        let eligible = waiting.filter(|(_, client)| may_start(client));
        eligible.min_by_key(|(_, client)| (client.running, client.served)).map(|(&id, _)| id)
    }

    /// Whether [`take`](Self::take) may find a job.
    pub(crate) fn can_start(&self) -> bool {
        self.next_client().is_some()
    }

    /// The job that starts next, if any may.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Started> {
        loop {
            let client_id = self.next_client()?;
            let run = self.new_id();
            let client = self.clients.get_mut(&client_id)?;
            let waiting = client.waiting.pop_front()?;
            // What waits goes when its submission goes: there is one.
            let submission = self.submissions.get_mut(&waiting.submission)?;
            submission.waiting -= 1;
            if submission.is_expired(now) {
                submission.answer(waiting.place, Err(deadline_passed()));
                continue;
            }
            let cancelled = Arc::new(AtomicBool::new(false));
            submission.running.insert(waiting.place, Arc::clone(&cancelled));
            self.turn += 1;
            client.served = self.turn;
            client.running += 1;
            self.hot += 1;
            self.runs.insert(run, Run { client: client_id, hot: true });
            return Some(Started {
                run,
                client: Arc::clone(&client.name),
                job: waiting.job,
                key: waiting.key,
                last_try: waiting.last_try,
                cancelled,
                deadline: submission.deadline,
                haste: u32::try_from(client.long_running + 1)
                    .map_or(SHORTEST_SLICE, |n| n.min(SHORTEST_SLICE)),
                submission: waiting.submission,
                place: waiting.place,
            });
        }
    }

    /// A job has outrun its slice: it no longer counts as hot. Nothing changes if it has ended.
    pub(crate) fn give_way(&mut self, run: u64) {
        let Some(run) = self.runs.get_mut(&run).filter(|run| run.hot) else { return };
        run.hot = false;
        self.hot -= 1;
        if let Some(client) = self.clients.get_mut(&run.client) {
            client.long_running += 1;
        }
    }

    /// A worker has done with a job. A failure is put off for a last try, unless this was it.
    pub(crate) fn finish(&mut self, started: Started, answer: Answer, now: Instant) {
        let Some(run) = self.runs.remove(&started.run) else { return };
        self.hot -= usize::from(run.hot);
        if let Some(client) = self.clients.get_mut(&run.client) {
            client.running -= 1;
            client.long_running -= usize::from(!run.hot);
        }
        self.forget_client(run.client);
        let Some(submission) = self.submissions.get_mut(&started.submission) else { return };
        if submission.running.remove(&started.place).is_none() {
            return; // Cancelled or expired meanwhile.
        }
        let Started { submission: id, place, job, key, last_try, .. } = started;
        if submission.is_expired(now) {
            // The verifier may have seen that and answered anything.
            submission.answer(place, Err(deadline_passed()));
        } else if answer.is_err() && !last_try {
            submission.postponed.push_back(Waiting { submission: id, place, job, key, last_try: true });
        } else {
            submission.answer(place, answer);
        }
        submission.quiet_since = now;
        submission.changed.notify_all();
        self.try_postponed(id, false);
    }

    /// Puts a failed job up for its last try if nothing else of its submission waits or runs, and
    /// nothing more can come for now, or has come for a while.
    fn try_postponed(&mut self, id: u64, grace_is_over: bool) {
        let Some(submission) = self.submissions.get(&id) else { return };
        let quiet = submission.waiting == 0 && submission.running.is_empty();
        let last = submission.all_pushed || self.is_full(submission);
        if !(quiet && (last || grace_is_over)) {
            return;
        }
        let Some(submission) = self.submissions.get_mut(&id) else { return };
        let Some(client) = self.clients.get_mut(&submission.client) else { return };
        if let Some(waiting) = submission.postponed.pop_front() {
            submission.waiting += 1;
            client.waiting.push_back(waiting);
        }
    }

    /// An answer, if there is one.
    pub(crate) fn poll(&mut self, id: u64, now: Instant) -> Poll {
        if self.submissions.get(&id).is_some_and(|open| open.answers.is_empty() && open.is_expired(now)) {
            for place in self.withdraw(id) {
                if let Some(submission) = self.submissions.get_mut(&id) {
                    submission.answer(place, Err(deadline_passed()));
                }
            }
        }
        self.end_grace(id, now);
        let Some(submission) = self.submissions.get_mut(&id) else { return Poll::Ended };
        if let Some((place, answer)) = submission.answers.pop_front() {
            submission.changed.notify_all();
            return Poll::Answer(place, answer);
        }
        let unanswered = submission.unanswered();
        if submission.cancelled || submission.all_pushed && unanswered == 0 {
            return Poll::Ended;
        }
        let deadline = submission.deadline.filter(|_| unanswered > 0);
        let until = deadline.into_iter().chain(submission.grace()).min();
        Poll::Wait(Arc::clone(&submission.changed), until)
    }

    /// An iterator may wait for an answer before it gives the next job: the last tries do not wait for
    /// its end for ever.
    fn end_grace(&mut self, id: u64, now: Instant) {
        let grace = self.submissions.get(&id).and_then(Submission::grace);
        if grace.is_some_and(|end| end <= now) {
            self.try_postponed(id, true);
        }
    }

    /// Takes back whatever has no answer and stops what runs of it; gives the places.
    fn withdraw(&mut self, id: u64) -> Vec<usize> {
        let Some(submission) = self.submissions.get_mut(&id) else { return Vec::new() };
        let mut places: Vec<usize> = submission.postponed.drain(..).map(|waiting| waiting.place).collect();
        for (place, cancelled) in submission.running.drain() {
            cancelled.store(true, Ordering::Relaxed);
            places.push(place);
        }
        if let Some(client) = self.clients.get_mut(&submission.client) {
            client.waiting.retain(|waiting| {
                let stays = waiting.submission != id;
                places.extend((!stays).then_some(waiting.place));
                stays
            });
        }
        submission.waiting = 0;
        places.sort_unstable();
        places
    }

    /// Nobody waits for what has no answer yet.
    pub(crate) fn cancel(&mut self, id: u64) {
        self.withdraw(id);
        if let Some(submission) = self.submissions.get_mut(&id) {
            submission.cancelled = true;
            submission.changed.notify_all();
        }
    }

    /// Nobody takes answers any more.
    pub(crate) fn close(&mut self, id: u64) {
        self.cancel(id);
        if let Some(submission) = self.submissions.remove(&id) {
            self.release_client(submission.client);
        }
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
