//! The directory of a run: what was asked for, what is finished, and the records of each stage.
//!
//! A finished stage is never redone. `state.json` lists finished stages and is replaced as a whole,
//! after all that the stage wrote.

use crate::recipe::Recipe;
use crate::{Error, Result, model_files};
use model_files::ModelFile;
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
    /// What the run began with; runs of earlier versions did not note it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<Origin>,
}

/// What all numbers of a run depend on besides its recipe, as the run began with it. Runs of earlier versions
/// noted less: what they lack is noted when they go on.
#[derive(Default, Serialize, Deserialize)]
struct Origin {
    /// The model's files.
    model: Vec<ModelFile>,
    /// The verifier's version, interpreter and limits.
    verifier: String,
    /// The form of weights.
    #[serde(default)]
    weights: Option<String>,
    /// The files of the critic to start from.
    #[serde(default)]
    critic: Vec<ModelFile>,
    /// Digests of the sets and of the parts of the run's problems, by name.
    #[serde(default)]
    problems: BTreeMap<String, String>,
}

/// The same as it is now.
pub(crate) struct Inputs<'a> {
    /// Where the model is.
    pub model: &'a Path,
    /// The verifier's [fingerprint](verify::Domain::fingerprint).
    pub verifier: String,
    /// The form of weights of the device.
    pub weights: &'static str,
    /// The directory of the critic to start from.
    pub critic: Option<&'a Path>,
    /// Digests of the sets and of the parts of the run's problems, by name.
    pub problems: &'a BTreeMap<String, String>,
}

impl RunDirectory {
    /// Opens a directory for a recipe, new or to go on with.
    ///
    /// # Errors
    /// Where it cannot be written, or belongs to another recipe.
    pub fn open(root: &Path, recipe: &Recipe) -> Result<Self> {
        let run = Self::look(root, recipe)?;
        let path = root.join("recipe.toml");
        if !path.exists() {
            let resolved = recipe.resolved()?;
            jsonl::write_atomically(&path, |file| file.write_all(resolved.as_bytes()))
                .map_err(|source| Error::Directory { root: root.to_owned(), source })?;
        }
        Ok(run)
    }

    /// As [`open`](Self::open), and writes nothing.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) fn look(root: &Path, recipe: &Recipe) -> Result<Self> {
        check_place(root)?;
        let resolved = recipe.resolved()?;
        // A recipe of an earlier version lacks fields that there were not: with their defaults it may be
        // this one all the same.
        let old = std::fs::read_to_string(root.join("recipe.toml"))
            .map(|old| Recipe::parse(&old).and_then(|recipe| recipe.resolved()).unwrap_or(old));
        let state_path = root.join("state.json");
        match old {
            Ok(old) if old != resolved => return Err(another(root, &old, recipe, &resolved)),
            Ok(_) => {}
            Err(_) if state_path.exists() => return Err(Error::RecipeMissing { root: root.to_owned() }),
            Err(_) => {}
        }
        let state = match std::fs::read_to_string(&state_path) {
            Ok(text) => serde_json::from_str(&text).map_err(|source| Error::Damaged {
                path: state_path,
                advice: "delete it to redo the stages",
                source,
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

    /// Whether it is noted what the run began with.
    pub(crate) fn has_origin(&self) -> bool {
        self.state.origin.is_some()
    }

    /// Refuses to go on with other inputs than the run began with; `computes` says whether models have yet
    /// something to do, for which the form of their weights counts.
    ///
    /// # Errors
    /// Names what changed.
    pub(crate) fn check(&self, now: &Inputs, computes: bool) -> Result<()> {
        let Some(origin) = &self.state.origin else { return Ok(()) };
        let (root, found) = (self.root.clone(), now.verifier.clone());
        if origin.verifier != now.verifier {
            return Err(Error::OtherVerifier { root, expected: origin.verifier.clone(), found });
        }
        for (what, expected) in &origin.problems {
            let found = now.problems.get(what).map_or("none", String::as_str);
            if found != expected {
                let (what, expected, found) = (what.clone(), expected.clone(), found.to_owned());
                return Err(Error::ProblemsChanged { root, what, expected, found });
            }
        }
        match &origin.weights {
            Some(expected) if computes && expected != now.weights => {
                let (expected, found) = (expected.clone(), now.weights.to_owned());
                return Err(Error::OtherWeights { root, expected, found });
            }
            _ => {}
        }
        if let Some(critic) = now.critic.filter(|_| !origin.critic.is_empty()) {
            model_files::check(&root, "the critic to start from (critic.start)", &origin.critic, critic)?;
        }
        model_files::check(&root, "the model", &origin.model, now.model)
    }

    /// Notes what the run begins with, or, where an earlier version noted less, the rest.
    ///
    /// # Errors
    /// Where a file cannot be read, or `state.json` not written.
    pub(crate) fn begin(&mut self, now: &Inputs) -> Result<()> {
        let mut origin = match self.state.origin.take() {
            Some(origin) => origin,
            None => Origin {
                model: model_files::of(now.model)?,
                verifier: now.verifier.clone(),
                ..Origin::default()
            },
        };
        origin.weights.get_or_insert_with(|| now.weights.to_owned());
        if let Some(critic) = now.critic.filter(|_| origin.critic.is_empty()) {
            origin.critic = model_files::of(critic)?;
        }
        if origin.problems.is_empty() {
            origin.problems = now.problems.clone();
        }
        self.state.origin = Some(origin);
        self.write_state()
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

/// Refuses a place in which no directory can be: where it or what is above it is a file.
fn check_place(root: &Path) -> Result<()> {
    let Some(nearest) = root.ancestors().find(|path| path.exists()) else { return Ok(()) };
    if nearest.is_dir() {
        return Ok(());
    }
    let cause = std::io::Error::from(std::io::ErrorKind::NotADirectory);
    let source = jsonl::Error::Io { path: nearest.to_owned(), cause };
    Err(Error::Directory { root: root.to_owned(), source })
}

/// Why a directory is not this recipe's.
fn another(root: &Path, old: &str, recipe: &Recipe, resolved: &str) -> Error {
    let root = root.to_owned();
    if let Ok(other) = Recipe::parse(old)
        && other.model.path != recipe.model.path
    {
        return Error::OtherModel { root, old: other.model.path, new: recipe.model.path.clone() };
    }
    let lines = old.lines().zip(resolved.lines()).find(|(old, new)| old != new);
    let (old, new) = lines.unwrap_or(("(its end)", "(its end)"));
    Error::OtherRecipe { root, old: old.to_owned(), new: new.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_an_earlier_version_goes_on_and_another_recipe_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let recipe = Recipe { name: "x".into(), ..Recipe::default() };
        RunDirectory::open(directory.path(), &recipe).expect("a new run");
        let path = directory.path().join("recipe.toml");
        let text = std::fs::read_to_string(&path).expect("a recipe");
        let is_new = |line: &&str| line.starts_with("packages =") || line.starts_with("protocol_imports =");
        let (new, earlier): (Vec<&str>, Vec<&str>) = text.lines().partition(is_new);
        assert_eq!(new.len(), 2);
        std::fs::write(&path, earlier.join("\n")).expect("written");
        RunDirectory::open(directory.path(), &recipe).expect("the same run");
        let other = Recipe { seed: 7, ..recipe };
        let error = RunDirectory::open(directory.path(), &other).err().expect("another run").to_string();
        assert!(error.contains("`seed = 0`") && error.contains("`seed = 7`"), "{error}");
    }

    #[test]
    fn a_file_is_no_place_for_a_run() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("file");
        std::fs::write(&file, "").expect("written");
        for root in [file.join("run"), file.clone()] {
            let error = RunDirectory::look(&root, &Recipe::default()).err().expect("no run").to_string();
            assert!(error.contains("cannot use") && error.contains("file"), "{error}");
        }
        RunDirectory::look(&directory.path().join("new/run"), &Recipe::default()).map(drop).expect("a place");
    }

    #[test]
    fn what_is_there_without_its_recipe_is_no_run() {
        let directory = tempfile::tempdir().expect("a directory");
        let recipe = Recipe::default();
        let mut run = RunDirectory::open(directory.path(), &recipe).expect("a new run");
        run.finish("grpo", 1.0).expect("noted");
        std::fs::remove_file(directory.path().join("recipe.toml")).expect("removed");
        let error = RunDirectory::open(directory.path(), &recipe).err().expect("no run").to_string();
        assert!(error.contains("recipe.toml is missing") && error.contains("bring it back"), "{error}");
    }
}
