//! Files that appear whole or not at all: written beside their path, synced, then renamed to it.
//!
//! ```
//! use std::io::Write;
//!
//! let directory = tempfile::tempdir()?;
//! let path = directory.path().join("new/answer.txt");
//! let mut file = files::NewFile::create(&path)?;
//! file.write_all(b"42\n")?;
//! assert!(!path.exists());
//! file.finish()?;
//! assert_eq!(std::fs::read_to_string(&path)?, "42\n");
//! # Ok::<(), std::io::Error>(())
//! ```

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use std::fs;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use tempfile::NamedTempFile;

/// A file being written. Dropped before [`finish`](NewFile::finish), it leaves nothing, and a file that was
/// at its path stays as it was. Where the file system allows, it has no name before, so that nothing is left
/// either by a process that is killed.
#[derive(Debug)]
pub struct NewFile {
    path: PathBuf,
    file: BufWriter<Unfinished>,
}

/// What is written to.
#[derive(Debug)]
enum Unfinished {
    /// A file without a name.
    Unnamed(fs::File),
    /// A file beside its path, which is removed with this.
    Named(NamedTempFile),
}

impl NewFile {
    /// Begins a file, and makes its directory where there is none.
    ///
    /// # Errors
    /// Where the directory cannot be made or written.
    pub fn create(path: &Path) -> io::Result<Self> {
        let directory = directory_of(path);
        fs::create_dir_all(directory)?;
        let file = match unnamed(directory) {
            Some(file) => Unfinished::Unnamed(file),
            None => Unfinished::Named(NamedTempFile::new_in(directory).map_err(without_path)?),
        };
        Ok(NewFile { path: path.to_owned(), file: BufWriter::new(file) })
    }

    /// Syncs the file and renames it to its path.
    ///
    /// # Errors
    /// Where the disk refuses it; then nothing is left.
    pub fn finish(self) -> io::Result<()> {
        let unfinished = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        let file = match &unfinished {
            Unfinished::Unnamed(file) => file,
            Unfinished::Named(file) => file.as_file(),
        };
        file.sync_all()?;
        set_default_permissions(file)?;
        match unfinished {
            Unfinished::Unnamed(file) => publish(&file, &self.path),
            Unfinished::Named(file) => file.persist(&self.path).map(drop).map_err(|error| error.error),
        }
    }
}

impl Write for Unfinished {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Unfinished::Unnamed(file) => file.write(bytes),
            Unfinished::Named(file) => file.write(bytes).map_err(without_path),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A file without a name, where there are such files.
fn unnamed(directory: &Path) -> Option<fs::File> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    rustix::fs::open(directory, flags, Mode::from_raw_mode(0o600)).ok().map(fs::File::from)
}

/// Gives a file without a name its path: first a name beside it, as only that can take the place of a file
/// that is there.
fn publish(file: &fs::File, path: &Path) -> io::Result<()> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let beside = directory_of(path).join(format!(".{}-{number}.tmp", std::process::id()));
    let open = format!("/proc/self/fd/{}", file.as_raw_fd());
    // Left by a process of the same number that was killed in between.
    let _ = fs::remove_file(&beside);
    rustix::fs::linkat(CWD, open, CWD, &beside, AtFlags::SYMLINK_FOLLOW)?;
    fs::rename(&beside, path).inspect_err(|_| {
        let _ = fs::remove_file(&beside);
    })
}

/// An error that does not tell the name of a file that nobody asked for.
fn without_path(error: io::Error) -> io::Error {
    error.kind().into()
}

/// Writes a file that holds these bytes.
///
/// # Errors
/// As [`NewFile::create`] and [`NewFile::finish`].
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = NewFile::create(path)?;
    file.write_all(bytes)?;
    file.finish()
}

/// Temporary files are private to their owner; a finished file is an ordinary one.
fn set_default_permissions(file: &fs::File) -> io::Result<()> {
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unfinished_file_leaves_what_was_there() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a");
        write(&path, b"old").expect("written");
        let mut file = NewFile::create(&path).expect("begun");
        file.write_all(b"new").expect("written");
        drop(file);
        assert_eq!(fs::read(&path).expect("a file"), b"old");
        assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 1);
        write(&path, b"new").expect("written");
        assert_eq!(fs::read(&path).expect("a file"), b"new");
    }

    #[test]
    fn a_file_without_a_name_leaves_nothing_even_if_nobody_tidies_up() {
        let directory = tempfile::tempdir().expect("a directory");
        if unnamed(directory.path()).is_none() {
            return println!("skipped: this file system has no files without a name");
        }
        let mut file = NewFile::create(&directory.path().join("a")).expect("begun");
        file.write_all(b"new").expect("written");
        file.flush().expect("written");
        // As a process that is killed leaves it.
        std::mem::forget(file);
        assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 0);
    }

    #[test]
    fn a_file_with_a_name_is_renamed_too() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a");
        write(&path, b"old").expect("written");
        let named = NamedTempFile::new_in(directory.path()).expect("a file");
        let file = BufWriter::new(Unfinished::Named(named));
        let mut file = NewFile { path: path.clone(), file };
        file.write_all(b"new").expect("written");
        file.finish().expect("finished");
        assert_eq!(fs::read(&path).expect("a file"), b"new");
        assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 1);
    }

    #[test]
    fn an_error_names_no_temporary_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a");
        fs::create_dir(&path).expect("a directory");
        let message = write(&path, b"").expect_err("it is a directory").to_string();
        assert!(!message.contains("tmp"), "{message}");
        assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 1);
    }

    #[test]
    fn a_finished_file_can_be_read_by_all() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a");
        write(&path, b"").expect("written");
        assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o644);
    }
}
