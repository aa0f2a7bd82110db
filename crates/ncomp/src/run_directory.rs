//! The directory of a run: what was asked for, what is finished, and the records of each stage.
//!
//! A finished stage is never redone. `state.json` lists finished stages and is replaced as a whole,
//! after all that the stage wrote.

use crate::recipe::Recipe;
use anyhow::{Context, Result, bail};
use records::jsonl;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A run's directory.
pub struct RunDirectory {
    root: PathBuf,
    state: State,
}

#[derive(Default, Serialize, Deserialize)]
struct State {
    /// Seconds that each finished stage took.
    finished: BTreeMap<String, f64>,
    /// Seconds spent so far on stages that were interrupted.
    #[serde(default)]
    spent: BTreeMap<String, f64>,
}

impl RunDirectory {
    /// Opens a directory for a recipe, new or to go on with.
    ///
    /// # Errors
    /// Where it cannot be written, or belongs to another recipe.
    pub fn open(root: &Path, recipe: &Recipe) -> Result<Self> {
        let resolved = recipe.resolved()?;
        let recipe_path = root.join("recipe.toml");
        match std::fs::read_to_string(&recipe_path) {
            Ok(old) if old != resolved => {
                let lines = old.lines().zip(resolved.lines()).find(|(old, new)| old != new);
                let (old, new) = lines.unwrap_or(("(its end)", "(its end)"));
                bail!(
                    "{} belongs to another recipe: it has `{old}` where this one has `{new}`; give another directory with --out, or delete this one",
                    root.display()
                );
            }
            Ok(_) => {}
            Err(_) => jsonl::write_atomically(&recipe_path, |file| file.write_all(resolved.as_bytes()))
                .with_context(|| format!("cannot use {} as the run's directory", root.display()))?,
        }
        let state_path = root.join("state.json");
        let state = match std::fs::read_to_string(&state_path) {
            Ok(text) => serde_json::from_str(&text).with_context(|| {
                format!("{} is damaged; delete it to redo the stages", state_path.display())
            })?,
            Err(_) => State::default(),
        };
        Ok(RunDirectory { root: root.to_owned(), state })
    }

    /// A path inside.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether a stage is finished.
    pub fn is_finished(&self, stage: &str) -> bool {
        self.state.finished.contains_key(stage)
    }

    /// Seconds that each finished stage took.
    pub fn seconds(&self) -> &BTreeMap<String, f64> {
        &self.state.finished
    }

    /// Notes that a stage is finished after so many seconds of work in this call.
    ///
    /// # Errors
    /// Where `state.json` cannot be written.
    pub fn finish(&mut self, stage: &str, seconds: f64) -> Result<()> {
        let before = self.state.spent.remove(stage).unwrap_or(0.0);
        self.state.finished.insert(stage.to_owned(), before + seconds);
        self.write_state()
    }

    /// Notes the time spent on a stage that was interrupted.
    ///
    /// # Errors
    /// Where `state.json` cannot be written.
    pub fn interrupt(&mut self, stage: &str, seconds: f64) -> Result<()> {
        *self.state.spent.entry(stage.to_owned()).or_default() += seconds;
        self.write_state()
    }

    fn write_state(&self) -> Result<()> {
        let text = serde_json::to_string_pretty(&self.state)?;
        jsonl::write_atomically(&self.path("state.json"), |file| file.write_all(text.as_bytes()))?;
        Ok(())
    }
}
