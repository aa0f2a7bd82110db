//! One model, many requests at once.
//!
//! The [`Engine`] runs the model in a thread of its own. Requests of any kind join the batch between
//! two tokens and leave it when they end or nobody waits for them any more (continuous batching).

use crate::{Generator, Sampling};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use transformer::decode::{Admission, Decode, Sample};

/// Tokens at a text's end in which a stop string is looked for.
const TAIL: usize = 16;

/// What is asked of the engine.
#[derive(Clone, Debug)]
pub struct Job {
    /// The prompt's tokens; at least one.
    pub prompt: Vec<u32>,
    /// Completions wanted.
    pub samples: usize,
    /// How tokens are drawn.
    pub sampling: Sampling,
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
        let worker = Worker { generator: generator.clone(), load: load.clone(), max_sequences };
        std::thread::spawn(move || {
            // Whoever waits has been told the error, and who comes later is told too.
            if let Err(error) = worker.run(&inbox) {
                for (job, events, _) in inbox {
                    worker.load.open.fetch_sub(job.samples, Ordering::Relaxed);
                    let _ = events.send(Event::Failed(error.to_string()));
                }
            }
        });
        Engine { generator, jobs: Mutex::new(jobs), load, queue: queue + max_sequences }
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
    /// Where too much is waiting.
    pub fn submit(&self, job: Job) -> Result<Events, Refused> {
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

/// A job under way.
struct Live {
    job: Job,
    events: Sender<Event>,
    /// Completions that have not ended.
    open: usize,
    /// Bytes of each completion's text that were sent.
    sent: HashMap<usize, usize>,
    /// Whether anybody listens.
    listener: Weak<()>,
}

struct Worker {
    generator: Arc<Generator>,
    load: Arc<Load>,
    max_sequences: usize,
}

impl Worker {
    fn run(&self, inbox: &Receiver<Submission>) -> Result<(), transformer::Error> {
        // The model is the engine's from here on.
        let mut reader = self.generator.reader();
        let mut decoder = reader.decoder()?;
        let mut live: HashMap<usize, Live> = HashMap::new();
        let mut waiting: VecDeque<(usize, usize)> = VecDeque::new();
        let mut next = 0;
        loop {
            // Without work it sleeps until some comes, and ends when none can come any more.
            loop {
                let (job, events, listener) = match receive(inbox, live.is_empty()) {
                    Ok(submission) => submission,
                    Err(TryRecvError::Disconnected) if live.is_empty() => return Ok(()),
                    // What is under way is finished first.
                    Err(_) => break,
                };
                waiting.extend((0..job.samples).map(|index| (next, index)));
                let open = job.samples;
                live.insert(next, Live { job, events, open, sent: HashMap::new(), listener });
                next += 1;
            }
            let room = self.max_sequences.saturating_sub(decoder.active());
            let wanted = waiting.iter().take(room).map(|wanted| admission(&live, *wanted));
            let wanted: Vec<Admission> = wanted.collect();
            let first = wanted.first().map(|admission| admission.request);
            match first.map(|first| (first, decoder.admit(&wanted))) {
                Some((_, Ok(admitted))) => drop(waiting.drain(..admitted)),
                Some((first, Err(error))) => {
                    self.fail(&[first], &error, &mut *decoder, &mut live, &mut waiting);
                }
                None => {}
            }
            self.fail_broken(&mut *decoder, &mut live, &mut waiting);
            for sample in decoder.take_finished(&|sample| self.stops(&live, sample)) {
                self.finish(&mut live, sample);
            }
            self.send_pieces(&*decoder, &mut live);
            self.drop_abandoned(&mut *decoder, &mut live, &mut waiting);
            self.load.tokens.fetch_add(decoder.active(), Ordering::Relaxed);
            self.load.active.store(decoder.active(), Ordering::Relaxed);
            if let Err(error) = decoder.step() {
                // The device is of no more use: whoever waits is told, who comes later is refused.
                let all: Vec<usize> = live.keys().copied().collect();
                self.fail(&all, &error, &mut *decoder, &mut live, &mut waiting);
                return Err(error);
            }
        }
    }

    /// Ends the requests of samples that were not drawn from numbers.
    fn fail_broken(
        &self,
        decoder: &mut dyn Decode,
        live: &mut HashMap<usize, Live>,
        waiting: &mut VecDeque<(usize, usize)>,
    ) {
        let samples = decoder.samples().into_iter().filter(|sample| !sample.is_finite());
        let mut broken: Vec<usize> = samples.map(|sample| sample.request).collect();
        broken.sort_unstable();
        broken.dedup();
        if !broken.is_empty() {
            self.fail(&broken, &transformer::Error::NotFinite, decoder, live, waiting);
        }
    }

    /// Tells the owners of requests why they get no more, and drops these.
    fn fail(
        &self,
        requests: &[usize],
        error: &transformer::Error,
        decoder: &mut dyn Decode,
        live: &mut HashMap<usize, Live>,
        waiting: &mut VecDeque<(usize, usize)>,
    ) {
        for of in requests.iter().filter_map(|request| live.get(request)) {
            let _ = of.events.send(Event::Failed(error.to_string()));
        }
        self.drop_requests(requests, decoder, live, waiting);
    }

    fn stops(&self, live: &HashMap<usize, Live>, sample: &Sample) -> bool {
        let stop = live.get(&sample.request).map_or(&[][..], |live| live.job.stop.as_slice());
        if stop.is_empty() {
            return false;
        }
        let tail = &sample.tokens[sample.tokens.len().saturating_sub(TAIL)..];
        let text = self.generator.tokenizer.decode(tail);
        stop.iter().any(|stop| text.contains(stop.as_str()))
    }

    fn finish(&self, live: &mut HashMap<usize, Live>, sample: Sample) {
        let Some(of) = live.get_mut(&sample.request) else { return };
        let whole = self.generator.tokenizer.decode(&sample.tokens);
        let end = of.job.stop.iter().filter_map(|stop| whole.find(stop.as_str())).min();
        let text = whole[..end.unwrap_or(whole.len())].to_owned();
        if of.job.pieces {
            let sent = of.sent.get(&sample.index).copied().unwrap_or(0);
            if let Some(rest) = text.get(sent..).filter(|rest| !rest.is_empty()) {
                let _ = of.events.send(Event::Piece { index: sample.index, text: rest.to_owned() });
            }
        }
        let _ = of.events.send(Event::Finished(Completion {
            index: sample.index,
            text,
            tokens: sample.tokens,
            log_probabilities: sample.log_probabilities,
            stopped: sample.stopped,
        }));
        self.load.open.fetch_sub(1, Ordering::Relaxed);
        of.open -= 1;
        if of.open == 0 {
            live.remove(&sample.request);
        }
    }

    /// Sends what is new of the completions that somebody reads as they come: up to what may become
    /// a stop string, or is half a character.
    fn send_pieces(&self, decoder: &dyn Decode, live: &mut HashMap<usize, Live>) {
        for sample in decoder.samples() {
            let Some(of) = live.get_mut(&sample.request) else { continue };
            if !of.job.pieces {
                continue;
            }
            let text = self.generator.tokenizer.decode(&sample.tokens);
            let end = settled(&text, &of.job.stop);
            let sent = of.sent.entry(sample.index).or_default();
            let Some(piece) = text.get(*sent..end).filter(|piece| !piece.is_empty()) else { continue };
            let event = Event::Piece { index: sample.index, text: piece.to_owned() };
            *sent = end;
            // Whoever has gone is found out by the listener.
            let _ = of.events.send(event);
        }
    }

    fn drop_abandoned(
        &self,
        decoder: &mut dyn Decode,
        live: &mut HashMap<usize, Live>,
        waiting: &mut VecDeque<(usize, usize)>,
    ) {
        let is_gone = |of: &Live| of.listener.strong_count() == 0;
        let gone: Vec<usize> =
            live.iter().filter(|(_, of)| is_gone(of)).map(|(&request, _)| request).collect();
        if gone.is_empty() {
            return;
        }
        self.drop_requests(&gone, decoder, live, waiting);
    }

    fn drop_requests(
        &self,
        gone: &[usize],
        decoder: &mut dyn Decode,
        live: &mut HashMap<usize, Live>,
        waiting: &mut VecDeque<(usize, usize)>,
    ) {
        decoder.retain(&|sample| !gone.contains(&sample.request));
        waiting.retain(|(request, _)| !gone.contains(request));
        for request in gone {
            let open = live.remove(request).map_or(0, |of| of.open);
            self.load.open.fetch_sub(open, Ordering::Relaxed);
        }
    }
}

/// The next job; blocks where there is nothing else to do.
fn receive(inbox: &Receiver<Submission>, idle: bool) -> Result<Submission, TryRecvError> {
    if idle { inbox.recv().map_err(|_| TryRecvError::Disconnected) } else { inbox.try_recv() }
}

fn admission(live: &HashMap<usize, Live>, (request, index): (usize, usize)) -> Admission<'_> {
    let job = &live[&request].job;
    Admission {
        request,
        index,
        prompt: &job.prompt,
        sampling: job.sampling,
        max_new_tokens: job.max_new_tokens,
        random: (job.seed, job.stream.wrapping_add(index as u64)),
    }
}

/// How much of a text, in bytes, can be shown: what follows may be the beginning of a stop string
/// or half a character.
fn settled(text: &str, stop: &[String]) -> usize {
    let mut end = text.trim_end_matches('\u{fffd}').len();
    for stop in stop {
        if let Some(at) = text.find(stop.as_str()) {
            end = end.min(at);
        }
        let begins =
            |length: &usize| stop.is_char_boundary(*length) && text[..end].ends_with(&stop[..*length]);
        if let Some(length) = (1..stop.len()).rev().find(begins) {
            end -= length;
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;
    use transformer::Cpu;
    use transformer::device::Device;
    use transformer::{Config, Model, Tokenizer};

    fn engine(max_sequences: usize, queue: usize) -> Engine {
        engine_of(max_sequences, queue, |_| {})
    }

    fn engine_of(max_sequences: usize, queue: usize, change: impl Fn(&mut Model)) -> Engine {
        let texts = ["def f(a, b):\n    return a + b\n", "# Add two numbers.\n"];
        let tokenizer = Tokenizer::train(texts.into_iter(), 300, &["<|endoftext|>"]).expect("a tokenizer");
        let config = Config { vocab_size: tokenizer.vocab_size(), eos_token_ids: vec![], ..Config::tiny() };
        let mut model = Model::random(config, 3);
        change(&mut model);
        let reader = Cpu::default().reader(model).expect("a reader");
        Engine::start(Generator::new(reader, tokenizer, "tiny"), max_sequences, queue)
    }

    fn job(samples: usize, seed: u64) -> Job {
        Job {
            prompt: vec![5, 6, 7],
            samples,
            sampling: Sampling { temperature: 1.0, top_p: 1.0, top_k: 0 },
            max_new_tokens: 12,
            seed,
            stream: 0,
            stop: Vec::new(),
            pieces: true,
        }
    }

    fn collect(events: Events) -> (Vec<Completion>, HashMap<usize, String>) {
        let (mut finished, mut pieces): (Vec<Completion>, HashMap<usize, String>) = Default::default();
        for event in events {
            match event {
                Event::Piece { index, text } => pieces.entry(index).or_default().push_str(&text),
                Event::Finished(completion) => finished.push(completion),
                Event::Failed(message) => panic!("{message}"),
            }
        }
        finished.sort_by_key(|completion| completion.index);
        (finished, pieces)
    }

    #[test]
    fn a_completion_depends_on_its_seed_only_and_its_pieces_make_it_up() {
        let engine = engine(3, 100);
        let alone = collect(engine.submit(job(1, 7)).expect("room")).0;
        let together: Vec<_> = (0..4).map(|at| engine.submit(job(2, 7 + at)).expect("room")).collect();
        for (at, events) in together.into_iter().enumerate() {
            let (finished, pieces) = collect(events);
            assert_eq!(finished.len(), 2);
            for completion in &finished {
                assert_eq!(completion.tokens.len(), 12);
                assert_eq!(pieces[&completion.index], completion.text);
            }
            if at == 0 {
                assert_eq!(finished[0].tokens, alone[0].tokens);
            }
        }
        assert_eq!(engine.load().open.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_model_that_computes_no_numbers_is_told_and_asked_again() {
        let engine = engine_of(4, 100, |model| {
            model.weights.tensors_mut().into_iter().last().expect("a tensor").fill(f32::NAN);
        });
        for _ in 0..2 {
            let events: Vec<Event> = engine.submit(job(3, 1)).expect("room").collect();
            let [Event::Failed(message)] = events.as_slice() else { panic!("{events:?}") };
            assert!(message.contains("not finite") && message.contains("weights"), "{message}");
        }
        // A place is given back right after the last event.
        let started = std::time::Instant::now();
        while engine.load().open.load(Ordering::Relaxed) > 0 {
            assert!(started.elapsed().as_secs() < 20, "the place is not given back");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    #[test]
    fn a_stop_string_ends_a_completion_before_it() {
        let engine = engine(4, 100);
        let whole = collect(engine.submit(job(1, 7)).expect("room")).0.remove(0);
        let stop: String = whole.text.chars().skip(3).take(2).collect();
        let wanted = whole.text.find(&stop).expect("the stop string");
        let stopped = collect(engine.submit(Job { stop: vec![stop], ..job(1, 7) }).expect("room"));
        assert_eq!(stopped.0[0].text, whole.text[..wanted]);
        assert!(stopped.0[0].stopped);
        assert_eq!(stopped.1.get(&0).map_or("", String::as_str), stopped.0[0].text);
    }

    #[test]
    fn who_waits_no_longer_gives_the_place_back() {
        let engine = engine(1, 1);
        let endless = Job { max_new_tokens: 1_000_000, ..job(2, 1) };
        let events = engine.submit(endless).expect("room");
        assert!(matches!(engine.submit(job(1, 2)), Err(Refused::Full { waiting: 2 })));
        drop(events);
        let started = std::time::Instant::now();
        while engine.submit(job(1, 2)).is_err() {
            assert!(started.elapsed().as_secs() < 20, "the place is not given back");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    #[test]
    fn nothing_of_a_stop_string_is_shown() {
        let stop = ["\n\n".to_owned(), "```".to_owned()];
        assert_eq!(settled("a\n", &stop), 1);
        assert_eq!(settled("a ``", &stop), 2);
        assert_eq!(settled("a ``` b", &stop), 2);
        assert_eq!(settled("é\u{fffd}", &stop), 2);
        assert_eq!(settled("", &stop), 0);
    }
}
