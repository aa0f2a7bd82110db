//! Writing files.

use crate::{Error, Problem, RowError, TensorInfo, Value, encode, quantize_row};
use files::NewFile;
use std::borrow::Borrow;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Numbers quantized at a time: whole blocks of every type.
const NUMBERS: usize = 8192;

/// Writes a version 3 file tensor by tensor, in pieces of any size.
///
/// Bytes go to a temporary file in the same directory, which [`finish`](Writer::finish) renames.
/// Dropping an unfinished writer removes it; an existing file stays untouched until then.
///
/// ```
/// use gguf::{BlockType, File, TensorInfo, Value, Writer};
/// # let path = std::env::temp_dir().join(format!("gguf-writer-{}.gguf", std::process::id()));
/// # let path = path.as_path();
///
/// let metadata = [("general.architecture", Value::from("qwen2"))];
/// let shape = vec![64, 2];
/// let tensors = vec![TensorInfo { name: "a".to_owned(), shape, block_type: BlockType::Q8_0 }];
/// let mut writer = Writer::create(path, metadata, tensors)?;
/// writer.write_f32("a", &[0.5; 64])?;
/// writer.write_f32("a", &[1.5; 64])?;
/// writer.finish()?;
/// assert_eq!(File::open(path)?.tensor("a")?.rows(), 2);
/// # std::fs::remove_file(path).unwrap();
/// # Ok::<(), gguf::Error>(())
/// ```
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    file: NewFile,
    alignment: u32,
    tensors: Vec<TensorInfo>,
    lengths: Vec<usize>,
    /// The number of complete tensors.
    whole: usize,
    /// Bytes written of the next one.
    written: usize,
}

impl Writer {
    /// Starts a file with metadata and tensor table, in the given order. Missing directories are
    /// created. Tensors are aligned to `general.alignment` (UINT32, a power of two) if the metadata has
    /// it, else to [`DEFAULT_ALIGNMENT`](crate::DEFAULT_ALIGNMENT).
    ///
    /// # Errors
    /// If the directory cannot be written, or [`File::open`](crate::File::open) would reject the
    /// metadata or the tensors.
    pub fn create<K: AsRef<str>, V: Borrow<Value>>(
        path: &Path,
        metadata: impl IntoIterator<Item = (K, V)>,
        tensors: Vec<TensorInfo>,
    ) -> Result<Writer, Error> {
        let metadata: Vec<(K, V)> = metadata.into_iter().collect();
        let borrowed: Vec<_> = metadata.iter().map(|(key, value)| (key.as_ref(), value.borrow())).collect();
        let head = encode::head(&borrowed, &tensors).map_err(|fault| fault.of(path))?;
        let fail = |cause| Error::io(path, cause);
        let mut file = NewFile::create(path).map_err(fail)?;
        file.write_all(&head.bytes).map_err(fail)?;
        pad(&mut file, head.bytes.len(), head.alignment).map_err(fail)?;
        let (alignment, lengths) = (head.alignment, head.lengths);
        Ok(Writer { path: path.to_owned(), file, alignment, tensors, lengths, whole: 0, written: 0 })
    }

    /// Appends raw blocks to a tensor. Tensors are written in the order of the table, each in one or
    /// more pieces.
    ///
    /// # Errors
    /// If another tensor is next, the tensor would become too long, or writing fails.
    pub fn write(&mut self, name: &str, blocks: &[u8]) -> Result<(), Error> {
        let expected = self.turn(name)?.1;
        let written = self.written.saturating_add(blocks.len());
        if written > expected {
            return Err(Problem::Length { written, expected }.at_tensor(name).of(&self.path));
        }
        self.file.write_all(blocks).map_err(|cause| Error::io(&self.path, cause))?;
        self.written = written;
        if written == expected { self.next_tensor() } else { Ok(()) }
    }

    /// Appends numbers to a tensor, converted to its type by [`quantize_row`].
    ///
    /// # Errors
    /// As [`write`](Writer::write), and if the type is not F32, F16, BF16 or Q8_0, or the numbers are not
    /// whole blocks.
    pub fn write_f32(&mut self, name: &str, values: &[f32]) -> Result<(), Error> {
        let block_type = self.turn(name)?.0.block_type;
        let fail = |path: &Path, error: RowError| Problem::Row(error).at_tensor(name).of(path);
        let Some(bytes) = block_type.row_bytes(values.len()) else {
            let error = RowError::Length { block_type, elements: values.len(), bytes: 0 };
            return Err(fail(&self.path, error));
        };
        let mut blocks = vec![0; bytes.min(NUMBERS / block_type.block_elements() * block_type.block_bytes())];
        for values in values.chunks(NUMBERS) {
            // All chunks but the last have as many numbers, and all have whole blocks.
            blocks.truncate(values.len() / block_type.block_elements() * block_type.block_bytes());
            quantize_row(block_type, values, &mut blocks).map_err(|error| fail(&self.path, error))?;
            self.write(name, &blocks)?;
        }
        Ok(())
    }

    /// Syncs the file and renames it to its path.
    ///
    /// # Errors
    /// If a tensor is missing or incomplete, or writing fails.
    pub fn finish(self) -> Result<(), Error> {
        if let (Some(info), Some(&expected)) = (self.tensors.get(self.whole), self.lengths.get(self.whole)) {
            let problem = Problem::Length { written: self.written, expected };
            return Err(problem.at_tensor(&info.name).of(&self.path));
        }
        self.file.finish().map_err(|cause| Error::io(&self.path, cause))
    }

    /// The next tensor and its length in bytes, if it has this name.
    fn turn(&self, name: &str) -> Result<(&TensorInfo, usize), Error> {
        let next = self.tensors.get(self.whole).zip(self.lengths.get(self.whole));
        match next {
            Some((info, &length)) if info.name == name => Ok((info, length)),
            _ => {
                let next = next.map(|(info, _)| info.name.clone());
                Err(Problem::Order(next).at_tensor(name).of(&self.path))
            }
        }
    }

    /// Pads the complete tensor; ggml's reader expects that of the last one too.
    fn next_tensor(&mut self) -> Result<(), Error> {
        let padded = pad(&mut self.file, self.written, self.alignment);
        padded.map_err(|cause| Error::io(&self.path, cause))?;
        (self.whole, self.written) = (self.whole + 1, 0);
        Ok(())
    }
}

/// Writes zeros up to the next multiple of the alignment; never holds them in memory.
fn pad(file: &mut impl Write, length: usize, alignment: u32) -> io::Result<()> {
    let padding = length.next_multiple_of(alignment as usize) - length;
    io::copy(&mut io::Read::take(io::repeat(0), padding as u64), file)?;
    Ok(())
}
