//! What can be wrong with learned parts.

use std::path::PathBuf;

/// Why learned parts cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is damaged, or of another version.
    #[error("{}: {message}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The field, what was expected and what was found.
        message: String,
    },
    /// A directory has a manifest and nothing else.
    #[error("{}: expected policy/, critic/ or rankers/level-N.json beside learned.json, found none", directory.display())]
    Empty {
        /// The directory.
        directory: PathBuf,
    },
    /// The model has the name, not the shape.
    #[error(
        "{}: shape.{field}: expected {expected}, the model {model} has {found}; name the model that these \
         parts were learned for, or switch them off with --learned none",
        path.display()
    )]
    Shape {
        /// The manifest.
        path: PathBuf,
        /// The model.
        model: String,
        /// Which number.
        field: &'static str,
        /// The manifest's.
        expected: usize,
        /// The model's.
        found: usize,
    },
    /// The model has the shape, not the weights.
    #[error(
        "{}: weights: expected those of fingerprint {expected}, the model {model} has {found}: it is another model of \
         the same shape; name the model that these parts were learned for, or switch them off with --learned none",
        path.display()
    )]
    Weights {
        /// The manifest.
        path: PathBuf,
        /// The model.
        model: String,
        /// The manifest's fingerprint.
        expected: String,
        /// The model's.
        found: String,
    },
    /// An adapter cannot be read, or is for another model.
    #[error(transparent)]
    Adapters(#[from] transformer::Error),
    /// A part cannot be attached to the model.
    #[error("{}: {source:#}", path.display())]
    Part {
        /// Its directory.
        path: PathBuf,
        /// Why.
        source: anyhow::Error,
    },
}
