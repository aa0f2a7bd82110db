//! A recipe's loop with one seed or several.

use super::run::{print_report, run_loop};
use crate::progress::interrupted;
use anyhow::Result;
use pipeline::recipe::Recipe;
use records::jsonl;
use report::html::{Fact, Report};
use report::statistics::{deviation, mean};
use report::table::{Difference, Row, align, under_headings};
use serde::Serialize;
use serde_json::json;
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
#[derive(Serialize)]
struct Summary {
    name: String,
    label: String,
    group: String,
    value: f64,
    /// The standard deviation over seeds.
    deviation: f64,
    low: f64,
    high: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    against_baseline: Option<Difference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gap_recovered: Option<f64>,
    values: Vec<f64>,
}

/// The mean of each row over seeds, with its spread.
fn summarise(reports: &[Report], root: &Path, as_json: bool) -> Result<()> {
    let rows = summaries(reports);
    let facts = facts(reports);
    let header = ["", "solved, mean", "95 % interval", "against baseline", "gap", "deviation", "each seed"];
    let cells = |row: &Summary| {
        let each: Vec<String> = row.values.iter().map(|value| format!("{value:.1}")).collect();
        [
            row.label.clone(),
            format!("{:.1} %", row.value),
            format!("{:.1} – {:.1}", row.low, row.high),
            row.against_baseline.map(|difference| difference.to_string()).unwrap_or_default(),
            row.gap_recovered.map(|gap| format!("{gap:.0} %")).unwrap_or_default(),
            format!("{:.1}", row.deviation),
            each.join("  "),
        ]
    };
    let lines = under_headings(header, rows.iter().map(|row| (row.group.as_str(), cells(row))));
    let shown = || facts.iter().filter(|fact| !fact.name.starts_with("seconds/"));
    let told: Vec<String> = shown().map(|fact| format!("{}, mean: {}", fact.label, fact.text())).collect();
    let summary = json!({ "seeds": reports.len(), "rows": rows, "facts": facts });
    jsonl::write_atomically(&root.join("summary.json"), |file| {
        file.write_all(summary.to_string().as_bytes())
    })?;
    match as_json {
        true => outln!("{summary}"),
        false => {
            outln!("{}\n{}\n{}", align(&lines), told.join("\n"), root.join("summary.json").display())
        }
    }
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
