//! `--learned`: what was learned for the model at hand.

use anyhow::Result;
use learned::Learned;
use std::path::{Path, PathBuf};

/// Where learned parts are, below a directory in which they are looked for.
const PLACE: &str = "models/learned";
/// Directories above the program's that may hold them: it may lie in `bin`, or in `target/release`.
const ABOVE: usize = 4;

/// What `--learned` says.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct LearnedChoice {
    /// What was learned for the model (policy, critic, rankers): a directory with learned.json, or none
    /// [default: the one in models/learned, here or beside the program, that names this model]
    #[arg(long, value_name = "DIR|none")]
    learned: Option<String>,
}

impl LearnedChoice {
    /// A directory, or none for the one that names the model.
    pub fn of(learned: Option<String>) -> Self {
        LearnedChoice { learned }
    }

    /// The parts for a model that goes by these names, if there are any.
    ///
    /// # Errors
    /// Where the directory that was named, or one that is for this model, cannot be read.
    pub fn find(&self, names: &[&str]) -> Result<Option<Learned>> {
        Ok(match self.learned.as_deref() {
            Some("none") => None,
            Some(directory) => Some(Learned::open(Path::new(directory))?),
            None => Learned::find(&places(), names)?,
        })
    }

    /// The parts that were named, whatever the model is called.
    ///
    /// # Errors
    /// Where they cannot be read.
    pub fn named(&self) -> Result<Option<Learned>> {
        if self.learned.is_some() { self.find(&[]) } else { Ok(None) }
    }
}

/// Says on stderr which parts are in use.
pub fn announce(learned: &Learned, policy: bool, critic: bool) {
    let mut parts = Vec::new();
    if policy {
        parts.push("a policy".to_owned());
    }
    if critic {
        parts.push("a critic".to_owned());
    }
    let levels: Vec<String> = learned.rankers().iter().map(|ranker| ranker.level.to_string()).collect();
    if !levels.is_empty() {
        parts.push(format!("rankers of level {}", levels.join(", ")));
    }
    let (name, place) = (learned.name(), learned.directory().display());
    eprintln!("learned for {name}: {} from {place}; --learned none leaves them out", parts.join(", "));
}

fn places() -> Vec<PathBuf> {
    let program = std::env::current_exe().and_then(|path| path.canonicalize()).unwrap_or_default();
    let above = program.ancestors().skip(1).take(ABOVE);
    let beside =
        above.flat_map(|directory| [directory.join(PLACE), directory.join("share/ncomp").join(PLACE)]);
    std::iter::once(PathBuf::from(PLACE)).chain(beside).collect()
}
