//! `ncomp demo`: the whole loop on the built-in model and problems.

use super::seeds::run_seeds;
use anyhow::Result;
use pipeline::recipe::Recipe;
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
        recipe.seed = self.seed;
        run_seeds(recipe, self.seeds, &root, self.json)
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
