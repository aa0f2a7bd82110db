//! The tokenizer of a GGUF file: its tokens and merges as `tokenizer.json`, its template as
//! `tokenizer_config.json`.

use super::merges;
pub use super::of_json::{Unknown, of_json, token_of};
use super::splits::{Split, byte_level};
use crate::Error;
use crate::error::quoted;
use gguf::File;
use serde_json::{Map, Value, json};
use std::collections::HashSet;

/// Control tokens that end an answer, whatever the file names as its end.
const ENDS: [&str; 4] = ["<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>"];

/// `tokenizer.ggml.token_type`, from the GGUF specification.
pub(super) const NORMAL: i32 = 1;
pub(super) const CONTROL: i32 = 3;
pub(super) const USER_DEFINED: i32 = 4;
pub(super) const UNUSED: i32 = 5;

/// What `tokenizer.json` says of an added token besides its text, and the numbers of the tokens of which it
/// is true: whether it takes the white space before it or behind it, and whether it stands between words only.
/// llama.cpp has no keys for these, and reads none: `ncomp convert` writes them for this reader.
pub(super) const FLAGS: [(&str, &str); 3] = [
    ("lstrip", "tokenizer.ggml.lstrip_tokens"),
    ("rstrip", "tokenizer.ggml.rstrip_tokens"),
    ("single_word", "tokenizer.ggml.single_word_tokens"),
];

/// `tokenizer.json` of a GGUF file.
///
/// # Errors
/// Names the file, and the key that is missing or holds what is unknown here.
pub fn tokenizer(file: &File) -> Result<Value, Error> {
    let metadata = file.metadata();
    let model = metadata.str("tokenizer.ggml.model")?;
    if model != "gpt2" {
        return Err(unknown(file, "tokenizer.ggml.model", "gpt2, a byte-level BPE", model));
    }
    let pre = metadata.optional::<&str>("tokenizer.ggml.pre")?.unwrap_or("default");
    let Some(split) = Split::named(pre) else {
        return Err(unknown(file, "tokenizer.ggml.pre", &Split::all_names(), pre));
    };
    let (vocabulary, added) = tokens(file)?;
    let merges = merges(file, &vocabulary)?;
    Ok(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": split.normalizer(),
        "pre_tokenizer": split.pre_tokenizer(),
        "post_processor": post_processor(file)?,
        "decoder": byte_level(false),
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
            "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": split.ignores_merges,
            "vocab": vocabulary, "merges": merges,
        },
    }))
}

/// Whether a text begins with a token of its own, and which that is, as in llama.cpp.
fn begin_token(file: &File) -> Result<Option<(&str, u32)>, Error> {
    let pre = file.metadata().optional::<&str>("tokenizer.ggml.pre")?.unwrap_or("default");
    special(file, "bos", Split::named(pre).is_some_and(|split| split.adds_bos))
}

/// The token of a text's end, `bos` or `eos`, if it is added to texts.
fn special<'f>(file: &'f File, name: &str, default: bool) -> Result<Option<(&'f str, u32)>, Error> {
    let metadata = file.metadata();
    let adds = format!("tokenizer.ggml.add_{name}_token");
    if !metadata.optional::<bool>(&adds)?.unwrap_or(default) {
        return Ok(None);
    }
    let key = format!("tokenizer.ggml.{name}_token_id");
    let id = metadata.optional::<u32>(&key)?;
    let text =
        id.and_then(|id| Some((metadata.strings("tokenizer.ggml.tokens").ok()?.get(id as usize)?, id)));
    match text {
        Some(found) => Ok(Some(found)),
        None => Err(unknown(file, &key, "the token that each text gets", "none")),
    }
}

/// What adds tokens to a text's ends.
fn post_processor(file: &File) -> Result<Value, Error> {
    let (first, last) = (begin_token(file)?, special(file, "eos", false)?);
    if first.is_none() && last.is_none() {
        return Ok(Value::Null);
    }
    let piece = |(text, _): (&str, u32)| json!({ "SpecialToken": { "id": text, "type_id": 0 } });
    let text = |name: &str| json!({ "Sequence": { "id": name, "type_id": 0 } });
    let around = |name: &str| -> Vec<Value> {
        first.map(piece).into_iter().chain([text(name)]).chain(last.map(piece)).collect()
    };
    let tokens = first.into_iter().chain(last);
    let tokens = tokens
        .map(|(text, id)| (text.to_owned(), json!({ "id": text, "ids": [id], "tokens": [text] })))
        .collect::<Map<String, Value>>();
    let pair = [around("A"), around("B")].concat();
    Ok(json!({
        "type": "TemplateProcessing",
        "single": around("A"),
        "pair": pair,
        "special_tokens": tokens,
    }))
}

/// The vocabulary, and those of its tokens that no merge makes.
fn tokens(file: &File) -> Result<(Map<String, Value>, Vec<Value>), Error> {
    let metadata = file.metadata();
    let texts = metadata.strings("tokenizer.ggml.tokens")?;
    let types = metadata.i32s("tokenizer.ggml.token_type")?;
    if texts.len() != types.len() {
        let (expected, found) = (format!("one for each of {} tokens", texts.len()), types.len().to_string());
        return Err(unknown(file, "tokenizer.ggml.token_type", &expected, &found));
    }
    let flagged = flagged(file, &types)?;
    let (mut vocabulary, mut added) = (Map::new(), Vec::new());
    for (id, (text, &kind)) in texts.iter().zip(types.iter()).enumerate() {
        match kind {
            NORMAL => {
                vocabulary.insert(text.to_owned(), id.into());
            }
            CONTROL | USER_DEFINED => {
                // In the vocabulary too: a token that is not there gets a number behind all others.
                vocabulary.insert(text.to_owned(), id.into());
                let mut token = json!({
                    "id": id, "content": text, "normalized": false, "special": kind == CONTROL,
                });
                for ((name, _), tokens) in FLAGS.into_iter().zip(&flagged) {
                    token[name] = json!(tokens.contains(&id));
                }
                added.push(token);
            }
            // Rows of the matrix that stand for nothing.
            UNUSED => {}
            _ => {
                let what = format!("tokenizer.ggml.token_type[{id}]");
                return Err(unknown(file, &what, "1, 3, 4 or 5", &kind.to_string()));
            }
        }
    }
    Ok((vocabulary, added))
}

/// The tokens that have each flag.
fn flagged(file: &File, types: &[i32]) -> Result<[HashSet<usize>; 3], Error> {
    let mut all: [HashSet<usize>; 3] = Default::default();
    for ((_, key), found) in FLAGS.into_iter().zip(&mut all) {
        let listed = match file.metadata().get(key) {
            None => continue,
            Some(_) => file.metadata().i32s(key)?,
        };
        let is_added =
            |id: &usize| types.get(*id).is_some_and(|kind| matches!(*kind, CONTROL | USER_DEFINED));
        let numbers = listed.iter().map(|&id| {
            let number = usize::try_from(id).ok().filter(is_added);
            number.ok_or_else(|| unknown(file, key, "numbers of added tokens", &id.to_string()))
        });
        *found = numbers.collect::<Result<_, Error>>()?;
    }
    Ok(all)
}

/// The merges, each of tokens that there are to another.
fn merges(file: &File, vocabulary: &Map<String, Value>) -> Result<Vec<[String; 2]>, Error> {
    let merges = file.metadata().strings("tokenizer.ggml.merges")?;
    let known = vocabulary.keys().map(String::as_str).collect();
    let mut pairs = Vec::with_capacity(merges.len());
    for (at, merge) in merges.iter().enumerate() {
        let pair = merge.split_once(' ').ok_or("two tokens and a space between".to_owned());
        let pair = pair.and_then(|(left, right)| merges::check(&known, left, right).map(|()| [left, right]));
        let pair = pair.map_err(|expected| {
            unknown(file, &format!("tokenizer.ggml.merges[{at}]"), &expected, &format!("'{merge}'"))
        })?;
        pairs.push(pair.map(str::to_owned));
    }
    Ok(pairs)
}

/// `tokenizer_config.json` of a GGUF file, with the chat template.
///
/// # Errors
/// As [`tokenizer`].
pub fn settings(file: &File) -> Result<Value, Error> {
    let metadata = file.metadata();
    let texts = metadata.strings("tokenizer.ggml.tokens")?;
    let token = |key: &str| -> Result<Option<&str>, Error> {
        let id = metadata.optional::<u32>(&format!("tokenizer.ggml.{key}_token_id"))?;
        Ok(id.and_then(|id| texts.get(id as usize)))
    };
    Ok(json!({
        "add_bos_token": begin_token(file)?.is_some(),
        "bos_token": token("bos")?,
        "chat_template": chat_templates(file)?,
        "clean_up_tokenization_spaces": false,
        "eos_token": token("eos")?,
        "pad_token": token("padding")?,
        "tokenizer_class": match metadata.str("general.architecture")? {
            "qwen2" | "qwen3" => "Qwen2Tokenizer",
            _ => "PreTrainedTokenizerFast",
        },
        "unk_token": token("unknown")?,
    }))
}

/// The chat template, or a list of them where there are others beside it.
fn chat_templates(file: &File) -> Result<Value, Error> {
    let metadata = file.metadata();
    let default = metadata.optional::<&str>("tokenizer.chat_template")?;
    let Ok(names) = metadata.strings("tokenizer.chat_templates") else { return Ok(json!(default)) };
    let mut all: Vec<Value> = Vec::new();
    all.extend(default.map(|template| json!({ "name": "default", "template": template })));
    for name in names.iter() {
        let key = format!("tokenizer.chat_template.{name}");
        all.push(json!({ "name": name, "template": metadata.str(&key)? }));
    }
    Ok(all.into())
}

/// Tokens that end an answer, the file's own first.
///
/// # Errors
/// As [`tokenizer`], and where the number of a special token is none of the tokens'.
pub fn end_tokens(file: &File) -> Result<Vec<u32>, Error> {
    let metadata = file.metadata();
    check_special_tokens(file)?;
    let texts = metadata.strings("tokenizer.ggml.tokens")?;
    let types = metadata.i32s("tokenizer.ggml.token_type")?;
    let mut all = Vec::new();
    for key in ["eos", "eot", "eom"] {
        all.extend(metadata.optional::<u32>(&format!("tokenizer.ggml.{key}_token_id"))?);
    }
    let ends = (0..).zip(texts.iter().zip(types.iter()));
    all.extend(ends.filter(|(_, (text, kind))| **kind == CONTROL && ENDS.contains(text)).map(|(id, _)| id));
    let mut seen = HashSet::new();
    all.retain(|&id| seen.insert(id));
    Ok(all)
}

/// Every special token that the file names by its number is one of its tokens.
fn check_special_tokens(file: &File) -> Result<(), Error> {
    let metadata = file.metadata();
    let count = metadata.strings("tokenizer.ggml.tokens")?.len();
    let is_special = |key: &str| key.starts_with("tokenizer.ggml.") && key.ends_with("_token_id");
    for (key, _) in metadata.iter().filter(|(key, _)| is_special(key)) {
        let id = metadata.u32(key)?;
        if id as usize >= count {
            let expected = format!("a number below {count}, the number of tokens");
            return Err(unknown(file, key, &expected, &id.to_string()));
        }
    }
    Ok(())
}

fn unknown(file: &File, what: &str, expected: &str, found: &str) -> Error {
    let (what, found) = (quoted(what), quoted(found));
    Error::invalid(file.path(), format!("{what}: expected {expected}, found {found}; take another file"))
}
