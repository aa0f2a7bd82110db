//! Rankers: from files, and those that come with the program.

use anyhow::{Context, Result, anyhow};
use selection::Ranker;
use std::path::Path;

/// One ranker for each level of knowledge; `models/rankers/README.md` has the commands that make
/// them.
const BUILT_IN: [&str; 4] = [
    include_str!("../../../models/rankers/level-0.json"),
    include_str!("../../../models/rankers/level-1.json"),
    include_str!("../../../models/rankers/level-2.json"),
    include_str!("../../../models/rankers/level-3.json"),
];

/// Reads a ranker's file.
///
/// # Errors
/// Where it cannot be read, or was made by another version.
pub fn read(path: &Path) -> Result<Ranker> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ranker::parse(&text).map_err(|error| anyhow!("{}: {error}", path.display()))
}

/// The ranker that comes with the program for a level; for all tests known it is that of level 3.
pub fn built_in(level: u8) -> Ranker {
    let text = BUILT_IN[usize::from(level).min(BUILT_IN.len() - 1)];
    Ranker::parse(text).unwrap_or_else(|error| panic!("models/rankers/level-{level}.json: {error}"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_built_in_rankers_are_of_this_version_and_of_their_levels() {
        for level in 0..4 {
            assert_eq!(super::built_in(level).level, level);
        }
    }
}
