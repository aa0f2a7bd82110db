//! Weights as one safetensors file, tensor by tensor.
//!
//! The safetensors format: the header's length (8 bytes, little endian), a header in JSON with name,
//! type, shape and place of each tensor, then the numbers.

use crate::{Error, Progress};
use files::NewFile;
use gguf::BlockType;
use serde_json::{Map, Value, json};
use std::io::Write;
use std::path::Path;
use transformer::Checkpoint;
use transformer::table::Part;

/// Numbers that are converted at once, unless a row has more: whole blocks of every type.
const NUMBERS: usize = 1 << 16;

/// The form of the numbers that are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// 16 bits: half the size, each number rounded to 8 bits of precision.
    #[default]
    Bf16,
    /// 32 bits: exactly the file's numbers.
    F32,
}

impl Precision {
    fn kind(self) -> BlockType {
        match self {
            Precision::Bf16 => BlockType::Bf16,
            Precision::F32 => BlockType::F32,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Precision::Bf16 => "BF16",
            Precision::F32 => "F32",
        }
    }
}

/// Writes all tensors; the file appears whole or not at all.
pub(crate) fn write(
    checkpoint: &Checkpoint,
    path: &Path,
    precision: Precision,
    progress: &mut Progress,
) -> Result<(), Error> {
    let parts: Vec<&Part> = checkpoint.table().parts().map(|(_, part)| part).collect();
    let fail = |source| Error::write(path, source);
    let mut out = NewFile::create(path).map_err(fail)?;
    let header = header(&parts, precision).to_string();
    out.write_all(&(header.len() as u64).to_le_bytes()).map_err(fail)?;
    out.write_all(header.as_bytes()).map_err(fail)?;
    for (at, part) in parts.iter().enumerate() {
        converted(checkpoint, part, precision.kind(), None, &mut |bytes| out.write_all(bytes).map_err(fail))?;
        if progress(at + 1, parts.len()).is_break() {
            return Err(Error::Stopped);
        }
    }
    out.finish().map_err(fail)
}

/// Hands a tensor of a file, in which its rows are whole blocks, on in another type, a few rows at a time;
/// in another order of its rows, if one is given.
pub(crate) fn converted(
    checkpoint: &Checkpoint,
    part: &Part,
    kind: BlockType,
    order: Option<&[usize]>,
    write: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let fail = |source| Error::Tensor { name: part.hugging_face.clone(), source };
    let (stored, bytes) = checkpoint.part(part)?;
    // Of a vector, which is one row, pieces; all but the last are whole blocks of any type.
    let (rows, columns) = match part.shape.as_slice() {
        [rows, columns] => (*rows, *columns),
        _ => (part.range.len().div_ceil(NUMBERS), NUMBERS),
    };
    let row_bytes = stored.row_bytes(columns).unwrap_or(bytes.len()).max(1);
    let at_once = (NUMBERS / columns.max(1)).max(1);
    let (mut piece, mut numbers, mut blocks) = (Vec::new(), Vec::new(), Vec::new());
    for first in (0..rows).step_by(at_once) {
        piece.clear();
        for row in first..rows.min(first + at_once) {
            let row = order.map_or(row, |order| order[row]);
            piece.extend_from_slice(&bytes[row * row_bytes..bytes.len().min((row + 1) * row_bytes)]);
        }
        if stored == kind {
            write(&piece)?;
            continue;
        }
        let count = piece.len() / stored.block_bytes() * stored.block_elements();
        numbers.resize(count, 0.0);
        blocks.resize(kind.row_bytes(count).unwrap_or(0), 0);
        gguf::dequantize_row(stored, &piece, &mut numbers)
            .and_then(|()| gguf::quantize_row(kind, &numbers, &mut blocks))
            .map_err(fail)?;
        write(&blocks)?;
    }
    Ok(())
}

fn header(parts: &[&Part], precision: Precision) -> Value {
    let mut fields = Map::new();
    fields.insert("__metadata__".into(), json!({ "format": "pt" }));
    let mut start = 0;
    for part in parts {
        let end = start + part.range.len() * precision.kind().block_bytes();
        let tensor = json!({ "dtype": precision.name(), "shape": part.shape, "data_offsets": [start, end] });
        fields.insert(part.hugging_face.clone(), tensor);
        start = end;
    }
    Value::Object(fields)
}
