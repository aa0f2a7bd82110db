//! What keeps a candidate from doing harm, in tiers.
//!
//! | tier | in force |
//! | --- | --- |
//! | B | Landlock, seccomp, resource limits |
//! | C | seccomp, resource limits; no file can be opened at all |
//! | D | resource limits only |
//!
//! Nothing here needs privileges. A tier is attempted by doing: the interpreter takes it on, then a
//! child of it tries a dozen [attacks](PROBE); only if all fail is the tier in force. The steps, in
//! their order:
//!
//! 1. the interpreter starts with an empty environment and no descriptor but its socket;
//! 2. it imports what candidates need, then gives up new privileges (`PR_SET_NO_NEW_PRIVS`);
//! 3. Landlock: files may be read under Python's own directories, nothing else ([`landlock`]);
//! 4. seccomp: the system calls that a forking interpreter needs, no others ([`seccomp::allowed`]);
//! 5. each child leads a session of its own, takes on limits, and gives up what only the
//!    interpreter needs: processes, signals, limits, messages ([`seccomp::denied_to_children`]).

mod landlock;
mod seccomp;

use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::str::FromStr;

/// How strongly candidates are isolated; the first is the strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Tier {
    /// Landlock, seccomp, resource limits.
    B,
    /// Seccomp, resource limits.
    C,
    /// Resource limits only.
    D,
}

impl Tier {
    /// All of them, the strongest first.
    pub const ALL: [Tier; 3] = [Tier::B, Tier::C, Tier::D];

    /// Its letter.
    pub fn name(self) -> &'static str {
        match self {
            Tier::B => "B",
            Tier::C => "C",
            Tier::D => "D",
        }
    }

    /// What it consists of.
    pub fn description(self) -> &'static str {
        match self {
            Tier::B => "Landlock, seccomp, resource limits",
            Tier::C => "seccomp, resource limits",
            Tier::D => "resource limits only",
        }
    }
}

impl FromStr for Tier {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Tier::ALL.into_iter().find(|tier| tier.name().eq_ignore_ascii_case(text));
        known.ok_or_else(|| format!("expected B, C or D, found {text}"))
    }
}

/// What an interpreter takes on.
pub struct Confinement {
    /// A Landlock ruleset to enforce.
    pub ruleset: Option<OwnedFd>,
    /// Seccomp programs for the interpreter, in the kernel's form.
    pub filters: Vec<Vec<u8>>,
    /// The one for its children.
    pub child_filter: Option<Vec<u8>>,
}

impl Confinement {
    /// The confinement of a tier; `libraries` are the directories that Python reads its own
    /// modules from.
    ///
    /// # Errors
    /// Where the kernel cannot do it.
    pub fn of(tier: Tier, libraries: &[PathBuf]) -> io::Result<Self> {
        let ruleset = match tier {
            Tier::B => Some(landlock::read_only(libraries)?),
            Tier::C | Tier::D => None,
        };
        if tier == Tier::D {
            return Ok(Confinement { ruleset, filters: Vec::new(), child_filter: None });
        }
        let filters = vec![seccomp::without_clone3()?, seccomp::allowed(tier == Tier::B)?];
        Ok(Confinement { ruleset, filters, child_filter: Some(seccomp::denied_to_children()?) })
    }
}

/// Real attacks, run as a candidate: what it returns names those that got through.
pub const PROBE: &str = include_str!("../python/probe.py");
