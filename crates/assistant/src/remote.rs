//! Another server that speaks OpenAI's protocol, as a proposer.

use crate::{Proposer, Settings};
use anyhow::Result;
use generator::Extract;
use problems::prompt::{Message, PromptTests, SYSTEM_MESSAGE, instruction};
use records::{Candidate, FinishReason, Problem};
use serde_json::{Value, json};
use std::time::Duration;

/// Attempts at a request that another server could not answer just then.
const ATTEMPTS: u32 = 4;
/// Completions asked for at once: the first of them can be run while the others are written.
const AT_ONCE: usize = 8;
/// Longest answer that is read, in bytes.
const LONGEST_ANSWER: u64 = 64 << 20;

/// A model behind another server: vLLM, llama.cpp or anything else with `/v1/chat/completions`.
pub struct Remote {
    url: String,
    model: String,
    key: Option<String>,
    agent: ureq::Agent,
}

/// What can be wrong with another server.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// It cannot be reached, or stops in the middle.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// It answers with an error.
    #[error("answered {0}: {1}")]
    Status(u16, String),
    /// Its answer is not what the protocol says.
    #[error("its answer is malformed: {0}")]
    Malformed(String),
}

impl Remote {
    /// A server at `http://host:port` or `…/v1`; `model` is its name for the model, empty for the
    /// first that it lists. A request that takes longer than `patience` has failed.
    ///
    /// # Errors
    /// Where the server is asked for its models and does not answer.
    pub fn connect(
        url: &str,
        model: &str,
        key: Option<String>,
        patience: Duration,
    ) -> Result<Self, RemoteError> {
        let base = url.trim_end_matches('/');
        let url = if base.ends_with("/v1") { base.to_owned() } else { format!("{base}/v1") };
        let config =
            ureq::Agent::config_builder().timeout_global(Some(patience)).http_status_as_error(false).build();
        let mut remote = Remote { url, model: model.to_owned(), key, agent: config.into() };
        if remote.model.is_empty() {
            let listed = remote
                .send(|remote| remote.with_key(remote.agent.get(format!("{}/models", remote.url))).call())?;
            remote.model = listed["data"][0]["id"]
                .as_str()
                .ok_or_else(|| RemoteError::Malformed("/v1/models: expected data[0].id".into()))?
                .to_owned();
        }
        Ok(remote)
    }

    fn with_key<T>(&self, request: ureq::RequestBuilder<T>) -> ureq::RequestBuilder<T> {
        match &self.key {
            Some(key) => request.header("Authorization", format!("Bearer {key}")),
            None => request,
        }
    }

    /// One request, tried again where the server was busy or the line broke.
    fn send(
        &self,
        call: impl Fn(&Self) -> Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<Value, RemoteError> {
        let mut wait = Duration::from_millis(250);
        let mut last = RemoteError::Unreachable("never tried".into());
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                std::thread::sleep(wait);
                wait *= 2;
            }
            last = match call(self).map_err(|error| RemoteError::Unreachable(error.to_string())) {
                Err(error) => error,
                Ok(mut response) => {
                    let status = response.status().as_u16();
                    let body = response.body_mut().with_config().limit(LONGEST_ANSWER).read_to_string();
                    match body.map_err(|error| RemoteError::Unreachable(error.to_string())) {
                        Err(error) => error,
                        Ok(body) if status == 200 => {
                            return serde_json::from_str(&body)
                                .map_err(|error| RemoteError::Malformed(error.to_string()));
                        }
                        Ok(body) => {
                            let shortened = body.chars().take(300).collect();
                            let error = RemoteError::Status(status, shortened);
                            // Others will not get better by asking again.
                            if status != 429 && status < 500 {
                                return Err(error);
                            }
                            error
                        }
                    }
                }
            };
        }
        Err(last)
    }

    fn ask(
        &self,
        problem: &Problem,
        settings: &Settings,
        first: usize,
        count: usize,
    ) -> Result<Value, RemoteError> {
        let asked = || {
            vec![
                Message::new("system", SYSTEM_MESSAGE),
                Message::new("user", instruction(&problem.shown, PromptTests::All)),
            ]
        };
        let conversation = &settings.conversation;
        let messages = if conversation.is_empty() { asked() } else { conversation.clone() };
        let mut body = json!({
            "model": self.model,
            "messages": messages,
            "n": count,
            "temperature": settings.sampling.temperature,
            "top_p": settings.sampling.top_p,
            "max_tokens": settings.max_new_tokens,
            "seed": settings.seed.wrapping_add(first as u64),
            "logprobs": true,
            // Ours, if it is one of ours: no best-of-n behind best-of-n.
            "ncomp": { "candidates": 1 },
        });
        for (name, value) in unusual(settings) {
            body[name] = value;
        }
        self.send(|remote| {
            remote.with_key(remote.agent.post(format!("{}/chat/completions", remote.url))).send_json(&body)
        })
    }
}

/// What not every server takes, where it is asked for.
fn unusual(settings: &Settings) -> Vec<(&'static str, Value)> {
    let mut fields = Vec::new();
    let mut field = |name, value: f32, neutral: f32| {
        if value != neutral {
            fields.push((name, json!(value)));
        }
    };
    field("min_p", settings.sampling.min_p, 0.0);
    if let Some(adjustments) = &settings.adjustments {
        field("frequency_penalty", adjustments.frequency, 0.0);
        field("presence_penalty", adjustments.presence, 0.0);
        field("repetition_penalty", adjustments.repetition, 1.0);
        if !adjustments.bias.is_empty() {
            let bias = adjustments.bias.iter().map(|(token, bias)| (token.to_string(), json!(bias)));
            fields.push(("logit_bias", Value::Object(bias.collect())));
        }
    }
    if settings.sampling.top_k > 0 {
        fields.push(("top_k", json!(settings.sampling.top_k)));
    }
    fields
}

impl Proposer for Remote {
    fn name(&self) -> String {
        self.model.clone()
    }

    fn propose(
        &self,
        problem: &Problem,
        settings: &Settings,
        extract: &Extract,
        stops: &dyn Fn() -> bool,
        on_candidate: &mut dyn FnMut(Candidate),
    ) -> Result<()> {
        let mut given = 0;
        while given < settings.candidates && !stops() {
            let wanted = AT_ONCE.min(settings.candidates - given);
            let place = |error: RemoteError| anyhow::anyhow!("{}: {error}", self.url);
            let answer = self.ask(problem, settings, given, wanted).map_err(place)?;
            let choices = answer["choices"].as_array().map_or(&[][..], Vec::as_slice);
            if choices.is_empty() {
                return Err(place(RemoteError::Malformed("expected choices".into())));
            }
            for choice in choices {
                let text = choice["message"]["content"].as_str().unwrap_or_default();
                let log_probabilities = choice["logprobs"]["content"].as_array().into_iter().flatten();
                on_candidate(Candidate {
                    problem: problem.id.clone(),
                    index: given,
                    code: extract(problem, text),
                    text: text.to_owned(),
                    log_probabilities: log_probabilities
                        .filter_map(|token| token["logprob"].as_f64().map(|value| value as f32))
                        .collect(),
                    finish_reason: match choice["finish_reason"].as_str() {
                        Some("length") => FinishReason::Length,
                        _ => FinishReason::Stop,
                    },
                    generator: self.model.clone(),
                    seed: settings.seed,
                    ..Candidate::default()
                });
                // A server that gives one completion whatever it is asked for is asked again.
                given += 1;
            }
        }
        Ok(())
    }
}
