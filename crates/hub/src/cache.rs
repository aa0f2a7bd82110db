//! `huggingface_hub`'s cache of one repository: `blobs/ETAG`, `snapshots/COMMIT/FILE` that link to them,
//! `refs/main` with the newest commit.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

pub(crate) struct Cache {
    root: PathBuf,
}

impl Cache {
    pub(crate) fn new(root: PathBuf) -> Self {
        Cache { root }
    }

    /// The commit that the cache has last.
    pub(crate) fn main(&self) -> Option<String> {
        let commit = fs::read_to_string(self.root.join("refs/main")).ok()?;
        Some(commit.trim().to_owned()).filter(|commit| is_name(commit))
    }

    pub(crate) fn set_main(&self, commit: &str) -> io::Result<()> {
        match self.main().is_some_and(|main| main == commit) {
            true => Ok(()),
            false => files::write(&self.root.join("refs/main"), commit.as_bytes()),
        }
    }

    /// A file of a commit, if it is there.
    pub(crate) fn held(&self, commit: &str, file: &str) -> Option<PathBuf> {
        let path = self.root.join("snapshots").join(commit).join(file);
        (is_inside(file) && path.is_file()).then_some(path)
    }

    /// The files of a commit that are there, by their paths in the repository, sorted.
    pub(crate) fn files(&self, commit: &str) -> Vec<String> {
        let mut found = Vec::new();
        if !commit.is_empty() {
            collect(&self.root.join("snapshots").join(commit), "", &mut found);
        }
        found.sort();
        found
    }

    pub(crate) fn blob(&self, etag: &str) -> PathBuf {
        self.root.join("blobs").join(etag)
    }

    /// Makes a blob a file of a commit.
    pub(crate) fn link(&self, commit: &str, file: &str, blob: &Path) -> io::Result<PathBuf> {
        let path = self.root.join("snapshots").join(commit).join(file);
        if path.is_file() {
            return Ok(path);
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        // A link to a blob that was deleted.
        let _ = fs::remove_file(&path);
        #[cfg(unix)]
        {
            let depth = Path::new(file).components().count() + 1;
            let up: PathBuf = std::iter::repeat_n(Component::ParentDir, depth).collect();
            let name = blob.file_name().unwrap_or_default();
            if std::os::unix::fs::symlink(up.join("blobs").join(name), &path).is_ok() {
                return Ok(path);
            }
        }
        // A file system without links.
        fs::copy(blob, &path)?;
        Ok(path)
    }
}

fn collect(directory: &Path, prefix: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = entry.path();
        if path.is_file() {
            found.push(format!("{prefix}{name}"));
        } else if path.is_dir() {
            collect(&path, &format!("{prefix}{name}/"), found);
        }
    }
}

/// Whether a commit or an ETag can be a file's name.
pub(crate) fn is_name(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !text.is_empty() && text.len() <= 200 && !text.starts_with('.') && text.chars().all(is_plain)
}

/// Whether a path leads nowhere but down.
pub(crate) fn is_inside(file: &str) -> bool {
    !file.is_empty() && Path::new(file).components().all(|part| matches!(part, Component::Normal(_)))
}
