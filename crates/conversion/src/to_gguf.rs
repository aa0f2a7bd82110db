//! A Hugging Face directory as a GGUF file, for llama.cpp and what is built on it.

use crate::tensors::converted;
use crate::{Error, Progress};
use gguf::{BlockType, TensorInfo, Value, Writer};
use serde_json::Value as Json;
use std::io::ErrorKind;
use std::path::Path;
use transformer::checkpoint::{LLAMA3_KEYS, layers_without_rope};
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
    if config.layers_without_rope != layers_without_rope(config.architecture, config.num_hidden_layers) {
        return Err(Error::Config {
            path: model.path().join("config.json"),
            field: "no_rope_layers",
            expected: "0 for every fourth layer, which llama.cpp takes for granted",
        });
    }
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
        let order = gguf_order(part);
        converted(model, part, info.block_type, order.as_deref(), &mut |bytes| {
            Ok(writer.write(&info.name, bytes)?)
        })?;
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

/// Which row comes when in GGUF files of the family, where it is not the same.
fn gguf_order(part: &Part) -> Option<Vec<usize>> {
    part.paired_head_dim?;
    let mut order = vec![0; part.shape[0]];
    for row in 0..part.shape[0] {
        order[part.gguf_row(row)] = row;
    }
    Some(order)
}

/// What each plain frequency is divided by; llama.cpp computes other scalings itself.
fn rope_factors(config: &Config) -> Option<Vec<f32>> {
    let RopeScaling::Llama3 { .. } = config.rope_scaling else { return None };
    let plain = Config { rope_scaling: RopeScaling::None, ..config.clone() }.rope_frequencies();
    Some(plain.iter().zip(config.rope_frequencies()).map(|(plain, scaled)| plain / scaled).collect())
}

/// All metadata but the tensors'.
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
    all.extend(tokenizer_metadata(model)?);
    Ok(all)
}

/// What the files of the tokenizer say.
fn tokenizer_metadata(model: &Checkpoint) -> Result<Vec<(String, Value)>, Error> {
    let path = model.path().join("tokenizer.json");
    let tokenizer = read_json(&path)?.ok_or_else(|| Error::write(&path, ErrorKind::NotFound.into()))?;
    let known = metadata::of_json(&tokenizer, model.config());
    let mut all = known.map_err(|unknown| Error::Tokenizer {
        path: path.clone(),
        what: unknown.what,
        expected: unknown.expected,
    })?;
    let settings_path = model.path().join("tokenizer_config.json");
    let settings = read_json(&settings_path)?.unwrap_or_default();
    let others = read_json(&model.path().join("special_tokens_map.json"))?.unwrap_or_default();
    for (key, name) in [("bos", "bos_token"), ("padding", "pad_token"), ("unknown", "unk_token")] {
        let key = format!("tokenizer.ggml.{key}_token_id");
        let token = [&settings[name], &others[name]].into_iter().find(|token| !token.is_null());
        let Some(token) = token.filter(|_| !all.iter().any(|(known, _)| *known == key)) else { continue };
        let id = token.as_str().or_else(|| token["content"].as_str());
        let id =
            id.and_then(|text| metadata::token_of(&tokenizer, text)).ok_or_else(|| Error::Tokenizer {
                path: settings_path.clone(),
                what: name.to_owned(),
                expected: format!("a token of tokenizer.json, found {}", shown(token)),
            })?;
        all.push((key, Value::U32(id)));
    }
    all.extend(chat_templates(model.path(), &settings_path, &settings)?);
    Ok(all)
}

/// The chat template, and others beside it by their names, as llama.cpp's own converter writes them.
fn chat_templates(
    directory: &Path,
    settings_path: &Path,
    settings: &Json,
) -> Result<Vec<(String, Value)>, Error> {
    let key = |name: &str| match name {
        "default" => "tokenizer.chat_template".to_owned(),
        other => format!("tokenizer.chat_template.{other}"),
    };
    let file = directory.join("chat_template.jinja");
    match std::fs::read_to_string(&file) {
        Ok(template) => return Ok(vec![(key("default"), Value::String(template))]),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(Error::write(&file, error)),
    }
    let fail = |found: &Json| Error::Tokenizer {
        path: settings_path.to_owned(),
        what: "chat_template".to_owned(),
        expected: format!("a template, or a list of templates with their names, found {}", shown(found)),
    };
    let list = match &settings["chat_template"] {
        Json::Null => return Ok(Vec::new()),
        Json::String(template) => return Ok(vec![(key("default"), Value::from(template.as_str()))]),
        Json::Array(list) => list,
        other => return Err(fail(other)),
    };
    let (mut all, mut names) = (Vec::new(), Vec::new());
    for item in list {
        let (Some(name), Some(template)) = (item["name"].as_str(), item["template"].as_str()) else {
            return Err(fail(item));
        };
        let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        all.push((key(&name), Value::from(template)));
        names.extend((name != "default").then_some(name));
    }
    if !names.is_empty() {
        let names = names.iter().collect::<gguf::Strings>();
        all.push(("tokenizer.chat_templates".to_owned(), Value::from(names)));
    }
    Ok(all)
}

/// The beginning of a value, as an error shows it.
fn shown(value: &Json) -> String {
    value.to_string().chars().take(100).flat_map(|c| c.escape_debug()).collect()
}

/// A file's JSON; none where there is no such file.
fn read_json(path: &Path) -> Result<Option<Json>, Error> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::write(path, error)),
    };
    let value: Json = serde_json::from_str(&text).map_err(|error| Error::Tokenizer {
        path: path.to_owned(),
        what: error.to_string(),
        expected: "JSON".to_owned(),
    })?;
    match value.is_object() {
        true => Ok(Some(value)),
        false => Err(Error::Tokenizer {
            path: path.to_owned(),
            what: "the whole file".to_owned(),
            expected: "a JSON object".to_owned(),
        }),
    }
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
    match config.rope_scaling {
        RopeScaling::None => {}
        RopeScaling::Linear { factor } => {
            add("rope.scaling.type", Value::from("linear"));
            add("rope.scaling.factor", Value::F32(factor as f32));
        }
        // llama.cpp reads the table alone; what it was made of is for the way back.
        RopeScaling::Llama3 { factor, low_frequency_factor, high_frequency_factor, original_positions } => {
            let numbers = [factor, low_frequency_factor, high_frequency_factor];
            for (key, number) in LLAMA3_KEYS.into_iter().zip(numbers) {
                add(key, Value::F32(number as f32));
            }
            add(LLAMA3_KEYS[3], count(original_positions));
        }
    }
    all
}
