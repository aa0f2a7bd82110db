//! Where models are found, and rankers.

use crate::{Error, Result};
use hub::Hub;
use selection::Ranker;
use std::path::{Path, PathBuf};

/// Where a model is: a directory or a GGUF file, named by its path or as `owner/name` on the Hub. Either may
/// have `:Q4_K_M` or `:FILE.gguf` behind it for one of several GGUF files. It is downloaded if need be.
///
/// # Errors
/// Where there is none.
pub fn find(name: &str, hub: &Hub) -> Result<PathBuf> {
    let local = Path::new(name);
    if local.exists() {
        return Ok(local.to_owned());
    }
    if let Some((directory, wanted)) = name.rsplit_once(':')
        && Path::new(directory).is_dir()
    {
        return Ok(hub::file_of_directory(Path::new(directory), wanted)?);
    }
    // A mistyped path is no name on the Hub.
    let names_a_file = name.to_lowercase().ends_with(".gguf") && !name.contains(':');
    let first = local.components().next().map(|first| Path::new(first.as_os_str()));
    let is_path = name.starts_with("models/")
        || names_a_file && (name.split('/').count() < 3 || first.is_some_and(Path::exists));
    if !is_path {
        match hub.model(name) {
            Err(hub::Error::Name(_)) => {}
            found => return Ok(found?),
        }
    }
    Err(Error::NoModel(name.to_owned()))
}

/// As [`find`], without a word to the Hub: None where its cache lacks the model.
///
/// # Errors
/// Where the name is neither a model here nor one of the Hub's.
pub fn find_here(name: &str, hub: &Hub) -> Result<Option<PathBuf>> {
    match find(name, &Hub { is_offline: true, ..hub.clone() }) {
        Ok(path) => Ok(Some(path)),
        Err(Error::Hub(hub::Error::Fetch { .. })) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads a ranker's file.
///
/// # Errors
/// Where it cannot be read, or was made by another version.
pub fn read_ranker(path: &Path) -> Result<Ranker> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Unreadable {
        path: path.to_owned(),
        expected: None,
        source,
    })?;
    Ranker::parse(&text).map_err(|message| Error::Ranker { path: path.to_owned(), message })
}
