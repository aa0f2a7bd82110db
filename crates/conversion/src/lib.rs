//! Model files from one form to another.
//!
//! [`to_directory`] writes what a GGUF file holds as a Hugging Face directory, which this project and
//! transformers load; [`to_gguf`] writes a directory as a GGUF file, which llama.cpp and Ollama load.
//! One tensor is in memory at a time.
//!
//! A GGUF file may hold the embedding and the output matrix of a tied model as two roundings of one
//! matrix. Both are kept, untied, so that the model says what it says in the file.

mod tensors;
mod to_gguf;

pub use tensors::Precision;
pub use to_gguf::to_gguf;

use serde_json::Value;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use transformer::Checkpoint;
use transformer::tokenizer::gguf as metadata;

/// Why a file cannot be converted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The model is damaged, or holds what is unknown here.
    #[error(transparent)]
    Model(#[from] transformer::Error),
    /// The file cannot be written.
    #[error(transparent)]
    Gguf(#[from] gguf::Error),
    /// The model is in this form already.
    #[error("{}: expected {expected}", path.display())]
    Form {
        /// The model.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
    },
    /// A tensor has no such form.
    #[error("tensor {name}: {source}")]
    Tensor {
        /// Its name in a Hugging Face file.
        name: String,
        /// Why.
        source: gguf::RowError,
    },
    /// A file of the tokenizer says what is unknown here.
    #[error("{}: {what}: expected {expected}", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// The field.
        what: String,
        /// What is known here.
        expected: String,
    },
    /// The target is there already.
    #[error("{}: holds a model already; name a new one, or remove it", .0.display())]
    Occupied(PathBuf),
    /// Something cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// What was to be read or written.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// The caller asked to stop.
    #[error("stopped; nothing that was half written is left")]
    Stopped,
}

impl Error {
    fn write(path: &Path, source: std::io::Error) -> Self {
        Error::File { path: path.to_owned(), source }
    }
}

/// Told how many tensors of how many are written; may stop.
pub type Progress<'a> = dyn FnMut(usize, usize) -> ControlFlow<()> + 'a;

/// Writes a GGUF model as a Hugging Face directory. `config.json` comes last: a directory that has it is
/// whole.
///
/// # Errors
/// Where the tokenizer or a tensor is unknown here, the file is damaged, the directory holds a model or
/// cannot be written, or `progress` stops.
pub fn to_directory(
    model: &Checkpoint,
    directory: &Path,
    precision: Precision,
    progress: &mut Progress,
) -> Result<(), Error> {
    let file = model.gguf().ok_or_else(|| Error::Form {
        path: model.path().to_owned(),
        expected: "a GGUF file, to be written as a directory",
    })?;
    if directory.join("config.json").exists() {
        return Err(Error::Occupied(directory.to_owned()));
    }
    let (tokenizer, settings) = (metadata::tokenizer(file)?, metadata::settings(file)?);
    let generation = serde_json::json!({ "eos_token_id": metadata::end_tokens(file)? });
    let mut config = model.config().to_json();
    if precision == Precision::Bf16 {
        config["torch_dtype"] = "bfloat16".into();
    }
    std::fs::create_dir_all(directory).map_err(|source| Error::write(directory, source))?;
    tensors::write(model, &directory.join("model.safetensors"), precision, progress)?;
    for (name, value) in [
        ("tokenizer.json", &tokenizer),
        ("tokenizer_config.json", &settings),
        ("generation_config.json", &generation),
        ("config.json", &config),
    ] {
        write_json(&directory.join(name), value)?;
    }
    Ok(())
}

fn write_json(path: &Path, value: &Value) -> Result<(), Error> {
    // A value made of plain fields always serialises.
    let text = serde_json::to_string_pretty(value).unwrap_or_default() + "\n";
    std::fs::write(path, text).map_err(|source| Error::write(path, source))
}
