//! `ncomp demo`: the whole loop on the built-in model and problems.

use super::run::{print_report, run_loop};
use crate::progress::interrupted;
use anyhow::Result;
use pipeline::recipe::Recipe;
use records::jsonl;
use report::html::Report;
use report::statistics::{deviation, mean};
use report::table::align;
use serde_json::json;
use std::path::{Path, PathBuf};

/// The demo's recipe is part of the program.
const RECIPE: &str = include_str!("../../../../recipes/demo.toml");
/// What `--quick` changes in it.
const QUICK: &str = include_str!("../../../../recipes/demo-quick.toml");

/// The whole loop on the built-in model and problems, trained live: greedy baseline, pool of
/// candidates, GRPO, critic, selection, report. Ctrl-C interrupts it; the same command resumes.
#[derive(clap::Args)]
pub struct Demo {
    /// The same with fewer problems, candidates and steps: about a minute
    #[arg(long)]
    quick: bool,
    /// Seed of problems' samples and of training
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Repeat with this many seeds and report the mean and the spread
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Directory of the run [default: runs/demo]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Start anew if the directory holds a run
    #[arg(long)]
    fresh: bool,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

impl Demo {
    pub(super) fn run(self) -> Result<()> {
        let name = if self.quick { "demo-quick" } else { "demo" };
        let root = self.out.clone().unwrap_or_else(|| PathBuf::from("runs").join(name));
        if self.fresh && root.join("recipe.toml").exists() {
            std::fs::remove_dir_all(&root)?;
        }
        let mut recipe = Recipe::parse(if self.quick { QUICK } else { RECIPE })?;
        recipe.model.path = shipped(&recipe.model.path);
        if !recipe.critic.start.is_empty() {
            recipe.critic.start = shipped(&recipe.critic.start);
        }
        if self.seeds == 1 {
            recipe.seed = self.seed;
            if let Some(report) = run_loop(&recipe, &root)? {
                print_report(&report, &root, self.json)?;
            }
            return Ok(());
        }
        let mut reports = Vec::new();
        for seed in self.seed..self.seed + self.seeds {
            recipe.seed = seed;
            match run_loop(&recipe, &root.join(format!("seed-{seed}")))? {
                Some(report) if !interrupted() => reports.push(report),
                _ => return Ok(()),
            }
        }
        summarise(&reports, &root, self.json)
    }
}

/// A file that ships with the project: as named, or beside the sources that this was built from.
fn shipped(path: &str) -> String {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    if Path::new(path).exists() || !sources.exists() {
        path.to_owned()
    } else {
        sources.display().to_string()
    }
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
