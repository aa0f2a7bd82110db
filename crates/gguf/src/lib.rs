//! GGUF files, llama.cpp's format for models: metadata and tensors, read and written.
//!
//! [`File::open`] maps a file (or all parts of a split one) into memory, checks it as a whole and
//! offers its [`Metadata`] and [`Tensor`]s; [`dequantize_row`] turns a tensor's blocks into `f32`.
//! [`Writer`] writes a file, tensor by tensor. This crate knows nothing of models and tokenizers:
//! what a key or a tensor means is its caller's to say.
//!
//! Files come from strangers. Counts, lengths, offsets and types are checked before they are used,
//! memory is taken in proportion to the file's size, and no content panics: it is an [`Error`] that
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
pub use error::{Error, Place, Problem};
pub use file::{File, Tensor};
pub use layout::TensorInfo;
pub use metadata::{FromValue, Metadata};
pub use quantize::{quantize_q8_0, quantize_row};
pub use value::{Array, Strings, Value, ValueType};
pub use writer::Writer;

/// How deep arrays may be nested: an array of numbers has depth 1. Deeper ones are refused, so that
/// a hostile file cannot exhaust the stack; published files use depth 1.
pub const MAX_DEPTH: usize = 8;

/// How many dimensions a tensor may have (the specification's limit, and ggml's).
pub const MAX_DIMENSIONS: usize = 4;

/// The length of the longest tensor name, in bytes (the specification's limit).
pub const MAX_NAME_BYTES: usize = 64;

/// The length of the longest metadata key, in bytes (the specification's limit).
pub const MAX_KEY_BYTES: usize = 65_535;

/// What a tensor's data is aligned to, in bytes, unless `general.alignment` says otherwise.
pub const DEFAULT_ALIGNMENT: u32 = 32;

/// The metadata key of the alignment.
const ALIGNMENT_KEY: &str = "general.alignment";
