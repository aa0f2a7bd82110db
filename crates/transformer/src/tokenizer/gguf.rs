//! The tokenizer of a GGUF file: its tokens and merges as `tokenizer.json`, its template as
//! `tokenizer_config.json`.

use super::merges;
use crate::error::quoted;
use crate::{Config, Error};
use gguf::File;
use serde_json::{Map, Value, json};

/// How text is split before merging.
struct Split {
    /// `tokenizer.ggml.pre`
    name: &'static str,
    /// Patterns, one after the other; after them GPT-2's, if `is_gpt2`. From the `tokenizer.json` that the
    /// models were published with.
    patterns: &'static [&'static str],
    is_gpt2: bool,
    is_normalized: bool,
    /// Whether a word that is a token is one, whatever the merges say.
    ignores_merges: bool,
}

const PLAIN: Split =
    Split { name: "", patterns: &[], is_gpt2: false, is_normalized: false, ignores_merges: false };
const SPLITS: [Split; 6] = [
    Split {
        name: "qwen2",
        patterns: &[
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ],
        is_normalized: true,
        ..PLAIN
    },
    Split {
        name: "llama-bpe",
        patterns: &[
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ],
        ignores_merges: true,
        ..PLAIN
    },
    Split { name: "smollm", patterns: &[r"\p{N}"], is_gpt2: true, ..PLAIN },
    Split {
        name: "deepseek-coder",
        patterns: &[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", r"\p{N}"],
        ..PLAIN
    },
    Split { name: "gpt-2", is_gpt2: true, ..PLAIN },
    Split { name: "default", is_gpt2: true, ..PLAIN },
];
/// Control tokens that end an answer, whatever the file names as its end.
const ENDS: [&str; 4] = ["<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>"];

/// `tokenizer.ggml.token_type`, from the GGUF specification.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;

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
    let Some(split) = SPLITS.iter().find(|split| split.name == pre) else {
        let known: Vec<&str> = SPLITS.iter().map(|split| split.name).collect();
        return Err(unknown(file, "tokenizer.ggml.pre", &known.join(", "), pre));
    };
    let (vocabulary, added) = tokens(file)?;
    let merges = merges(file, &vocabulary)?;
    let byte_level = |use_regex: bool| {
        json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex,
        })
    };
    let mut steps: Vec<Value> = split.patterns.iter().map(|pattern| {
        json!({ "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false })
    }).collect();
    steps.push(byte_level(split.is_gpt2));
    Ok(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": if split.is_normalized { json!({ "type": "NFC" }) } else { Value::Null },
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": steps },
        "post_processor": null,
        "decoder": byte_level(false),
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
            "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": split.ignores_merges,
            "vocab": vocabulary, "merges": merges,
        },
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
    let (mut vocabulary, mut added) = (Map::new(), Vec::new());
    for (id, (text, &kind)) in texts.iter().zip(types.iter()).enumerate() {
        match kind {
            NORMAL => {
                vocabulary.insert(text.to_owned(), id.into());
            }
            CONTROL | USER_DEFINED => {
                // In the vocabulary too: a token that is not there gets a number behind all others.
                vocabulary.insert(text.to_owned(), id.into());
                added.push(json!({
                    "id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": kind == CONTROL,
                }));
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
        "add_bos_token": metadata.optional::<bool>("tokenizer.ggml.add_bos_token")?.unwrap_or(false),
        "bos_token": token("bos")?,
        "chat_template": metadata.optional::<&str>("tokenizer.chat_template")?,
        "clean_up_tokenization_spaces": false,
        "eos_token": token("eos")?,
        "pad_token": token("padding")?,
        "tokenizer_class": match metadata.str("general.architecture")? {
            "qwen2" | "qwen3" => "Qwen2Tokenizer",
            _ => "PreTrainedTokenizerFast",
        },
        "unk_token": null,
    }))
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
    let mut seen = std::collections::HashSet::new();
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

/// What of a `tokenizer.json` a GGUF file cannot say.
#[derive(Clone, Debug, PartialEq)]
pub struct Unknown {
    /// The field.
    pub what: String,
    /// What is known here.
    pub expected: String,
}

/// The metadata that says what a `tokenizer.json` says, for a model of that many embeddings: the way
/// back from [`tokenizer`].
///
/// # Errors
/// Names the field that has no counterpart.
pub fn of_json(tokenizer: &Value, config: &Config) -> Result<Vec<(String, gguf::Value)>, Unknown> {
    let unknown =
        |what: &str, expected: &str| Unknown { what: what.to_owned(), expected: expected.to_owned() };
    if tokenizer["model"]["type"] != "BPE" {
        return Err(unknown("model.type", "BPE"));
    }
    let split = split_of(tokenizer).ok_or_else(|| {
        let names: Vec<&str> = SPLITS.iter().map(|split| split.name).collect();
        unknown("pre_tokenizer", &format!("one of those that llama.cpp calls {}", names.join(", ")))
    })?;
    let mut texts: Vec<String> = (0..config.vocab_size).map(|id| format!("[PAD{id}]")).collect();
    let mut types = vec![UNUSED; config.vocab_size];
    let mut place = |id: Option<u64>, text: &str, kind: i32| {
        let id = id.and_then(|id| usize::try_from(id).ok()).filter(|&id| id < config.vocab_size);
        let id =
            id.ok_or_else(|| unknown(&format!("token {text}"), "a number below the model's vocab_size"))?;
        text.clone_into(&mut texts[id]);
        types[id] = kind;
        Ok(())
    };
    let vocabulary = tokenizer["model"]["vocab"].as_object();
    for (text, id) in vocabulary.ok_or_else(|| unknown("model.vocab", "an object from token to number"))? {
        place(id.as_u64(), text, NORMAL)?;
    }
    for token in tokenizer["added_tokens"].as_array().into_iter().flatten() {
        let kind = if token["special"] == true { CONTROL } else { USER_DEFINED };
        place(token["id"].as_u64(), token["content"].as_str().unwrap_or_default(), kind)?;
    }
    let merges = tokenizer["model"]["merges"].as_array().into_iter().flatten().map(|merge| {
        // A pair, or both in one text as older files have it.
        let pair =
            merge.as_array().map(|pair| pair.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "));
        pair.or_else(|| merge.as_str().map(str::to_owned))
    });
    let merges: Option<Vec<String>> = merges.collect();
    let merges = merges.ok_or_else(|| unknown("model.merges", "pairs of tokens"))?;
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let mut all = vec![
        (key("model"), gguf::Value::from("gpt2")),
        (key("pre"), gguf::Value::from(split.name)),
        (key("tokens"), gguf::Value::from(texts.iter().collect::<gguf::Strings>())),
        (key("token_type"), gguf::Value::from(types)),
        (key("merges"), gguf::Value::from(merges.iter().collect::<gguf::Strings>())),
    ];
    if let Some(&end) = config.eos_token_ids.first() {
        all.push((key("eos_token_id"), gguf::Value::U32(end)));
    }
    Ok(all)
}

/// The number of a token that is beside the vocabulary.
pub fn token_of(tokenizer: &Value, text: &str) -> Option<u32> {
    let added = tokenizer["added_tokens"].as_array()?.iter().find(|token| token["content"] == text)?;
    added["id"].as_u64().and_then(|id| u32::try_from(id).ok())
}

/// Which of the known ways to split a `tokenizer.json` describes.
fn split_of(tokenizer: &Value) -> Option<&'static Split> {
    let before = &tokenizer["pre_tokenizer"];
    let steps = match before["pretokenizers"].as_array() {
        Some(steps) => steps.as_slice(),
        None => std::slice::from_ref(before),
    };
    let (last, splits) = steps.split_last()?;
    if last["type"] != "ByteLevel" || last["add_prefix_space"] == true {
        return None;
    }
    let pattern = |step: &Value| match step["type"].as_str()? {
        "Digits" if step["individual_digits"] == true => Some(r"\p{N}".to_owned()),
        "Split" => step["pattern"]["Regex"].as_str().map(str::to_owned),
        _ => None,
    };
    let patterns = splits.iter().map(pattern).collect::<Option<Vec<String>>>()?;
    let (is_gpt2, is_normalized) = (last["use_regex"] != false, tokenizer["normalizer"]["type"] == "NFC");
    let ignores_merges = tokenizer["model"]["ignore_merges"] == true;
    if !is_normalized && !tokenizer["normalizer"].is_null() {
        return None;
    }
    SPLITS.iter().find(|split| {
        split.patterns == patterns
            && (split.is_gpt2, split.is_normalized, split.ignores_merges)
                == (is_gpt2, is_normalized, ignores_merges)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_split_in_a_known_way_is_recognised() {
        for split in &SPLITS[..5] {
            let step = |pattern: &&str| json!({ "type": "Split", "pattern": { "Regex": pattern } });
            let mut steps: Vec<Value> = split.patterns.iter().map(step).collect();
            steps.push(json!({ "type": "ByteLevel", "add_prefix_space": false, "use_regex": split.is_gpt2 }));
            let normalizer = if split.is_normalized { json!({ "type": "NFC" }) } else { Value::Null };
            let tokenizer = json!({
                "normalizer": normalizer,
                "pre_tokenizer": { "type": "Sequence", "pretokenizers": steps },
                "model": { "ignore_merges": split.ignores_merges },
            });
            assert_eq!(split_of(&tokenizer).map(|found| found.name), Some(split.name));
        }
        let other = json!({ "pre_tokenizer": { "type": "Whitespace" } });
        assert!(split_of(&other).is_none());
    }
}
