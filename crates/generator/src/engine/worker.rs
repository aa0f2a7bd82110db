//! The engine's thread: which jobs are under way, and what happens between two tokens.

use super::{Completion, Event, Job, Load, Refused, Submission};
use crate::Generator;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::sync::{Arc, Weak};
use std::time::Instant;
use transformer::decode::{Admission, Decode, Sample};

/// Tokens at a text's end in which a stop string is looked for, besides one for each of its bytes.
const TAIL: usize = 16;

/// What the engine's thread has.
pub(super) struct Worker {
    pub(super) generator: Arc<Generator>,
    pub(super) load: Arc<Load>,
    pub(super) max_sequences: usize,
    pub(super) stopping: Arc<AtomicBool>,
}

/// A job under way.
struct Live {
    job: Job,
    events: Sender<Event>,
    /// Completions that have not ended.
    open: usize,
    /// Whether any of its completions has a token.
    has_begun: bool,
    /// Bytes of each completion's text that were sent.
    sent: HashMap<usize, usize>,
    /// Whether anybody listens.
    listener: Weak<()>,
}

/// The jobs under way.
struct Batch<'d> {
    decoder: Box<dyn Decode + 'd>,
    live: HashMap<usize, Live>,
    /// Completions that are not in flight: job and index.
    waiting: VecDeque<(usize, usize)>,
    /// Number of the next job.
    next: usize,
}

impl Worker {
    /// Works until no more jobs can come.
    ///
    /// # Errors
    /// Where the device fails; the jobs that waited have been told.
    pub(super) fn run(&self, inbox: &Receiver<Submission>) -> Result<(), transformer::Error> {
        // The model is the engine's from here on.
        let mut reader = self.generator.reader();
        let mut batch =
            Batch { decoder: reader.decoder()?, live: HashMap::new(), waiting: VecDeque::new(), next: 0 };
        while batch.take_jobs(inbox) {
            self.drop_abandoned(&mut batch);
            self.end_late(&mut batch);
            self.admit(&mut batch);
            self.fail_broken(&mut batch);
            let stops = |sample: &Sample| self.stops(&batch.live, sample);
            for sample in batch.decoder.take_finished(&stops) {
                self.finish(&mut batch.live, sample);
            }
            self.send_pieces(&mut batch);
            let active = batch.decoder.active();
            self.load.tokens.fetch_add(active, Ordering::Relaxed);
            self.load.active.store(active, Ordering::Relaxed);
            if let Err(error) = batch.decoder.step() {
                // The device is of no more use: jobs that wait are told, and later ones are refused.
                let all: Vec<usize> = batch.live.keys().copied().collect();
                self.end(&mut batch, &all, &Event::Failed(error.to_string()));
                return Err(error);
            }
        }
        Ok(())
    }

    /// Computes a piece of the prompts that are waiting. A prompt that is not whole with it lets those of
    /// other jobs have their turn.
    fn admit(&self, batch: &mut Batch) {
        let room = self.max_sequences.saturating_sub(batch.decoder.active());
        let Batch { decoder, live, waiting, .. } = batch;
        let wanted = waiting.iter().take(room).map(|wanted| admission(live, *wanted));
        let wanted: Vec<Admission> = wanted.collect();
        let Some(first) = wanted.first().map(|admission| admission.request) else { return };
        match decoder.admit(&wanted, decoder.piece()) {
            Err(error) => self.end(batch, &[first], &Event::Failed(error.to_string())),
            Ok(admitted) => {
                for (request, _) in waiting.drain(..admitted.samples) {
                    live.entry(request).and_modify(|of| of.has_begun = true);
                }
                let is_begun = |request: usize| live.get(&request).is_some_and(|of| of.has_begun);
                if let Some(&(next, _)) = waiting.front().filter(|_| admitted.prompt_tokens > 0)
                    && !is_begun(next)
                {
                    let own = waiting.iter().take_while(|(request, _)| *request == next).count();
                    waiting.rotate_left(own);
                }
            }
        }
    }

    /// Ends what has no more time as it is; and what the engine, which is to stop, has not begun.
    fn end_late(&self, batch: &mut Batch) {
        let now = Instant::now();
        let is_late = |of: &Live| of.job.deadline.is_some_and(|deadline| deadline <= now);
        let late: Vec<usize> = batch.live.iter().filter(|(_, of)| is_late(of)).map(|(&at, _)| at).collect();
        for request in late {
            let samples = batch.decoder.samples().into_iter().filter(|sample| sample.request == request);
            let cut: Vec<Sample> = samples.cloned().collect();
            if cut.is_empty() && !batch.live.get(&request).is_some_and(|of| of.has_begun) {
                self.end(batch, &[request], &Event::Late);
                continue;
            }
            let never = batch.waiting.iter().filter(|(of, _)| *of == request);
            let never: Vec<Sample> = never.map(|&(request, index)| empty(request, index)).collect();
            batch.leave(&[request]);
            cut.into_iter().chain(never).for_each(|sample| self.finish(&mut batch.live, sample));
        }
        if self.stopping.load(Ordering::Relaxed) {
            let idle = batch.live.iter().filter(|(_, of)| !of.has_begun).map(|(&request, _)| request);
            let idle: Vec<usize> = idle.collect();
            self.end(batch, &idle, &Event::Failed(Refused::Stopping.to_string()));
        }
    }

    /// Ends the requests of samples that were not drawn from numbers.
    fn fail_broken(&self, batch: &mut Batch) {
        let samples = batch.decoder.samples().into_iter().filter(|sample| !sample.is_finite());
        let mut broken: Vec<usize> = samples.map(|sample| sample.request).collect();
        broken.sort_unstable();
        broken.dedup();
        if !broken.is_empty() {
            self.end(batch, &broken, &Event::Failed(transformer::Error::NotFinite.to_string()));
        }
    }

    /// Ends requests with a last event, and drops what is left of them.
    fn end(&self, batch: &mut Batch, requests: &[usize], last: &Event) {
        for of in requests.iter().filter_map(|request| batch.live.get(request)) {
            let _ = of.events.send(last.clone());
        }
        self.drop_requests(batch, requests);
    }

    fn stops(&self, live: &HashMap<usize, Live>, sample: &Sample) -> bool {
        let stop = live.get(&sample.request).map_or(&[][..], |live| live.job.stop.as_slice());
        let Some(longest) = stop.iter().map(String::len).max() else { return false };
        let tail = &sample.tokens[sample.tokens.len().saturating_sub(TAIL + longest)..];
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
        give_back(&self.load.open, 1);
        of.open -= 1;
        if of.open == 0 {
            live.remove(&sample.request);
        }
    }

    /// Sends what is new of the completions that somebody reads as they come: up to what may become
    /// a stop string, or is half a character.
    fn send_pieces(&self, batch: &mut Batch) {
        for sample in batch.decoder.samples() {
            let Some(of) = batch.live.get_mut(&sample.request) else { continue };
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

    fn drop_abandoned(&self, batch: &mut Batch) {
        let is_gone = |of: &Live| of.listener.strong_count() == 0;
        let gone = batch.live.iter().filter(|(_, of)| is_gone(of)).map(|(&request, _)| request);
        let gone: Vec<usize> = gone.collect();
        self.drop_requests(batch, &gone);
    }

    fn drop_requests(&self, batch: &mut Batch, gone: &[usize]) {
        if gone.is_empty() {
            return;
        }
        batch.leave(gone);
        for request in gone {
            let open = batch.live.remove(request).map_or(0, |of| of.open);
            give_back(&self.load.open, open);
        }
    }
}

impl Batch<'_> {
    /// Takes the jobs that have come; without work it sleeps until some do. False when none can come any
    /// more and all are done.
    fn take_jobs(&mut self, inbox: &Receiver<Submission>) -> bool {
        loop {
            let (job, events, listener) = match receive(inbox, self.live.is_empty()) {
                Ok(submission) => submission,
                Err(TryRecvError::Disconnected) if self.live.is_empty() => return false,
                // What is under way is finished first.
                Err(_) => return true,
            };
            self.waiting.extend((0..job.samples).map(|index| (self.next, index)));
            let (open, sent) = (job.samples, HashMap::new());
            self.live.insert(self.next, Live { job, events, open, has_begun: false, sent, listener });
            self.next += 1;
        }
    }

    /// Takes requests out of the decoder and the queue.
    fn leave(&mut self, requests: &[usize]) {
        self.decoder.retain(&|request| !requests.contains(&request));
        self.waiting.retain(|(request, _)| !requests.contains(request));
    }
}

fn give_back(open: &AtomicUsize, count: usize) {
    open.fetch_sub(count, Ordering::Relaxed);
}

/// A completion that never began.
fn empty(request: usize, index: usize) -> Sample {
    Sample { request, index, tokens: Vec::new(), log_probabilities: Vec::new(), stopped: false }
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
        adjustments: job.adjustments.as_ref(),
        max_new_tokens: job.max_new_tokens,
        random: (job.seed, job.stream.wrapping_add(index as u64)),
    }
}

/// How much of a text, in bytes, can be shown: what follows may be the beginning of a stop string
/// or half a character.
pub(super) fn settled(text: &str, stop: &[String]) -> usize {
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
