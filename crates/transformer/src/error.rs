//! What can go wrong with a model.

use crate::memory::Available;
use std::path::{Path, PathBuf};

/// What can go wrong with a model on disk, or on a device.
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
    /// A model does not fit in memory.
    #[error(transparent)]
    Memory(#[from] Shortage),
    /// What the model computes are no numbers.
    #[error(
        "the model's logits are not finite (NaN): its weights are damaged, or it is of a kind that is not \
         supported; fetch it again, or take another"
    )]
    NotFinite,
}

/// A model needs more memory than there is.
#[derive(Debug, thiserror::Error)]
#[error(
    "{}its weights need {:.1} GiB, and {} {:.1}; free some, raise the limit, or take a smaller model{}",
    path.as_ref().map(|path| format!("{}: ", path.display())).unwrap_or_default(),
    gib(*needed), available.by, gib(available.bytes), in_words(forms)
)]
pub struct Shortage {
    /// The model, where it has a path.
    pub path: Option<PathBuf>,
    /// Bytes that it needs.
    pub needed: u64,
    /// What there is.
    pub available: Available,
    /// What it needs in each form of its weights; none where the form is given.
    pub forms: Vec<(&'static str, u64)>,
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / (1u64 << 30) as f64
}

fn in_words(forms: &[(&'static str, u64)]) -> String {
    if forms.is_empty() {
        return String::new();
    }
    let forms: Vec<String> = forms.iter().map(|(name, bytes)| format!("{name} {:.1}", gib(*bytes))).collect();
    format!("; its weights in other forms, in GiB: {}", forms.join(", "))
}

impl Error {
    pub(crate) fn invalid(path: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Error::Invalid { path: path.into(), message: message.into() }
    }

    pub(crate) fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Error::Io { path: path.into(), cause: source }
    }
}

/// Makes sure of so much memory.
pub(crate) fn check_memory(path: Option<&Path>, needed: usize, forms: &Forms) -> Result<(), Error> {
    let needed = needed as u64;
    match crate::memory::available() {
        Some(available) if needed > available.bytes => {
            Err(Shortage { path: path.map(Path::to_owned), needed, available, forms: forms()? }.into())
        }
        _ => Ok(()),
    }
}

/// What each form of the weights needs.
pub(crate) type Forms<'a> = dyn Fn() -> Result<Vec<(&'static str, u64)>, Error> + 'a;

/// Longest quotation in characters.
const LONGEST_QUOTATION: usize = 100;

/// A file's own words as an error quotes them: characters that move a terminal's cursor or turn the order of
/// others are escaped, and what is long is shortened.
pub(crate) fn quoted(text: &str) -> String {
    let is_harmful = |character: char| {
        character.is_control()
            || matches!(character, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut shown = String::new();
    for character in text.chars().take(LONGEST_QUOTATION) {
        match is_harmful(character) {
            true => shown.extend(character.escape_default()),
            false => shown.push(character),
        }
    }
    if text.chars().nth(LONGEST_QUOTATION).is_some() {
        shown.push('…');
    }
    shown
}

/// What a file is that should be a model's and begins like this: what a download leaves that went wrong.
pub(crate) fn not_a_model(start: &[u8]) -> Option<&'static str> {
    gguf::foreign(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_says_is_quoted_harmlessly() {
        assert_eq!(quoted("\"ab\" \u{1b}[31mü\n\u{202e}"), "\"ab\" \\u{1b}[31mü\\n\\u{202e}");
        assert_eq!(quoted(&"a".repeat(3_000_000)).chars().count(), 101);
    }

    #[test]
    fn a_shortage_says_what_is_needed_and_what_there_is() {
        let available = Available { bytes: 3 << 29, by: "the control group leaves" };
        let path = Some(PathBuf::from("m.gguf"));
        let error = Shortage { path, needed: 2 << 30, available, forms: vec![("q8_0", 1 << 30)] };
        assert_eq!(
            error.to_string(),
            "m.gguf: its weights need 2.0 GiB, and the control group leaves 1.5; free some, raise the limit, or \
             take a smaller model; its weights in other forms, in GiB: q8_0 1.0"
        );
    }
}
