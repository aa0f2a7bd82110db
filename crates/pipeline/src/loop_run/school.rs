//! What the run's rankers learn from: candidates for problems that nothing is reported on and that neither
//! the critic nor, unless the recipe says so, GRPO learned from. Of the critic's a ranker would think that
//! the critic is always right; of GRPO's, that candidates agree and pass as often on new problems.

use super::{Loop, PoolName};
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
    /// The file of the critic's examples, and the one of the rankers' own.
    pub(super) fn lessons(self) -> [&'static str; 2] {
        match self {
            PoolName::Before => ["critic-data-base", "ranker-data-base"],
            PoolName::After => ["critic-data", "ranker-data"],
        }
    }
}

impl Loop<'_> {
    /// Labelled candidates for validation problems and those held out, by the generators before and after
    /// GRPO: as many for a problem as in a pool tell what is seen there.
    pub(super) fn ranker_data(&mut self) -> Result<Done> {
        let samples = self.recipe.selection.validation_samples;
        let problems = self.rankers_problems();
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

    fn rankers_problems(&self) -> Vec<Problem> {
        [&self.problems.validation[..], &self.problems.held_out].concat()
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

    /// What a ranker for a pool may learn from: its own examples, or else those of the critic's that the critic
    /// was kept from.
    pub(super) fn lesson(&self, pool: PoolName) -> Result<Option<Lesson>> {
        let [critics, own] = pool.lessons();
        let exists = |name: &str| self.run.path(&format!("verdicts/{name}.jsonl")).exists();
        let (name, problems) = match (exists(own), exists(critics)) {
            (true, _) => (own, self.rankers_problems()),
            (false, true) => (critics, self.problems.held_out.clone()),
            (false, false) => return Ok(None),
        };
        let ids: HashSet<&str> = problems.iter().map(|problem| problem.id.as_str()).collect();
        let mut candidates = self.candidates(name)?;
        candidates.retain(|candidate| ids.contains(candidate.problem.as_str()));
        let mut verdicts = self.verdicts(name)?;
        verdicts.retain(|verdict| ids.contains(verdict.problem.as_str()));
        let lesson = Lesson { name, problems, candidates, verdicts };
        Ok(Some(lesson).filter(|lesson| !lesson.candidates.is_empty()))
    }

    /// The critic's scores of the pools, and of what rankers learn from.
    pub(super) fn score_candidates(&mut self) -> Result<Done> {
        let critic = Critic::load(&self.run.path("critic"), self.context.device);
        let mut critic = critic.map_err(learning)?;
        critic.max_tokens = self.recipe.critic.training.max_tokens;
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
            if let Some(Lesson { name, problems, candidates, .. }) = self.lesson(pool)?
                && score(name, &problems, &candidates)? == Done::Interrupted
            {
                return Ok(Done::Interrupted);
            }
        }
        Ok(Done::Whole)
    }
}
