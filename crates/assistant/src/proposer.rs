//! Who suggests programs.

use crate::Settings;
use anyhow::Result;
use generator::Engine;
use generator::engine::{Event, Job};
use problems::prompt::PromptTests;
use records::{Candidate, Problem};

/// Something that suggests programs for a problem.
pub trait Proposer: Send + Sync {
    /// Its name, for records.
    fn name(&self) -> String;

    /// Suggests up to `settings.candidates` programs; `on_candidate` takes each as it is finished.
    /// Once `stops` is true it ends soon.
    ///
    /// # Errors
    /// Where it cannot go on; what it gave before is good.
    fn propose(
        &self,
        problem: &Problem,
        settings: &Settings,
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
        stops: &dyn Fn() -> bool,
        on_candidate: &mut dyn FnMut(Candidate),
    ) -> Result<()> {
        let generator = self.generator();
        let prompt = generator.prompt(problem, PromptTests::All)?;
        let job = Job {
            prompt: generator.tokenizer.encode(&prompt),
            samples: settings.candidates,
            sampling: settings.sampling,
            max_new_tokens: settings.max_new_tokens,
            seed: settings.seed,
            stream: 0,
            stop: generator.stop_strings(),
            pieces: false,
        };
        for event in self.submit(job)? {
            if let Event::Finished(completion) = event {
                on_candidate(generator.candidate(problem, completion, settings.seed));
            }
            if stops() {
                break;
            }
        }
        Ok(())
    }
}
