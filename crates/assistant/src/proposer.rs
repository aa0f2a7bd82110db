//! Who suggests programs.

use crate::Settings;
use anyhow::{Result, anyhow};
use generator::engine::{Event, Job};
use generator::{Engine, Extract};
use records::{Candidate, Problem};

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
        let generator = self.generator();
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
        // In waves that double: most questions are answered by the first, and while one is checked
        // the next is written already.
        let mut wave = if settings.streaming { FIRST_WAVE } else { settings.candidates };
        let mut first = 0;
        while first < settings.candidates && !stops() {
            // A last wave much smaller than the one before would leave the batch empty.
            let left = settings.candidates - first;
            let samples = if left < 2 * wave { left } else { wave };
            let events = self.submit(Job {
                prompt: prompt.clone(),
                samples,
                sampling: settings.sampling,
                max_new_tokens: settings.max_new_tokens.min(room),
                seed: settings.seed,
                stream: first as u64,
                stop: stop.clone(),
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
                    let mut candidate = generator.candidate(problem, completion, settings.seed, extract);
                    if chats {
                        // Nothing opened a fence for it: what it says is prose with programs in it.
                        candidate.code = extract(problem, &text);
                    }
                    on_candidate(candidate);
                }
            }
            first += samples;
            wave *= 2;
        }
        Ok(())
    }
}
