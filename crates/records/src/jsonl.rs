//! JSON-lines files: appended line by line, resumed where they stop, replaced only as a whole.

use crate::fields::{self, FieldError};
use flate2::read::MultiGzDecoder;
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Read, Write};
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

    /// Reading `path` failed after it was opened, perhaps since it is a gzip file that is not whole.
    pub fn reading(path: &Path, source: io::Error) -> Self {
        damaged(path, source)
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
    if start.starts_with(&[0xff, 0xfe]) || start.starts_with(&[0xfe, 0xff]) {
        let message = "the file is UTF-16; expected UTF-8: `iconv -f UTF-16 -t UTF-8` makes it so";
        return Err(Error::io(path, io::Error::new(ErrorKind::InvalidData, message)));
    }
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
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes).map_err(|source| Error::reading(path, source))?;
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + good.iter().filter(|&&byte| byte == b'\n').count();
        let message = "not UTF-8; save the file as UTF-8".to_owned();
        Error::Malformed { path: path.to_owned(), line, message }
    })
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
        let line = line.map_err(|source| Error::reading(path, source))?;
        if line.trim().is_empty() {
            continue;
        }
        let line = if index == 0 { line.trim_start_matches('\u{feff}') } else { &line };
        let record = fields::from_slice(line.as_bytes());
        records.push(record.map_err(|error| malformed(path, index + 1, &error))?);
    }
    Ok(records)
}

fn malformed(path: &Path, line: usize, error: &FieldError) -> Error {
    Error::Malformed { path: path.to_owned(), line, message: error.to_string() }
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
        let (lines, rest) = bytes.split_at(whole);
        let mut records = Vec::new();
        for (index, line) in lines.split(|&byte| byte == b'\n').enumerate() {
            if !line.trim_ascii().is_empty() {
                let record = fields::from_slice(line);
                records.push(record.map_err(|error| malformed(path, index + 1, &error))?);
            }
        }
        // Nothing is written before all is known to be ours: another file, named by mistake, stays as
        // it is.
        if let Some(record) = last_line(path, records.len() + 1, rest)? {
            records.push(record);
            file.write_all(b"\n").map_err(fail)?;
        } else if !rest.is_empty() {
            file.set_len(whole as u64).map_err(fail)?;
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

/// The record of a line that has no end: none where it was cut off.
fn last_line<T: DeserializeOwned>(path: &Path, line: usize, text: &[u8]) -> Result<Option<T>, Error> {
    match fields::from_slice(text) {
        Ok(record) => Ok(Some(record)),
        // A record is an object; what its writer was cut off in begins as one and has no end. A file
        // system that lost power may leave zeros.
        Err(_) if text.starts_with(b"{") && is_cut_off(text) => Ok(None),
        Err(_) if text.iter().all(|&byte| byte == 0) => Ok(None),
        Err(error) => Err(malformed(path, line, &error)),
    }
}

fn is_cut_off(text: &[u8]) -> bool {
    // The last character may be cut off too.
    let text = text.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    serde_json::from_str::<IgnoredAny>(text).is_err_and(|error| error.is_eof())
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
    fn what_is_not_ours_is_not_cut() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("scores.jsonl");
        let whole = r#"{"problem":"p","index":0,"critic":0.5}"#;
        for (text, expected) in [
            ("import os", ":1: not JSON"),
            ("[1, 2", ":1: "),
            ("{\"problem\": \"p\"}", ":1: index: missing"),
            ("{\"problem\": 5}\n{\"cut", ":1: problem: expected text, found 5"),
            ("{\"a\": 1} {\"b\"", ":1: problem: missing"),
        ] {
            fs::write(&path, text).expect("written");
            let error = Appender::resume::<Score>(&path).err().expect(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
            assert_eq!(fs::read_to_string(&path).expect("read"), text);
        }
        // An editor may leave out the last line's end; what is whole stays.
        fs::write(&path, whole).expect("written");
        let (mut file, old) = Appender::resume::<Score>(&path).expect("resumed");
        file.append(&old[0]).expect("written");
        file.flush().expect("flushed");
        assert_eq!(fs::read_to_string(&path).expect("read"), format!("{whole}\n{whole}\n"));
        drop(file);
        for cut in ["{\"problem\":\"\u{e9}", "\0\0\0"] {
            let bytes = &cut.as_bytes()[..cut.len() - usize::from(cut.starts_with('{'))];
            fs::write(&path, [whole.as_bytes(), b"\n", bytes].concat()).expect("written");
            assert_eq!(Appender::resume::<Score>(&path).expect("resumed").1.len(), 1);
            assert_eq!(fs::read_to_string(&path).expect("read"), format!("{whole}\n"));
        }
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
        assert!(
            message.contains("problems.jsonl:2") && message.contains("id: expected text, found 5"),
            "{message}"
        );
        assert_eq!(Split::Prompt.name(), "prompt");
    }
}
