//! Who suggests programs.

use crate::Settings;
use anyhow::{Result, anyhow};
use generator::engine::{Event, Job};
use generator::{Engine, Extract};
use records::{Candidate, Problem};
use std::sync::Arc;

/// Tokens that an answer must have room for.
const LEAST_ROOM: usize = 32;

/// Candidates that are asked for first.
const FIRST_WAVE: usize = 16;

/// A question that leaves no room for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the question has {tokens} tokens, of {context} that the model takes: shorten it")]
pub struct TooLong {
    /// Tokens of the question.
    pub tokens: usize,
    /// Tokens that the model can take with its answer.
    pub context: usize,
}

/// Something that suggests programs for a problem.
pub trait Proposer: Send + Sync {
    /// Its name, for records.
    fn name(&self) -> String;

    /// Suggests up to `settings.candidates` programs, found in what a model writes by `extract`;
    /// `on_candidate` takes each as it is finished. Once `stops` is true it ends soon.
    ///
    /// # Errors
    /// Where it cannot go on; what it gave before is good.
    fn propose(
        &self,
        problem: &Problem,
        settings: &Settings,
        extract: &Extract,
        stops: &dyn Fn() -> bool,
        on_candidate: &mut dyn FnMut(Candidate),
    ) -> Result<()>;
}

impl Proposer for Engine {
    fn name(&self) -> String {
        self.generator().name.clone()
    }

    fn propose(
        &self,
        problem: &Problem,
        settings: &Settings,
        extract: &Extract,
        stops: &dyn Fn() -> bool,
        on_candidate: &mut dyn FnMut(Candidate),
    ) -> Result<()> {
        Asked::new(self, problem, settings, stops)?.waves(&[(self, usize::MAX)], extract, stops, on_candidate)
    }
}

/// A policy that learned to be right the first time, and the model that it is an adapter of: learning makes
/// single answers better and many of them more alike, so the policy writes the first candidates and the
/// model the others.
pub struct PolicyFirst {
    /// The policy.
    pub policy: Arc<Engine>,
    /// The model without what it learned, which is asked in the same way.
    pub base: Arc<Engine>,
    /// How many candidates of a question without tests the policy writes.
    pub candidates: usize,
    /// How many of a question with tests.
    pub candidates_with_tests: usize,
}

impl Proposer for PolicyFirst {
    fn name(&self) -> String {
        self.policy.name()
    }

    fn propose(
        &self,
        problem: &Problem,
        settings: &Settings,
        extract: &Extract,
        stops: &dyn Fn() -> bool,
        on_candidate: &mut dyn FnMut(Candidate),
    ) -> Result<()> {
        let has_tests = !problem.shown.examples.is_empty();
        let first = if has_tests { self.candidates_with_tests } else { self.candidates };
        let authors = [(&*self.policy, first), (&*self.base, usize::MAX)];
        Asked::new(&self.policy, problem, settings, stops)?.waves(&authors, extract, stops, on_candidate)
    }
}

/// A question as a model is asked.
struct Asked<'a> {
    problem: &'a Problem,
    settings: &'a Settings,
    prompt: Vec<u32>,
    stop: Vec<String>,
    /// Tokens that an answer may have.
    room: usize,
    /// Whether it answers a conversation.
    chats: bool,
}

impl<'a> Asked<'a> {
    /// # Errors
    /// Where the prompt cannot be made, or leaves no room for an answer.
    fn new(
        engine: &Engine,
        problem: &'a Problem,
        settings: &'a Settings,
        stops: &dyn Fn() -> bool,
    ) -> Result<Self> {
        let generator = engine.generator();
        let chats = generator.can_chat() && !settings.conversation.is_empty();
        let (prompt, stop) = match chats {
            true => (generator.conversation(&settings.conversation, stops)?, Vec::new()),
            false => (
                generator.prompt_unless(stops, &problem.shown, generator.shown_tests())?,
                generator.stop_strings(),
            ),
        };
        let prompt = generator.prompt_tokens(&prompt);
        let context = generator.config().max_position_embeddings;
        let room = context.saturating_sub(prompt.len());
        if room < LEAST_ROOM {
            return Err(TooLong { tokens: prompt.len(), context }.into());
        }
        Ok(Asked { problem, settings, prompt, stop, room, chats })
    }

    /// Candidates of several authors, each up to a number of candidates of the question, in waves that
    /// double: most questions are answered by the first, and while one is checked the next is written already.
    fn waves(
        &self,
        authors: &[(&Engine, usize)],
        extract: &Extract,
        stops: &dyn Fn() -> bool,
        on_candidate: &mut dyn FnMut(Candidate),
    ) -> Result<()> {
        let settings = self.settings;
        let mut wave = if settings.streaming { FIRST_WAVE } else { settings.candidates };
        let mut first = 0;
        while first < settings.candidates && !stops() {
            let Some((engine, end)) = authors.iter().find(|(_, end)| first < *end) else { break };
            // A last wave much smaller than the one before would leave the batch empty.
            let left = settings.candidates.min(*end) - first;
            let samples = if left < 2 * wave { left } else { wave };
            self.wave(engine, first, samples, extract, stops, on_candidate)?;
            first += samples;
            // One that its author cut short is not the first of a series.
            wave = if samples < wave { wave } else { 2 * wave };
        }
        Ok(())
    }

    fn wave(
        &self,
        engine: &Engine,
        first: usize,
        samples: usize,
        extract: &Extract,
        stops: &dyn Fn() -> bool,
        on_candidate: &mut dyn FnMut(Candidate),
    ) -> Result<()> {
        let settings = self.settings;
        let events = engine.submit(Job {
            prompt: self.prompt.clone(),
            samples,
            sampling: settings.sampling,
            adjustments: settings.adjustments.clone(),
            max_new_tokens: settings.max_new_tokens.min(self.room),
            seed: settings.seed,
            stream: first as u64,
            stop: self.stop.clone(),
            pieces: false,
            deadline: None,
        })?;
        while let Some(event) = events.next_unless(stops) {
            if let Event::Failed(message) = event {
                return Err(anyhow!(message));
            }
            if let Event::Finished(mut completion) = event {
                completion.index += first;
                let text = completion.text.clone();
                let generator = engine.generator();
                let mut candidate = generator.candidate(self.problem, completion, settings.seed, extract);
                if self.chats {
                    // Nothing opened a fence for it: what it says is prose with programs in it.
                    candidate.code = extract(self.problem, &text);
                }
                on_candidate(candidate);
            }
        }
        Ok(())
    }
}
