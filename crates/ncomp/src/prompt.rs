//! How a model is asked: `--prompt`, and what to do about a chat template that cannot be used.

use crate::device::device;
use anyhow::{Error, Result};
use generator::Generator;
use problems::prompt::{PromptFormat, TemplateError};
use std::path::Path;

/// What `--prompt` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Choice {
    /// As a chat if the model has a chat template, otherwise in comments
    #[default]
    Auto,
    /// By the model's chat template
    Chat,
    /// In Python comments, without the chat template
    Comment,
}

/// Opens a model that is asked in this way.
///
/// # Errors
/// Where the model, its tokenizer or its chat template is missing, damaged, or does not fit.
pub fn open(model: &Path, choice: Choice) -> Result<Generator> {
    match choice {
        Choice::Auto => Generator::open(model, device()?),
        Choice::Chat => Generator::load(model, PromptFormat::Chat, device()?),
        Choice::Comment => Generator::load(model, PromptFormat::Comment, device()?),
    }
}

/// Whether it is the chat template that cannot be used.
pub fn is_about_template(error: &Error) -> bool {
    let passed_on = |cause: &(dyn std::error::Error + 'static)| {
        matches!(cause.downcast_ref(), Some(pipeline::Error::Template(_)))
    };
    error.chain().any(|cause| cause.is::<TemplateError>() || passed_on(cause))
}
