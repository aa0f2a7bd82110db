//! `ncomp`: the command line of the Neural Computer.

mod loop_run;
mod pretrain;
mod progress;
mod recipe;
mod run_directory;
mod stages;

use anyhow::Result;
use recipe::Recipe;
use std::path::PathBuf;

fn main() -> Result<()> {
    progress::watch_for_interrupt();
    let arguments: Vec<String> = std::env::args().collect();
    let recipe = Recipe::load(arguments[1].as_ref())?;
    let root = arguments.get(2).map_or_else(|| PathBuf::from(format!("runs/{}", recipe.name)), PathBuf::from);
    if let Some(pretrain) = &recipe.pretrain {
        pretrain::run(&recipe, pretrain, &root)?;
        return Ok(());
    }
    if let Some(report) = loop_run::run(&recipe, &root)? {
        println!("{}", report::table::text(&report.rows));
        for fact in &report.facts { println!("{}: {}", fact.label, fact.text()); }
    }
    Ok(())
}
