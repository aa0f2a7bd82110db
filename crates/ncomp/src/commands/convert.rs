//! `ncomp convert`: a GGUF file as a Hugging Face directory.

use crate::progress::{Progress, interrupted};
use anyhow::Result;
use conversion::Precision;
use std::ops::ControlFlow;
use std::path::PathBuf;

/// Writes a GGUF file of the Qwen2 family as a Hugging Face directory, which every --model takes and
/// transformers loads: weights, configuration, tokenizer and chat template.
#[derive(clap::Args)]
pub struct Convert {
    /// GGUF file; of a split model, any part
    file: PathBuf,
    /// Directory to write
    directory: PathBuf,
    /// Form of the numbers: bf16 is half the size, f32 exactly what the file holds
    #[arg(long, value_enum, default_value = "bf16")]
    precision: Form,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Form {
    Bf16,
    F32,
}

impl Convert {
    pub(super) fn run(self) -> Result<()> {
        let precision = match self.precision {
            Form::Bf16 => Precision::Bf16,
            Form::F32 => Precision::F32,
        };
        let file = gguf::File::open(&self.file)?;
        let mut progress = Progress::start("tensors", file.tensors().len(), 0);
        conversion::to_directory(&file, &self.directory, precision, &mut |_, _| {
            progress.advance(1);
            if interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        progress.finish();
        outln!("{}", self.directory.display());
        Ok(())
    }
}
