//! A recipe's loop with one seed or several.

use super::run::{print_report, run_loop};
use crate::progress::interrupted;
use anyhow::Result;
use pipeline::recipe::Recipe;
use records::jsonl;
use report::html::Report;
use report::statistics::{deviation, mean};
use report::table::align;
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

/// The mean of each row over seeds with its standard deviation.
fn summarise(reports: &[Report], root: &Path, as_json: bool) -> Result<()> {
    let mut lines = vec![["".to_owned(), "solved, mean".into(), "deviation".into(), "each seed".into()]];
    let mut rows = Vec::new();
    for row in &reports[0].rows {
        let values =
            reports.iter().filter_map(|report| report.rows.iter().find(|other| other.name == row.name));
        let values: Vec<f64> = values.map(|row| row.value).collect();
        let each: Vec<String> = values.iter().map(|value| format!("{value:.1}")).collect();
        lines.push([
            row.label.clone(),
            format!("{:.1} %", mean(&values)),
            format!("{:.1}", deviation(&values)),
            each.join("  "),
        ]);
        rows.push(json!({
            "name": row.name, "label": row.label, "value": mean(&values), "deviation": deviation(&values), "values": values,
        }));
    }
    let summary = json!({ "seeds": reports.len(), "rows": rows });
    jsonl::write_atomically(&root.join("summary.json"), |file| {
        file.write_all(summary.to_string().as_bytes())
    })?;
    match as_json {
        true => outln!("{summary}"),
        false => outln!("{}\n{}", align(&lines), root.join("summary.json").display()),
    }
    Ok(())
}
