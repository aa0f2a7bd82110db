//! What a critic says of candidates while others are written.

use anyhow::{Result, ensure};
use critic::{Critic, Question};
use generator::Generator;
use problems::prompt::PromptTests;
use records::Problem;
use std::sync::Arc;

/// Programs that are scored at once: between two such groups the model that writes gets its turn, and who
/// wants to stop is heard.
const GROUP: usize = 8;

/// A critic that reads programs as it learned to: after the prompt that their model is asked with.
#[derive(Clone)]
pub struct Scorer {
    critic: Arc<Critic>,
    /// Whose prompts they are.
    generator: Arc<Generator>,
}

impl std::fmt::Debug for Scorer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(formatter, "Scorer of {}", self.generator.name)
    }
}

impl Scorer {
    /// A critic of the candidates of this model.
    pub fn new(critic: Arc<Critic>, generator: Arc<Generator>) -> Self {
        Scorer { critic, generator }
    }

    /// Probability of passing, for each program of a problem; as many as there were before `stops` was true.
    ///
    /// # Errors
    /// Where the prompt cannot be made, or the device fails.
    pub fn score(
        &self,
        problem: &Problem,
        programs: &[String],
        stops: &dyn Fn() -> bool,
    ) -> Result<Vec<f64>> {
        let prompt = self.generator.prompt_unless(stops, &problem.shown, PromptTests::Visible)?;
        let mut scores = Vec::with_capacity(programs.len());
        for group in programs.chunks(GROUP) {
            if stops() {
                break;
            }
            let question = Question { prompt: prompt.clone(), programs: group.to_vec() };
            scores.extend(self.critic.score(&[question])?.into_iter().flatten());
        }
        ensure!(scores.iter().all(|score| score.is_finite()), "the critic's scores are not numbers");
        Ok(scores)
    }
}
