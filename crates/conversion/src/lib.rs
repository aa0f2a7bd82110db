//! Model files from one form to another.
//!
//! [`to_directory`] writes what a GGUF file holds as a Hugging Face directory, which this project and
//! transformers load: `config.json`, `generation_config.json`, `tokenizer.json`,
//! `tokenizer_config.json` with the chat template, and `model.safetensors`. One tensor is in memory at
//! a time.
//!
//! A GGUF file may hold the embedding and the output matrix of a tied model as two roundings of one
//! matrix. Both are kept, untied, so that the model says what it says in the file.

mod config;
mod tensors;
mod tokenizer;

pub use tensors::Precision;

use gguf::File;
use serde_json::Value;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Why a file cannot be converted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file says something that it should not, or lacks something.
    #[error(transparent)]
    File(#[from] gguf::Error),
    /// It holds what is unknown here.
    #[error("{}: {what}: expected {expected}, found {found}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The key or tensor.
        what: String,
        /// What is known here.
        expected: String,
        /// What it has.
        found: String,
    },
    /// The directory holds a model already.
    #[error("{}: holds a model already; name a new directory, or remove it", .0.display())]
    Occupied(PathBuf),
    /// The directory cannot be written.
    #[error("{}: {source}", path.display())]
    Write {
        /// What was to be written.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// The caller asked to stop.
    #[error("stopped; nothing that was half written is left")]
    Stopped,
}

impl Error {
    fn unsupported(
        file: &File,
        what: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Error::Unsupported {
            path: file.path().to_owned(),
            what: what.into(),
            expected: expected.into(),
            found: found.into(),
        }
    }

    fn write(path: &Path, source: std::io::Error) -> Self {
        Error::Write { path: path.to_owned(), source }
    }
}

/// Told how many tensors of how many are written; may stop.
pub type Progress<'a> = dyn FnMut(usize, usize) -> ControlFlow<()> + 'a;

/// Writes a model as a Hugging Face directory. `config.json` comes last: a directory that has it is
/// whole.
///
/// # Errors
/// Where the architecture, the tokenizer or a tensor is unknown here, the file is damaged, the
/// directory holds a model or cannot be written, or `progress` stops.
pub fn to_directory(
    file: &File,
    directory: &Path,
    precision: Precision,
    progress: &mut Progress,
) -> Result<(), Error> {
    let config_path = directory.join("config.json");
    if config_path.exists() {
        return Err(Error::Occupied(directory.to_owned()));
    }
    let model = config::Model::of(file)?;
    let (tokenizer, tokenizer_config) = tokenizer::of(file)?;
    let generation = serde_json::json!({ "eos_token_id": tokenizer::end_tokens(file)? });
    std::fs::create_dir_all(directory).map_err(|source| Error::write(directory, source))?;
    tensors::write(file, &model, &directory.join("model.safetensors"), precision, progress)?;
    for (name, value) in [
        ("tokenizer.json", &tokenizer),
        ("tokenizer_config.json", &tokenizer_config),
        ("generation_config.json", &generation),
        ("config.json", &model.to_json(precision)),
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
