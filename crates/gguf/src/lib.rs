//! GGUF files, llama.cpp's format for models: metadata and tensors, read and written.
//!
//! [`File::open`] maps a file (or all parts of a split model) into memory, validates it and gives
//! access to its [`Metadata`] and [`Tensor`]s. [`dequantize_row`] converts blocks to `f32`.
//! [`Writer`] writes a file tensor by tensor. The crate knows nothing of models or tokenizers: the
//! caller decides what a key or a tensor means.
//!
//! Files are untrusted. Counts, lengths, offsets and types are checked before use, memory grows in
//! proportion to the bytes read, and no content causes a panic: invalid files give an [`Error`] that
//! names the file, the key or tensor, and what is expected. Versions 2 and 3, little endian, are
//! supported.
//!
//! Source: the [GGUF specification](https://github.com/ggml-org/ggml/blob/master/docs/gguf.md).
//!
//! ```no_run
//! let file = gguf::File::open("model.gguf".as_ref())?;
//! let layers = file.metadata().u32("qwen2.block_count")?;
//! let embedding = file.tensor("token_embd.weight")?;
//! let values = embedding.dequantize();
//! assert_eq!(values.len(), embedding.elements());
//! # Ok::<(), gguf::Error>(())
//! ```

mod block;
mod cursor;
mod dequantize;
mod encode;
mod error;
mod file;
mod k_blocks;
mod layout;
mod metadata;
mod parse;
mod quantize;
mod split;
mod value;
mod writer;

pub use block::{BlockType, RowError};
pub use dequantize::dequantize_row;
pub use error::{Error, Place, Problem, foreign};
pub use file::{File, Tensor, tensor_table};
pub use layout::TensorInfo;
pub use metadata::{FromValue, Metadata};
pub use quantize::{quantize_q8_0, quantize_row};
pub use value::{Array, Strings, Value, ValueType};
pub use writer::Writer;

/// Maximum nesting of arrays; an array of numbers has depth 1. Deeper arrays are rejected, so that a
/// hostile file cannot exhaust the stack. Published files use depth 1.
pub const MAX_DEPTH: usize = 8;

/// Maximum number of dimensions of a tensor (the specification's limit, and ggml's).
pub const MAX_DIMENSIONS: usize = 4;

/// Maximum length of a tensor name in bytes (the specification's limit).
pub const MAX_NAME_BYTES: usize = 64;

/// Maximum length of a metadata key in bytes (the specification's limit).
pub const MAX_KEY_BYTES: usize = 65_535;

/// Alignment of a tensor's data in bytes where `general.alignment` is absent.
pub const DEFAULT_ALIGNMENT: u32 = 32;

/// The metadata key of the alignment.
const ALIGNMENT_KEY: &str = "general.alignment";
