//! `ncomp train ranker`: the combined selector, from candidates and their verdicts.

use super::rank::coverage_text;
use super::signals::Signals;
use crate::samples::{self, problem_set};
use anyhow::{Context, Result, anyhow};
use records::{jsonl, paired};
use report::statistics::{calibration, calibration_error, calibration_error_by_chance};
use report::table::{Row, text};
use selection::ranker::{coverage, cross_validated, picks};
use selection::{Pool, Ranker, Selector};
use serde::Serialize;
use serde_json::json;
use std::path::PathBuf;

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
    pub(super) fn run(self) -> Result<()> {
        let problems = problem_set(&self.problems)?;
        let candidates = samples::read(&self.samples, &problems)?.candidates;
        let verdicts = samples::read_verdicts(&self.verdicts)?;
        let (mut pools, _) = self.signals.gather(&problems, &candidates, &verdicts)?;
        let knowledge = self.signals.knowledge;
        let learn = |error: String| anyhow!("cannot learn from {}: {error}", self.verdicts.display());
        let probabilities = cross_validated(&pools, knowledge.level).map_err(learn)?;
        for (pool, probabilities) in paired(&mut pools, probabilities, ["pools", "lists of probabilities"])? {
            pool.combined = Some(probabilities);
        }
        let rows = Selector::ALL.iter().filter_map(|&s| Row::of_selector(s, s.name(), s.name(), &pools, 0));
        let mut rows: Vec<Row> = rows.collect();
        let (random, others) = rows.split_at_mut(1);
        others.iter_mut().for_each(|row| row.compare(&random[0]));
        let picked = PicksCalibration::of(&pools);
        let all: Vec<&Pool> = pools.iter().collect();
        let ranker = Ranker::train(&all, knowledge.level, knowledge.own_inputs).map_err(learn)?;
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
