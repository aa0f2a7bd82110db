//! The stages that choose among the pools: rankers of the run's own, and each selector's choice.

use super::school::Lesson;
use super::{Loop, PoolName};
use crate::behaviour::{Knowledge, observe};
use crate::observations::Observations;
use crate::{Done, Error, Result, models};
use records::{Candidate, Problem, Score, Verdict, jsonl};
use selection::{Pool, Ranker, Selector, pools};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

/// What candidates gave on inputs.
const OBSERVATIONS: &str = "scores/observations.jsonl";
/// Selectors that run the candidates, or look at what running them gave.
const SELECTORS: [Selector; 3] = [Selector::Consensus, Selector::VisibleTest, Selector::Combined];

/// Which candidates of a problem the selectors take at one level of knowledge.
#[derive(Serialize, Deserialize)]
pub(super) struct Choices {
    /// The problem's id.
    pub problem: String,
    /// What is known of its tests: less than the level that was asked for where they tell no input.
    pub level: u8,
    /// The indices of the candidates that each selector takes, all equally.
    pub selectors: BTreeMap<String, Vec<usize>>,
    /// The one candidate that `combined` answers with, and the ranker's probability for it, where there is a
    /// ranker.
    pub pick: Option<(usize, f64)>,
}

impl Loop<'_> {
    /// Learns a ranker for each pool and level from candidates of the pool's generator.
    pub(super) fn train_rankers(&mut self) -> Result<Done> {
        let mut observations = self.observations()?;
        for pool in PoolName::ALL {
            let Some(Lesson { name, problems, candidates, verdicts }) = self.lesson(pool)? else { continue };
            let generators: HashSet<&String> =
                candidates.iter().map(|candidate| &candidate.generator).collect();
            let generators: Vec<String> = generators.into_iter().cloned().collect();
            for &level in &self.recipe.selection.levels {
                let known =
                    self.known_pools(&mut observations, name, &problems, &candidates, &verdicts, level)?;
                let Some(known) = known else { return Ok(Done::Interrupted) };
                let own_inputs = self.recipe.selection.own_inputs;
                // Where all pass or none does there is nothing to learn, and the report has no such row.
                if let Some(ranker) = own_ranker(&known, &generators, level, own_inputs) {
                    let text = serde_json::to_string_pretty(&ranker)?;
                    let path = self.ranker_path(pool, level);
                    jsonl::write_atomically(&path, |file| file.write_all(text.as_bytes()))?;
                }
            }
        }
        Ok(Done::Whole)
    }

    /// Runs the pools on what each level tells, and notes what each selector takes.
    pub(super) fn choose(&mut self) -> Result<Done> {
        let mut observations = self.observations()?;
        let problems = &self.problems.test;
        for pool in PoolName::ALL {
            let candidates = self.candidates(pool.file())?;
            for &level in &self.recipe.selection.levels {
                let known =
                    self.known_pools(&mut observations, pool.file(), problems, &candidates, &[], level)?;
                let Some(mut known) = known else { return Ok(Done::Interrupted) };
                let path = self.ranker_path(pool, level);
                let ranker = if path.exists() { Some(models::read_ranker(&path)?) } else { None };
                for pool in &mut known {
                    pool.combined = ranker.as_ref().map(|ranker| ranker.probabilities(pool));
                }
                let choices: Vec<Choices> = known.iter().map(|pool| choices(pool, level)).collect();
                jsonl::write(&self.choices_path(pool, level), &choices)?;
            }
        }
        Ok(Done::Whole)
    }

    /// What candidates gave in this run so far; a stage opens the file once.
    pub(super) fn observations(&self) -> Result<Observations> {
        Observations::open(&self.run.path(OBSERVATIONS)).map_err(Error::Resume)
    }

    /// What the selectors took of a pool.
    pub(super) fn read_choices(&self, pool: PoolName, level: u8) -> Result<Vec<Choices>> {
        Ok(jsonl::read(&self.choices_path(pool, level))?)
    }

    fn ranker_path(&self, pool: PoolName, level: u8) -> PathBuf {
        self.run.path(&format!("rankers/{}-level-{level}.json", pool.file()))
    }

    fn choices_path(&self, pool: PoolName, level: u8) -> PathBuf {
        self.run.path(&format!("choices/{}-level-{level}.jsonl", pool.file()))
    }

    /// Candidates with the critic's scores and their behaviour. None if it was stopped.
    fn known_pools(
        &self,
        observations: &mut Observations,
        name: &str,
        problems: &[Problem],
        candidates: &[Candidate],
        verdicts: &[Verdict],
        level: u8,
    ) -> Result<Option<Vec<Pool>>> {
        let scores: Vec<Score> = jsonl::read(&self.run.path(&format!("scores/{name}.jsonl")))?;
        let mut pools = pools(problems, candidates, verdicts, &scores);
        let own_inputs = self.recipe.selection.own_inputs;
        let knowledge = Knowledge { level, own_inputs, seed: self.recipe.seed };
        let (watch, client) = (self.context.watch, &self.client);
        let effort = observe(watch, client, observations, problems, candidates, knowledge, &mut pools)?;
        Ok(effort.map(|_| pools))
    }
}

/// What each selector takes of a pool.
fn choices(pool: &Pool, level: u8) -> Choices {
    let of = |selector: Selector| {
        let choices = selector.choices(pool)?;
        let indices = choices.into_iter().map(|at| pool.indices[at]).collect();
        Some((selector.name().to_owned(), indices))
    };
    let at = Selector::Combined.pick(pool);
    Choices {
        problem: pool.problem.clone(),
        level: if level == 3 { 3 } else { pool.agreement_level },
        selectors: SELECTORS.into_iter().filter_map(of).collect(),
        pick: at.and_then(|at| Some((pool.indices[at], pool.combined.as_ref()?[at]))),
    }
}

/// A ranker for one generator's candidates, its confidence set right by them: the built-in one, adapted to
/// these pools and to what they have, a critic's scores first of all. None where they tell nothing.
fn own_ranker(pools: &[Pool], generators: &[String], level: u8, own_inputs: usize) -> Option<Ranker> {
    let all: Vec<&Pool> = pools.iter().collect();
    let mut ranker = Ranker::built_in(level).adapted(&all, own_inputs).ok()?;
    ranker.calibrated_for = generators.to_vec();
    Some(ranker)
}
