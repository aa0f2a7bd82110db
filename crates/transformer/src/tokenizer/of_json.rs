//! The metadata of a GGUF file that says what a `tokenizer.json` says: the way back from
//! [`tokenizer`](super::gguf::tokenizer).

use super::gguf::{CONTROL, FLAGS, NORMAL, UNUSED, USER_DEFINED};
use super::splits::Split;
use crate::Config;
use crate::error::quoted;
use serde_json::Value;

/// What of a `tokenizer.json` a GGUF file cannot say.
#[derive(Clone, Debug, PartialEq)]
pub struct Unknown {
    /// The field.
    pub what: String,
    /// What is known here.
    pub expected: String,
}

fn unknown(what: &str, expected: &str) -> Unknown {
    Unknown { what: quoted(what), expected: expected.to_owned() }
}

/// The metadata for a tokenizer of a model of that many embeddings.
///
/// # Errors
/// Names the field that has no counterpart.
pub fn of_json(tokenizer: &Value, config: &Config) -> Result<Vec<(String, gguf::Value)>, Unknown> {
    check_model(&tokenizer["model"])?;
    let split = Split::of(tokenizer).ok_or_else(|| {
        let names = Split::all_names();
        unknown("normalizer, pre_tokenizer", &format!("those that llama.cpp calls {names}"))
    })?;
    if !matches!(tokenizer["decoder"]["type"].as_str(), None | Some("ByteLevel")) {
        return Err(unknown("decoder.type", "ByteLevel"));
    }
    let (texts, types, flagged) = tokens(tokenizer, config)?;
    let merges = merges(tokenizer)?;
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let mut all = vec![
        (key("model"), gguf::Value::from("gpt2")),
        (key("pre"), gguf::Value::from(split.names[0])),
        (key("tokens"), gguf::Value::from(texts.iter().collect::<gguf::Strings>())),
        (key("token_type"), gguf::Value::from(types)),
        (key("merges"), gguf::Value::from(merges.iter().collect::<gguf::Strings>())),
    ];
    for ((_, key), tokens) in FLAGS.into_iter().zip(flagged).filter(|(_, tokens)| !tokens.is_empty()) {
        all.push((key.to_owned(), gguf::Value::from(tokens)));
    }
    if let Some(&end) = config.eos_token_ids.first() {
        all.push((key("eos_token_id"), gguf::Value::U32(end)));
    }
    let Added { before, after } = added(&tokenizer["post_processor"])?;
    all.push((key("add_bos_token"), gguf::Value::Bool(before.is_some())));
    if let Some(token) = before {
        all.push((key("bos_token_id"), gguf::Value::U32(token)));
    }
    if let Some(token) = after {
        if Some(&token) != config.eos_token_ids.first() {
            let expected = format!("{:?}, the model's end token, at a text's end", config.eos_token_ids);
            return Err(unknown("post_processor", &expected));
        }
        all.push((key("add_eos_token"), gguf::Value::Bool(true)));
    }
    Ok(all)
}

/// Refuses what merges in another way.
fn check_model(model: &Value) -> Result<(), Unknown> {
    if model["type"] != "BPE" {
        return Err(unknown("model.type", "BPE"));
    }
    for name in ["dropout", "unk_token"] {
        if !model[name].is_null() {
            return Err(unknown(&format!("model.{name}"), "null"));
        }
    }
    for name in ["continuing_subword_prefix", "end_of_word_suffix"] {
        if model[name].as_str().is_some_and(|affix| !affix.is_empty()) {
            return Err(unknown(&format!("model.{name}"), "none"));
        }
    }
    match model["byte_fallback"] == true {
        true => Err(unknown("model.byte_fallback", "false")),
        false => Ok(()),
    }
}

/// The text and the kind of each token, and those that have each flag.
type Tokens = (Vec<String>, Vec<i32>, [Vec<i32>; 3]);

fn tokens(tokenizer: &Value, config: &Config) -> Result<Tokens, Unknown> {
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
    let mut flagged = [const { Vec::new() }; 3];
    let vocabulary = tokenizer["model"]["vocab"].as_object();
    for (text, id) in vocabulary.ok_or_else(|| unknown("model.vocab", "an object from token to number"))? {
        place(id.as_u64(), text, NORMAL)?;
    }
    for token in tokenizer["added_tokens"].as_array().into_iter().flatten() {
        let text = token["content"].as_str().unwrap_or_default();
        let kind = if token["special"] == true { CONTROL } else { USER_DEFINED };
        place(token["id"].as_u64(), text, kind)?;
        for ((field, _), tokens) in FLAGS.into_iter().zip(&mut flagged) {
            if token[field] == true {
                tokens.extend(token["id"].as_i64().and_then(|id| i32::try_from(id).ok()));
            }
        }
    }
    Ok((texts, types, flagged))
}

fn merges(tokenizer: &Value) -> Result<Vec<String>, Unknown> {
    let merges = tokenizer["model"]["merges"].as_array().into_iter().flatten().map(|merge| {
        // A pair, or both in one text as older files have it.
        let pair =
            merge.as_array().map(|pair| pair.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "));
        pair.or_else(|| merge.as_str().map(str::to_owned))
    });
    let merges: Option<Vec<String>> = merges.collect();
    merges.ok_or_else(|| unknown("model.merges", "pairs of tokens"))
}

/// Tokens that a text gets at its ends.
#[derive(Default)]
struct Added {
    before: Option<u32>,
    after: Option<u32>,
}

/// What a post-processor adds to a text: at most one token at either end.
fn added(processor: &Value) -> Result<Added, Unknown> {
    let expected = "null, ByteLevel, or TemplateProcessing with at most one token at either end of a text";
    let fail = || unknown("post_processor", expected);
    match processor["type"].as_str() {
        None | Some("ByteLevel") => Ok(Added::default()),
        Some("Sequence") => {
            let mut all = Added::default();
            for step in processor["processors"].as_array().ok_or_else(fail)? {
                let Added { before, after } = added(step)?;
                if before.is_some() && all.before.is_some() || after.is_some() && all.after.is_some() {
                    return Err(fail());
                }
                all = Added { before: all.before.or(before), after: all.after.or(after) };
            }
            Ok(all)
        }
        Some("TemplateProcessing") => {
            let token = |piece: &Value| -> Option<u32> {
                let of = &processor["special_tokens"][piece["SpecialToken"]["id"].as_str()?]["ids"];
                match of.as_array()?.as_slice() {
                    [id] => u32::try_from(id.as_u64()?).ok(),
                    _ => None,
                }
            };
            let is_text = |piece: &Value| piece["Sequence"].is_object();
            match processor["single"].as_array().map(Vec::as_slice) {
                Some([text]) if is_text(text) => Ok(Added::default()),
                Some([first, text]) if is_text(text) => {
                    Ok(Added { before: Some(token(first).ok_or_else(fail)?), after: None })
                }
                Some([text, last]) if is_text(text) => {
                    Ok(Added { before: None, after: Some(token(last).ok_or_else(fail)?) })
                }
                Some([first, text, last]) if is_text(text) => {
                    let (first, last) = (token(first).ok_or_else(fail)?, token(last).ok_or_else(fail)?);
                    Ok(Added { before: Some(first), after: Some(last) })
                }
                _ => Err(fail()),
            }
        }
        Some(_) => Err(fail()),
    }
}

/// The number of a token by its text.
pub fn token_of(tokenizer: &Value, text: &str) -> Option<u32> {
    let added = tokenizer["added_tokens"].as_array().into_iter().flatten();
    let added = added.into_iter().find(|token| token["content"] == text).map(|token| &token["id"]);
    let id = added.or_else(|| tokenizer["model"]["vocab"].get(text))?;
    id.as_u64().and_then(|id| u32::try_from(id).ok())
}
