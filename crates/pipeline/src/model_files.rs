//! Whether a model is the one that a run began with: the digests of its files.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// One file of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ModelFile {
    /// Its name in the model's directory.
    name: String,
    /// Its length.
    bytes: u64,
    /// When it was written last, in nanoseconds since 1970: with the same length and time it is not read
    /// again.
    modified: u64,
    /// Its digest.
    sha256: String,
}

/// The files of a model: what a directory in Hugging Face layout holds of it, or a GGUF file with the other
/// parts of a split one.
pub(crate) fn of(model: &Path) -> Result<Vec<ModelFile>> {
    let describe = |path: PathBuf| {
        let (bytes, modified) = stamp(&path)?;
        let sha256 = digest(&path)?;
        Ok(ModelFile { name: name_of(&path), bytes, modified, sha256 })
    };
    paths(model)?.into_iter().map(describe).collect()
}

/// Refuses a model whose files are not these. A file that was added counts too: a tokenizer's template, for
/// one, changes every prompt.
pub(crate) fn check(root: &Path, what: &'static str, expected: &[ModelFile], model: &Path) -> Result<()> {
    let paths = paths(model)?;
    let changed = |file: PathBuf, expected: &str, found: &str| Error::ModelChanged {
        root: root.to_owned(),
        what,
        file,
        expected: expected.to_owned(),
        found: found.to_owned(),
    };
    for file in expected {
        let Some(path) = paths.iter().find(|path| name_of(path) == file.name) else {
            return Err(changed(model.join(&file.name), &file.sha256, "no such file"));
        };
        if stamp(path)? == (file.bytes, file.modified) {
            continue;
        }
        let found = digest(path)?;
        if found != file.sha256 {
            return Err(changed(path.clone(), &file.sha256, &found));
        }
    }
    match paths.into_iter().find(|path| expected.iter().all(|file| file.name != name_of(path))) {
        Some(path) => {
            let found = digest(&path)?;
            Err(changed(path, "no such file", &found))
        }
        None => Ok(()),
    }
}

/// The files that a model is read from, by name.
fn paths(model: &Path) -> Result<Vec<PathBuf>> {
    let is_directory = model.is_dir();
    let directory = if is_directory { model } else { model.parent().unwrap_or(Path::new("")) };
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    if !is_directory && part_stem(&name_of(model)).is_none() {
        return Ok(vec![model.to_owned()]);
    }
    let belongs = |path: &PathBuf| {
        let name = name_of(path);
        match is_directory {
            true => [".json", ".safetensors", ".jinja"].iter().any(|end| name.ends_with(end)),
            false => part_stem(&name) == part_stem(&name_of(model)),
        }
    };
    let entries = fs::read_dir(directory).map_err(|source| unreadable(directory, source))?;
    let found = entries.map(|entry| Ok(entry.map_err(|source| unreadable(directory, source))?.path()));
    let mut found: Vec<PathBuf> = found.collect::<Result<_>>()?;
    found.retain(|path| path.is_file() && belongs(path));
    found.sort();
    Ok(found)
}

/// `NAME` and the number of parts of `NAME-00001-of-00003.gguf`.
fn part_stem(name: &str) -> Option<(&str, &str)> {
    let (rest, count) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let is_number = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(number) && is_number(count)).then_some((stem, count))
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn unreadable(path: &Path, source: io::Error) -> Error {
    Error::Unreadable { path: path.to_owned(), expected: None, source }
}

fn stamp(path: &Path) -> Result<(u64, u64)> {
    let data = fs::metadata(path).map_err(|source| unreadable(path, source))?;
    let since = data.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    Ok((data.len(), since.map_or(0, |since| since.as_nanos() as u64)))
}

fn digest(path: &Path) -> Result<String> {
    let read = || {
        let mut file = File::open(path)?;
        let (mut digest, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
                count => digest.update(&buffer[..count]),
            }
        }
    };
    read().map_err(|source| unreadable(path, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_missing_or_added_file_is_named_and_a_touched_one_is_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).expect("written");
        write("config.json", "{}");
        write("model.safetensors", "weights");
        write("README.md", "words");
        let files = of(directory.path()).expect("files");
        assert_eq!(
            files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(),
            ["config.json", "model.safetensors"]
        );
        let again = || check(Path::new("run"), "the model", &files, directory.path());
        write("model.safetensors", "weights");
        write("README.md", "other words");
        again().expect("the same model");
        write("model.safetensors", "WEIGHTS");
        let message = again().expect_err("another model").to_string();
        assert!(message.contains("model.safetensors of the model changed"), "{message}");
        write("model.safetensors", "weights");
        write("chat_template.jinja", "x");
        let message = again().expect_err("another template").to_string();
        assert!(message.contains("chat_template.jinja"), "{message}");
        fs::remove_file(directory.path().join("config.json")).expect("removed");
        let message = again().expect_err("no shape").to_string();
        assert!(message.contains("config.json") && message.contains("no such file"), "{message}");
    }

    #[test]
    fn parts_of_a_split_file_belong_together() {
        assert_eq!(part_stem("m-00001-of-00003.gguf"), Some(("m", "00003")));
        assert_eq!(part_stem("m-00001-of-00003.gguf"), part_stem("m-00002-of-00003.gguf"));
        assert_eq!(part_stem("m.gguf"), None);
        assert_eq!(part_stem("one-of-two.gguf"), None);
    }
}
