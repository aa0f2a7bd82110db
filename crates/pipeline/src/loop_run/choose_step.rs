//! Which step of GRPO is kept: the one whose candidates give the best selected answers to problems that nothing
//! is learned from. What GRPO raises, the answer to expect, goes on rising when what selection makes of many has
//! begun to fall.

use super::Loop;
use crate::behaviour::{Knowledge, observe};
use crate::error::learning;
use crate::{Done, Result};
use generator::Request;
use learning::Trainer;
use problems::samples::solution_in;
use records::{Candidate, Problem, jsonl};
use report::statistics::mean;
use selection::{Pool, Ranker, Selector, pools};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;

/// What was measured of each step.
const MEASURED: &str = "metrics/grpo-choice.jsonl";
/// The state of the best step so far.
const BEST: &str = "states/grpo-best.safetensors";

/// A step of GRPO, and the shares of problems that its candidates solve.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Measured {
    step: usize,
    problems: usize,
    /// By the combined selector, on average over the recipe's levels: what the step is chosen by.
    selected: f64,
    /// The same of each level.
    by_level: BTreeMap<u8, f64>,
    random: f64,
    oracle: f64,
}

impl Loop<'_> {
    /// Where the state of the best step is.
    pub(super) fn best_state(&self) -> PathBuf {
        self.run.path(BEST)
    }

    /// Whether the weights as they are now are to be measured: every so many steps, and the last.
    pub(super) fn is_measured(&self, step: usize) -> bool {
        let (every, last) = (self.recipe.grpo.choose_every, self.recipe.grpo.steps);
        every > 0 && step > 0 && (step.is_multiple_of(every) || step == last)
    }

    /// The step that was best so far.
    pub(super) fn best_step(&self) -> Result<Option<usize>> {
        Ok(best(&self.measured()?).map(|best| best.step))
    }

    fn measured(&self) -> Result<Vec<Measured>> {
        let path = self.run.path(MEASURED);
        if path.exists() { Ok(jsonl::read(&path)?) } else { Ok(Vec::new()) }
    }

    /// Measures the weights as they are now, and keeps their state if they are the best so far.
    pub(super) fn measure_step(&self, trainer: &mut Trainer) -> Result<Done> {
        let (step, mut all) = (trainer.step(), self.measured()?);
        if all.iter().any(|measured| measured.step == step) {
            return Ok(Done::Whole);
        }
        let problems = self.problems.to_choose_by(self.recipe);
        let name = format!("grpo-step-{step}");
        if self.sample_step(trainer, &problems, &name)? == Done::Interrupted {
            return Ok(Done::Interrupted);
        }
        let candidates = self.candidates(&name)?;
        if self.execute(&name, &problems, &candidates)? == Done::Interrupted {
            return Ok(Done::Interrupted);
        }
        let Some(measured) = self.measure(step, &problems, &candidates)? else {
            return Ok(Done::Interrupted);
        };
        all.push(measured);
        if best(&all).is_some_and(|best| best.step == step) {
            trainer.save_state(&self.best_state()).map_err(learning)?;
        }
        jsonl::write(&self.run.path(MEASURED), &all)?;
        Ok(Done::Whole)
    }

    /// Candidates by the weights as they are now, all of them or no file.
    fn sample_step(&self, trainer: &mut Trainer, problems: &[Problem], name: &str) -> Result<Done> {
        let path = self.run.path(&format!("generated/{name}.jsonl"));
        if path.exists() {
            return Ok(Done::Whole);
        }
        let request = Request { samples: self.recipe.grpo.choose_samples, ..self.pool_request() };
        let watch = self.context.watch;
        let mut progress = watch.begin(name, problems.len() * request.samples, 0);
        let mut candidates: Vec<Candidate> = Vec::new();
        let reader = trainer.learner.as_reader();
        let sampled = self.base.generate_by(
            reader,
            problems,
            &request,
            &solution_in,
            &mut |candidate| -> ControlFlow<()> {
                candidates.push(candidate);
                progress.advance(1);
                watch.flow(false)
            },
        );
        sampled.map_err(learning)?;
        if watch.interrupted() {
            return Ok(Done::Interrupted);
        }
        progress.finish();
        jsonl::write(&path, &candidates)?;
        Ok(Done::Whole)
    }

    /// None if it was stopped.
    fn measure(
        &self,
        step: usize,
        problems: &[Problem],
        candidates: &[Candidate],
    ) -> Result<Option<Measured>> {
        let verdicts = self.verdicts(&format!("grpo-step-{step}"))?;
        let mut pools = pools(problems, candidates, &verdicts, &[]);
        let mut observations = self.observations()?;
        let (watch, selection) = (self.context.watch, &self.recipe.selection);
        let mut by_level = BTreeMap::new();
        for &level in &selection.levels {
            let knowledge = Knowledge { level, own_inputs: selection.own_inputs, seed: self.recipe.seed };
            let (client, known) = (&self.client, &mut observations);
            if observe(watch, client, known, problems, candidates, knowledge, &mut pools)?.is_none() {
                return Ok(None);
            }
            let ranker = Ranker::built_in(level);
            pools.iter_mut().for_each(|pool| pool.combined = Some(ranker.probabilities(pool)));
            by_level.insert(level, share(Selector::Combined, &pools));
        }
        Ok(Some(Measured {
            step,
            problems: pools.len(),
            selected: mean(&by_level.values().copied().collect::<Vec<f64>>()),
            by_level,
            random: share(Selector::Random, &pools),
            oracle: share(Selector::Oracle, &pools),
        }))
    }
}

/// The best step, the earliest of several.
fn best(all: &[Measured]) -> Option<&Measured> {
    all.iter().reduce(|best, next| if next.selected > best.selected + 1e-9 { next } else { best })
}

/// The share of the pools whose problem a selector solves.
fn share(selector: Selector, pools: &[Pool]) -> f64 {
    mean(&pools.iter().filter_map(|pool| selector.accuracy(pool)).collect::<Vec<f64>>())
}
