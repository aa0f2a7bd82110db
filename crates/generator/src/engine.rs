//! One model, many requests at once.
//!
//! The [`Engine`] runs the model in a thread of its own. Requests of any kind join the batch between
//! two tokens and leave it when they end or nobody waits for them any more (continuous batching). Between
//! two tokens a piece of one prompt is computed at most, and each job has its turn, so that a long prompt
//! keeps nobody waiting for long.

mod worker;

use crate::{Adjustments, Generator, Sampling};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};
use worker::Worker;

/// What is asked of the engine.
#[derive(Clone, Debug)]
pub struct Job {
    /// The prompt's tokens; at least one.
    pub prompt: Vec<u32>,
    /// Completions wanted.
    pub samples: usize,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// What changes their logits before.
    pub adjustments: Option<Arc<Adjustments>>,
    /// Longest completion, in tokens.
    pub max_new_tokens: usize,
    /// Seed; with `stream` and the completion's index it determines the completion.
    pub seed: u64,
    /// The first completion's random stream.
    pub stream: u64,
    /// Texts before which a completion ends.
    pub stop: Vec<String>,
    /// Whether pieces of text are wanted as they come.
    pub pieces: bool,
    /// When completions end as they are, if they have not ended by themselves.
    pub deadline: Option<Instant>,
}

/// What the engine answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Another piece of a completion's text.
    Piece {
        /// Which completion.
        index: usize,
        /// What comes after the pieces before.
        text: String,
    },
    /// A completion has ended.
    Finished(Completion),
    /// The job has failed, and why: no more events come of it.
    Failed(String),
    /// The deadline came before the first token: no more events come of it.
    Late,
}

/// A whole completion.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Completion {
    /// Which of the job's completions.
    pub index: usize,
    /// Its text, without the stop string.
    pub text: String,
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// Log-probability of each token.
    pub log_probabilities: Vec<f32>,
    /// Whether it ended by itself, not at the length limit.
    pub stopped: bool,
}

/// Why the engine takes no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// As many completions wait as may.
    #[error("{waiting} completions are waiting already; try again later")]
    Full {
        /// How many.
        waiting: usize,
    },
    /// The engine's thread has ended.
    #[error("the model is not running any more")]
    Stopped,
    /// It was told to stop.
    #[error("the service is stopping")]
    Stopping,
}

/// A job, where its events go, and whether anybody waits for them.
type Submission = (Job, Sender<Event>, Weak<()>);

/// A job's events as they come, until the last; who drops them wants no more of the job.
pub struct Events {
    receiver: Receiver<Event>,
    _listener: Arc<()>,
}

impl Events {
    /// Waits for the next event while `stops` is false; none after the last, if the engine has
    /// stopped, or once `stops` is true.
    pub fn next_unless(&self, stops: &dyn Fn() -> bool) -> Option<Event> {
        const LOOK_AGAIN: Duration = Duration::from_millis(20);
        while !stops() {
            match self.receiver.recv_timeout(LOOK_AGAIN) {
                Ok(event) => return Some(event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
        None
    }
}

impl Iterator for Events {
    type Item = Event;

    /// Waits for the next event; none after the last, or if the engine has stopped.
    fn next(&mut self) -> Option<Event> {
        self.receiver.recv().ok()
    }
}

/// A model that answers many requests at once.
pub struct Engine {
    generator: Arc<Generator>,
    jobs: Mutex<Sender<Submission>>,
    load: Arc<Load>,
    queue: usize,
    stopping: Arc<AtomicBool>,
}

/// How busy the engine is, for those who watch it.
#[derive(Debug, Default)]
pub struct Load {
    /// Completions that were asked for and have not ended.
    pub open: AtomicUsize,
    /// Sequences in the batch.
    pub active: AtomicUsize,
    /// Tokens made so far.
    pub tokens: AtomicUsize,
}

impl Engine {
    /// Starts a model with so many sequences in flight, and so many waiting besides.
    pub fn start(generator: Generator, max_sequences: usize, queue: usize) -> Self {
        let generator = Arc::new(generator);
        let load = Arc::new(Load::default());
        let (jobs, inbox) = mpsc::channel();
        let stopping = Arc::new(AtomicBool::new(false));
        let worker = Worker {
            generator: generator.clone(),
            load: load.clone(),
            max_sequences,
            stopping: stopping.clone(),
        };
        std::thread::spawn(move || {
            // Whoever waits has been told the error, and who comes later is told too.
            if let Err(error) = worker.run(&inbox) {
                for (job, events, _) in inbox {
                    worker.load.open.fetch_sub(job.samples, Ordering::Relaxed);
                    let _ = events.send(Event::Failed(error.to_string()));
                }
            }
        });
        Engine { generator, jobs: Mutex::new(jobs), load, queue: queue + max_sequences, stopping }
    }

    /// Takes no more jobs, and ends those of which no token was made yet; the others go on.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// The model.
    pub fn generator(&self) -> &Arc<Generator> {
        &self.generator
    }

    /// How busy it is.
    pub fn load(&self) -> &Load {
        &self.load
    }

    /// Takes a job.
    ///
    /// # Errors
    /// Where too much is waiting, or the engine has stopped or is about to.
    pub fn submit(&self, job: Job) -> Result<Events, Refused> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err(Refused::Stopping);
        }
        let waiting = self.load.open.load(Ordering::Relaxed);
        if waiting > 0 && waiting + job.samples > self.queue {
            return Err(Refused::Full { waiting });
        }
        self.load.open.fetch_add(job.samples, Ordering::Relaxed);
        let (events, receiver) = mpsc::channel();
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let listener = Arc::new(());
        jobs.send((job, events, Arc::downgrade(&listener))).map_err(|_| Refused::Stopped)?;
        Ok(Events { receiver, _listener: listener })
    }
}

#[cfg(test)]
mod tests;
