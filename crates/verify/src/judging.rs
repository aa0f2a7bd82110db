//! Tasks that come one after another, judged while more are still made.

use crate::batch::verdict;
use crate::job::{Ask, Job, JobKey, Question};
use crate::pool::{Client, Task, TimedOut};
use crate::queue::Answer;
use crate::replies::Replies;
use records::{Problem, Verdict};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Verdicts under way. Dropping it gives up what has no verdict yet.
pub struct Judging<'a> {
    client: Client,
    /// Problems by their addresses, with what is asked of them.
    problems: HashMap<*const Problem, (Question, Arc<Problem>)>,
    /// The place of each key's job in the submission.
    places: HashMap<JobKey, usize>,
    /// Every task's problem, index and key, in the order in which they came.
    tasks: Vec<(&'a Problem, usize, JobKey)>,
    jobs: Option<Sender<Job>>,
    answers: Option<JoinHandle<HashMap<usize, Answer>>>,
    is_given_up: Arc<AtomicBool>,
}

/// How often it is seen whether anybody still waits for the answers.
const LOOKING_UP: Duration = Duration::from_millis(50);

impl Client {
    /// Judges tasks that are still to come, as [`judge_all`](Self::judge_all) does those that are there.
    pub fn judging<'a>(&self) -> Judging<'a> {
        let (jobs, coming) = channel();
        let replies = self.submit(coming.into_iter());
        let is_given_up = Arc::new(AtomicBool::new(false));
        let given_up = Arc::clone(&is_given_up);
        Judging {
            client: self.clone(),
            problems: HashMap::new(),
            places: HashMap::new(),
            tasks: Vec::new(),
            jobs: Some(jobs),
            // A pool has room for few answers that nobody has taken: they are taken as they come.
            answers: Some(std::thread::spawn(move || collect(replies, &given_up))),
            is_given_up,
        }
    }
}

/// All answers by their jobs' places, or those until nobody waits for them any more.
fn collect(mut replies: Replies, is_given_up: &AtomicBool) -> HashMap<usize, Answer> {
    let mut answers = HashMap::new();
    while !is_given_up.load(Ordering::Relaxed) {
        match replies.next_timeout(LOOKING_UP) {
            Ok(Some((place, answer))) => {
                answers.insert(place, answer);
            }
            Ok(None) => break,
            Err(TimedOut) => {}
        }
    }
    answers
}

impl<'a> Judging<'a> {
    /// Adds a solution of a problem, which may run at once. Equal solutions of one problem are run once.
    pub fn add(&mut self, problem: &'a Problem, index: usize, solution: &str) {
        let client = &self.client;
        let (question, shared) = self
            .problems
            .entry(std::ptr::from_ref(problem))
            .or_insert_with(|| (client.pool().question(problem, &Ask::Judge), Arc::new(problem.clone())));
        let key = question.key(solution);
        let next = self.places.len();
        if let (Entry::Vacant(place), Some(jobs)) = (self.places.entry(key.clone()), &self.jobs) {
            place.insert(next);
            // The other end goes only with the pool, and then there is no answer.
            let _ =
                jobs.send(Job { problem: Arc::clone(shared), solution: solution.into(), ask: Ask::Judge });
        }
        self.tasks.push((problem, index, key));
    }

    /// Waits for all that is left; the verdicts in the order of their tasks. A task without an answer has
    /// [`records::Outcome::Infrastructure`].
    pub fn finish(mut self) -> Vec<Verdict> {
        self.jobs = None;
        let answers = self.answers.take().and_then(|answers| answers.join().ok()).unwrap_or_default();
        let of = |(problem, index, key): &(&Problem, usize, JobKey)| {
            let task = Task { problem, index: *index, solution: "" };
            match self.places.get(key).and_then(|place| answers.get(place)) {
                Some(answer) => verdict(&task, key, answer),
                None => Verdict::infrastructure(&problem.id, *index, "the verifier ended without an answer"),
            }
        };
        self.tasks.iter().map(of).collect()
    }
}

impl Drop for Judging<'_> {
    fn drop(&mut self) {
        self.is_given_up.store(true, Ordering::Relaxed);
    }
}
