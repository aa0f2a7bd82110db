//! `huggingface_hub`'s cache of one repository: `blobs/ETAG`, `snapshots/COMMIT/FILE` that link to them,
//! `refs/main` with the newest commit.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

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
        // Beside its place and then renamed to it: another process may link the same at the same time, and
        // what is written to a link is written to its blob.
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let beside = path.with_extension(format!("{}-{count}.link", std::process::id()));
        self.place(file, blob, &beside)
            .and_then(|()| fs::rename(&beside, &path))
            .inspect_err(|_| drop(fs::remove_file(&beside)))?;
        Ok(path)
    }

    /// Makes a link to a blob; a copy on a file system without links.
    fn place(&self, file: &str, blob: &Path, path: &Path) -> io::Result<()> {
        #[cfg(unix)]
        {
            let depth = Path::new(file).components().count() + 1;
            let up: PathBuf = std::iter::repeat_n(Component::ParentDir, depth).collect();
            let name = blob.file_name().unwrap_or_default();
            if std::os::unix::fs::symlink(up.join("blobs").join(name), path).is_ok() {
                return Ok(());
            }
        }
        fs::copy(blob, path).map(|_| ())
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever links a blob second must not write to it through the link of the first.
    #[test]
    fn many_that_link_at_once_leave_the_blob_whole() {
        for _ in 0..50 {
            let root = tempfile::tempdir().expect("a directory");
            let cache = Cache::new(root.path().to_owned());
            fs::create_dir_all(root.path().join("blobs")).expect("a directory");
            fs::write(cache.blob("tag"), b"weights").expect("a blob");
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        let path = cache.link("commit", "m.gguf", &cache.blob("tag")).expect("a link");
                        assert_eq!(fs::read(path).expect("a file"), b"weights");
                    });
                }
            });
            assert_eq!(fs::read(cache.blob("tag")).expect("a blob"), b"weights");
            assert_eq!(cache.files("commit"), ["m.gguf"]);
        }
    }
}
