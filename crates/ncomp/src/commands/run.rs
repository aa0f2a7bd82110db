//! `ncomp run` and `ncomp report`.

use super::seeds::{print_finished, run_seeds};
use crate::context::{advised, context};
use crate::dry_run;
use anyhow::{Context, Result};
use pipeline::recipe::Recipe;
use pipeline::{Done, loop_run, pretrain};
use records::jsonl;
use report::table::text;
use std::path::{Path, PathBuf};

/// The whole loop of a recipe. A finished stage is never redone; after Ctrl-C the same command
/// resumes.
#[derive(clap::Args)]
pub struct Run {
    /// The recipe, a TOML file
    recipe: PathBuf,
    /// Directory of the run [default: runs/NAME]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Generator instead of the recipe's: a directory, a GGUF file, or owner/name on the Hub
    #[arg(long)]
    model: Option<String>,
    /// Problem set instead of the recipe's: a name or a file
    #[arg(long)]
    problems: Option<String>,
    /// Repeat with so many seeds, from the recipe's on, and report the mean and the spread
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Print what would be done and the memory it needs, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// The table of a finished run.
#[derive(clap::Args)]
pub struct Report {
    /// The run's directory, or that of several seeds
    run: PathBuf,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

impl Run {
    pub(super) fn run(self) -> Result<()> {
        let mut recipe = Recipe::load(&self.recipe)?;
        if let Some(model) = self.model {
            recipe.model.path = model;
        }
        if let Some(problems) = self.problems {
            recipe.problems.source = problems;
        }
        let root = self.out.unwrap_or_else(|| PathBuf::from("runs").join(&recipe.name));
        if self.dry_run {
            return dry_run::print(&recipe, &root, self.json);
        }
        if let Some(settings) = &recipe.pretrain {
            if pretrain::run(&recipe, settings, &root, context()?).map_err(advised)? == Done::Whole {
                outln!("{}", root.join("model").display());
            }
            return Ok(());
        }
        run_seeds(recipe, self.seeds, &root, self.json)
    }
}

impl Report {
    pub(super) fn run(self) -> Result<()> {
        let path = self.run.join("report.json");
        if !path.exists() && print_finished(&self.run, self.json)? {
            return Ok(());
        }
        let text = jsonl::read_text(&path)
            .context("the run has no report; finish it with the command that began it")?;
        let report = serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))?;
        print_report(&report, &self.run, self.json)
    }
}

/// Runs a recipe's loop; None where Ctrl-C stopped it, which is said.
///
/// # Errors
/// As [`loop_run::run`].
pub fn run_loop(recipe: &Recipe, root: &Path) -> Result<Option<report::html::Report>> {
    let report = loop_run::run(recipe, root, context()?).map_err(advised)?;
    if report.is_none() {
        errln!("stopped; the same command resumes from here ({})", root.display());
    }
    Ok(report)
}

/// The table and the critic's numbers, or everything as JSON.
pub fn print_report(report: &report::html::Report, root: &Path, as_json: bool) -> Result<()> {
    if as_json {
        outln!("{}", serde_json::to_string_pretty(report)?);
        return Ok(());
    }
    outln!("\n{}\n\n{}", report.summary, text(&report.rows));
    for fact in report.facts.iter().filter(|fact| !fact.name.starts_with("seconds/")) {
        outln!("{}: {}", fact.label, fact.text());
    }
    outln!("\n{}", root.join("report.html").display());
    Ok(())
}
