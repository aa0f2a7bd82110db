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

pub mod adjustments;
pub mod architecture;
pub mod batch;
mod block_reader;
pub mod checkpoint;
pub mod config;
pub mod decode;
mod decoder;
pub mod device;
mod error;
pub mod head;
mod kv_cache;
pub mod lora;
mod low_rank;
pub mod memory;
pub mod model;
mod operations;
pub mod ops;
pub mod optimizer;
pub mod pass;
pub mod peft;
mod prefill;
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
pub use error::{Error, Shortage};
pub use model::{Model, Workspace};
pub use processor::Cpu;
pub use tokenizer::Tokenizer;
pub use weights::Weights;
