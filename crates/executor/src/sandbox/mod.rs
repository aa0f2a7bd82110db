//! What keeps a candidate from doing harm, in tiers.
//!
//! | tier | in force |
//! | --- | --- |
//! | A | namespaces, Landlock, seccomp, resource limits |
//! | B | Landlock, seccomp, resource limits |
//! | C | seccomp, resource limits; no file can be opened at all |
//! | D | resource limits only |
//!
//! Nothing here needs privileges. A tier is attempted by doing: the interpreter takes it on, then a
//! child of it tries a dozen [attacks](PROBE); only if all fail is the tier in force. The steps, in
//! their order:
//!
//! 1. the interpreter starts with an empty environment and no descriptor but its socket;
//! 2. it imports what candidates need; at tier A it steps into namespaces of its own, as nobody,
//!    without capabilities, in a root directory that holds Python only (`python/namespaces.py`);
//! 3. it gives up new privileges (`PR_SET_NO_NEW_PRIVS`);
//! 4. Landlock: files may be read under Python's own directories, nothing else ([`landlock`]);
//! 5. seccomp: the system calls that a forking interpreter needs, no others ([`seccomp::allowed`]);
//! 6. each child takes on limits, and gives up what only the interpreter needs: processes, signals,
//!    limits, messages ([`seccomp::denied_to_children`]).

mod landlock;
mod seccomp;

use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::str::FromStr;

/// Where shared libraries that Python's modules link to are found.
const SYSTEM_LIBRARIES: [&str; 6] =
    ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo", "/dev/null"];

/// How strongly candidates are isolated; the first is the strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Tier {
    /// Namespaces, Landlock, seccomp, resource limits.
    A,
    /// Landlock, seccomp, resource limits.
    B,
    /// Seccomp, resource limits.
    C,
    /// Resource limits only.
    D,
}

impl Tier {
    /// All of them, the strongest first.
    pub const ALL: [Tier; 4] = [Tier::A, Tier::B, Tier::C, Tier::D];

    /// Its letter.
    pub fn name(self) -> &'static str {
        match self {
            Tier::A => "A",
            Tier::B => "B",
            Tier::C => "C",
            Tier::D => "D",
        }
    }

    /// What it consists of.
    pub fn description(self) -> &'static str {
        match self {
            Tier::A => "namespaces, Landlock, seccomp, resource limits",
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
        known.ok_or_else(|| format!("expected A, B, C or D, found {text}"))
    }
}

/// What an interpreter takes on.
pub struct Confinement {
    /// What may be read; in a root directory of its own, what there is.
    pub readable: Vec<PathBuf>,
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
        let readable =
            libraries.iter().cloned().chain(SYSTEM_LIBRARIES.map(PathBuf::from)).collect::<Vec<_>>();
        let ruleset = match tier {
            Tier::A | Tier::B => Some(landlock::read_only(&readable)?),
            Tier::C | Tier::D => None,
        };
        if tier == Tier::D {
            return Ok(Confinement { readable, ruleset, filters: Vec::new(), child_filter: None });
        }
        let filters = vec![seccomp::without_clone3()?, seccomp::allowed(tier <= Tier::B)?];
        Ok(Confinement { readable, ruleset, filters, child_filter: Some(seccomp::denied_to_children()?) })
    }
}

/// Real attacks, run as a candidate: what it returns names those that got through.
pub const PROBE: &str = include_str!("../python/probe.py");
