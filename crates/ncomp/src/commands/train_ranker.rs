//! `ncomp train ranker`: the combined selector, from candidates and their verdicts.

use super::rank::coverage_text;
use super::signals::{Signals, read_ranker};
use crate::samples::{self, problem_set};
use anyhow::{Context, Result, anyhow};
use problems::samples::UNNAMED;
use records::{Candidate, jsonl, paired};
use report::statistics::{calibration, calibration_error, calibration_error_by_chance};
use report::table::{Row, text};
use selection::ranker::{coverage, cross_validated, picks};
use selection::{Pool, Ranker, Selector};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A ranker over every signal, for `rank --ranker`. It says how good it is on problems that it did
/// not learn from, by cross-validation over problems.
#[derive(clap::Args)]
pub struct TrainRanker {
    /// Candidates, as `generate` writes them or as EvalPlus has them
    #[arg(long)]
    samples: PathBuf,
    /// Problem set they belong to
    #[arg(long)]
    problems: String,
    /// Their verdicts, as `execute` writes them
    #[arg(long)]
    verdicts: PathBuf,
    /// Keep the weights of a ranker's file, or of the built-in one of the level (built-in), and learn
    /// only how sure to be of candidates of this model: 50 problems are enough for that
    #[arg(long, value_name = "FILE")]
    calibrate: Option<PathBuf>,
    /// The model that wrote the samples, where they do not say it; may be given several times
    #[arg(long = "generator")]
    generators: Vec<String>,
    #[command(flatten)]
    signals: Signals,
    /// File to write
    #[arg(long)]
    out: PathBuf,
    /// Print the table as JSON
    #[arg(long)]
    json: bool,
}

impl TrainRanker {
    pub(super) fn run(mut self) -> Result<()> {
        let given = self.calibrate.as_deref().map(|path| self.given(path)).transpose()?;
        if let Some(ranker) = &given {
            self.signals.knowledge.level = ranker.level;
            self.signals.knowledge.own_inputs = ranker.own_inputs;
        }
        let problems = problem_set(&self.problems)?;
        let mut candidates = samples::read(&self.samples, &problems)?.candidates;
        let verdicts = samples::verdicts_on(&self.verdicts, &mut candidates)?;
        samples::tell_of_test_problems(&problems, &candidates);
        let (mut pools, _) = self.signals.gather(&self.samples, &problems, &candidates, &verdicts)?;
        let knowledge = self.signals.knowledge;
        let learn = |error: String| anyhow!("cannot learn from {}: {error}", self.verdicts.display());
        let generators = self.generators(&candidates);
        let probabilities = match &given {
            Some(given) => calibrated_across(given, &pools).map_err(learn)?,
            None => cross_validated(&pools, knowledge.level, None).map_err(learn)?,
        };
        for (pool, probabilities) in paired(&mut pools, probabilities, ["pools", "lists of probabilities"])? {
            pool.combined = Some(probabilities);
        }
        let rows = Selector::ALL.iter().filter_map(|&s| Row::of_selector(s, s.name(), s.name(), &pools, 0));
        let mut rows: Vec<Row> = rows.collect();
        let (random, others) = rows.split_at_mut(1);
        others.iter_mut().for_each(|row| row.compare(&random[0]));
        let picked = PicksCalibration::of(&pools);
        let all: Vec<&Pool> = pools.iter().collect();
        let ranker = match given {
            Some(mut given) => given.calibrate(&all, &generators).map(|()| given),
            None => Ranker::train(&all, knowledge.level, knowledge.own_inputs),
        };
        let mut ranker = ranker.map_err(learn)?;
        ranker.calibrated_for = generators;
        let file = serde_json::to_string_pretty(&ranker).context("cannot write the ranker")?;
        jsonl::write_atomically(&self.out, |out| out.write_all(file.as_bytes()))?;
        if self.json {
            outln!(
                "{}",
                json!({ "rows": rows, "calibration": picked, "problems": pools.len(), "coverage": coverage(&pools) })
            );
            return Ok(());
        }
        out!("{}", text(&rows));
        outln!("differences are to random; combined is cross-validated over {} problems", pools.len());
        outln!("{picked}");
        out!("{}", coverage_text(&coverage(&pools)));
        outln!("{}", self.out.display());
        Ok(())
    }
}

impl TrainRanker {
    /// The models that wrote the samples, as far as that is known.
    fn generators(&self, candidates: &[Candidate]) -> Vec<String> {
        let named = candidates.iter().map(|candidate| candidate.generator.as_str());
        let named: BTreeSet<&str> =
            named.filter(|name| *name != UNNAMED).chain(self.generators.iter().map(String::as_str)).collect();
        named.into_iter().map(str::to_owned).collect()
    }

    /// The ranker whose weights are kept.
    fn given(&self, path: &Path) -> Result<Ranker> {
        match path.as_os_str() == "built-in" {
            true => Ok(Ranker::built_in(self.signals.knowledge.level)),
            false => read_ranker(path),
        }
    }
}

/// Each pool's probabilities by the ranker as the other problems calibrate it: problems are dealt to five
/// parts.
fn calibrated_across(ranker: &Ranker, pools: &[Pool]) -> Result<Vec<Vec<f64>>, String> {
    const PARTS: usize = 5;
    let mut probabilities = vec![Vec::new(); pools.len()];
    for part in 0..PARTS {
        let others = pools.iter().enumerate().filter(|(at, _)| at % PARTS != part);
        let mut ranker = ranker.clone();
        ranker.calibrate(&others.map(|(_, pool)| pool).collect::<Vec<_>>(), &[])?;
        for at in (part..pools.len()).step_by(PARTS) {
            probabilities[at] = ranker.probabilities(&pools[at]);
        }
    }
    Ok(probabilities)
}

/// How far the probability of the picks is from how often they pass.
#[derive(Serialize)]
pub(super) struct PicksCalibration {
    /// Expected calibration error in ten bins.
    error: f64,
    /// What it would be on average if the probabilities were exactly right.
    by_chance: f64,
}

impl PicksCalibration {
    pub(super) fn of(pools: &[Pool]) -> Self {
        let (scores, passed): (Vec<f64>, Vec<bool>) = picks(pools).into_iter().unzip();
        PicksCalibration {
            error: calibration_error(&calibration(&scores, &passed)),
            by_chance: calibration_error_by_chance(&scores, 0),
        }
    }
}

impl std::fmt::Display for PicksCalibration {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let (error, chance) = (100.0 * self.error, 100.0 * self.by_chance);
        write!(
            f,
            "calibration error of combined's picks: {error:.1} % (exactly right ones: {chance:.1} % by chance)"
        )
    }
}
