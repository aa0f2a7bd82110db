//! Requests, as OpenAI's protocol has them, and what we add.
//!
//! | field of `ncomp` in a chat request | meaning |
//! | --- | --- |
//! | `candidates` | programs to choose from; 1 gives the model's own text, unchecked |
//! | `selector` | how one is chosen: `combined`, `consensus`, `shortest`, … |
//! | `tests` | Python asserts that the answer must pass |
//! | `until` | probability of being right from which no more candidates are made |
//! | `budget_seconds` | time after which the best so far is the answer |
//! | `details` | whether the reply lists every candidate, and a stream tells its progress |
//!
//! The reply's field `ncomp` has `status` (`verified`, `unverified` or `none_found`) and `evidence`
//! ([`assistant::Evidence`]); with `details` also `candidates`.

use crate::{ApiError, refused};
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use problems::prompt::Message;
use records::fields::{self, FieldError};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Time that a client has for sending its request.
const PATIENCE: Duration = Duration::from_secs(10);

/// `/v1/chat/completions`. Other fields have no effect, or are refused by their names.
#[derive(Clone, Debug, Deserialize)]
pub struct ChatRequest {
    /// The conversation; the last message is the question.
    pub messages: Vec<ChatMessage>,
    /// What all completions share.
    #[serde(skip)]
    pub common: Common,
    /// Whether the log-probabilities of tokens are wanted.
    pub logprobs: Option<bool>,
    /// Alternatives at every token: not supported but for 0.
    pub top_logprobs: Option<u32>,
    /// Ours.
    #[serde(default, deserialize_with = "or_default")]
    pub ncomp: Extension,
}

/// One message of a conversation.
#[derive(Clone, Debug, Deserialize)]
pub struct ChatMessage {
    /// `system`, `developer`, `user` or `assistant`.
    pub role: String,
    /// A text, or parts of which those of type `text` count.
    pub content: Option<Value>,
}

/// `/v1/completions`.
#[derive(Clone, Debug, Deserialize)]
pub struct CompletionRequest {
    /// The text to continue; a list of one text is the same.
    pub prompt: Value,
    /// What all completions share.
    #[serde(skip)]
    pub common: Common,
    /// Whether the log-probabilities of tokens are wanted: any number.
    pub logprobs: Option<u32>,
    /// Whether the prompt comes back too: not supported.
    pub echo: Option<bool>,
}

/// What requests of both kinds have.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Common {
    /// Completions wanted.
    pub n: Option<usize>,
    /// Divides the logits.
    pub temperature: Option<f32>,
    /// Nucleus.
    pub top_p: Option<f32>,
    /// Tokens that are drawn from, the likeliest; 0 or -1 takes all.
    pub top_k: Option<i64>,
    /// Only tokens with at least this part of the likeliest one's probability.
    pub min_p: Option<f32>,
    /// Taken from a token's logit for every time that the answer has it.
    pub frequency_penalty: Option<f32>,
    /// Taken from a token's logit if the answer has it.
    pub presence_penalty: Option<f32>,
    /// Makes tokens of prompt and answer less likely, where it is more than 1.
    pub repetition_penalty: Option<f32>,
    /// Added to the logits of tokens, which are named by their numbers.
    pub logit_bias: Option<BTreeMap<String, f32>>,
    /// Longest completion in tokens.
    pub max_tokens: Option<usize>,
    /// The same, under its newer name.
    pub max_completion_tokens: Option<usize>,
    /// A text, or up to four, before which completions end.
    pub stop: Option<Value>,
    /// Seed.
    pub seed: Option<i64>,
    /// Whether the answer comes as server-sent events.
    pub stream: Option<bool>,
    /// Settings of the stream.
    pub stream_options: Option<StreamOptions>,
}

/// Settings of a stream.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct StreamOptions {
    /// Whether a last event tells the tokens used.
    #[serde(default, deserialize_with = "or_default")]
    pub include_usage: bool,
}

/// Our own settings; unknown ones are errors.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extension {
    /// Programs to choose from.
    pub candidates: Option<usize>,
    /// How one is chosen among those that tests leave ([`assistant::SELECTORS`]).
    pub selector: Option<String>,
    /// Tests that the answer must pass.
    #[serde(default, deserialize_with = "or_default")]
    pub tests: Vec<String>,
    /// Probability of being right from which no more candidates are made.
    pub until: Option<f64>,
    /// Seconds after which the best so far is the answer.
    pub budget_seconds: Option<f64>,
    /// Whether every candidate is listed.
    #[serde(default, deserialize_with = "or_default")]
    pub details: bool,
}

/// OpenAI's clients send `null` for what they leave out.
fn or_default<'de, T: Default + Deserialize<'de>, D: Deserializer<'de>>(reader: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(reader).map(Option::unwrap_or_default)
}

/// A request that is read field by field, so that an error names the field.
pub trait Read: Sized {
    /// From the body, which is an object.
    ///
    /// # Errors
    /// Where a field is not as expected.
    fn read(body: Value) -> Result<Self, FieldError>;
}

impl Read for ChatRequest {
    fn read(body: Value) -> Result<Self, FieldError> {
        let common = fields::from_value(body.clone())?;
        Ok(ChatRequest { common, ..fields::from_value(body)? })
    }
}

impl Read for CompletionRequest {
    fn read(body: Value) -> Result<Self, FieldError> {
        let common = fields::from_value(body.clone())?;
        Ok(CompletionRequest { common, ..fields::from_value(body)? })
    }
}

impl Common {
    /// Longest completion.
    ///
    /// # Errors
    /// Where it is 0 or more than the service allows.
    pub fn longest(&self, limit: usize) -> Result<usize, ApiError> {
        let wanted = self.max_completion_tokens.or(self.max_tokens).unwrap_or(limit.min(512));
        if wanted == 0 || wanted > limit {
            let field =
                if self.max_completion_tokens.is_some() { "max_completion_tokens" } else { "max_tokens" };
            return Err(ApiError::invalid(field, format!("expected 1 to {limit}, found {wanted}")));
        }
        Ok(wanted)
    }

    /// Completions wanted.
    ///
    /// # Errors
    /// Where it is 0 or more than the service allows.
    pub fn count(&self, limit: usize) -> Result<usize, ApiError> {
        let n = self.n.unwrap_or(1);
        if n == 0 || n > limit {
            return Err(ApiError::invalid("n", format!("expected 1 to {limit}, found {n}")));
        }
        Ok(n)
    }

    /// Texts before which completions end.
    ///
    /// # Errors
    /// Where it is neither a text nor up to four.
    pub fn stop(&self) -> Result<Vec<String>, ApiError> {
        let wrong = || ApiError::invalid("stop", "expected a text, or a list of up to four");
        let texts = match &self.stop {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::String(text)) => vec![text.clone()],
            Some(Value::Array(items)) => {
                let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
                texts.collect::<Option<Vec<String>>>().ok_or_else(wrong)?
            }
            Some(_) => return Err(wrong()),
        };
        if texts.len() > 4 || texts.iter().any(String::is_empty) { Err(wrong()) } else { Ok(texts) }
    }
}

impl ChatRequest {
    /// The conversation in texts.
    ///
    /// # Errors
    /// Where there is none, or a part of it is not text.
    pub fn conversation(&self) -> Result<Vec<Message>, ApiError> {
        if self.messages.is_empty() {
            return Err(ApiError::invalid("messages", "expected at least one message, found none"));
        }
        let text = |(at, message): (usize, &ChatMessage)| {
            let content = match &message.content {
                Some(Value::String(text)) => Some(text.clone()),
                Some(Value::Array(parts)) => parts
                    .iter()
                    .map(|part| part["text"].as_str())
                    .collect::<Option<Vec<_>>>()
                    .map(|t| t.join("\n")),
                None | Some(Value::Null) => Some(String::new()),
                Some(_) => None,
            };
            let field = format!("messages[{at}].content");
            let content = content.ok_or_else(|| ApiError::invalid(&field, "expected text"))?;
            Ok(Message::new(&message.role, content))
        };
        self.messages.iter().enumerate().map(text).collect()
    }
}

/// A JSON body, read within a time limit; what is wrong with it is told in OpenAI's form.
pub struct Body<T>(pub T);

impl<T: Read, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let late =
            |_| ApiError::malformed(StatusCode::REQUEST_TIMEOUT, "the request's body did not arrive in time");
        let read = tokio::time::timeout(PATIENCE, Bytes::from_request(request, state)).await.map_err(late)?;
        let bytes =
            read.map_err(|rejection| ApiError::malformed(rejection.status(), rejection.body_text()))?;
        read_body(&bytes).map(Body)
    }
}

fn read_body<T: Read>(bytes: &[u8]) -> Result<T, ApiError> {
    let malformed = |message: String| {
        ApiError::malformed(StatusCode::BAD_REQUEST, format!("the request's body: {message}"))
    };
    let body: Value = fields::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
    let Some(known) = body.as_object() else {
        return Err(malformed("expected a JSON object with the fields of a request".to_owned()));
    };
    refused::check(known)?;
    T::read(body).map_err(|error| match error.field.as_str() {
        "" => malformed(error.message),
        field => ApiError::invalid(field, what_is_missing(field, &error.message)),
    })
}

/// What a field is, where the reader only knows that it is not there.
fn what_is_missing(field: &str, message: &str) -> String {
    let expected = match field {
        "messages" => "a list of messages, each with role and content",
        "prompt" => "a text, or a list of one text",
        _ if field.ends_with(".role") => "system, developer, user or assistant",
        _ => return message.to_owned(),
    };
    if message == "missing" { format!("missing; expected {expected}") } else { message.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn error<T: Read>(body: &str) -> (Value, String) {
        let error = read_body::<T>(body.as_bytes()).err().unwrap_or_else(|| panic!("{body} was taken"));
        let body = error.body();
        (body["error"]["param"].clone(), body["error"]["message"].as_str().expect("a message").to_owned())
    }

    /// With one field more than a question has, or another in its place.
    fn chat(field: &str, value: Value) -> String {
        let mut body = json!({"messages": [{"role": "user", "content": "x"}]});
        body[field] = value;
        body.to_string()
    }

    #[test]
    fn a_wrong_field_is_named_and_no_type_of_rust_s() {
        let number = "expected a whole number, 0 or more, found";
        let cases = [
            ("messages", json!("hi"), "messages", "expected a list, found \"hi\"".to_owned()),
            ("messages", json!([{"content": "x"}]), "messages[0].role", "missing; expected system, developer, user or assistant".into()),
            ("messages", json!([{"role": 5}]), "messages[0].role", "expected text, found 5".into()),
            ("messages", json!([7]), "messages[0]", "expected an object, found 7".into()),
            ("n", json!("2"), "n", format!("{number} \"2\"")),
            ("n", json!(-1), "n", format!("{number} -1")),
            ("max_tokens", json!(1.5), "max_tokens", format!("{number} 1.5")),
            ("temperature", json!("hot"), "temperature", "expected a number, found \"hot\"".into()),
            ("seed", json!([]), "seed", "expected an integer, found a list".into()),
            ("stream", json!("yes"), "stream", "expected true or false, found \"yes\"".into()),
            ("stream_options", json!(true), "stream_options", "expected an object, found true".into()),
            ("stream_options", json!({"include_usage": 1}), "stream_options.include_usage", "expected true or false, found 1".into()),
            ("logprobs", json!(3), "logprobs", "expected true or false, found 3".into()),
            ("ncomp", json!(3), "ncomp", "expected an object, found 3".into()),
            ("ncomp", json!({"tests": "assert f(1) == 2"}), "ncomp.tests", "expected a list, found \"assert f(1) == 2\"".into()),
            ("ncomp", json!({"tests": ["assert f(1) == 2", 5]}), "ncomp.tests[1]", "expected text, found 5".into()),
            ("ncomp", json!({"until": {}}), "ncomp.until", "expected a number, found an object".into()),
            (
                "ncomp",
                json!({"candidate": 3}),
                "ncomp.candidate",
                "there is no such field; expected one of candidates, selector, tests, until, budget_seconds, details".into(),
            ),
        ];
        for (field, value, path, message) in cases {
            let body = chat(field, value);
            assert_eq!(error::<ChatRequest>(&body), (path.into(), format!("{path}: {message}")), "{body}");
        }
        let (param, message) = error::<ChatRequest>("{}");
        assert_eq!(param, "messages");
        assert!(message.starts_with("messages: missing; expected a list of messages"), "{message}");
        assert_eq!(error::<CompletionRequest>("{\"n\": 1}").0, "prompt");
        assert_eq!(error::<CompletionRequest>("{\"prompt\": \"x\", \"logprobs\": true}").0, "logprobs");
    }

    #[test]
    fn a_body_that_is_no_object_is_told() {
        for (body, message) in [
            ("", "not JSON"),
            ("{\"messages\": [", "not JSON: EOF while parsing a list (column 14)"),
            ("[1]", "expected a JSON object"),
            ("\"x\"", "expected a JSON object"),
        ] {
            let (param, found) = error::<ChatRequest>(body);
            assert_eq!(param, Value::Null);
            assert!(found.contains(message), "{found}");
        }
        let deep = format!("{{\"messages\": {}", "[".repeat(100_000));
        assert!(error::<ChatRequest>(&deep).1.contains("recursion limit"));
    }

    #[test]
    fn null_is_a_field_left_out() {
        let body = json!({"messages": [{"role": "user", "content": null}], "n": null, "stop": null, "stream_options": null,
            "ncomp": {"tests": null, "details": null, "until": null}});
        let request: ChatRequest = read_body(body.to_string().as_bytes()).expect("a request");
        assert!(request.common.n.is_none() && request.ncomp.tests.is_empty());
        let request: ChatRequest = read_body(chat("ncomp", Value::Null).as_bytes()).expect("a request");
        assert!(request.ncomp.candidates.is_none());
    }
}
