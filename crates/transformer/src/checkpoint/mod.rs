//! A model on disk: a Hugging Face directory with safetensors, or a GGUF file.

mod gguf_model;
mod header;
mod safetensors;

pub use gguf_model::{LLAMA3_KEYS, layers_without_rope};
pub use safetensors::{Precision, ReadTensor, TensorFiles, save_tensors};

use crate::error::quoted;
use crate::table::{Part, Role, Table};
use crate::{Config, Error, Model, Shortage, Tokenizer, Weights};
use gguf::BlockType;
use half::bf16;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// A model on disk, opened and checked, whose numbers are read when they are asked for.
pub struct Checkpoint {
    path: PathBuf,
    config: Config,
    table: Table,
    files: Files,
}

enum Files {
    SafeTensors(TensorFiles),
    Gguf(gguf::File),
}

impl Checkpoint {
    /// Opens a GGUF file, or a directory: with `config.json` and safetensors, or with one GGUF file.
    ///
    /// # Errors
    /// Names the file, and the field or tensor that is missing, damaged, unknown or of another shape.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let checkpoint = match gguf_file(path)? {
            Some(file) => {
                check_room_to_map(&file)?;
                let file = gguf::File::open(&file)?;
                let config = gguf_model::config(&file)?;
                Checkpoint {
                    path: path.to_owned(),
                    table: Table::of(&config),
                    config,
                    files: Files::Gguf(file),
                }
            }
            None => {
                check_is_model_directory(path)?;
                let config = Config::load(path)?;
                let files = TensorFiles::open(path)?;
                let (layers, tensors) = (config.num_hidden_layers, files.names().len());
                if layers > tensors {
                    let message = format!(
                        "num_hidden_layers: expected at most {tensors}, the number of tensors, found {layers}"
                    );
                    return Err(Error::invalid(path.join("config.json"), message));
                }
                let (table, files) = (Table::of(&config), Files::SafeTensors(files));
                Checkpoint { path: path.to_owned(), table, config, files }
            }
        };
        checkpoint.check()?;
        Ok(checkpoint)
    }

    /// Opens a model with its tokenizer.
    ///
    /// # Errors
    /// As [`open`](Self::open) and [`Tokenizer::of`], and where a token has no embedding.
    pub fn open_with_tokenizer(path: &Path) -> Result<(Self, Tokenizer), Error> {
        let checkpoint = Self::open(path)?;
        let tokenizer = checkpoint.tokenizer()?;
        Ok((checkpoint, tokenizer))
    }

    /// Its tokenizer.
    ///
    /// # Errors
    /// As [`Tokenizer::of`], and where a token has no embedding, or the tokenizer is another model's.
    pub fn tokenizer(&self) -> Result<Tokenizer, Error> {
        let tokenizer = Tokenizer::of(self)?;
        tokenizer.check_fits(self)?;
        Ok(tokenizer)
    }

    /// Every tensor is there in the shape that the configuration says, and none is unknown: it would
    /// change what the model computes.
    fn check(&self) -> Result<(), Error> {
        for (_, part) in self.table.parts() {
            self.kind(part)?;
        }
        let known: std::collections::HashSet<&str> =
            self.table.parts().map(|(_, part)| self.name(part)).collect();
        let unknown = |name: &&str| !known.contains(name) && !is_ignored(name, &self.config);
        let found = match &self.files {
            Files::SafeTensors(files) => files.names().find(unknown).map(str::to_owned),
            Files::Gguf(file) => file.tensors().map(|tensor| tensor.name()).find(unknown).map(str::to_owned),
        };
        match found {
            None => Ok(()),
            Some(name) => {
                let (family, layers) = (self.config.architecture.model_type(), self.config.num_hidden_layers);
                let message = format!(
                    "tensor {}: a {family} model of {layers} layers has no such tensor; take another model",
                    quoted(&name)
                );
                Err(Error::invalid(&self.path, message))
            }
        }
    }

    fn name<'p>(&self, part: &'p Part) -> &'p str {
        match self.files {
            Files::SafeTensors(_) => &part.hugging_face,
            Files::Gguf(_) => &part.gguf,
        }
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The model's shape.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The model's tensors.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The GGUF file, if it is one.
    pub fn gguf(&self) -> Option<&gguf::File> {
        match &self.files {
            Files::Gguf(file) => Some(file),
            Files::SafeTensors(_) => None,
        }
    }

    /// The type in which a part of a tensor is stored; none of its numbers is read.
    ///
    /// # Errors
    /// Where it is missing, or of another shape or type.
    pub fn kind(&self, part: &Part) -> Result<BlockType, Error> {
        match &self.files {
            Files::SafeTensors(files) => Ok(files.stored(&part.hugging_face, &part.shape)?.0),
            Files::Gguf(file) => Ok(gguf_model::tensor(file, part)?.block_type()),
        }
    }

    /// A part of a tensor as it is stored, row by row in the order of Hugging Face's files.
    ///
    /// # Errors
    /// Where it is missing, or of another shape or type.
    pub fn part(&self, part: &Part) -> Result<(BlockType, Cow<'_, [u8]>), Error> {
        match &self.files {
            Files::SafeTensors(files) => {
                let (kind, bytes) = files.stored(&part.hugging_face, &part.shape)?;
                Ok((kind, Cow::Borrowed(bytes)))
            }
            Files::Gguf(file) => gguf_model::part(file, part),
        }
    }

    /// Lets go of the memory of what was read; see [`gguf::File::release`].
    pub fn release(&self) {
        match &self.files {
            Files::SafeTensors(files) => files.release(),
            Files::Gguf(file) => file.release(),
        }
    }

    /// Reads a tensor in single precision.
    ///
    /// # Errors
    /// As [`part`](Self::part).
    pub fn read(&self, tensor: usize, target: &mut [f32]) -> Result<(), Error> {
        for part in &self.table.tensors()[tensor].parts {
            let (kind, bytes) = self.part(part)?;
            let target = &mut target[part.range.clone()];
            gguf::dequantize_row(kind, &bytes, target).map_err(|error| {
                Error::invalid(&self.path, format!("tensor {}: {error}", self.name(part)))
            })?;
        }
        Ok(())
    }

    /// Names the model whatever form its weights have: the digest of its last norm's gains as bf16. Files of
    /// every form keep them whole. A training of all weights moves them; adapters of matrices do not.
    ///
    /// # Errors
    /// As [`part`](Self::part).
    pub fn fingerprint(&self) -> Result<String, Error> {
        let tensors = self.table.tensors();
        let last = tensors.iter().position(|tensor| tensor.role == Role::FinalNorm);
        let Some(at) = last else { return Ok(String::new()) };
        let mut gains = vec![0.0; self.config.hidden_size];
        self.read(at, &mut gains)?;
        let bytes: Vec<u8> = gains.into_iter().flat_map(|gain| bf16::from_f32(gain).to_le_bytes()).collect();
        Ok(Sha256::digest(bytes)[..16].iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The whole model in single precision.
    ///
    /// # Errors
    /// As [`part`](Self::part).
    pub fn model(&self) -> Result<Model, Error> {
        let needed = self.config.parameters().saturating_mul(size_of::<f32>());
        crate::error::check_memory(Some(&self.path), needed, &|| Ok(Vec::new()))?;
        let mut weights = Weights::zeros(&self.config);
        for (index, tensor) in weights.tensors_mut().into_iter().enumerate() {
            self.read(index, tensor)?;
        }
        Ok(Model { config: self.config.clone(), weights })
    }
}

impl Model {
    /// Reads a model: a directory or a GGUF file, as [`Checkpoint::open`].
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn load(path: &Path) -> Result<Self, Error> {
        Checkpoint::open(path)?.model()
    }
}

/// Bytes that are taken besides a file's own when it is opened, at most: its metadata, once more.
const METADATA: u64 = 64 << 20;
/// And in any case.
const BESIDE: u64 = 8 << 20;

/// Makes sure that a limit on address space lets a GGUF file be mapped and its metadata be read, where a
/// failing allocation would end the process.
fn check_room_to_map(path: &Path) -> Result<(), Error> {
    let (Some(available), Ok(file)) = (crate::memory::address_space(), std::fs::metadata(path)) else {
        return Ok(());
    };
    let length = file.len();
    if available.bytes >= length.saturating_add(length.min(METADATA)).saturating_add(BESIDE) {
        return Ok(());
    }
    // Without its tensors there is nothing to say but that it is too large.
    let tensors = gguf::tensor_table(path).unwrap_or_default();
    let forms = crate::block_reader::bytes_of_forms(&tensors);
    // The file as it lies there, and a copy of it for products.
    let needed = length.saturating_mul(2);
    Err(Shortage { path: Some(path.to_owned()), needed, available, forms }.into())
}

/// The GGUF file that a path names: itself, or the only one of a directory without `config.json`.
///
/// # Errors
/// Where a directory has several.
pub fn gguf_file(path: &Path) -> Result<Option<PathBuf>, Error> {
    let is_gguf = |path: &Path| path.extension().is_some_and(|extension| extension == "gguf");
    if path.is_file() {
        return Ok(Some(path.to_owned()));
    }
    if path.exists() && !path.is_dir() {
        let message = "expected a model's directory or a GGUF file, found a pipe or a device";
        return Err(Error::invalid(path, message));
    }
    if path.join("config.json").exists() || !path.is_dir() {
        return Ok(None);
    }
    let entries = std::fs::read_dir(path).map_err(|error| Error::io(path, error))?;
    let files = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| is_gguf(path));
    // Of a split model the first part stands for all.
    let later_part = |path: &PathBuf| {
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        name.rsplit_once("-of-").is_some_and(|(before, _)| !before.ends_with("-00001"))
    };
    let mut files: Vec<PathBuf> = files.filter(|path| !later_part(path)).collect();
    files.sort();
    match files.len() {
        0 | 1 => Ok(files.pop()),
        count => {
            let message = format!(
                "{count} GGUF files and no config.json; name one of them, such as {}",
                files[0].display()
            );
            Err(Error::invalid(path, message))
        }
    }
}

/// A directory that holds no model at all is told from one that lacks a file.
fn check_is_model_directory(path: &Path) -> Result<(), Error> {
    let weights = ["model.safetensors", "model.safetensors.index.json"];
    let has_any = weights.into_iter().chain(["config.json"]).any(|name| path.join(name).exists());
    if has_any || !path.is_dir() {
        return Ok(());
    }
    let expected =
        "expected a model: config.json with model.safetensors, or a GGUF file; the directory has neither";
    Err(Error::invalid(path, expected))
}

/// Tensors that change nothing: tables of frequencies that are computed here, and an output matrix beside
/// a tied embedding, which some programs write twice.
fn is_ignored(name: &str, config: &Config) -> bool {
    name == "rope_freqs.weight"
        || name.ends_with("rotary_emb.inv_freq")
        || config.tie_word_embeddings && name == "lm_head.weight"
}
