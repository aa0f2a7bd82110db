//! Open files and their tensors.

use crate::error::Fault;
use crate::parse::{Contents, parse, parse_table};
use crate::split::PartNumber;
use crate::{BlockType, Error, Metadata, Problem, TensorInfo, dequantize_row};
use memmap2::{Mmap, MmapOptions, UncheckedAdvice};
use std::collections::HashMap;
use std::fs;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};

/// An open GGUF file, or all parts of a split model, validated as a whole.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    version: u32,
    alignment: u32,
    metadata: Metadata,
    /// Each part's bytes.
    parts: Vec<Bytes>,
    entries: Vec<Entry>,
    by_name: HashMap<String, usize>,
}

/// A tensor and where it is stored.
#[derive(Debug)]
struct Entry {
    info: TensorInfo,
    part: usize,
    /// In the part's bytes.
    range: Range<usize>,
}

#[derive(Debug)]
enum Bytes {
    Mapped(Mmap),
    Owned(Vec<u8>),
}

impl Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Owned(bytes) => bytes,
        }
    }
}

impl File {
    /// Maps a file into memory and validates it. Given any part of a split model, opens all parts,
    /// which are expected in the same directory.
    ///
    /// Tensor data is read from disk on first access. The file must not change while it is open:
    /// modified bytes give wrong numbers, and truncation ends the process (SIGBUS).
    ///
    /// # Errors
    /// If the file cannot be read, is not a complete GGUF file of version 2 or 3, or has a tensor whose
    /// type is not a [`BlockType`].
    pub fn open(path: &Path) -> Result<File, Error> {
        let mut file = File::of_part(map(path)?, path)?;
        let part = PartNumber::of(&file.metadata)?;
        for number in (0..part.count).filter(|&number| number != part.number) {
            let sibling_path = part.sibling(path, number)?;
            let sibling = File::open_part(&sibling_path, PartNumber { number, ..part })?;
            file.absorb(sibling, number == 0, &sibling_path)?;
        }
        file.check_tensor_count()?;
        Ok(file)
    }

    /// Validates a file held in memory; errors name `path`.
    ///
    /// # Errors
    /// As [`open`](File::open), and if the file is one part of a split model.
    pub fn from_bytes(bytes: Vec<u8>, path: &Path) -> Result<File, Error> {
        let file = File::of_part(Bytes::Owned(bytes), path)?;
        match PartNumber::of(&file.metadata)?.count {
            1 => Ok(file),
            count => Err(Fault::from(Problem::PartOfMany(count)).of(path)),
        }
    }

    /// The path given to [`open`](File::open).
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The version of the format.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Alignment of tensor data in the file, in bytes: a power of two.
    pub fn alignment(&self) -> u32 {
        self.alignment
    }

    /// The metadata; for a split model, the first part's.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// All tensors, in the order of the tensor table.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = Tensor<'_>> {
        self.entries.iter().map(|entry| self.tensor_at(entry))
    }

    /// A tensor by name, if it is present.
    pub fn optional_tensor(&self, name: &str) -> Option<Tensor<'_>> {
        self.by_name.get(name).map(|&at| self.tensor_at(&self.entries[at]))
    }

    /// A tensor by name.
    ///
    /// # Errors
    /// If it is absent.
    pub fn tensor(&self, name: &str) -> Result<Tensor<'_>, Error> {
        let problem = || Problem::MissingTensor(self.entries.len()).at_tensor(name);
        self.optional_tensor(name).ok_or_else(|| problem().of(&self.path))
    }

    /// Lets go of the memory that tensors' data occupies since it was read; the next access reads it
    /// from disk again. Nothing changes for a file that was not mapped.
    pub fn release(&self) {
        for part in &self.parts {
            if let Bytes::Mapped(map) = part {
                // SAFETY: nothing was ever written to the map, so that what is read again is the same.
                // That the system may refuse costs memory, not correctness.
                let _ = unsafe { map.unchecked_advise(UncheckedAdvice::DontNeed) };
            }
        }
    }

    fn tensor_at<'a>(&'a self, entry: &'a Entry) -> Tensor<'a> {
        Tensor { info: &entry.info, bytes: &self.parts[entry.part][entry.range.clone()] }
    }

    fn of_part(bytes: Bytes, path: &Path) -> Result<File, Error> {
        let Contents { version, alignment, metadata, tensors } =
            parse(&bytes).map_err(|fault| fault.of(path))?;
        let entries: Vec<_> =
            tensors.into_iter().map(|(info, range)| Entry { info, part: 0, range }).collect();
        let by_name = entries.iter().enumerate().map(|(at, entry)| (entry.info.name.clone(), at)).collect();
        let (path, metadata) = (path.to_owned(), Metadata::new(path.to_owned(), metadata));
        Ok(File { path, version, alignment, metadata, parts: vec![bytes], entries, by_name })
    }

    fn open_part(path: &Path, part: PartNumber) -> Result<File, Error> {
        let bytes = map(path).map_err(|mut error| {
            error.problem = match error.problem {
                Problem::Io(cause) => Problem::MissingPart { number: part.number, count: part.count, cause },
                other => other,
            };
            error
        })?;
        let file = File::of_part(bytes, path)?;
        part.check(&file.metadata, path)?;
        Ok(file)
    }

    /// Adds another part's tensors; metadata comes from the first part.
    fn absorb(&mut self, part: File, is_first: bool, path: &Path) -> Result<(), Error> {
        if is_first {
            self.metadata = part.metadata;
        }
        for mut entry in part.entries {
            let name = entry.info.name.clone();
            if self.by_name.contains_key(&name) {
                return Err(Problem::DuplicateTensor.at_tensor(&name).of(path));
            }
            entry.part = self.parts.len();
            self.by_name.insert(name, self.entries.len());
            self.entries.push(entry);
        }
        self.parts.extend(part.parts);
        Ok(())
    }

    fn check_tensor_count(&self) -> Result<(), Error> {
        let expected = match self.parts.len() {
            1 => None,
            _ => self.metadata.optional("split.tensors.count")?,
        };
        let found = self.entries.len();
        match expected {
            Some(expected) if u64::from(expected) != found as u64 => {
                Err(Fault::from(Problem::PartTensors { found, expected }).of(&self.path))
            }
            _ => Ok(()),
        }
    }
}

/// The tensors of a file, of which nothing else is read: where there is no memory for more. Of a split model
/// it is one part's.
///
/// # Errors
/// As [`File::open`].
pub fn tensor_table(path: &Path) -> Result<Vec<TensorInfo>, Error> {
    // Metadata and table of published models take some times as much; there may be room for no more.
    const FIRST: usize = 1 << 20;
    let (file, length) = open(path)?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let mut mapped = FIRST.min(length);
    loop {
        // SAFETY: as in `map`.
        let map =
            unsafe { MmapOptions::new().len(mapped).map(&file) }.map_err(|cause| Error::io(path, cause))?;
        match parse_table(&map) {
            Err(Fault { problem: Problem::Truncated { .. }, .. }) if mapped < length => {
                mapped = mapped.saturating_mul(2).min(length);
            }
            table => return table.map_err(|fault| fault.of(path)),
        }
    }
}

fn open(path: &Path) -> Result<(fs::File, u64), Error> {
    // Checked before opening: opening a pipe blocks until it has a writer.
    let metadata = fs::metadata(path).map_err(|cause| Error::io(path, cause))?;
    if !metadata.is_file() {
        return Err(Fault::from(Problem::NotAFile).of(path));
    }
    let file = fs::File::open(path).map_err(|cause| Error::io(path, cause))?;
    Ok((file, metadata.len()))
}

fn map(path: &Path) -> Result<Bytes, Error> {
    let (file, _) = open(path)?;
    // SAFETY: the map is read only. Another process can still change or truncate the file; `open`
    // says that this must not happen and what it leads to. Safety does not rest on the tensor data's
    // contents: every byte is valid in a block, metadata is copied, ranges fit the map's length.
    let map = unsafe { Mmap::map(&file) }.map_err(|cause| Error::io(path, cause))?;
    Ok(Bytes::Mapped(map))
}

/// A tensor of an open [`File`].
#[derive(Clone, Copy, Debug)]
pub struct Tensor<'a> {
    info: &'a TensorInfo,
    bytes: &'a [u8],
}

impl<'a> Tensor<'a> {
    /// Name, shape and type.
    pub fn info(&self) -> &'a TensorInfo {
        self.info
    }

    /// The name.
    pub fn name(&self) -> &'a str {
        &self.info.name
    }

    /// Dimensions in GGUF's order: the first is the contiguous one.
    pub fn shape(&self) -> &'a [usize] {
        &self.info.shape
    }

    /// The type of the elements.
    pub fn block_type(&self) -> BlockType {
        self.info.block_type
    }

    /// The raw blocks, row after row. Aligned relative to the file's start, not necessarily in memory.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The number of elements.
    pub fn elements(&self) -> usize {
        self.info.shape.iter().product()
    }

    /// Elements per row: the first dimension, or 1 for a scalar.
    pub fn row_elements(&self) -> usize {
        self.info.row_elements()
    }

    /// The number of rows: the product of all dimensions but the first.
    pub fn rows(&self) -> usize {
        self.info.shape.iter().skip(1).product()
    }

    /// The blocks of a row; `None` if there are fewer rows.
    pub fn row(&self, number: usize) -> Option<&'a [u8]> {
        (number < self.rows()).then_some(())?;
        let length = self.bytes.len() / self.rows();
        self.bytes.get(number * length..(number + 1) * length)
    }

    /// All elements as `f32`, row after row.
    pub fn dequantize(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.elements()];
        let fits = dequantize_row(self.block_type(), self.bytes, &mut values);
        debug_assert!(fits.is_ok(), "the file was checked");
        values
    }
}
