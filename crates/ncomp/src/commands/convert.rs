//! `ncomp convert`: a GGUF file as a Hugging Face directory, or the other way round.

use crate::context::model_path;
use crate::progress::{Progress, interrupted};
use anyhow::Result;
use conversion::Precision;
use gguf::BlockType;
use std::ops::ControlFlow;
use std::path::PathBuf;
use transformer::Checkpoint;

/// Writes a GGUF file as a Hugging Face directory, which every --model takes and transformers loads; or a
/// directory as a GGUF file (Q8_0), which llama.cpp and Ollama load
#[derive(clap::Args)]
pub struct Convert {
    /// GGUF file (of a split model, any part), directory, or owner/name on the Hub
    model: String,
    /// Directory to write, or file whose name ends with .gguf
    target: PathBuf,
    /// Form of a directory's numbers: bf16 is half the size, f32 exactly what the file holds
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
        let model = Checkpoint::open(&model_path(&self.model)?)?;
        let mut progress = Progress::start("tensors", model.table().parts().count(), 0);
        let mut advance = |_, _| {
            progress.advance(1);
            if interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        match self.target.extension().is_some_and(|extension| extension == "gguf") {
            true => conversion::to_gguf(&model, &self.target, BlockType::Q8_0, &mut advance)?,
            false => conversion::to_directory(&model, &self.target, precision, &mut advance)?,
        }
        progress.finish();
        outln!("{}", self.target.display());
        Ok(())
    }
}
