//! What a GGUF file says of a model: its shape, and its tensors under their names here.

use crate::architecture::{Architecture, RopeScaling};
use crate::config::{decimal, every_nth};
use crate::table::Part;
use crate::{Config, Error, tokenizer};
use gguf::{BlockType, File, Tensor};
use std::borrow::Cow;

/// SmolLM3's files do not name the layers without positions: llama.cpp knows them.
const SMOLLM3_INTERVAL: usize = 4;

/// The shape that the metadata gives.
pub(super) fn config(file: &File) -> Result<Config, Error> {
    let metadata = file.metadata();
    let name = metadata.str("general.architecture")?;
    let architecture = Architecture::named(name).ok_or_else(|| {
        let expected = Architecture::names();
        invalid(file, format!("general.architecture: expected one of {expected}, found {name}"))
    })?;
    let key = |name: &str| format!("{}.{name}", architecture.gguf());
    let count = |name: &str| metadata.u32(&key(name)).map(|count| count as usize);
    let optional = |name: &str| -> Result<Option<usize>, Error> {
        Ok(metadata.optional::<u32>(&key(name))?.map(|count| count as usize))
    };
    let (layers, heads) = (count("block_count")?, count("attention.head_count")?);
    let hidden = count("embedding_length")?;
    let tensors = file.tensors().len();
    for (name, found, most) in
        [("block_count", layers, tensors), ("attention.head_count", heads, hidden.max(1))]
    {
        if found == 0 || found > most {
            let message = format!("{}: expected 1 to {most}, found {found}; download it again", key(name));
            return Err(invalid(file, message));
        }
    }
    let head_dim = optional("attention.key_length")?.unwrap_or(hidden / heads);
    for name in ["rope.dimension_count", "attention.value_length"] {
        if let Some(found) = optional(name)?.filter(|&found| found != head_dim) {
            return Err(invalid(file, format!("{}: expected {head_dim}, found {found}", key(name))));
        }
    }
    let config = Config {
        architecture,
        // The matrix may have rows that the tokenizer does not use.
        vocab_size: file.tensor("token_embd.weight")?.rows(),
        hidden_size: hidden,
        intermediate_size: count("feed_forward_length")?,
        num_hidden_layers: layers,
        num_attention_heads: heads,
        num_key_value_heads: optional("attention.head_count_kv")?.unwrap_or(heads).max(1),
        head_dim,
        rms_norm_eps: metadata.f32(&key("attention.layer_norm_rms_epsilon"))?,
        rope_theta: decimal(metadata.optional(&key("rope.freq_base"))?.unwrap_or(10_000.0)),
        rope_scaling: rope_scaling(file, architecture)?,
        layers_without_rope: match architecture {
            Architecture::SmolLm3 => every_nth(SMOLLM3_INTERVAL, layers),
            _ => Vec::new(),
        },
        tie_word_embeddings: file.optional_tensor("output.weight").is_none(),
        max_position_embeddings: count("context_length")?,
        eos_token_ids: tokenizer::gguf::end_tokens(file)?,
    };
    config.check().map_err(|message| invalid(file, message))?;
    match rope_factors(file)? {
        Some(factors) => with_rope_factors(file, config, &factors),
        None => Ok(config),
    }
}

fn rope_scaling(file: &File, architecture: Architecture) -> Result<RopeScaling, Error> {
    let key = |name: &str| format!("{}.rope.scaling.{name}", architecture.gguf());
    match file.metadata().optional::<&str>(&key("type"))? {
        None | Some("none") => Ok(RopeScaling::None),
        Some("linear") => Ok(RopeScaling::Linear { factor: decimal(file.metadata().f32(&key("factor"))?) }),
        Some(other) => Err(invalid(file, format!("{}: expected none or linear, found {other}", key("type")))),
    }
}

/// What Llama 3's files divide each frequency by.
fn rope_factors(file: &File) -> Result<Option<Vec<f32>>, Error> {
    Ok(file.optional_tensor("rope_freqs.weight").map(|tensor| tensor.dequantize()))
}

/// The settings of Llama 3.1 and 3.2 that give these factors.
fn with_rope_factors(file: &File, config: Config, factors: &[f32]) -> Result<Config, Error> {
    let published = [8.0, 32.0].map(|factor| RopeScaling::Llama3 {
        factor,
        low_frequency_factor: 1.0,
        high_frequency_factor: 4.0,
        original_positions: 8192,
    });
    let plain = Config { rope_scaling: RopeScaling::None, ..config.clone() }.rope_frequencies();
    for rope_scaling in published {
        let scaled = Config { rope_scaling, ..config.clone() };
        let frequencies = scaled.rope_frequencies();
        let same = plain
            .iter()
            .zip(&frequencies)
            .zip(factors)
            .all(|((plain, scaled), factor)| (plain / factor - scaled).abs() <= 1e-4 * scaled.abs());
        if same && factors.len() == plain.len() {
            return Ok(scaled);
        }
    }
    if factors.iter().all(|&factor| factor == 1.0) {
        return Ok(config);
    }
    Err(invalid(file, "tensor rope_freqs.weight: expected the factors of Llama 3.1 or 3.2".to_owned()))
}

/// The file's tensor of a part, of the shape that it should have.
pub(super) fn tensor<'a>(file: &'a File, part: &Part) -> Result<Tensor<'a>, Error> {
    let tensor = file.tensor(&part.gguf)?;
    // GGUF names the contiguous dimension first.
    if !tensor.shape().iter().rev().eq(&part.shape) {
        let (expected, found) = (part.shape.iter().rev().collect::<Vec<_>>(), tensor.shape());
        return Err(invalid(
            file,
            format!("tensor {}: expected shape {expected:?}, found {found:?}", part.gguf),
        ));
    }
    Ok(tensor)
}

/// A part as the file has it, its rows in the order of Hugging Face's files.
pub(super) fn part<'a>(file: &'a File, part: &Part) -> Result<(BlockType, Cow<'a, [u8]>), Error> {
    let tensor = tensor(file, part)?;
    if part.paired_head_dim.is_none() {
        return Ok((tensor.block_type(), Cow::Borrowed(tensor.bytes())));
    }
    let rows = (0..part.shape[0]).filter_map(|row| tensor.row(part.gguf_row(row)));
    Ok((tensor.block_type(), Cow::Owned(rows.flatten().copied().collect())))
}

fn invalid(file: &File, message: String) -> Error {
    Error::invalid(file.path(), message)
}
