//! A file that is being written.

use crate::{Error, Problem, TensorInfo, Value, encode, quantize_row};
use std::borrow::Borrow;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// How many numbers are quantized at a time: whole blocks of every type.
const NUMBERS: usize = 8192;

/// Writes a version 3 file, tensor by tensor, without holding more than a piece of one.
///
/// The bytes go to a temporary file beside the path; [`finish`](Writer::finish) renames it. A writer
/// that is dropped before leaves nothing, and an older file at the path stays as it was.
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
    file: BufWriter<NamedTempFile>,
    alignment: u32,
    tensors: Vec<TensorInfo>,
    lengths: Vec<usize>,
    /// How many tensors are whole.
    whole: usize,
    /// How many bytes of the next one are written.
    written: usize,
}

impl Writer {
    /// Starts a file with all that precedes the tensors' data. Both orders are kept; where
    /// `general.alignment` (UINT32, a power of two) is among the metadata, tensors are aligned to it.
    ///
    /// # Errors
    /// Where the directory cannot be written, or a reader would refuse the metadata or the table.
    pub fn create<K: AsRef<str>, V: Borrow<Value>>(
        path: &Path,
        metadata: impl IntoIterator<Item = (K, V)>,
        tensors: Vec<TensorInfo>,
    ) -> Result<Writer, Error> {
        let metadata: Vec<(K, V)> = metadata.into_iter().collect();
        let borrowed: Vec<_> = metadata.iter().map(|(key, value)| (key.as_ref(), value.borrow())).collect();
        let head = encode::head(&borrowed, &tensors).map_err(|fault| fault.of(path))?;
        let fail = |cause| Error::io(path, cause);
        let mut file = BufWriter::new(temporary_beside(path).map_err(fail)?);
        file.write_all(&head.bytes).map_err(fail)?;
        let (alignment, lengths) = (head.alignment, head.lengths);
        Ok(Writer { path: path.to_owned(), file, alignment, tensors, lengths, whole: 0, written: 0 })
    }

    /// Appends blocks to a tensor. Tensors are written in the table's order, each in as many pieces
    /// as is convenient.
    ///
    /// # Errors
    /// Where it is another tensor's turn, the tensor has fewer bytes, or the disk refuses.
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

    /// Appends numbers to a tensor, as [`quantize_row`] turns them into its type.
    ///
    /// # Errors
    /// As [`write`](Writer::write); where the type is not F32, F16, BF16 or Q8_0, or the numbers are
    /// not whole blocks.
    pub fn write_f32(&mut self, name: &str, values: &[f32]) -> Result<(), Error> {
        let block_type = self.turn(name)?.0.block_type;
        let mut blocks = Vec::new();
        for values in values.chunks(NUMBERS) {
            // Where these are not whole blocks, the next line says so.
            blocks.resize(block_type.row_bytes(values.len()).unwrap_or(0), 0);
            let quantized = quantize_row(block_type, values, &mut blocks);
            quantized.map_err(|error| Problem::Row(error).at_tensor(name).of(&self.path))?;
            self.write(name, &blocks)?;
        }
        Ok(())
    }

    /// Makes the file appear under its path, whole and synced.
    ///
    /// # Errors
    /// Where a tensor is missing or not whole, or the disk refuses.
    pub fn finish(self) -> Result<(), Error> {
        if let (Some(info), Some(&expected)) = (self.tensors.get(self.whole), self.lengths.get(self.whole)) {
            let problem = Problem::Length { written: self.written, expected };
            return Err(problem.at_tensor(&info.name).of(&self.path));
        }
        let fail = |cause| Error::io(&self.path, cause);
        let file = self.file.into_inner().map_err(|error| fail(error.into_error()))?;
        file.as_file().sync_all().map_err(fail)?;
        set_default_permissions(file.as_file()).map_err(fail)?;
        file.persist(&self.path).map_err(|error| fail(error.error))?;
        Ok(())
    }

    /// The tensor whose turn it is, and its length in bytes, if it has this name.
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

    /// Pads the tensor that is whole now, as ggml's reader expects even of the last.
    fn next_tensor(&mut self) -> Result<(), Error> {
        let alignment = self.alignment as usize;
        let padding = self.written.next_multiple_of(alignment) - self.written;
        let mut zeros = io::Read::take(io::repeat(0), padding as u64);
        io::copy(&mut zeros, &mut self.file).map_err(|cause| Error::io(&self.path, cause))?;
        (self.whole, self.written) = (self.whole + 1, 0);
        Ok(())
    }
}

fn temporary_beside(path: &Path) -> io::Result<NamedTempFile> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    NamedTempFile::new_in(directory)
}

/// Temporary files are private to their owner; a finished model is an ordinary file.
fn set_default_permissions(file: &fs::File) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.set_permissions(fs::Permissions::from_mode(0o644))?;
    }
    Ok(())
}
