//! Answers as they come, and the thread that draws jobs.

use crate::job::{Failure, Job, Reply};
use crate::pool::TimedOut;
use crate::shared::Shared;
use crate::worker::panic_message;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// The answers to submitted jobs as they come, in any order, each with its job's place. Dropping
/// this cancels what has not been answered, and waits for nothing.
///
/// A pool works on until the last answer has been taken, even if the pool's and the client's own
/// handles have gone.
#[derive(Debug)]
pub struct Replies {
    pub(crate) shared: Arc<Shared>,
    pub(crate) submission: u64,
}

impl Replies {
    /// As [`next`](Iterator::next), but waits no longer than this. `Ok(None)` once all is answered.
    ///
    /// # Errors
    /// Where no answer came in time; more may come.
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<<Self as Iterator>::Item>, TimedOut> {
        self.shared.next_answer(self.submission, Instant::now().checked_add(timeout))
    }

    /// Gives up what has not been answered: no further job is drawn, and running ones are told to end.
    /// Answers that were there before can still be taken; then there are no more.
    pub fn cancel(&self) {
        self.shared.cancel(self.submission);
    }
}

impl Iterator for Replies {
    type Item = (usize, Result<Reply, Failure>);

    /// Waits for the next answer. None once every job is answered, or after
    /// [`cancel`](Replies::cancel).
    fn next(&mut self) -> Option<Self::Item> {
        // Without a time to wait until, none can pass.
        self.shared.next_answer(self.submission, None).unwrap_or_default()
    }
}

impl Drop for Replies {
    fn drop(&mut self) {
        self.shared.close(self.submission);
    }
}

/// Draws jobs on a thread of its own, so that an iterator that waits for something holds up nobody.
pub(crate) fn feed(shared: &Arc<Shared>, submission: u64, jobs: impl Iterator<Item = Job> + Send + 'static) {
    let feeder = Arc::clone(shared);
    let draw = move || {
        let mut jobs = jobs;
        while feeder.wait_for_room(submission) {
            let Some(job) = jobs.next() else { return };
            feeder.push(submission, job, None);
        }
    };
    let feeder = Arc::clone(shared);
    let thread = move || {
        // The iterator is the client's: if it panics, that client is told.
        let drawn = catch_unwind(AssertUnwindSafe(draw));
        let panicked = |panic: Box<dyn std::any::Any + Send>| {
            Failure(format!("drawing the next job panicked: {}", panic_message(&*panic)))
        };
        feeder.end_of_jobs(submission, drawn.err().map(panicked));
    };
    if let Err(error) = thread::Builder::new().name("verify-feeder".to_owned()).spawn(thread) {
        let failure = Failure(format!("cannot start a thread that draws jobs: {error}"));
        shared.end_of_jobs(submission, Some(failure));
    }
}
