//! `ncomp convert`: a GGUF file as a Hugging Face directory, or the other way round.

use crate::context::model_path;
use crate::progress::{Progress, interrupted};
use anyhow::{Result, bail};
use conversion::Precision;
use gguf::BlockType;
use std::ops::ControlFlow;
use std::path::PathBuf;
use transformer::Checkpoint;

/// Writes a GGUF file as a Hugging Face directory, which every --model takes and transformers loads; or a
/// directory as a GGUF file, which llama.cpp and Ollama load
#[derive(clap::Args)]
pub struct Convert {
    /// GGUF file (of a split model, any part), directory, or owner/name on the Hub
    model: String,
    /// Directory to write, or file whose name ends with .gguf
    target: PathBuf,
    /// Form of the numbers: bf16 or f32 (exactly what is there) in a directory, these or q8_0 in a GGUF file
    /// [default: bf16 in a directory, q8_0 in a GGUF file]
    #[arg(long, value_enum)]
    precision: Option<Form>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Form {
    Bf16,
    F32,
    #[value(name = "q8_0")]
    Q8_0,
}

impl Convert {
    pub(super) fn run(self) -> Result<()> {
        let model = Checkpoint::open(&model_path(&self.model)?)?;
        conversion::check_room(&model)?;
        // What does not fit is told before anything is written.
        model.tokenizer()?;
        // Begins with the first tensor, when nothing is refused any more.
        let mut progress = None;
        let mut advance = |_, total| {
            progress.get_or_insert_with(|| Progress::start("tensors", total, 0)).advance(1);
            if interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        match self.target.extension().is_some_and(|extension| extension == "gguf") {
            true => conversion::to_gguf(&model, &self.target, self.block_type(), &mut advance)?,
            false => conversion::to_directory(&model, &self.target, self.of_directory()?, &mut advance)?,
        }
        if let Some(progress) = progress {
            progress.finish();
        }
        outln!("{}", self.target.display());
        Ok(())
    }

    fn block_type(&self) -> BlockType {
        match self.precision {
            None | Some(Form::Q8_0) => BlockType::Q8_0,
            Some(Form::Bf16) => BlockType::Bf16,
            Some(Form::F32) => BlockType::F32,
        }
    }

    fn of_directory(&self) -> Result<Precision> {
        Ok(match self.precision {
            None | Some(Form::Bf16) => Precision::Bf16,
            Some(Form::F32) => Precision::F32,
            Some(Form::Q8_0) => bail!(
                "--precision q8_0: a directory has no such form; take bf16 or f32, or name a target that ends \
                 with .gguf"
            ),
        })
    }
}
