//! Landlock (Linux 5.13 and later): files can be read under Python's own directories only.

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr,
    Scope, path_beneath_rules,
};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// A ruleset that lets a process read under these directories. The first
/// version of Landlock is required; what later ones add (truncation, the network, signals to
/// others) is denied too where the kernel knows it.
pub fn read_only(readable: &[PathBuf]) -> io::Result<OwnedFd> {
    let created = || -> Result<Option<OwnedFd>, landlock::RulesetError> {
        let ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(ABI::V1))?
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(ABI::V5))?
            .handle_access(AccessNet::from_all(ABI::V4))?
            .scope(Scope::from_all(ABI::V6))?
            .create()?
            .add_rules(path_beneath_rules(readable.iter(), AccessFs::ReadFile | AccessFs::ReadDir))?;
        Ok(ruleset.into())
    };
    match created() {
        Ok(Some(ruleset)) => Ok(ruleset),
        Ok(None) => Err(io::Error::new(io::ErrorKind::Unsupported, "this kernel has no Landlock")),
        Err(error) => Err(io::Error::new(io::ErrorKind::Unsupported, error.to_string())),
    }
}
