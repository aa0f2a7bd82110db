//! What was learned for a model: found by the model's name, checked against its shape, attached to its
//! weights.
//!
//! A directory holds `learned.json` ([`Manifest`]) and, each of them optional, `policy/` (a PEFT adapter),
//! `critic/` (a PEFT adapter and `score_head.safetensors`) and `rankers/level-N.json`. Policy and critic are
//! adapters of one model: on the processor they share its weights with it.
//!
//! ```no_run
//! use generator::Generator;
//! use learned::Learned;
//! use transformer::Cpu;
//!
//! let model = Generator::open("qwen2.5-coder-1.5b-instruct-q4_k_m.gguf".as_ref(), &Cpu::default())?;
//! let places = ["models/learned".into()];
//! if let Some(learned) = Learned::find(&places, &[&model.name])? {
//!     let (policy, critic) = (learned.policy(&model)?, learned.critic(&model)?);
//!     println!("{}: {} {}", learned.name(), policy.is_some(), critic.is_some());
//! }
//! # Ok::<(), anyhow::Error>(())
//! ```

mod error;
mod manifest;

pub use error::Error;
pub use manifest::{CriticSettings, Manifest, PolicySettings, Shape};

use critic::Critic;
use generator::Generator;
use selection::ranker::HIGHEST_LEVEL;
use selection::{LEARNED, Ranker, is_model};
use std::path::{Path, PathBuf};
use transformer::lora::Adapters;

/// The file that says whose it is.
const MANIFEST: &str = "learned.json";

/// The learned parts of one model.
#[derive(Clone, Debug)]
pub struct Learned {
    directory: PathBuf,
    manifest: Manifest,
    rankers: Vec<Ranker>,
}

impl Learned {
    /// Reads a directory; adapters are read when they are attached.
    ///
    /// # Errors
    /// Where `learned.json` or a ranker is missing or damaged, or there is no part at all.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        Self::with(directory, Manifest::read(&directory.join(MANIFEST))?)
    }

    fn with(directory: &Path, manifest: Manifest) -> Result<Self, Error> {
        let rankers = (0..=HIGHEST_LEVEL).filter_map(|level| read_ranker(directory, level).transpose());
        let learned = Learned {
            rankers: rankers.collect::<Result<_, Error>>()?,
            directory: directory.to_owned(),
            manifest,
        };
        if !learned.has_policy() && !learned.has_critic() && learned.rankers.is_empty() {
            return Err(Error::Empty { directory: directory.to_owned() });
        }
        Ok(learned)
    }

    /// The first in some places that is for a model of one of these names; a place is a directory of such
    /// directories, and need not exist.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn find(places: &[PathBuf], names: &[&str]) -> Result<Option<Self>, Error> {
        for directory in places.iter().flat_map(|place| directories(place)) {
            match Manifest::read(&directory.join(MANIFEST)) {
                Ok(manifest) if names.iter().any(|name| manifest.is_for(name)) => {
                    return Self::with(&directory, manifest).map(Some);
                }
                // Whose it is only its folder tells.
                Err(error) if names.iter().any(|name| is_model(&folder(&directory), name)) => {
                    return Err(error);
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// Whether it is for the model of this name.
    pub fn is_for(&self, name: &str) -> bool {
        self.manifest.is_for(name)
    }

    /// Its model's first name.
    pub fn name(&self) -> &str {
        self.manifest.models.first().map_or("", String::as_str)
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What `learned.json` says.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Rankers, by level.
    pub fn rankers(&self) -> &[Ranker] {
        &self.rankers
    }

    /// The ranker of a level.
    pub fn ranker(&self, level: u8) -> Option<&Ranker> {
        self.rankers.iter().find(|ranker| ranker.level == level)
    }

    /// Whether it has a policy.
    pub fn has_policy(&self) -> bool {
        self.path("policy").is_dir()
    }

    /// Whether it has a critic.
    pub fn has_critic(&self) -> bool {
        self.path("critic").is_dir()
    }

    /// The policy beside its base model, if there is one. Not while an engine runs the base.
    ///
    /// # Errors
    /// Where the base has another shape, or the adapter is damaged or finds no room.
    pub fn policy(&self, base: &Generator) -> Result<Option<Generator>, Error> {
        self.manifest.check(&self.directory.join(MANIFEST), base)?;
        if !self.has_policy() {
            return Ok(None);
        }
        let path = self.path("policy");
        let adapters = Adapters::load(&path, base.config())?;
        let policy = base.adapted(&adapters, format!("{}{LEARNED}", base.name));
        policy.map(Some).map_err(|source| Error::Part { path, source })
    }

    /// The critic beside its base model, if there is one. Not while an engine runs the base.
    ///
    /// # Errors
    /// As [`policy`](Self::policy).
    pub fn critic(&self, base: &Generator) -> Result<Option<Critic>, Error> {
        self.manifest.check(&self.directory.join(MANIFEST), base)?;
        if !self.has_critic() {
            return Ok(None);
        }
        let path = self.path("critic");
        let critic = base.with_reader(|reader| Critic::attach(&path, reader, base.tokenizer.clone()));
        let mut critic = critic.map_err(|source| Error::Part { path, source })?;
        critic.max_tokens = self.manifest.critic.max_tokens;
        Ok(Some(critic))
    }

    fn path(&self, part: &str) -> PathBuf {
        self.directory.join(part)
    }
}

/// The directories in a place that hold learned parts, by name.
fn directories(place: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(place).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = entries.filter(|path| path.join(MANIFEST).is_file()).collect();
    found.sort();
    found
}

/// The last part of a directory's path.
fn folder(directory: &Path) -> String {
    directory.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn read_ranker(directory: &Path, level: u8) -> Result<Option<Ranker>, Error> {
    let path = directory.join(format!("rankers/level-{level}.json"));
    if !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&path).map_err(|source| Error::Io { path: path.clone(), source })?;
    let invalid = |message: String| Error::Invalid { path: path.clone(), message };
    let ranker = Ranker::parse(&text).map_err(invalid)?;
    if ranker.level != level {
        return Err(invalid(format!("level: expected {level}, found {}; rename the file", ranker.level)));
    }
    Ok(Some(ranker))
}

#[cfg(test)]
mod tests;
