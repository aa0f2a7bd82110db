//! Fields of OpenAI's protocol, and of other servers', that would change an answer in a way that this
//! service has not. They are refused by name, unless they ask for nothing.

use crate::ApiError;
use serde_json::{Map, Value};

/// What a field may be without asking for anything; none and null always may.
enum Neutral {
    /// Nothing else.
    Nothing,
    /// A number.
    Number(f64),
    /// The boolean.
    False,
    /// An empty list, object or text.
    Empty,
    /// One of these texts.
    Texts(&'static [&'static str]),
    /// An object of this type.
    Type(&'static str),
    /// A list of this text.
    ListOf(&'static str),
}

const PENALTY: &str = "of penalties there are frequency_penalty, presence_penalty and repetition_penalty";
const FORM: &str = "the form of an answer cannot be forced; ask for it in the message, and check it";
const TOOLS: &str = "calls of tools are not supported";
const SAMPLING: &str = "only temperature, top_p, top_k and min_p choose tokens";
const TEXT: &str = "questions and answers are texts";
const LENGTH: &str = "an answer ends where the model ends it, or at max_tokens";

/// Each with what it may be, and what there is instead.
const FIELDS: [(&str, Neutral, &str); 38] = [
    ("repeat_penalty", Neutral::Number(1.0), PENALTY),
    ("length_penalty", Neutral::Number(1.0), PENALTY),
    ("no_repeat_ngram_size", Neutral::Number(0.0), PENALTY),
    ("bad_words", Neutral::Empty, "words cannot be forbidden, only tokens: give them -100 in logit_bias"),
    ("response_format", Neutral::Type("text"), FORM),
    ("structured_outputs", Neutral::Empty, FORM),
    ("guided_json", Neutral::Nothing, FORM),
    ("guided_regex", Neutral::Nothing, FORM),
    ("guided_choice", Neutral::Nothing, FORM),
    ("guided_grammar", Neutral::Nothing, FORM),
    ("grammar", Neutral::Empty, FORM),
    ("json_schema", Neutral::Nothing, FORM),
    ("tools", Neutral::Empty, TOOLS),
    ("tool_choice", Neutral::Texts(&["none", "auto"]), TOOLS),
    ("functions", Neutral::Empty, TOOLS),
    ("function_call", Neutral::Texts(&["none", "auto"]), TOOLS),
    ("web_search_options", Neutral::Nothing, TOOLS),
    ("top_a", Neutral::Number(0.0), SAMPLING),
    ("typical_p", Neutral::Number(1.0), SAMPLING),
    ("tfs_z", Neutral::Number(1.0), SAMPLING),
    ("mirostat", Neutral::Number(0.0), SAMPLING),
    ("dry_multiplier", Neutral::Number(0.0), SAMPLING),
    ("xtc_probability", Neutral::Number(0.0), SAMPLING),
    ("use_beam_search", Neutral::False, SAMPLING),
    ("min_tokens", Neutral::Number(0.0), LENGTH),
    ("ignore_eos", Neutral::False, LENGTH),
    ("stop_token_ids", Neutral::Empty, "an answer ends at texts: name them in stop"),
    ("include_stop_str_in_output", Neutral::False, "the text of stop is never part of an answer"),
    ("prompt_logprobs", Neutral::Number(0.0), "a prompt's tokens have no log-probabilities here"),
    ("suffix", Neutral::Empty, "a text is continued at its end only"),
    ("modalities", Neutral::ListOf("text"), TEXT),
    ("audio", Neutral::Nothing, TEXT),
    ("prediction", Neutral::Nothing, "an answer cannot be begun from another"),
    ("documents", Neutral::Empty, "documents belong into a message"),
    ("chat_template", Neutral::Nothing, "the model's own is used"),
    ("chat_template_kwargs", Neutral::Empty, "the model's chat template is used as it is"),
    ("continue_final_message", Neutral::False, "an answer is a message of its own"),
    ("reasoning_effort", Neutral::Texts(&["none", "minimal"]), "a model answers without thinking aloud"),
];

impl Neutral {
    fn admits(&self, value: &Value) -> bool {
        match self {
            Neutral::Nothing => false,
            Neutral::Number(number) => value.as_f64() == Some(*number),
            Neutral::False => value == &Value::Bool(false),
            Neutral::Empty => match value {
                Value::Array(items) => items.is_empty(),
                Value::Object(fields) => fields.is_empty(),
                Value::String(text) => text.is_empty(),
                _ => false,
            },
            Neutral::Texts(texts) => value.as_str().is_some_and(|text| texts.contains(&text)),
            Neutral::Type(kind) => value["type"] == *kind,
            Neutral::ListOf(text) => value.as_array().is_some_and(|all| all.iter().all(|item| item == text)),
        }
    }

    fn expected(&self) -> String {
        match self {
            Neutral::Nothing => "none".to_owned(),
            Neutral::Number(number) => format!("{number} or none"),
            Neutral::False => "false or none".to_owned(),
            Neutral::Empty => "an empty one or none".to_owned(),
            Neutral::Texts(texts) => format!("{} or none", texts.join(", ")),
            Neutral::Type(kind) => format!("the type {kind} or none"),
            Neutral::ListOf(text) => format!("[\"{text}\"] or none"),
        }
    }
}

/// Refuses a request that asks for what is not there.
pub(crate) fn check(body: &Map<String, Value>) -> Result<(), ApiError> {
    for (name, neutral, instead) in &FIELDS {
        match body.get(*name) {
            None | Some(Value::Null) => {}
            Some(value) if neutral.admits(value) => {}
            Some(_) => {
                let message = format!("expected {}: {instead}", neutral.expected());
                return Err(ApiError::invalid(name, message));
            }
        }
    }
    let count = |name: &str| body.get(name).filter(|value| !value.is_null());
    // As many as are sent back are made.
    if let Some(best_of) = count("best_of")
        && best_of != &Value::from(1)
        && Some(best_of) != count("n")
    {
        let message = "expected the same as n, or none: for the best of several ask /v1/chat/completions, whose \
                       field ncomp.candidates says of how many";
        return Err(ApiError::invalid("best_of", message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(body: &Value) -> Option<String> {
        let error = check(body.as_object().expect("fields")).err()?;
        Some(error.body()["error"]["message"].as_str().expect("a message").to_owned())
    }

    #[test]
    fn what_asks_for_nothing_is_taken_and_what_is_not_there_is_named() {
        let neutral = json!({
            "repeat_penalty": 1.0, "length_penalty": 1, "bad_words": [],
            "response_format": {"type": "text"}, "tools": [], "tool_choice": "auto", "best_of": 1, "top_a": 0,
            "modalities": ["text"], "suffix": null, "grammar": "", "user": "x", "store": false,
        });
        assert_eq!(refused(&neutral), None);
        assert_eq!(refused(&json!({"n": 3, "best_of": 3})), None);
        for (field, value) in [
            ("repeat_penalty", json!(1.1)),
            ("length_penalty", json!("1")),
            ("no_repeat_ngram_size", json!(3)),
            ("bad_words", json!(["x"])),
            ("response_format", json!({"type": "json_object"})),
            ("response_format", json!({"type": "json_schema", "json_schema": {}})),
            ("tools", json!([{"type": "function", "function": {"name": "f"}}])),
            ("tool_choice", json!("required")),
            ("functions", json!([{"name": "f"}])),
            ("best_of", json!(5)),
            ("top_a", json!(0.1)),
            ("suffix", json!("x")),
            ("guided_json", json!({})),
            ("ignore_eos", json!(true)),
        ] {
            let message = refused(&json!({ field: value })).expect(field);
            assert!(message.starts_with(&format!("{field}: expected ")), "{message}");
        }
    }
}
