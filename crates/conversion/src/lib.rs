//! Model files from one form to another.
//!
//! [`to_directory`] writes what a GGUF file holds as a Hugging Face directory, which this project and
//! transformers load; [`to_gguf`] writes a directory as a GGUF file, which llama.cpp and Ollama load.
//! One tensor is in memory at a time. [`write_tokenizer`] writes what a trained model needs beside its
//! weights, whatever form its base has.
//!
//! A GGUF file may hold the embedding and the output matrix of a tied model as two roundings of one
//! matrix. Both are kept, untied, so that the model says what it says in the file.

mod tensors;
mod to_gguf;

pub use tensors::Precision;
pub use to_gguf::to_gguf;

use serde_json::Value;
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use transformer::Checkpoint;
use transformer::memory::{Available, available};
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
    /// The model's shape cannot be said in the other form.
    #[error("{}: {field}: expected {expected}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The field.
        field: &'static str,
        /// What the other form can say.
        expected: &'static str,
    },
    /// There is too little memory.
    #[error(
        "{}: to be converted it needs {} MiB of memory, and {} {}; free some, or raise the limit",
        path.display(), needed >> 20, available.by, available.bytes >> 20
    )]
    Memory {
        /// The model.
        path: PathBuf,
        /// Bytes that are needed.
        needed: u64,
        /// What there is.
        available: Available,
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

/// Bytes that are needed beside the tokenizer: pieces of a tensor, buffers, threads.
const BESIDE: u64 = 64 << 20;
/// Bytes that reading a tokenizer takes for each token, with its merges and its text.
const OF_A_TOKEN: u64 = 2048;

/// Makes sure of the memory that a conversion takes, before the tokenizer is read.
///
/// # Errors
/// Where there is less.
pub fn check_room(model: &Checkpoint) -> Result<(), Error> {
    let needed = BESIDE + OF_A_TOKEN * model.config().vocab_size as u64;
    match available() {
        Some(available) if available.bytes < needed => {
            Err(Error::Memory { path: model.path().to_owned(), needed, available })
        }
        _ => Ok(()),
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
    let mut config = model.config().to_json();
    if precision == Precision::Bf16 {
        config["torch_dtype"] = "bfloat16".into();
    }
    // Before the weights, which take longer: what is unknown of the tokenizer is told at once.
    let beside = described(file)?;
    tensors::write(model, &directory.join("model.safetensors"), precision, progress)?;
    for (name, bytes) in beside.into_iter().chain([("config.json", json(&config))]) {
        write(&directory.join(name), &bytes)?;
    }
    Ok(())
}

/// What a Hugging Face directory holds beside its weights and their shape: the tokenizer, the chat
/// template, where answers end.
const BESIDE_WEIGHTS: [&str; 5] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
];

/// Writes what a directory needs beside the weights of a model that was made of this one: its tokenizer,
/// its chat template and where its answers end. They are copies of a directory's files, or what a GGUF
/// file's metadata says.
///
/// # Errors
/// Where the tokenizer of a GGUF file is unknown here, or a file cannot be read or written.
pub fn write_tokenizer(model: &Checkpoint, directory: &Path) -> Result<(), Error> {
    let beside = match model.gguf() {
        Some(file) => described(file)?,
        None => copied(model.path())?,
    };
    beside.into_iter().try_for_each(|(name, bytes)| write(&directory.join(name), &bytes))
}

type Named = (&'static str, Vec<u8>);

/// The files beside the weights that a GGUF file's metadata stands for.
fn described(file: &gguf::File) -> Result<Vec<Named>, Error> {
    let generation = serde_json::json!({ "eos_token_id": metadata::end_tokens(file)? });
    Ok(vec![
        ("tokenizer.json", json(&metadata::tokenizer(file)?)),
        ("tokenizer_config.json", json(&metadata::settings(file)?)),
        ("generation_config.json", json(&generation)),
    ])
}

/// Those of a directory. They are read before any is written: the directory may be the target.
fn copied(directory: &Path) -> Result<Vec<Named>, Error> {
    let mut found = Vec::new();
    for name in BESIDE_WEIGHTS {
        let path = directory.join(name);
        match std::fs::read(&path) {
            Ok(bytes) => found.push((name, bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(source) => return Err(Error::File { path, source }),
        }
    }
    Ok(found)
}

fn json(value: &Value) -> Vec<u8> {
    // A value made of plain fields always serialises.
    (serde_json::to_string_pretty(value).unwrap_or_default() + "\n").into_bytes()
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    files::write(path, bytes).map_err(|source| Error::write(path, source))
}
