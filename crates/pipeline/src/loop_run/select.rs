//! The stages that prepare the choice among the pool: a ranker of the run's own, and the pool's
//! behaviour.

use super::Loop;
use crate::behaviour::{Knowledge, observe};
use crate::critic_training::HELD_OUT;
use crate::error::learning;
use crate::observations::Observations;
use crate::{Done, Error, Result, models, stages};
use critic::Critic;
use records::{Candidate, Problem, Verdict, jsonl, same_length};
use selection::ranker::cross_validated;
use selection::{Agreement, Pool, Ranker, Selector, pools};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// What the selectors may know of the tests: the visible ones' calls.
const LEVEL: u8 = 1;
/// Generated inputs on which a problem's candidates are compared.
const OWN_INPUTS: usize = 10;
/// What the selectors know of the pool's candidates, problem by problem.
const SELECTION: &str = "scores/pool-selection.jsonl";
/// What candidates gave on inputs.
const OBSERVATIONS: &str = "scores/observations.jsonl";
/// The run's ranker.
const RANKER: &str = "ranker.json";

/// What the selectors know of one problem's candidates.
#[derive(Serialize, Deserialize)]
struct Known {
    problem: String,
    agreement: Option<Agreement>,
    /// The ranker's probabilities, where there is a ranker.
    combined: Option<Vec<f64>>,
}

impl Loop<'_> {
    /// Learns a ranker from candidates for training problems that the critic did not learn from: of
    /// the others it would think that the critic is always right.
    pub(super) fn train_ranker(&mut self) -> Result<Done> {
        let text = std::fs::read_to_string(self.run.path(HELD_OUT)).unwrap_or_default();
        let held_out: HashSet<String> = serde_json::from_str(&text).unwrap_or_default();
        let name = if self.recipe.critic.samples > 0 { "critic-data" } else { "critic-data-base" };
        if held_out.is_empty() || !self.run.path(&format!("generated/{name}.jsonl")).exists() {
            return Ok(Done::Whole);
        }
        let mut candidates = self.candidates(name)?;
        candidates.retain(|candidate| held_out.contains(&candidate.problem));
        let verdicts = self.verdicts(name)?;
        let problems = self.problems.train.clone();
        let Some(pools) = self.known_pools(&problems, &candidates, &verdicts)? else {
            return Ok(Done::Interrupted);
        };
        let generators: HashSet<&String> = candidates.iter().map(|candidate| &candidate.generator).collect();
        let generators: Vec<String> = generators.into_iter().cloned().collect();
        // Where all pass or none does there is nothing to learn, and the report has no such row.
        if let Some(ranker) = own_ranker(&pools, &generators) {
            let text = serde_json::to_string_pretty(&ranker)?;
            jsonl::write_atomically(&self.run.path(RANKER), |file| file.write_all(text.as_bytes()))?;
        }
        Ok(Done::Whole)
    }

    /// Runs the pool on the visible tests' calls and on inputs like them, for the consensus and the
    /// ranker.
    pub(super) fn observe_pool(&mut self) -> Result<Done> {
        let candidates = self.candidates("pool")?;
        let problems = self.problems.test.clone();
        let Some(pools) = self.known_pools(&problems, &candidates, &[])? else {
            return Ok(Done::Interrupted);
        };
        let path = self.run.path(RANKER);
        let ranker = if path.exists() { Some(models::read_ranker(&path)?) } else { None };
        let known = pools.into_iter().map(|pool| Known {
            combined: ranker.as_ref().map(|ranker| ranker.probabilities(&pool)),
            problem: pool.problem,
            agreement: pool.agreement,
        });
        jsonl::write(&self.run.path(SELECTION), &known.collect::<Vec<_>>())?;
        Ok(Done::Whole)
    }

    /// Adds what the last stage found to the pools of a report.
    pub(super) fn add_known(&self, pools: &mut [Pool]) -> Result<()> {
        let known: Vec<Known> = jsonl::read(&self.run.path(SELECTION))?;
        for known in known {
            let Some(pool) = pools.iter_mut().find(|pool| pool.problem == known.problem) else { continue };
            let combined = known.combined.iter().map(|values| ("probabilities", values.len()));
            let exact = known.agreement.iter().map(|agreement| ("agreements", agreement.exact.len()));
            for (what, found) in combined.chain(exact) {
                same_length(what, found, "candidates", pool.codes.len())?;
            }
            pool.agreement = known.agreement;
            pool.agreement_level = 1;
            pool.combined = known.combined;
        }
        Ok(())
    }

    /// Candidates with the critic's scores and their behaviour. None if it was stopped.
    fn known_pools(
        &self,
        problems: &[Problem],
        candidates: &[Candidate],
        verdicts: &[Verdict],
    ) -> Result<Option<Vec<Pool>>> {
        let critic = Critic::load(&self.run.path("critic"), self.context.device).map_err(learning)?;
        let prompt = |problem: &Problem| {
            self.base.prompt(&problem.shown, problems::prompt::PromptTests::Visible).map_err(learning)
        };
        let scores = stages::scores_of(&critic, &stages::questions(&prompt, problems, candidates)?)?;
        let mut pools = pools(problems, candidates, verdicts, &scores);
        let knowledge = Knowledge { level: LEVEL, own_inputs: OWN_INPUTS, seed: self.recipe.seed };
        let (watch, client) = (self.context.watch, &self.client);
        let mut known = Observations::open(&self.run.path(OBSERVATIONS)).map_err(Error::Resume)?;
        let effort = observe(watch, client, &mut known, problems, candidates, knowledge, &mut pools)?;
        Ok(effort.map(|_| pools))
    }
}

/// A ranker for one generator's candidates, its confidence set right by them: one that learned from these
/// pools, or the built-in one where that picks better among them. None where they tell nothing.
fn own_ranker(pools: &[Pool], generators: &[String]) -> Option<Ranker> {
    let all: Vec<&Pool> = pools.iter().collect();
    let mut built_in = Ranker::built_in(LEVEL);
    let solved = |probabilities: &mut dyn Iterator<Item = Vec<f64>>| -> f64 {
        let picked = pools.iter().zip(probabilities).map(|(pool, probabilities)| {
            let pool = Pool { combined: Some(probabilities), ..pool.clone() };
            Selector::Combined.accuracy(&pool).unwrap_or(0.0)
        });
        picked.sum()
    };
    let learned = cross_validated(pools, LEVEL).ok();
    let learned = learned.map(|found| solved(&mut found.into_iter()));
    let given = solved(&mut pools.iter().map(|pool| built_in.probabilities(pool)));
    if learned.is_some_and(|learned| learned >= given) {
        let mut ranker = Ranker::train(&all, LEVEL, OWN_INPUTS).ok()?;
        ranker.calibrated_for = generators.to_vec();
        return Some(ranker);
    }
    built_in.own_inputs = OWN_INPUTS;
    built_in.calibrate(&all, generators).ok().map(|()| built_in)
}
