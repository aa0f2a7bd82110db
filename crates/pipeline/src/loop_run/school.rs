//! What the run's rankers learn from: candidates for problems that nothing is reported on and that the
//! critic did not learn from, for of the others a ranker would think that the critic is always right.

use super::{Loop, PoolName};
use crate::critic_training::HELD_OUT;
use crate::error::learning;
use crate::{Done, Result, stages};
use critic::Critic;
use generator::Request;
use records::{Candidate, Problem, Verdict};
use std::collections::HashSet;

/// Labelled candidates for some problems.
pub(super) struct Lesson {
    /// The name of their file of scores.
    pub name: &'static str,
    pub problems: Vec<Problem>,
    pub candidates: Vec<Candidate>,
    pub verdicts: Vec<Verdict>,
}

impl PoolName {
    /// The file of candidates for training problems, and the one for validation problems.
    pub(super) fn lessons(self) -> [&'static str; 2] {
        match self {
            PoolName::Before => ["critic-data-base", "ranker-data-base"],
            PoolName::After => ["critic-data", "ranker-data"],
        }
    }
}

impl Loop<'_> {
    /// Labelled candidates for the validation problems, by the generators before and after GRPO.
    pub(super) fn ranker_data(&mut self) -> Result<Done> {
        let samples = self.recipe.selection.validation_samples;
        let problems = self.problems.validation.clone();
        if samples == 0 || problems.is_empty() {
            return Ok(Done::Whole);
        }
        for pool in PoolName::ALL {
            let [_, name] = pool.lessons();
            let label = format!("rankers' examples {}", pool.words());
            if self.sample_and_judge(name, pool, &problems, samples, &label)? == Done::Interrupted {
                return Ok(Done::Interrupted);
            }
            self.check_likelihoods(name, &self.candidates(name)?)?;
        }
        Ok(Done::Whole)
    }

    /// Candidates of some problems by a pool's generator, other ones than the pool's, with their verdicts.
    pub(super) fn sample_and_judge(
        &mut self,
        name: &str,
        pool: PoolName,
        problems: &[Problem],
        samples: usize,
        label: &str,
    ) -> Result<Done> {
        // Without GRPO both pools are the same generator's: they must not be the same samples.
        let seed = self.recipe.seed + u64::from(pool == PoolName::After);
        let request = Request { samples, seed, ..self.pool_request() };
        let path = self.run.path(&format!("generated/{name}.jsonl"));
        let watch = self.context.watch;
        let generator = self.generator(pool)?;
        if stages::generate(watch, label, generator, problems, &request, &path)? == Done::Interrupted {
            return Ok(Done::Interrupted);
        }
        self.execute(name, problems, &self.candidates(name)?)
    }

    /// What a ranker for a pool may learn from.
    pub(super) fn lessons(&self, pool: PoolName) -> Result<Vec<Lesson>> {
        let text = std::fs::read_to_string(self.run.path(HELD_OUT)).unwrap_or_default();
        let held_out: HashSet<String> = serde_json::from_str(&text).unwrap_or_default();
        let [training, validation] = pool.lessons();
        let exists = |name: &str| self.run.path(&format!("verdicts/{name}.jsonl")).exists();
        let mut lessons = Vec::new();
        if !held_out.is_empty() && exists(training) {
            let is_kept = |id: &str| held_out.contains(id);
            let mut candidates = self.candidates(training)?;
            candidates.retain(|candidate| is_kept(&candidate.problem));
            let mut verdicts = self.verdicts(training)?;
            verdicts.retain(|verdict| is_kept(&verdict.problem));
            let problems = self.problems.train.iter().filter(|problem| is_kept(&problem.id));
            lessons.push(Lesson {
                name: training,
                problems: problems.cloned().collect(),
                candidates,
                verdicts,
            });
        }
        if exists(validation) {
            lessons.push(Lesson {
                name: validation,
                problems: self.problems.validation.clone(),
                candidates: self.candidates(validation)?,
                verdicts: self.verdicts(validation)?,
            });
        }
        Ok(lessons)
    }

    /// The critic's scores of the pools, and of what rankers learn from.
    pub(super) fn score_candidates(&mut self) -> Result<Done> {
        let critic = Critic::load(&self.run.path("critic"), self.context.device).map_err(learning)?;
        let score = |name: &str, problems: &[Problem], candidates: &[Candidate]| {
            let path = self.run.path(&format!("scores/{name}.jsonl"));
            let label = format!("critic's scores of {name}");
            stages::score(self.context.watch, &label, &critic, &self.base, problems, candidates, &path)
        };
        for pool in PoolName::ALL {
            let candidates = self.candidates(pool.file())?;
            if score(pool.file(), &self.problems.test, &candidates)? == Done::Interrupted {
                return Ok(Done::Interrupted);
            }
            for Lesson { name, problems, candidates, .. } in self.lessons(pool)? {
                if score(name, &problems, &candidates)? == Done::Interrupted {
                    return Ok(Done::Interrupted);
                }
            }
        }
        Ok(Done::Whole)
    }
}
