//! Decoder language models of the families Qwen2, Qwen3, Llama and SmolLM3, here on the CPU; on GPUs
//! in the crate `cuda`.
//!
//! RMSNorm, rotary positions, grouped-query attention, SwiGLU. [`table`] says which tensors a model
//! has, [`pass`] reads top to bottom: the forward pass and its hand-derived backward pass, over a small
//! closed set of operations that every device implements. Nothing here knows what a problem or a
//! program is.
//!
//! - [`Checkpoint`] is a model on disk: a Hugging Face directory or a GGUF file.
//! - [`Model`] is a configuration with weights in single precision, as it is trained.
//! - [`PackedBatch`] holds sequences of any length without padding; continuations may share a
//!   prefix, which is then computed once.
//! - [`decode`] samples many sequences at once; those of one prompt share its keys and values.
//! - [`optimizer::AdamW`] updates the weights.
//! - [`device`] is what a model does wherever it runs: here, or on a GPU.
//!
//! ```
//! use transformer::{Config, Model, PackedBatch, Workspace};
//!
//! let model = Model::random(Config::tiny(), 7);
//! let mut batch = PackedBatch::default();
//! batch.push_sequence(&[1, 2, 3]);
//! let mut workspace = Workspace::for_inference();
//! let hidden = model.forward(&batch, &mut workspace); // [3 rows, hidden size]
//! assert_eq!(hidden.len(), 3 * model.config.hidden_size);
//! ```

pub mod architecture;
pub mod batch;
mod block_reader;
pub mod checkpoint;
pub mod config;
pub mod decode;
mod decoder;
pub mod device;
pub mod head;
mod kv_cache;
pub mod lora;
pub mod model;
mod operations;
pub mod ops;
pub mod optimizer;
pub mod pass;
mod processor;
mod products;
pub mod sampling;
pub mod table;
pub mod tokenizer;
pub mod weights;

pub use architecture::{Architecture, RopeScaling};
pub use batch::PackedBatch;
pub use block_reader::Format;
pub use checkpoint::Checkpoint;
pub use config::Config;
pub use model::{Model, Workspace};
pub use processor::Cpu;
pub use tokenizer::Tokenizer;
pub use weights::Weights;

use std::path::PathBuf;

/// What can go wrong with a model on disk.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the model's directory cannot be read or written.
    #[error("{}: {cause}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's word.
        cause: std::io::Error,
    },
    /// A file is damaged, or is not what this crate can run.
    #[error("{}: {message}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The field or tensor, what was expected, and what to do.
        message: String,
    },
    /// A GGUF file is damaged, or lacks something.
    #[error(transparent)]
    Gguf(#[from] gguf::Error),
    /// The device that a model runs on fails, or has no room for it.
    #[error("{message}")]
    Device {
        /// What happened, and what to do.
        message: String,
    },
}

impl Error {
    pub(crate) fn invalid(path: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Error::Invalid { path: path.into(), message: message.into() }
    }

    pub(crate) fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Error::Io { path: path.into(), cause: source }
    }
}
