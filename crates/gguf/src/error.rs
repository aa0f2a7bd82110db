//! Errors: in which file, at which place in it, and what is wrong.

use crate::{BlockType, MAX_DEPTH, MAX_DIMENSIONS, MAX_KEY_BYTES, MAX_NAME_BYTES, RowError, block};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A GGUF file cannot be read or written, or lacks a key or tensor that is asked for.
#[derive(Debug, thiserror::Error)]
#[error("{}: {place}{problem}", .path.display())]
pub struct Error {
    /// The file; for a split model, the part.
    pub path: PathBuf,
    /// Where in it.
    pub place: Place,
    /// What is wrong there; its message says what is expected and what to do.
    pub problem: Problem,
}

/// A place in a GGUF file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The file as a whole.
    File,
    /// A metadata entry whose key cannot be read, counted from 0.
    Entry(u64),
    /// A metadata entry, by its key.
    Key(String),
    /// An entry of the tensor table whose name cannot be read, counted from 0.
    TableEntry(u64),
    /// A tensor, by its name.
    Tensor(String),
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File => Ok(()),
            Place::Entry(number) => write!(formatter, "metadata entry {number}: "),
            Place::Key(key) => write!(formatter, "key `{}`: ", shown(key)),
            Place::TableEntry(number) => write!(formatter, "entry {number} of the tensor table: "),
            Place::Tensor(name) => write!(formatter, "tensor `{}`: ", shown(name)),
        }
    }
}

/// What is wrong at a [`Place`].
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The operating system reports an error.
    #[error("{0}")]
    Io(io::Error),
    /// The path names a directory, a pipe or a device.
    #[error("not a regular file; name a GGUF file")]
    NotAFile,
    /// The file does not start with `GGUF`.
    #[error("not a GGUF file: it starts with `{}`, expected `GGUF`; name a file in GGUF format", .0.escape_ascii())]
    Magic(Vec<u8>),
    /// The file is what a download left that went wrong.
    #[error("{0}")]
    Foreign(&'static str),
    /// The file is big endian.
    #[error(
        "a big-endian file, expected little endian; fetch the little-endian one, or convert this one (gguf-convert-endian)"
    )]
    BigEndian,
    /// The version of the format is not supported.
    #[error(
        "version {0} of the format; versions 2 and 3 are supported: convert the model again with llama.cpp's current converter"
    )]
    Version(u32),
    /// The file ends too early.
    #[error("the file ends after {length} of at least {needed} bytes; download it again")]
    Truncated {
        /// The length of the file, in bytes.
        length: u64,
        /// The least length that the part read so far calls for, in bytes.
        needed: u64,
    },
    /// What the file lists does not fit into memory.
    #[error("there is no memory for {0} bytes that it lists; free some, or raise the limit")]
    Memory(u64),
    /// A string is not UTF-8.
    #[error("a string is not UTF-8; the file is damaged: download it again")]
    NotUtf8,
    /// A boolean is neither 0 nor 1.
    #[error("a boolean is {0}, expected 0 or 1; the file is damaged: download it again")]
    Bool(u8),
    /// A number is not that of a value type.
    #[error("value type {0}, expected 0 to 12; the file is damaged: download it again")]
    ValueType(u32),
    /// Arrays are nested deeper than [`MAX_DEPTH`].
    #[error("arrays are nested deeper than {MAX_DEPTH}; leave this entry out of the file")]
    Depth,
    /// A key is empty or longer than [`MAX_KEY_BYTES`].
    #[error("the key has {0} bytes, expected 1 to {MAX_KEY_BYTES}")]
    KeyLength(u64),
    /// Two metadata entries have the same key.
    #[error("appears twice in the metadata; leave one out of the file")]
    DuplicateKey,
    /// The alignment is not a power of two, or not of type UINT32.
    #[error("{0}, expected a power of two as UINT32")]
    Alignment(String),
    /// A tensor's name is empty or longer than [`MAX_NAME_BYTES`].
    #[error("the name has {0} bytes, expected 1 to {MAX_NAME_BYTES}")]
    NameLength(u64),
    /// Two tensors have the same name.
    #[error("appears twice in the tensor table; leave one out of the file")]
    DuplicateTensor,
    /// A tensor has more dimensions than [`MAX_DIMENSIONS`].
    #[error("{0} dimensions, expected at most {MAX_DIMENSIONS}")]
    Dimensions(u64),
    /// A dimension of a tensor is 0.
    #[error("dimension {0} is 0, expected at least 1")]
    EmptyDimension(usize),
    /// The rows of a tensor do not consist of whole blocks.
    #[error("the first dimension is {first}, expected a multiple of {}, the block of {block_type}", .block_type.block_elements())]
    PartialBlock {
        /// The first dimension, in elements.
        first: usize,
        /// The tensor's type.
        block_type: BlockType,
    },
    /// A tensor does not fit into the address space.
    #[error("shape {0:?} has more bytes than this machine can address")]
    TooLarge(Vec<u64>),
    /// A tensor's type is not supported.
    #[error("type {} is not supported; fetch or convert the model with {} only", block::describe(*.0), block::supported())]
    UnsupportedType(u32),
    /// A tensor's data is not aligned.
    #[error("its data starts at offset {offset}, expected a multiple of the alignment, {alignment}")]
    Offset {
        /// From the start of the data section, in bytes.
        offset: u64,
        /// In bytes.
        alignment: u32,
    },
    /// The data of two tensors overlap.
    #[error("its data overlaps that of tensor `{}`; the file is damaged: download it again", .0.escape_debug())]
    Overlap(String),
    /// A required key is absent.
    #[error("absent from the metadata, expected {0}")]
    MissingKey(&'static str),
    /// A value has another type than the one asked for, or does not fit.
    #[error("{found}, expected {expected}")]
    UnexpectedValue {
        /// The value found, in words.
        found: String,
        /// The accepted values, in words.
        expected: &'static str,
    },
    /// A required tensor is absent.
    #[error("absent; the file has {0} other tensors: fetch a model that has it")]
    MissingTensor(usize),
    /// A part of a split model has an unexpected name, so that the others cannot be found.
    #[error(
        "part {} of {count} of a split model, expected a name that ends in -{:05}-of-{count:05}.gguf; give all parts their published names",
        u64::from(*.number) + 1, u64::from(*.number) + 1
    )]
    PartName {
        /// The part, counted from 0.
        number: u32,
        /// The number of parts.
        count: u32,
    },
    /// A part of a split model cannot be read.
    #[error("part {} of {count} cannot be read ({cause}); download all parts into one directory", u64::from(*.number) + 1)]
    MissingPart {
        /// The part, counted from 0.
        number: u32,
        /// The number of parts.
        count: u32,
        /// Why.
        cause: io::Error,
    },
    /// A part's metadata contradicts its name.
    #[error(
        "part {found_number} of {found_count} (counted from 0), expected part {number} of {count}; download all parts again"
    )]
    PartMismatch {
        /// The part according to its name, counted from 0.
        number: u32,
        /// The number of parts according to its name.
        count: u32,
        /// The part according to its metadata, counted from 0.
        found_number: u32,
        /// The number of parts according to its metadata.
        found_count: u32,
    },
    /// The parts of a split model have more or fewer tensors than the metadata declares.
    #[error("all parts have {found} tensors, expected {expected}; download all parts again")]
    PartTensors {
        /// The number of tensors in all parts.
        found: usize,
        /// The number that the metadata declares.
        expected: u32,
    },
    /// Bytes in memory are one part of a split model; the other parts cannot be found.
    #[error("one of {0} parts of a split model; open it from its file")]
    PartOfMany(u32),
    /// A tensor is written out of order.
    #[error("written out of order; expected {}", match .0 { Some(name) => format!("tensor `{name}`"), None => "no more tensors".to_owned() })]
    Order(Option<String>),
    /// A tensor is written with too many or too few bytes.
    #[error("{written} bytes are written, expected {expected}")]
    Length {
        /// Bytes written, including those rejected.
        written: usize,
        /// The tensor's length in bytes.
        expected: usize,
    },
    /// Numbers cannot be converted to a tensor's type.
    #[error("{0}")]
    Row(RowError),
}

/// A name as an error shows it: escaped, so that a hostile file cannot send control characters to a
/// terminal, and shortened.
fn shown(name: &str) -> String {
    const LONGEST: usize = 100;
    let more = if name.chars().nth(LONGEST).is_some() { "…" } else { "" };
    format!("{}{more}", name.chars().take(LONGEST).collect::<String>().escape_debug())
}

/// What a file is that should be a model's and begins like this, and what to do; none where it is neither of
/// the usual leavings of a failed download.
pub fn foreign(start: &[u8]) -> Option<&'static str> {
    let start = start.trim_ascii_start();
    if start.starts_with(b"version https://git-lfs") {
        return Some(
            "a Git LFS pointer, not the file that it stands for; run `git lfs pull`, or download the file itself",
        );
    }
    let is_page = [&b"<!doctype"[..], b"<html", b"<?xml"]
        .iter()
        .any(|tag| start.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag)));
    is_page.then_some("a page of the web, not a model's file; download the file itself")
}

impl Problem {
    /// Places the problem.
    pub(crate) fn at(self, place: Place) -> Fault {
        Fault { place, problem: self }
    }

    /// Places the problem at a key.
    pub(crate) fn at_key(self, key: &str) -> Fault {
        self.at(Place::Key(key.to_owned()))
    }

    /// Places the problem at a tensor.
    pub(crate) fn at_tensor(self, name: &str) -> Fault {
        self.at(Place::Tensor(name.to_owned()))
    }
}

/// An [`Error`] without the file's path.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) place: Place,
    pub(crate) problem: Problem,
}

impl Fault {
    /// Adds the file's path.
    pub(crate) fn of(self, path: &Path) -> Error {
        Error { path: path.to_owned(), place: self.place, problem: self.problem }
    }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        problem.at(Place::File)
    }
}

impl Error {
    pub(crate) fn io(path: &Path, cause: io::Error) -> Self {
        Fault::from(Problem::Io(cause)).of(path)
    }
}
