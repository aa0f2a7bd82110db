//! What a GGUF file says of a model: its shape, and its tensors under their names here.

use crate::architecture::{Architecture, RopeScaling};
use crate::config::{LARGEST_SIZE, decimal, every_nth};
use crate::error::quoted;
use crate::table::Part;
use crate::{Config, Error, tokenizer};
use gguf::{BlockType, File, Tensor, Value};
use std::borrow::Cow;

/// SmolLM3's files do not name the layers without positions: llama.cpp knows them.
const SMOLLM3_INTERVAL: usize = 4;

/// The layers without rotary positions that a GGUF file of the family stands for.
pub fn layers_without_rope(architecture: Architecture, layers: usize) -> Vec<usize> {
    match architecture {
        Architecture::SmolLm3 => every_nth(SMOLLM3_INTERVAL, layers),
        _ => Vec::new(),
    }
}

/// What `rope_freqs.weight` was made of, which llama.cpp's files do not say: factor, factors of the low and
/// the high frequencies, positions of the first training. `ncomp convert` writes them.
pub const LLAMA3_KEYS: [&str; 4] = [
    "rope.llama3.factor",
    "rope.llama3.low_freq_factor",
    "rope.llama3.high_freq_factor",
    "rope.llama3.original_max_position_embeddings",
];

/// Metadata that changes what a model computes, in a way that is not implemented, unless it is absent, 0 or
/// this. Names follow the architecture's.
const PLAIN: [(&str, f32); 13] = [
    ("expert_count", 0.0),
    ("expert_used_count", 0.0),
    ("expert_shared_count", 0.0),
    ("logit_scale", 1.0),
    ("residual_scale", 1.0),
    ("embedding_scale", 1.0),
    ("attention.scale", 0.0),
    ("attention.clamp_kqv", 0.0),
    ("attention.max_alibi_bias", 0.0),
    ("attn_logit_softcapping", 0.0),
    ("final_logit_softcapping", 0.0),
    ("rope.scaling.attn_factor", 1.0),
    ("use_parallel_residual", 0.0),
];

/// The shape that the metadata gives.
pub(super) fn config(file: &File) -> Result<Config, Error> {
    let metadata = file.metadata();
    let name = metadata.str("general.architecture")?;
    let architecture = Architecture::named(name).ok_or_else(|| {
        let (expected, found) = (Architecture::names(), quoted(name));
        invalid(file, format!("general.architecture: expected one of {expected}, found '{found}'"))
    })?;
    if file.tensors().len() == 0 {
        return Err(invalid(
            file,
            "it has no tensors: it holds a tokenizer alone, or was cut; take another".to_owned(),
        ));
    }
    let key = |name: &str| format!("{}.{name}", architecture.gguf());
    let count = |name: &str, most: usize| -> Result<usize, Error> {
        let found = metadata.u32(&key(name))? as usize;
        if (1..=most).contains(&found) {
            return Ok(found);
        }
        let message = format!("{}: expected 1 to {most}, found {found}; download it again", key(name));
        Err(invalid(file, message))
    };
    let optional = |name: &str| -> Result<Option<usize>, Error> {
        Ok(metadata.optional::<u32>(&key(name))?.map(|count| count as usize))
    };
    let layers = count("block_count", file.tensors().len())?;
    let hidden = count("embedding_length", LARGEST_SIZE)?;
    let heads = count("attention.head_count", hidden)?;
    let positions = count("context_length", LARGEST_SIZE)?;
    let head_dim = optional("attention.key_length")?.unwrap_or(hidden / heads);
    for name in ["rope.dimension_count", "attention.value_length"] {
        if let Some(found) = optional(name)?.filter(|&found| found != head_dim) {
            return Err(invalid(file, format!("{}: expected {head_dim}, found {found}", key(name))));
        }
    }
    // The matrix may have rows that the tokenizer does not use.
    let vocab_size = file.tensor("token_embd.weight")?.rows();
    if let Some(found) = optional("vocab_size")?.filter(|&found| found != vocab_size) {
        let expected = format!("{vocab_size}, the rows of token_embd.weight");
        return Err(invalid(file, format!("{}: expected {expected}, found {found}", key("vocab_size"))));
    }
    expect_plain(file, architecture, positions)?;
    let config = Config {
        architecture,
        vocab_size,
        hidden_size: hidden,
        intermediate_size: count("feed_forward_length", LARGEST_SIZE)?,
        num_hidden_layers: layers,
        num_attention_heads: heads,
        num_key_value_heads: optional("attention.head_count_kv")?.unwrap_or(heads),
        head_dim,
        rms_norm_eps: metadata.f32(&key("attention.layer_norm_rms_epsilon"))?,
        rope_theta: decimal(metadata.optional(&key("rope.freq_base"))?.unwrap_or(10_000.0)),
        rope_scaling: rope_scaling(file, architecture)?,
        layers_without_rope: layers_without_rope(architecture, layers),
        tie_word_embeddings: file.optional_tensor("output.weight").is_none(),
        max_position_embeddings: positions,
        eos_token_ids: tokenizer::gguf::end_tokens(file)?,
    };
    config.check().map_err(|wrong| invalid(file, wrong.message(&key_of(architecture, wrong.field))))?;
    match rope_factors(file)? {
        Some(factors) => with_rope_factors(file, config, &factors),
        None => Ok(config),
    }
}

/// The key that says what a field of `config.json` says.
fn key_of(architecture: Architecture, field: &str) -> String {
    let name = match field {
        "vocab_size" => return "token_embd.weight, its number of rows".to_owned(),
        "eos_token_id" => return "tokenizer.ggml.eos_token_id".to_owned(),
        "hidden_size" => "embedding_length",
        "intermediate_size" => "feed_forward_length",
        "num_hidden_layers" => "block_count",
        "num_attention_heads" => "attention.head_count",
        "num_key_value_heads" => "attention.head_count_kv",
        "head_dim" => "attention.key_length",
        "max_position_embeddings" => "context_length",
        "rms_norm_eps" => "attention.layer_norm_rms_epsilon",
        "rope_theta" => "rope.freq_base",
        "rope_scaling.factor" => "rope.scaling.factor",
        "rope_scaling.low_freq_factor" => LLAMA3_KEYS[1],
        "rope_scaling.high_freq_factor" => LLAMA3_KEYS[2],
        "rope_scaling.original_max_position_embeddings" => LLAMA3_KEYS[3],
        other => other,
    };
    format!("{}.{name}", architecture.gguf())
}

/// Refuses what would change the computation and is not implemented.
fn expect_plain(file: &File, architecture: Architecture, positions: usize) -> Result<(), Error> {
    let metadata = file.metadata();
    let key = |name: &str| format!("{}.{name}", architecture.gguf());
    let wrong = |key: &str, expected: &str, found: &str| {
        let message = format!(
            "{key}: expected {expected}, as nothing else is supported, found {found}: take another model"
        );
        Err(invalid(file, message))
    };
    for (name, plain) in PLAIN {
        let key = key(name);
        let found = match metadata.get(&key) {
            None => continue,
            Some(Value::F32(_) | Value::F64(_)) => f64::from(metadata.f32(&key)?),
            Some(Value::Bool(flag)) => f64::from(u8::from(*flag)),
            Some(_) => metadata.u64(&key)? as f64,
        };
        if found != 0.0 && found != f64::from(plain) {
            return wrong(&key, &format!("none, or {plain}"), &found.to_string());
        }
    }
    // A window as long as the context hides nothing.
    let window =
        metadata.optional::<u32>(&key("attention.sliding_window"))?.map_or(0, |window| window as usize);
    if window != 0 && window < positions {
        let expected = format!("none, or at least context_length = {positions}");
        return wrong(&key("attention.sliding_window"), &expected, &window.to_string());
    }
    if metadata.optional::<bool>(&key("attention.causal"))? == Some(false) {
        return wrong(&key("attention.causal"), "true", "false");
    }
    Ok(())
}

/// As llama.cpp has it: a factor without a type is linear, and files of 2023 have the factor under another
/// key.
fn rope_scaling(file: &File, architecture: Architecture) -> Result<RopeScaling, Error> {
    let metadata = file.metadata();
    let key = |name: &str| format!("{}.rope.{name}", architecture.gguf());
    let kind = metadata.optional::<&str>(&key("scaling.type"))?;
    match kind.unwrap_or("linear") {
        "none" => return Ok(RopeScaling::None),
        "linear" => {}
        other => {
            let found = quoted(other);
            return Err(invalid(
                file,
                format!("{}: expected none or linear, found {found}", key("scaling.type")),
            ));
        }
    }
    for key in ["scaling.factor", "scale_linear"].map(key) {
        match metadata.optional::<f32>(&key)? {
            None => {}
            Some(1.0) => return Ok(RopeScaling::None),
            Some(factor) if factor > 0.0 => return Ok(RopeScaling::Linear { factor: decimal(factor) }),
            Some(factor) => {
                let expected = "expected a number above 0, such as 4";
                return Err(invalid(file, format!("{key}: {expected}, found {factor}")));
            }
        }
    }
    Ok(RopeScaling::None)
}

/// What Llama 3's files divide each frequency by.
fn rope_factors(file: &File) -> Result<Option<Vec<f32>>, Error> {
    Ok(file.optional_tensor("rope_freqs.weight").map(|tensor| tensor.dequantize()))
}

/// The settings of Llama 3 that the file names ([`LLAMA3_KEYS`]), or else those of Llama 3.1 and 3.2.
fn llama3_settings(file: &File, architecture: Architecture) -> Result<Vec<RopeScaling>, Error> {
    let key = |name: &str| format!("{}.{name}", architecture.gguf());
    let metadata = file.metadata();
    let scaling = |[factor, low_frequency_factor, high_frequency_factor]: [f64; 3], original_positions| {
        RopeScaling::Llama3 { factor, low_frequency_factor, high_frequency_factor, original_positions }
    };
    let [factor, low, high, positions] = LLAMA3_KEYS.map(key);
    if metadata.get(&factor).is_none() {
        return Ok([8.0, 32.0].map(|factor| scaling([factor, 1.0, 4.0], 8192)).to_vec());
    }
    let number = |key: &str| metadata.f32(key).map(decimal);
    let numbers = [number(&factor)?, number(&low)?, number(&high)?];
    Ok(vec![scaling(numbers, metadata.u32(&positions)? as usize)])
}

/// The settings of Llama 3 that give these factors.
fn with_rope_factors(file: &File, config: Config, factors: &[f32]) -> Result<Config, Error> {
    if factors.iter().all(|&factor| factor == 1.0) {
        return Ok(config);
    }
    if config.rope_scaling != RopeScaling::None {
        let key = format!("{}.rope.scaling.factor", config.architecture.gguf());
        return Err(invalid(file, format!("{key}: expected none beside the tensor rope_freqs.weight")));
    }
    let plain = config.rope_frequencies();
    for rope_scaling in llama3_settings(file, config.architecture)? {
        let scaled = Config { rope_scaling, ..config.clone() };
        scaled
            .check()
            .map_err(|wrong| invalid(file, wrong.message(&key_of(config.architecture, wrong.field))))?;
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
    let keys = LLAMA3_KEYS.map(|key| format!("{}.{key}", config.architecture.gguf())).join(", ");
    let expected = format!("the factors of Llama 3.1 or 3.2, or those that {keys} give");
    Err(invalid(file, format!("tensor rope_freqs.weight: expected {expected}; take another model")))
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
