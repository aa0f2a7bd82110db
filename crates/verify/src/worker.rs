//! A thread with a verifier of each domain.

use crate::job::{Ask, Failure, Job, OnLongRunning, Reply, StartError, Verifier, Watch};
use crate::placement::Place;
use crate::queue::{Answer, Started};
use crate::shared::Shared;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar};
use std::time::Instant;
use tracing::field::Empty;

/// One thread's verifiers. Made, used and dropped on it: their processes may be bound to its life.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    /// One for each domain, in the pool's order, once it was needed.
    verifiers: Vec<Option<Box<dyn Verifier>>>,
    place: Option<Arc<Place>>,
}

impl Worker {
    /// On the thread that it is to work on.
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let verifiers = shared.domains.iter().map(|_| None).collect();
        let place = shared.processors.clone().map(|processors| Arc::new(Place::of_this_thread(processors)));
        Worker { shared, verifiers, place }
    }

    /// Starts every verifier that does not run.
    pub(crate) fn start_all(&mut self) -> Result<(), StartError> {
        self.settle();
        let started = (0..self.verifiers.len()).try_for_each(|domain| self.start(domain));
        self.rest();
        started
    }

    fn start(&mut self, domain: usize) -> Result<(), StartError> {
        if self.verifiers[domain].is_none() {
            let entry = &self.shared.domains[domain];
            let made = guarded(|| entry.domain.verifier())
                .unwrap_or_else(|panic| Err(StartError(format!("starting it panicked: {panic}").into())));
            let name = entry.domain.name();
            let named =
                |error| StartError(format!("the verifier of domain {name} does not start: {error}").into());
            self.verifiers[domain] = Some(made.map_err(named)?);
        }
        Ok(())
    }

    /// Answers jobs until there are none for long or the pool ends.
    pub(crate) fn work(&mut self, thread: u64) {
        let bell = Arc::new(Condvar::new());
        while let Some(started) = self.shared.next_job(thread, &bell) {
            self.answer(thread, started);
        }
    }

    fn answer(&mut self, thread: u64, mut started: Started) {
        let span = tracing::debug_span!("job", client = %started.client, problem = %started.job.problem.id,
            key = Empty, outcome = Empty, milliseconds = Empty);
        let _entered = span.enter();
        let begin = Instant::now();
        let answer = self.verify(&mut started, &span);
        let milliseconds = begin.elapsed().as_secs_f64() * 1e3;
        let outcome = describe(&answer);
        span.record("outcome", outcome).record("milliseconds", milliseconds);
        match &answer {
            Ok(_) => tracing::debug!(outcome, milliseconds, "answered"),
            Err(_) if self.watch(&started).is_cancelled() => tracing::debug!(milliseconds, "cancelled"),
            Err(failure) if started.last_try => tracing::warn!(%failure, milliseconds, "given up"),
            Err(failure) => tracing::warn!(%failure, milliseconds, "put off for a last try"),
        }
        self.shared.finish(thread, started, answer);
    }

    fn verify(&mut self, started: &mut Started, span: &tracing::Span) -> Answer {
        let name = &started.job.problem.check.domain;
        let Some(domain) = self.shared.domains.iter().position(|entry| entry.domain.name() == name) else {
            started.last_try = true;
            return Err(Failure(self.shared.no_domain(name)));
        };
        let key = match started.key.take() {
            Some(key) => key,
            None => started.job.key(&self.shared.domains[domain].fingerprint),
        };
        span.record("key", tracing::field::display(&key));
        self.settle();
        let watch = self.watch(started);
        let mut answer = self.attempt(domain, &started.job, &watch);
        if let Err(failure) = &answer
            && !started.last_try
            && !watch.is_cancelled()
        {
            tracing::warn!(%failure, "retry on a fresh verifier");
            answer = self.attempt(domain, &started.job, &watch);
        }
        self.rest();
        if let Ok(Reply::Verdict(verdict)) = &mut answer {
            verdict.problem.clone_from(&started.job.problem.id);
            verdict.fingerprint.clone_from(&key.0);
        }
        started.key = Some(key);
        answer
    }

    fn watch(&self, started: &Started) -> Watch {
        let on_long_running =
            GiveWay { shared: Arc::clone(&self.shared), run: started.run, place: self.place.clone() };
        Watch {
            cancelled: Arc::clone(&started.cancelled),
            long_running: Arc::default(),
            deadline: started.deadline,
            slice: self.shared.settings.slice / started.haste,
            on_long_running: Arc::new(on_long_running),
        }
    }

    /// Runs a job once. A verifier that failed is dropped.
    fn attempt(&mut self, domain: usize, job: &Job, watch: &Watch) -> Answer {
        let span = tracing::debug_span!("attempt", domain = %job.problem.check.domain);
        let _entered = span.enter();
        self.start(domain).map_err(|error| Failure(error.to_string()))?;
        if let Some(place) = &self.place {
            place.remember(&self.processes());
        }
        let Some(verifier) = &mut self.verifiers[domain] else {
            return Err(Failure("the verifier has gone".to_owned()));
        };
        let answer = guarded(|| verifier.run(job, watch))
            .unwrap_or_else(|panic| Err(Failure(format!("the verifier panicked: {panic}"))))
            .and_then(|reply| if watch.is_cancelled() { Ok(reply) } else { fitting(job, reply) });
        if answer.is_err() {
            discard(self.verifiers[domain].take());
        }
        answer
    }

    fn processes(&self) -> Vec<u32> {
        let ids = || self.verifiers.iter().flatten().flat_map(|verifier| verifier.processes()).collect();
        guarded(ids).unwrap_or_default()
    }

    fn settle(&self) {
        if let Some(place) = &self.place {
            place.settle(&self.processes());
        }
    }

    fn rest(&self) {
        if let Some(place) = &self.place {
            place.rest();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.verifiers.drain(..).for_each(discard);
    }
}

/// A job that outruns its slice no longer counts against the workers, and leaves its processor.
#[derive(Debug)]
struct GiveWay {
    shared: Arc<Shared>,
    run: u64,
    place: Option<Arc<Place>>,
}

impl OnLongRunning for GiveWay {
    fn release(&self) {
        tracing::debug!("long running");
        if let Some(place) = &self.place {
            place.spread();
        }
        self.shared.give_way(self.run);
    }
}

/// Answers to what was not asked are failures of the verifier.
fn fitting(job: &Job, reply: Reply) -> Answer {
    match (&job.ask, reply) {
        (Ask::Judge | Ask::JudgeVisible, Reply::Verdict(verdict)) => Ok(Reply::Verdict(verdict)),
        (Ask::Observe(inputs), Reply::Observations(seen)) if seen.len() == inputs.len() => {
            Ok(Reply::Observations(seen))
        }
        (Ask::Observe(inputs), Reply::Observations(seen)) => {
            Err(Failure(format!("expected {} observations, found {}", inputs.len(), seen.len())))
        }
        (Ask::Observe(_), Reply::Verdict(_)) => {
            Err(Failure("expected observations, found a verdict".to_owned()))
        }
        (_, Reply::Observations(_)) => Err(Failure("expected a verdict, found observations".to_owned())),
    }
}

fn describe(answer: &Answer) -> &'static str {
    match answer {
        Ok(Reply::Verdict(verdict)) => verdict.outcome.name(),
        Ok(Reply::Observations(_)) => "observed",
        Err(_) => "failure",
    }
}

/// Runs a domain's code. A panic becomes its message; what panicked is not used again, or is only
/// dropped.
fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| panic_message(&*panic))
}

fn discard(verifier: Option<Box<dyn Verifier>>) {
    if let Err(panic) = guarded(|| drop(verifier)) {
        tracing::warn!(panic, "dropping a verifier panicked");
    }
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
