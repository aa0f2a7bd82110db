//! A recipe's loop with one seed or several.

use super::run::{print_report, run_loop};
use crate::progress::interrupted;
use anyhow::{Context, Result};
use pipeline::recipe::Recipe;
use records::jsonl;
use report::html::{Fact, Report};
use report::statistics::{deviation, mean};
use report::table::{Difference, Row, align, interval_of, under_headings};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Runs a recipe's loop with its seed, or with as many from it on, and prints the report or the mean and
/// the spread. Of several, each has a directory `seed-N` of its own; those that are finished stay.
pub(super) fn run_seeds(mut recipe: Recipe, seeds: u64, root: &Path, as_json: bool) -> Result<()> {
    if seeds == 1 {
        if let Some(report) = run_loop(&recipe, root)? {
            print_report(&report, root, as_json)?;
        }
        return Ok(());
    }
    let mut reports = Vec::new();
    let first = recipe.seed;
    for seed in first..first.saturating_add(seeds) {
        recipe.seed = seed;
        match run_loop(&recipe, &root.join(format!("seed-{seed}")))? {
            Some(report) if !interrupted() => reports.push(report),
            _ => return Ok(()),
        }
    }
    summarise(&reports, root, as_json)
}

/// One row over all seeds. Intervals are over problems, of each problem's mean over the seeds.
#[derive(Deserialize, Serialize)]
struct Summary {
    name: String,
    label: String,
    group: String,
    value: f64,
    /// The standard deviation over seeds.
    deviation: f64,
    low: f64,
    high: f64,
    /// Number of problems; summaries of earlier versions have none, and were of several.
    #[serde(default = "several")]
    n: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    against_baseline: Option<Difference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gap_recovered: Option<f64>,
    values: Vec<f64>,
}

fn several() -> usize {
    2
}

/// What several seeds gave.
#[derive(Deserialize, Serialize)]
struct Summaries {
    /// How many.
    seeds: usize,
    rows: Vec<Summary>,
    facts: Vec<Fact>,
}

/// The file of it, in the directory that holds each seed's.
const SUMMARY: &str = "summary.json";

/// The mean of each row over seeds, with its spread.
fn summarise(reports: &[Report], root: &Path, as_json: bool) -> Result<()> {
    let summary = Summaries { seeds: reports.len(), rows: summaries(reports), facts: facts(reports) };
    let text = serde_json::to_string(&summary)?;
    jsonl::write_atomically(&root.join(SUMMARY), |file| file.write_all(text.as_bytes()))?;
    print_summary(&summary, root, as_json)
}

/// Prints what several seeds gave, where the directory is theirs; whether it is.
pub(super) fn print_finished(root: &Path, as_json: bool) -> Result<bool> {
    let path = root.join(SUMMARY);
    if !path.exists() {
        return Ok(false);
    }
    let text = jsonl::read_text(&path)?;
    let summary = serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))?;
    print_summary(&summary, root, as_json).map(|()| true)
}

fn print_summary(summary: &Summaries, root: &Path, as_json: bool) -> Result<()> {
    if as_json {
        outln!("{}", serde_json::to_string(summary)?);
        return Ok(());
    }
    let Summaries { rows, facts, .. } = summary;
    let header = ["", "solved, mean", "95 % interval", "against baseline", "gap", "deviation", "each seed"];
    let cells = |row: &Summary| {
        let each: Vec<String> = row.values.iter().map(|value| format!("{value:.1}")).collect();
        [
            row.label.clone(),
            format!("{:.1} %", row.value),
            interval_of(row.n, row.low, row.high),
            row.against_baseline.map(|difference| difference.to_string()).unwrap_or_default(),
            row.gap_recovered.map(|gap| format!("{gap:.0} %")).unwrap_or_default(),
            format!("{:.1}", row.deviation),
            each.join("  "),
        ]
    };
    let lines = under_headings(header, rows.iter().map(|row| (row.group.as_str(), cells(row))));
    let shown = || facts.iter().filter(|fact| !fact.name.starts_with("seconds/"));
    let told: Vec<String> = shown().map(|fact| format!("{}, mean: {}", fact.label, fact.text())).collect();
    outln!("{}\n{}\n{}", align(&lines), told.join("\n"), root.join(SUMMARY).display());
    Ok(())
}

/// Each row of the first report that the others have too.
fn summaries(reports: &[Report]) -> Vec<Summary> {
    let mut means: Vec<Row> = Vec::new();
    let mut summaries = Vec::new();
    for first in &reports[0].rows {
        let is_same = |row: &&Row| row.name == first.name && row.per_problem.len() == first.per_problem.len();
        let of_all = reports.iter().filter_map(|report| report.rows.iter().find(is_same));
        let of_all: Vec<&Row> = of_all.collect();
        if of_all.len() < reports.len() {
            continue;
        }
        let of_problem = |at: usize| mean(&of_all.iter().map(|row| row.per_problem[at]).collect::<Vec<_>>());
        let per_problem = (0..first.per_problem.len()).map(of_problem).collect();
        let mut row = Row::new(&first.name, &first.label, per_problem, first.level, first.seed);
        // Each set of problems has a baseline of its own.
        let baseline = match first.name.rsplit_once('/') {
            Some((set, _)) => format!("{set}/baseline"),
            None => "baseline".to_owned(),
        };
        let baseline = means.iter().find(|other| other.name == baseline);
        if let Some(baseline) = baseline {
            row.compare(baseline);
        }
        let gaps: Option<Vec<f64>> = of_all.iter().map(|row| row.gap_recovered).collect();
        let values: Vec<f64> = of_all.iter().map(|row| row.value).collect();
        summaries.push(Summary {
            name: row.name.clone(),
            label: row.label.clone(),
            group: first.group.clone(),
            value: row.value,
            deviation: deviation(&values),
            low: row.low,
            high: row.high,
            n: row.n,
            against_baseline: row.against_baseline,
            gap_recovered: gaps.map(|gaps| mean(&gaps)),
            values,
        });
        means.push(row);
    }
    summaries
}

/// The mean of each number that all reports have.
fn facts(reports: &[Report]) -> Vec<Fact> {
    let of_all = |first: &Fact| {
        let values = reports.iter().map(|r| r.facts.iter().find(|fact| fact.name == first.name));
        let values: Option<Vec<f64>> = values.map(|fact| Some(fact?.value)).collect();
        Some(Fact { value: mean(&values?), ..first.clone() })
    };
    reports[0].facts.iter().filter_map(of_all).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_read_again_from_the_directory_of_its_seeds() {
        let directory = tempfile::tempdir().expect("a directory");
        assert!(!print_finished(directory.path(), false).expect("readable"), "there is none");
        let row = |seed: u64, solved: &[f64]| Row::new("baseline", "before GRPO", solved.to_vec(), 0, seed);
        let report =
            |seed: u64, solved: &[f64]| Report { rows: vec![row(seed, solved)], ..Report::default() };
        summarise(&[report(0, &[1.0, 0.0]), report(1, &[1.0, 1.0])], directory.path(), true)
            .expect("written");
        assert!(print_finished(directory.path(), false).expect("readable"));
        let text = std::fs::read_to_string(directory.path().join(SUMMARY)).expect("a summary");
        let summary: Summaries = serde_json::from_str(&text).expect("a summary");
        assert_eq!((summary.seeds, summary.rows[0].n, summary.rows[0].value), (2, 2, 75.0));
        std::fs::write(directory.path().join(SUMMARY), "{").expect("damaged");
        let error = print_finished(directory.path(), false).expect_err("damaged").to_string();
        assert!(error.contains("summary.json is damaged"), "{error}");
    }
}
