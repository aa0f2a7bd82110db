//! A Hugging Face directory as a GGUF file, for llama.cpp and what is built on it.

use crate::tensors::converted;
use crate::{Error, Progress};
use gguf::{BlockType, TensorInfo, Value, Writer};
use serde_json::Value as Json;
use std::path::Path;
use transformer::table::Part;
use transformer::tokenizer::gguf as metadata;
use transformer::{Checkpoint, Config, RopeScaling};

/// Table of what Llama 3 divides frequencies by, for llama.cpp.
const ROPE_FACTORS: &str = "rope_freqs.weight";

/// Writes a directory as a GGUF file: matrices in `kind`, or in [`BlockType::F16`] where their rows are
/// not whole blocks, vectors in single precision, the tokenizer and the chat template in its metadata.
///
/// # Errors
/// Where the model or its tokenizer is damaged or unknown, the file is there already or cannot be
/// written, or `progress` stops.
pub fn to_gguf(
    model: &Checkpoint,
    path: &Path,
    kind: BlockType,
    progress: &mut Progress,
) -> Result<(), Error> {
    if model.gguf().is_some() {
        let expected = "a directory with config.json, to be written as a GGUF file";
        return Err(Error::Form { path: model.path().to_owned(), expected });
    }
    if path.exists() {
        return Err(Error::Occupied(path.to_owned()));
    }
    let config = model.config();
    let parts: Vec<&Part> = model.table().parts().map(|(_, part)| part).collect();
    let factors = rope_factors(config);
    let mut infos: Vec<TensorInfo> = parts.iter().map(|part| info(part, kind)).collect();
    if let Some(factors) = &factors {
        let (name, shape) = (ROPE_FACTORS.to_owned(), vec![factors.len()]);
        infos.insert(0, TensorInfo { name, shape, block_type: BlockType::F32 });
    }
    let mut writer = Writer::create(path, all_metadata(model, kind)?, infos)?;
    if let Some(factors) = &factors {
        writer.write_f32(ROPE_FACTORS, factors)?;
    }
    for (at, part) in parts.iter().enumerate() {
        let info = info(part, kind);
        let bytes = converted(model, part, info.block_type)?;
        writer.write(&info.name, &in_gguf_order(part, &bytes))?;
        if progress(at + 1, parts.len()).is_break() {
            return Err(Error::Stopped);
        }
    }
    Ok(writer.finish()?)
}

fn info(part: &Part, kind: BlockType) -> TensorInfo {
    let block_type = match part.shape.as_slice() {
        [_, inputs] if inputs.is_multiple_of(kind.block_elements()) => kind,
        [_, _] => BlockType::F16,
        _ => BlockType::F32,
    };
    // GGUF names the contiguous dimension first.
    TensorInfo { name: part.gguf.clone(), shape: part.shape.iter().rev().copied().collect(), block_type }
}

/// Rows in the order that GGUF files of the family have.
fn in_gguf_order(part: &Part, bytes: &[u8]) -> Vec<u8> {
    let rows = part.shape[0];
    let row_bytes = bytes.len() / rows;
    let mut ordered = vec![0; bytes.len()];
    for (row, bytes) in bytes.chunks_exact(row_bytes).enumerate() {
        let at = part.gguf_row(row) * row_bytes;
        ordered[at..at + row_bytes].copy_from_slice(bytes);
    }
    ordered
}

/// What each plain frequency is divided by; llama.cpp computes other scalings itself.
fn rope_factors(config: &Config) -> Option<Vec<f32>> {
    let RopeScaling::Llama3 { .. } = config.rope_scaling else { return None };
    let plain = Config { rope_scaling: RopeScaling::None, ..config.clone() }.rope_frequencies();
    Some(plain.iter().zip(config.rope_frequencies()).map(|(plain, scaled)| plain / scaled).collect())
}

fn all_metadata(model: &Checkpoint, kind: BlockType) -> Result<Vec<(String, Value)>, Error> {
    let mut all = shape(model.config());
    let name = model.path().file_name().map_or("model".into(), |name| name.to_string_lossy());
    all.push(("general.name".to_owned(), Value::from(&*name)));
    // llama.cpp's numbers of file types: mostly F16, mostly Q8_0, mostly BF16, all F32.
    let file_type = match kind {
        BlockType::Q8_0 => 7,
        BlockType::Bf16 => 32,
        BlockType::F32 => 0,
        _ => 1,
    };
    all.push(("general.file_type".to_owned(), Value::U32(file_type)));
    all.push(("general.quantization_version".to_owned(), Value::U32(2)));
    let (tokenizer, settings) =
        (read_json(model, "tokenizer.json")?, read_json(model, "tokenizer_config.json").unwrap_or_default());
    let template = std::fs::read_to_string(model.path().join("chat_template.jinja")).ok();
    let template = template.or_else(|| Some(settings.get("chat_template")?.as_str()?.to_owned()));
    let known = metadata::of_json(&tokenizer, model.config()).map_err(|unknown| Error::Tokenizer {
        path: model.path().join("tokenizer.json"),
        what: unknown.what,
        expected: unknown.expected,
    })?;
    all.extend(known);
    for (key, token) in [("bos", "bos_token"), ("padding", "pad_token")] {
        let text =
            settings.get(token).and_then(|token| token.as_str().or_else(|| token.get("content")?.as_str()));
        if let Some(id) = text.and_then(|text| metadata::token_of(&tokenizer, text)) {
            all.push((format!("tokenizer.ggml.{key}_token_id"), Value::U32(id)));
        }
    }
    let adds_bos = settings.get("add_bos_token").and_then(Json::as_bool).unwrap_or(false);
    all.push(("tokenizer.ggml.add_bos_token".to_owned(), Value::Bool(adds_bos)));
    if let Some(template) = template {
        all.push(("tokenizer.chat_template".to_owned(), Value::String(template)));
    }
    Ok(all)
}

fn read_json(model: &Checkpoint, name: &str) -> Result<Json, Error> {
    let path = model.path().join(name);
    let text = std::fs::read_to_string(&path).map_err(|source| Error::write(&path, source))?;
    serde_json::from_str(&text).map_err(|error| Error::Tokenizer {
        path,
        what: error.to_string(),
        expected: "JSON".to_owned(),
    })
}

/// The keys that give a model's shape, as llama.cpp reads them.
fn shape(config: &Config) -> Vec<(String, Value)> {
    let architecture = config.architecture.gguf();
    let mut all = vec![("general.architecture".to_owned(), Value::from(architecture))];
    let mut add = |key: &str, value: Value| all.push((format!("{architecture}.{key}"), value));
    let count = |count: usize| Value::U32(u32::try_from(count).unwrap_or(u32::MAX));
    add("block_count", count(config.num_hidden_layers));
    add("context_length", count(config.max_position_embeddings));
    add("embedding_length", count(config.hidden_size));
    add("feed_forward_length", count(config.intermediate_size));
    add("attention.head_count", count(config.num_attention_heads));
    add("attention.head_count_kv", count(config.num_key_value_heads));
    add("attention.key_length", count(config.head_dim));
    add("attention.value_length", count(config.head_dim));
    add("attention.layer_norm_rms_epsilon", Value::F32(config.rms_norm_eps));
    add("rope.dimension_count", count(config.head_dim));
    add("rope.freq_base", Value::F32(config.rope_theta as f32));
    add("vocab_size", count(config.vocab_size));
    if let RopeScaling::Linear { factor } = config.rope_scaling {
        add("rope.scaling.type", Value::from("linear"));
        add("rope.scaling.factor", Value::F32(factor as f32));
    }
    all
}
