//! `tokenizer.json`, read so that an error names the field that is wrong.

use super::merges;
use crate::error::{not_a_model, quoted};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::HashSet;
use tokenizers::Tokenizer;

/// Fields that a tokenizer can do without: which of them is unknown is found by leaving them out.
const OPTIONAL: [&str; 7] =
    ["normalizer", "pre_tokenizer", "post_processor", "decoder", "added_tokens", "truncation", "padding"];

/// Reads a tokenizer.
///
/// # Errors
/// Names the field, and what was expected.
pub(super) fn parse(text: &str) -> Result<Tokenizer, String> {
    // The reader panics on decoders that are no JSON, and on prefixes that tokens lack.
    let shape = serde_json::from_str::<Shape>(text).unwrap_or_default();
    match shape.model.is_some_and(|model| model.continuing_subword_prefix.unwrap_or_default().is_empty()) {
        true => read(text).map_err(|()| explained(text)),
        false => Err(explained(text)),
    }
}

/// What is looked at before all else.
#[derive(Default, Deserialize)]
struct Shape {
    model: Option<ModelShape>,
}

#[derive(Deserialize)]
struct ModelShape {
    continuing_subword_prefix: Option<String>,
}

/// Reads what is JSON. The reader panics on some tables of characters, which no model here has.
fn read(text: &str) -> Result<Tokenizer, ()> {
    if text.contains("\"Precompiled\"") {
        return Err(());
    }
    let read = std::panic::catch_unwind(|| Tokenizer::from_bytes(text));
    // Its errors speak of its own types: what is wrong is found out without them.
    read.map_err(drop)?.map_err(drop)
}

/// What is wrong with what cannot be read.
fn explained(text: &str) -> String {
    if let Some(message) = not_a_model(text.as_bytes()) {
        return message.to_owned();
    }
    let fields: Map<String, Value> = match serde_json::from_str(text) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) => return "expected a JSON object with the fields of a tokenizer".to_owned(),
        Err(error) => return format!("not JSON: {error}; download it again"),
    };
    if let Err(message) = check_model(&fields) {
        return message;
    }
    for name in OPTIONAL.into_iter().filter(|name| fields.get(*name).is_some_and(|value| !value.is_null())) {
        let mut without = fields.clone();
        let empty = if name == "added_tokens" { Value::Array(Vec::new()) } else { Value::Null };
        let field = without.insert(name.to_owned(), empty).unwrap_or_default();
        if read(&Value::Object(without).to_string()).is_ok() {
            let kind =
                field["type"].as_str().map(|kind| format!(", of type {}", quoted(kind))).unwrap_or_default();
            return format!("{name}{kind}: of a form that is not known here; take another tokenizer");
        }
    }
    "model: a field of a form that is not known here; take another tokenizer".to_owned()
}

/// The part that holds tokens and merges.
fn check_model(fields: &Map<String, Value>) -> Result<(), String> {
    let model = fields.get("model").and_then(Value::as_object);
    let model = model.ok_or("model: expected an object with the tokens and merges")?;
    let kind = model.get("type").and_then(Value::as_str).unwrap_or("BPE");
    if kind != "BPE" {
        return Err(format!("model.type: expected BPE, found {}; take another tokenizer", quoted(kind)));
    }
    let vocabulary = model.get("vocab").and_then(Value::as_object);
    let vocabulary = vocabulary
        .filter(|tokens| !tokens.is_empty())
        .ok_or("model.vocab: expected tokens with their numbers")?;
    let number = |id: &Value| id.as_u64().and_then(|id| u32::try_from(id).ok());
    if let Some((token, id)) = vocabulary.iter().find(|(_, id)| number(id).is_none()) {
        let (token, id) = (quoted(token), quoted(&id.to_string()));
        return Err(format!(
            "model.vocab: token '{token}': expected a number from 0 to 4294967295, found {id}"
        ));
    }
    let known: HashSet<&str> = vocabulary.keys().map(String::as_str).collect();
    let merges =
        model.get("merges").and_then(Value::as_array).ok_or("model.merges: expected a list of pairs")?;
    for (at, merge) in merges.iter().enumerate() {
        let pair = match merge {
            Value::Array(pair) => match pair.as_slice() {
                [left, right] => left.as_str().zip(right.as_str()),
                _ => None,
            },
            other => other.as_str().and_then(|text| text.split_once(' ')),
        };
        let pair = pair.ok_or_else(|| "a pair of tokens".to_owned());
        pair.and_then(|(left, right)| merges::check(&known, left, right)).map_err(|expected| {
            format!("model.merges[{at}]: expected {expected}, found {}", quoted(&merge.to_string()))
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tokenizer() -> Value {
        json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": null, "post_processor": null, "decoder": null,
            "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]},
        })
    }

    #[test]
    fn an_error_names_the_field_and_no_types_of_the_reader() {
        assert!(parse(&tokenizer().to_string()).is_ok());
        for (pointer, value, expected) in [
            ("/model/type", json!("WordPiece"), "model.type: expected BPE, found WordPiece"),
            ("/model", json!(5), "model: expected an object"),
            ("/model/vocab", json!({}), "model.vocab: expected tokens"),
            ("/model/vocab/b", json!(-1), "model.vocab: token 'b': expected a number from 0"),
            ("/model/merges/0", json!("ab"), "model.merges[0]: expected a pair of tokens, found \"ab\""),
            (
                "/model/merges/0",
                json!(["a", "x"]),
                "model.merges[0]: expected two tokens of the vocabulary, of which 'x'",
            ),
            ("/model/merges/0", json!(["b", "a"]), "model.merges[0]: expected two tokens that together"),
            (
                "/normalizer",
                json!({"type": "Bogus"}),
                "normalizer, of type Bogus: of a form that is not known",
            ),
            (
                "/normalizer",
                json!({"type": "Precompiled", "precompiled_charsmap": 5}),
                "normalizer, of type Precompiled: ",
            ),
            (
                "/pre_tokenizer",
                json!({"type": "Split", "pattern": {"Regex": "(a+)+$("}, "behavior": "Isolated", "invert": false}),
                "pre_tokenizer, of type Split: ",
            ),
            ("/added_tokens", json!([{"id": "x"}]), "added_tokens: "),
        ] {
            let mut changed = tokenizer();
            *changed.pointer_mut(pointer).expect("a field") = value;
            let message = parse(&changed.to_string()).map(drop).expect_err(pointer);
            assert!(message.starts_with(expected), "{message}");
            assert!(!message.contains("enum") && !message.contains("struct"), "{message}");
        }
        for (text, expected) in [
            ("", "not JSON"),
            ("[1]", "expected a JSON object"),
            ("{\"decoder\": ", "not JSON"),
            ("version https://git-lfs.github.com/spec/v1\noid sha256:abc\n", "a Git LFS pointer"),
        ] {
            let message = parse(text).map(drop).expect_err(text);
            assert!(message.starts_with(expected), "{message}");
        }
    }
}
