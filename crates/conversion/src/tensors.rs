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
        out.write_all(&converted(checkpoint, part, precision.kind())?).map_err(fail)?;
        if progress(at + 1, parts.len()).is_break() {
            return Err(Error::Stopped);
        }
    }
    out.finish().map_err(fail)
}

/// A tensor of a file in another type, in which its rows are whole blocks.
pub(crate) fn converted(checkpoint: &Checkpoint, part: &Part, kind: BlockType) -> Result<Vec<u8>, Error> {
    let (stored, bytes) = checkpoint.part(part)?;
    if stored == kind {
        return Ok(bytes.into_owned());
    }
    let mut numbers = vec![0.0; part.range.len()];
    let mut blocks = vec![0; kind.row_bytes(numbers.len()).unwrap_or(0)];
    gguf::dequantize_row(stored, &bytes, &mut numbers)
        .and_then(|()| gguf::quantize_row(kind, &numbers, &mut blocks))
        .map_err(|error| Error::Tensor { name: part.hugging_face.clone(), source: error })?;
    Ok(blocks)
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
