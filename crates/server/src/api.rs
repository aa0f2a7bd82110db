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

use crate::ApiError;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use generator::Sampling;
use problems::prompt::Message;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::Duration;

/// Time that a client has for sending its request.
const PATIENCE: Duration = Duration::from_secs(10);

/// `/v1/chat/completions`. Other fields have no effect.
#[derive(Clone, Debug, Deserialize)]
pub struct ChatRequest {
    /// The conversation; the last message is the question.
    pub messages: Vec<ChatMessage>,
    /// What all completions share.
    #[serde(flatten)]
    pub common: Common,
    /// Whether the log-probabilities of tokens are wanted.
    pub logprobs: Option<bool>,
    /// Alternatives at every token: not supported but for 0.
    pub top_logprobs: Option<u32>,
    /// Ours.
    #[serde(default)]
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
    #[serde(flatten)]
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
    #[serde(default)]
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
    #[serde(default)]
    pub tests: Vec<String>,
    /// Probability of being right from which no more candidates are made.
    pub until: Option<f64>,
    /// Seconds after which the best so far is the answer.
    pub budget_seconds: Option<f64>,
    /// Whether every candidate is listed.
    #[serde(default)]
    pub details: bool,
}

impl Common {
    /// How tokens are drawn.
    ///
    /// # Errors
    /// Where a value is out of its range.
    pub fn sampling(&self) -> Result<Sampling, ApiError> {
        let (temperature, top_p) = (self.temperature.unwrap_or(0.8), self.top_p.unwrap_or(0.95));
        if !(0.0..=2.0).contains(&temperature) {
            return Err(ApiError::invalid("temperature", format!("expected 0 to 2, found {temperature}")));
        }
        if !(top_p > 0.0 && top_p <= 1.0) {
            return Err(ApiError::invalid("top_p", format!("expected more than 0, up to 1, found {top_p}")));
        }
        Ok(Sampling { temperature, top_p, top_k: 0 })
    }

    /// Longest completion.
    ///
    /// # Errors
    /// Where it is 0 or more than the service allows.
    pub fn longest(&self, limit: usize) -> Result<usize, ApiError> {
        let wanted = self.max_completion_tokens.or(self.max_tokens).unwrap_or(limit.min(512));
        if wanted == 0 || wanted > limit {
            return Err(ApiError::invalid("max_tokens", format!("expected 1 to {limit}, found {wanted}")));
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

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let late =
            |_| ApiError::malformed(StatusCode::REQUEST_TIMEOUT, "the request's body did not arrive in time");
        let read = tokio::time::timeout(PATIENCE, Bytes::from_request(request, state)).await.map_err(late)?;
        let bytes =
            read.map_err(|rejection| ApiError::malformed(rejection.status(), rejection.body_text()))?;
        serde_json::from_slice(&bytes).map(Body).map_err(|error| {
            ApiError::malformed(StatusCode::BAD_REQUEST, format!("the request's body: {error}"))
        })
    }
}
