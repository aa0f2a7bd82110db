//! `/v1/completions`, and chat without checking: the model's own text.

use crate::api::{Body, CompletionRequest};
use crate::chat::{about_prompt, fresh_id, fresh_seed, now};
use crate::service::Place;
use crate::{ApiError, Service};
use axum::Json;
use axum::extract::State;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use generator::engine::{Completion, Event, Events, Job, Refused};
use generator::{Engine, Generator};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_stream::wrappers::UnboundedReceiverStream;

/// How a plain answer is put.
pub(crate) struct Plain {
    /// As messages of a chat, or as texts.
    pub(crate) chat: bool,
    /// Whether tokens come with their log-probabilities.
    pub(crate) log_probabilities: bool,
    /// Whether a stream ends with the tokens used.
    pub(crate) usage: bool,
}

pub(crate) async fn answer(
    State(service): State<Arc<Service>>,
    Body(request): Body<CompletionRequest>,
) -> Result<Response, ApiError> {
    let place = service.enter()?;
    let deadline = service.deadline();
    let Some(engine) = service.engine.clone() else {
        return Err(ApiError::not_found(
            "/v1/completions needs a model of ours; with --generator ask /v1/chat/completions",
        ));
    };
    let prompt = match &request.prompt {
        Value::String(text) => text.clone(),
        Value::Array(texts) if texts.len() == 1 && texts[0].is_string() => {
            texts[0].as_str().unwrap_or_default().to_owned()
        }
        _ => return Err(ApiError::invalid("prompt", "expected a text, or a list of one text")),
    };
    if request.logprobs.is_some_and(|alternatives| alternatives > 1) {
        return Err(ApiError::invalid("logprobs", "only the chosen token's is known: expected 0 or 1"));
    }
    if request.echo == Some(true) {
        return Err(ApiError::invalid("echo", "the prompt is not sent back: expected false"));
    }
    // A long text takes a while, in which others are to be heard.
    let model = engine.clone();
    let encoded = tokio::task::spawn_blocking(move || model.generator().tokenizer.encode_whole(&prompt));
    let prompt = encoded.await.map_err(|_| ApiError::failed("the prompt cannot be made"))?;
    if prompt.is_empty() {
        return Err(ApiError::invalid("prompt", "expected at least one token, found none"));
    }
    let job = Job {
        prompt,
        samples: request.common.count(service.limits.candidates)?,
        sampling: request.common.sampling()?,
        adjustments: request.common.adjustments(Some(engine.generator().config().vocab_size))?,
        max_new_tokens: request.common.longest(service.limits.max_tokens)?,
        seed: request.common.seed.map_or_else(fresh_seed, |seed| seed as u64),
        stream: 0,
        stop: request.common.stop()?,
        pieces: request.common.stream.unwrap_or(false),
        deadline,
    };
    let usage = request.common.stream_options.unwrap_or_default().include_usage;
    let wanted = Plain { chat: false, log_probabilities: request.logprobs.is_some(), usage };
    plain(service, engine, place, job, wanted).await
}

/// Answers with what the model says, whole or as it comes.
pub(crate) async fn plain(
    service: Arc<Service>,
    engine: Arc<Engine>,
    place: Place,
    job: Job,
    wanted: Plain,
) -> Result<Response, ApiError> {
    let context = engine.generator().config().max_position_embeddings;
    if job.prompt.len() + job.max_new_tokens > context {
        let message = format!(
            "the prompt has {} tokens: with max_tokens that is more than the model's {context}",
            job.prompt.len()
        );
        return Err(ApiError::invalid("max_tokens", message));
    }
    let (prompt_tokens, samples, streaming) = (job.prompt.len(), job.samples, job.pieces);
    let events = engine.submit(job).map_err(|refusal| match refusal {
        Refused::Full { .. } => ApiError::busy(refusal.to_string()),
        Refused::Stopped => ApiError::failed(refusal.to_string()),
        Refused::Stopping => ApiError::unavailable(refusal.to_string()),
    })?;
    let mut events = forwarded(events, place);
    if streaming {
        return Ok(stream(&service, engine, events, wanted, prompt_tokens));
    }
    let mut finished: Vec<Completion> = Vec::new();
    while let Some(event) = events.recv().await {
        match event {
            Event::Finished(completion) => finished.push(completion),
            Event::Failed(message) => return Err(ApiError::failed(message)),
            Event::Late => return Err(late(&service)),
            Event::Piece { .. } => {}
        }
    }
    if finished.len() < samples {
        return Err(ApiError::failed("the model is not running any more"));
    }
    finished.sort_by_key(|completion| completion.index);
    let made: usize = finished.iter().map(|completion| completion.tokens.len()).sum();
    let choice = |completion: &Completion| {
        let logprobs = match wanted.log_probabilities {
            true => put_logprobs(engine.generator(), completion, wanted.chat),
            false => Value::Null,
        };
        let mut choice = json!({
            "index": completion.index,
            "logprobs": logprobs,
            "finish_reason": finish_reason(completion),
        });
        match wanted.chat {
            true => choice["message"] = json!({"role": "assistant", "content": completion.text}),
            false => choice["text"] = json!(completion.text),
        }
        choice
    };
    let (prefix, object) = kind(wanted.chat);
    Ok(Json(json!({
        "id": fresh_id(prefix),
        "object": object,
        "created": now(),
        "model": service.model(),
        "choices": finished.iter().map(choice).collect::<Vec<_>>(),
        "usage": usage(prompt_tokens, made),
    }))
    .into_response())
}

/// Nothing was said before time was up.
pub(crate) fn late(service: &Service) -> ApiError {
    ApiError::unavailable(format!(
        "no answer was begun within {} s; ask for less, or later, or start the service with a larger --max-seconds",
        service.limits.seconds
    ))
}

fn kind(chat: bool) -> (&'static str, &'static str) {
    if chat { ("chatcmpl", "chat.completion") } else { ("cmpl", "text_completion") }
}

pub(crate) fn usage(prompt: usize, made: usize) -> Value {
    json!({"prompt_tokens": prompt, "completion_tokens": made, "total_tokens": prompt + made})
}

fn finish_reason(completion: &Completion) -> &'static str {
    if completion.stopped { "stop" } else { "length" }
}

/// An engine's events for asynchronous readers; when these go, the engine is told.
fn forwarded(events: Events, place: Place) -> UnboundedReceiver<Event> {
    let (sender, receiver) = unbounded_channel();
    tokio::task::spawn_blocking(move || {
        let _place = place;
        while let Some(event) = events.next_unless(&|| sender.is_closed()) {
            let _ = sender.send(event);
        }
    });
    receiver
}

fn stream(
    service: &Service,
    engine: Arc<Engine>,
    mut events: UnboundedReceiver<Event>,
    wanted: Plain,
    prompt_tokens: usize,
) -> Response {
    let (sender, chunks) = unbounded_channel::<Result<SseEvent, Infallible>>();
    let (prefix, object) = kind(wanted.chat);
    let object = if wanted.chat { "chat.completion.chunk" } else { object };
    let (id, created, model) = (fresh_id(prefix), now(), service.model());
    let too_late = late(service);
    tokio::spawn(async move {
        let chunk = |choices: Value| {
            let chunk =
                json!({"id": id, "object": object, "created": created, "model": model, "choices": choices});
            Ok(SseEvent::default().data(chunk.to_string()))
        };
        let mut made = 0;
        loop {
            let event = tokio::select! {
                event = events.recv() => event,
                () = sender.closed() => return,
            };
            let choice = match event {
                None => break,
                Some(Event::Failed(message)) => {
                    let error = ApiError::failed(message).body().to_string();
                    let _ = sender.send(Ok(SseEvent::default().data(error)));
                    break;
                }
                Some(Event::Late) => {
                    let _ = sender.send(Ok(SseEvent::default().data(too_late.body().to_string())));
                    break;
                }
                Some(Event::Piece { index, text }) => match wanted.chat {
                    true => {
                        json!({"index": index, "delta": {"role": "assistant", "content": text}, "finish_reason": null})
                    }
                    false => json!({"index": index, "text": text, "finish_reason": null}),
                },
                Some(Event::Finished(completion)) => {
                    made += completion.tokens.len();
                    let mut choice =
                        json!({"index": completion.index, "finish_reason": finish_reason(&completion)});
                    choice[if wanted.chat { "delta" } else { "text" }] =
                        if wanted.chat { json!({}) } else { json!("") };
                    if wanted.log_probabilities {
                        choice["logprobs"] = put_logprobs(engine.generator(), &completion, wanted.chat);
                    }
                    choice
                }
            };
            let _ = sender.send(chunk(json!([choice])));
        }
        if wanted.usage {
            let last = json!({"id": id, "object": object, "created": created, "model": model, "choices": [], "usage": usage(prompt_tokens, made)});
            let _ = sender.send(Ok(SseEvent::default().data(last.to_string())));
        }
        let _ = sender.send(Ok(SseEvent::default().data("[DONE]")));
    });
    Sse::new(UnboundedReceiverStream::new(chunks)).keep_alive(KeepAlive::default()).into_response()
}

fn put_logprobs(generator: &Generator, completion: &Completion, chat: bool) -> Value {
    if chat {
        return log_probabilities(generator, &completion.tokens, &completion.log_probabilities);
    }
    let texts: Vec<String> =
        completion.tokens.iter().map(|&token| generator.tokenizer.decode(&[token])).collect();
    let offsets = texts.iter().scan(0, |at, text| {
        let here = *at;
        *at += text.chars().count();
        Some(here)
    });
    json!({
        "text_offset": offsets.collect::<Vec<usize>>(),
        "tokens": texts,
        "token_logprobs": completion.log_probabilities,
        "top_logprobs": null,
    })
}

/// Tokens with their log-probabilities, as chats have them.
pub(crate) fn log_probabilities(generator: &Generator, tokens: &[u32], values: &[f32]) -> Value {
    let token = |(&token, value): (&u32, &f32)| {
        let text = generator.tokenizer.decode(&[token]);
        json!({"token": text, "logprob": value, "bytes": generator.tokenizer.bytes(token), "top_logprobs": []})
    };
    json!({"content": tokens.iter().zip(values).map(token).collect::<Vec<_>>()})
}

/// What a failed question tells the client: its own tests, a full queue, or something of ours.
pub(crate) fn refused(error: &assistant::Error) -> ApiError {
    match error {
        assistant::Error::Empty => ApiError::invalid("messages", error.to_string()),
        assistant::Error::Tests(_) => ApiError::invalid("ncomp.tests", error.to_string()),
        assistant::Error::NoVerifier(_) => ApiError::failed(error.to_string()),
        assistant::Error::Proposer(error) => {
            let message = format!("{error:#}");
            if matches!(error.downcast_ref(), Some(Refused::Full { .. })) {
                ApiError::busy(message)
            } else if matches!(error.downcast_ref(), Some(Refused::Stopping)) {
                ApiError::unavailable(message)
            } else if error.downcast_ref::<assistant::TooLong>().is_some() {
                ApiError::invalid("messages", message)
            } else {
                about_prompt(error)
            }
        }
    }
}
