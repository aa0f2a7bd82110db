//! What can go wrong: in which file, at which place of it, and how.

use crate::{BlockType, MAX_DEPTH, MAX_DIMENSIONS, MAX_KEY_BYTES, MAX_NAME_BYTES, RowError, block};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A GGUF file that cannot be read or written, or lacks what is asked of it.
#[derive(Debug, thiserror::Error)]
#[error("{}: {place}{problem}", .path.display())]
pub struct Error {
    /// The file; of a split one, the part.
    pub path: PathBuf,
    /// Where in it.
    pub place: Place,
    /// What is wrong there, what is expected, and what to do.
    pub problem: Problem,
}

/// A place in a GGUF file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The file as a whole.
    File,
    /// A metadata entry whose key is not known yet, counted from 0.
    Entry(u64),
    /// A metadata entry, by its key.
    Key(String),
    /// An entry of the tensor table whose name is not known yet, counted from 0.
    TableEntry(u64),
    /// A tensor, by its name.
    Tensor(String),
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File => Ok(()),
            Place::Entry(number) => write!(formatter, "metadata entry {number}: "),
            // Escaped: a hostile file shall not write control characters to a terminal.
            Place::Key(key) => write!(formatter, "key `{}`: ", key.escape_debug()),
            Place::TableEntry(number) => write!(formatter, "entry {number} of the tensor table: "),
            Place::Tensor(name) => write!(formatter, "tensor `{}`: ", name.escape_debug()),
        }
    }
}

/// What is wrong at a [`Place`].
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The operating system refuses.
    #[error("{0}")]
    Io(io::Error),
    /// A directory, a pipe or a device.
    #[error("not a regular file; name a GGUF file")]
    NotAFile,
    /// The file does not start as GGUF files do.
    #[error("not a GGUF file: it starts with `{}`, expected `GGUF`; name a file in GGUF format", .0.escape_ascii())]
    Magic(Vec<u8>),
    /// The file is for big-endian machines.
    #[error(
        "a big-endian file, expected little endian; fetch the little-endian one, or convert this one (gguf-convert-endian)"
    )]
    BigEndian,
    /// A version of the format that is not supported.
    #[error(
        "version {0} of the format; versions 2 and 3 are supported: convert the model again with llama.cpp's current converter"
    )]
    Version(u32),
    /// The file ends too early.
    #[error("the file ends after {length} of at least {needed} bytes; download it again")]
    Truncated {
        /// The length of the file, in bytes.
        length: u64,
        /// How long it would have to be, as far as is known, in bytes.
        needed: u64,
    },
    /// A string is not UTF-8.
    #[error("a string is not UTF-8; the file is damaged: download it again")]
    NotUtf8,
    /// A boolean is neither 0 nor 1.
    #[error("a boolean is {0}, expected 0 or 1; the file is damaged: download it again")]
    Bool(u8),
    /// A number that stands for no value type.
    #[error("value type {0}, expected 0 to 12; the file is damaged: download it again")]
    ValueType(u32),
    /// Arrays nested deeper than [`MAX_DEPTH`].
    #[error("arrays are nested deeper than {MAX_DEPTH}; leave this entry out of the file")]
    Depth,
    /// A key is empty or longer than [`MAX_KEY_BYTES`].
    #[error("the key has {0} bytes, expected 1 to {MAX_KEY_BYTES}")]
    KeyLength(u64),
    /// Two metadata entries have one key.
    #[error("appears twice in the metadata; leave one out of the file")]
    DuplicateKey,
    /// The alignment is not a power of two, or not of type UINT32.
    #[error("{0}, expected a power of two as UINT32")]
    Alignment(String),
    /// A tensor's name is empty or longer than [`MAX_NAME_BYTES`].
    #[error("the name has {0} bytes, expected 1 to {MAX_NAME_BYTES}")]
    NameLength(u64),
    /// Two tensors have one name.
    #[error("appears twice in the tensor table; leave one out of the file")]
    DuplicateTensor,
    /// A tensor has more dimensions than [`MAX_DIMENSIONS`].
    #[error("{0} dimensions, expected at most {MAX_DIMENSIONS}")]
    Dimensions(u64),
    /// A dimension of a tensor is 0.
    #[error("dimension {0} is 0, expected at least 1")]
    EmptyDimension(usize),
    /// A row of a tensor is not made of whole blocks.
    #[error("the first dimension is {first}, expected a multiple of {}, the block of {block_type}", .block_type.block_elements())]
    PartialBlock {
        /// The first dimension, in elements.
        first: usize,
        /// The tensor's type.
        block_type: BlockType,
    },
    /// A tensor is larger than memory can be.
    #[error("shape {0:?} has more bytes than this machine can address")]
    TooLarge(Vec<u64>),
    /// A tensor's type is not supported.
    #[error("type {} is not supported; fetch or convert the model with {} only", block::describe(*.0), block::supported())]
    UnsupportedType(u32),
    /// A tensor's data starts at an odd place.
    #[error("its data starts at offset {offset}, expected a multiple of the alignment, {alignment}")]
    Offset {
        /// From the start of all tensors' data, in bytes.
        offset: u64,
        /// In bytes.
        alignment: u32,
    },
    /// Two tensors share bytes.
    #[error("its data overlaps that of tensor `{}`; the file is damaged: download it again", .0.escape_debug())]
    Overlap(String),
    /// A key that is asked for is absent.
    #[error("absent from the metadata, expected {0}")]
    MissingKey(&'static str),
    /// A value is of another type than is asked for, or does not fit into it.
    #[error("{found}, expected {expected}")]
    UnexpectedValue {
        /// The value found, in words.
        found: String,
        /// What is asked for.
        expected: &'static str,
    },
    /// A tensor that is asked for is absent.
    #[error("absent; the file has {0} other tensors")]
    MissingTensor(usize),
    /// A part of a split file that is not named as parts are, so that the others cannot be found.
    #[error(
        "part {} of {count} of a split model, expected a name that ends in -{:05}-of-{count:05}.gguf; give all parts their published names",
        u64::from(*.number) + 1, u64::from(*.number) + 1
    )]
    PartName {
        /// Which part it is, counted from 0.
        number: u32,
        /// How many there are.
        count: u32,
    },
    /// A part of a split file is absent.
    #[error("part {} of {count} cannot be read ({cause}); download all parts into one directory", u64::from(*.number) + 1)]
    MissingPart {
        /// Which one, counted from 0.
        number: u32,
        /// How many there are.
        count: u32,
        /// Why.
        cause: io::Error,
    },
    /// A part of a split file says that it is another one.
    #[error(
        "part {found_number} of {found_count} (counted from 0), expected part {number} of {count}; download all parts again"
    )]
    PartMismatch {
        /// Which part its name says it is, counted from 0.
        number: u32,
        /// How many parts there are.
        count: u32,
        /// Which part its metadata says it is, counted from 0.
        found_number: u32,
        /// How many parts its metadata says there are.
        found_count: u32,
    },
    /// The parts of a split file have more or fewer tensors than they say.
    #[error("all parts have {found} tensors, expected {expected}; download all parts again")]
    PartTensors {
        /// How many there are.
        found: usize,
        /// How many the metadata says there are.
        expected: u32,
    },
    /// One part of a split file, given as bytes: the others have no name to be found by.
    #[error("one of {0} parts of a split model; open it by its path")]
    PartOfMany(u32),
    /// A tensor is written out of turn.
    #[error("written out of turn; expected {}", match .0 { Some(name) => format!("tensor `{name}`"), None => "no more tensors".to_owned() })]
    Order(Option<String>),
    /// More or fewer bytes are written than a tensor has.
    #[error("{written} bytes are written, expected {expected}")]
    Length {
        /// How many there are, with those refused.
        written: usize,
        /// How many the tensor's shape and type take.
        expected: usize,
    },
    /// Values cannot be turned into a tensor's type.
    #[error("{0}")]
    Row(RowError),
}

impl Problem {
    /// This problem, at a place.
    pub(crate) fn at(self, place: Place) -> Fault {
        Fault { place, problem: self }
    }

    /// This problem, at a key.
    pub(crate) fn at_key(self, key: &str) -> Fault {
        self.at(Place::Key(key.to_owned()))
    }

    /// This problem, at a tensor.
    pub(crate) fn at_tensor(self, name: &str) -> Fault {
        self.at(Place::Tensor(name.to_owned()))
    }
}

/// An [`Error`] whose file is not known yet.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) place: Place,
    pub(crate) problem: Problem,
}

impl Fault {
    /// This fault, in a file.
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
