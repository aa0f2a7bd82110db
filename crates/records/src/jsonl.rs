//! JSON-lines files: appended line by line, resumed where they stop, replaced only as a whole.

use flate2::read::MultiGzDecoder;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

/// What can go wrong with a file of records.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be opened, read or written.
    #[error("{}: {cause}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's word.
        cause: io::Error,
    },
    /// Another process appends to the file.
    #[error("{}: another command writes to it; wait for its end, or name another file", path.display())]
    Taken {
        /// The file.
        path: PathBuf,
    },
    /// A line is not the expected record.
    #[error("{}:{line}: {message}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The field and what was expected.
        message: String,
    },
}

impl Error {
    /// An [`Error::Io`] about `path`.
    pub fn io(path: &Path, source: io::Error) -> Self {
        Error::Io { path: path.to_owned(), cause: source }
    }
}

/// Opens a file for reading; gzip is recognised by its first bytes, whatever the name.
///
/// # Errors
/// Where the file cannot be opened.
pub fn open(path: &Path) -> Result<Box<dyn BufRead>, Error> {
    let file = File::open(path).map_err(|source| Error::io(path, source))?;
    let mut reader = BufReader::new(file);
    let start = reader.fill_buf().map_err(|source| Error::io(path, source))?;
    if start.starts_with(&[0x1f, 0x8b]) {
        return Ok(Box::new(BufReader::new(MultiGzDecoder::new(reader))));
    }
    Ok(Box::new(reader))
}

/// The whole text of a file, plain or gzip.
///
/// # Errors
/// Where the file cannot be read or is not UTF-8.
pub fn read_text(path: &Path) -> Result<String, Error> {
    let mut text = String::new();
    open(path)?.read_to_string(&mut text).map_err(|source| damaged(path, source))?;
    Ok(text)
}

/// What a compressed file's reader says helps nobody.
fn damaged(path: &Path, source: io::Error) -> Error {
    let is_gzip = File::open(path).is_ok_and(|mut file| {
        let mut start = [0; 2];
        file.read_exact(&mut start).is_ok() && start == [0x1f, 0x8b]
    });
    let source = match is_gzip {
        true => {
            io::Error::new(source.kind(), format!("the gzip file is not whole ({source}); fetch it again"))
        }
        false => source,
    };
    Error::io(path, source)
}

/// All records of a file, plain or gzip. Empty lines are skipped.
///
/// # Errors
/// Where the file cannot be read, or a line is not such a record: then the message names file,
/// line and field.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, Error> {
    let mut records = Vec::new();
    for (index, line) in open(path)?.lines().enumerate() {
        let line = line.map_err(|source| damaged(path, source))?;
        if line.trim().is_empty() {
            continue;
        }
        let record = serde_json::from_str(&line).map_err(|error| malformed(path, index + 1, &error))?;
        records.push(record);
    }
    Ok(records)
}

fn malformed(path: &Path, line: usize, error: &serde_json::Error) -> Error {
    let text = error.to_string();
    let message = text.split(" at line ").next().unwrap_or(&text);
    Error::Malformed {
        path: path.to_owned(),
        line,
        message: format!("{message} (column {})", error.column()),
    }
}

/// Writes a file as a whole: to a temporary file beside it, synced, then renamed.
///
/// # Errors
/// Where the directory cannot be written; then the old file, if any, is untouched.
pub fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), Error> {
    let whole = || {
        let mut file = files::NewFile::create(path)?;
        write(&mut file)?;
        file.finish()
    };
    whole().map_err(|source| Error::io(path, source))
}

/// Writes all records as a whole.
///
/// # Errors
/// As [`write_atomically`].
pub fn write<'a, T: Serialize + 'a>(
    path: &Path,
    records: impl IntoIterator<Item = &'a T>,
) -> Result<(), Error> {
    write_atomically(path, |writer| {
        for record in records {
            serde_json::to_writer(&mut *writer, record)?;
            writer.write_all(b"\n")?;
        }
        Ok(())
    })
}

/// A file that grows line by line and survives being interrupted.
pub struct Appender {
    path: PathBuf,
    writer: BufWriter<File>,
}

impl Appender {
    /// Opens a file to go on with, and returns the records it holds. A last line that was cut off
    /// is removed from the file; a damaged line elsewhere is an error.
    ///
    /// # Errors
    /// Where the file cannot be read or written, or holds other records.
    pub fn resume<T: DeserializeOwned>(path: &Path) -> Result<(Self, Vec<T>), Error> {
        let fail = |source| Error::io(path, source);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(fail)?;
        }
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .append(true)
            .open(path)
            .map_err(fail)?;
        // Two that append would mix their lines. A file system without locks is no reason to refuse.
        if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            return Err(Error::Taken { path: path.to_owned() });
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(fail)?;
        let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        file.set_len(whole as u64).map_err(fail)?;
        let mut records = Vec::new();
        for (index, line) in bytes[..whole].split(|&byte| byte == b'\n').enumerate() {
            if !line.is_empty() {
                let record = serde_json::from_slice(line);
                records.push(record.map_err(|error| malformed(path, index + 1, &error))?);
            }
        }
        Ok((Appender { path: path.to_owned(), writer: BufWriter::new(file) }, records))
    }

    /// Adds one record.
    ///
    /// # Errors
    /// Where the disk refuses it.
    pub fn append<T: Serialize>(&mut self, record: &T) -> Result<(), Error> {
        let write = serde_json::to_writer(&mut self.writer, record).map_err(io::Error::from);
        let write = write.and_then(|()| self.writer.write_all(b"\n"));
        write.map_err(|source| Error::io(&self.path, source))
    }

    /// Hands what has been added to the system.
    ///
    /// # Errors
    /// Where the disk refuses it.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.writer.flush().map_err(|source| Error::io(&self.path, source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Score, Split};

    #[test]
    fn a_cut_off_line_is_dropped_and_the_file_goes_on() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("scores.jsonl");
        let score = |index| Score { problem: "p".into(), index, critic: 0.5 };
        let (mut file, old) = Appender::resume::<Score>(&path).expect("a new file");
        assert!(old.is_empty());
        file.append(&score(0)).expect("written");
        file.flush().expect("flushed");
        assert!(matches!(Appender::resume::<Score>(&path), Err(Error::Taken { .. })));
        drop(file);
        fs::write(&path, [fs::read(&path).expect("read").as_slice(), b"{\"problem\":\"p\",\"ind"].concat())
            .expect("cut off");
        let (mut file, old) = Appender::resume::<Score>(&path).expect("resumed");
        assert_eq!(old, [score(0)]);
        file.append(&score(1)).expect("written");
        file.flush().expect("flushed");
        assert_eq!(read::<Score>(&path).expect("whole"), [score(0), score(1)]);
    }

    #[test]
    fn a_gzip_file_of_several_members_is_read_to_its_end() {
        use flate2::{Compression, write::GzEncoder};
        use std::io::Write;
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("joined.jsonl.gz");
        let member = |text: &str| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(text.as_bytes()).expect("compressed");
            encoder.finish().expect("compressed")
        };
        // As `cat a.gz b.gz` makes it.
        fs::write(&path, [member("one\n"), member("two\n")].concat()).expect("written");
        assert_eq!(read_text(&path).expect("text"), "one\ntwo\n");
    }

    #[test]
    fn a_malformed_record_names_file_line_and_field() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("problems.jsonl");
        fs::write(&path, "\n{\"id\": 5}\n").expect("written");
        let message = read::<crate::Problem>(&path).expect_err("malformed").to_string();
        assert!(message.contains("problems.jsonl:2") && message.contains("expected a string"), "{message}");
        assert_eq!(Split::Prompt.name(), "prompt");
    }
}
