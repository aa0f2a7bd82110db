//! `/v1/chat/completions`.

use crate::api::{Body, ChatRequest};
use crate::completions::{Plain, log_probabilities, plain, refused, usage};
use crate::service::Place;
use crate::{ApiError, Service};
use assistant::{Answer, Judged, Question, Settings, Status, selector, solve};
use axum::Json;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use generator::Engine;
use generator::engine::Job;
use problems::prompt::{Message, TemplateError, TemplateProblem};
use records::FinishReason;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_stream::wrappers::UnboundedReceiverStream;

/// Most completions of one request.
const MOST_CHOICES: usize = 50;

/// What a question to many candidates needs.
struct Plan {
    question: Question,
    /// The conversation of which the question is the last part.
    messages: Vec<Message>,
    settings: Settings,
    choices: usize,
    log_probabilities: bool,
    details: bool,
    include_usage: bool,
    budget: Duration,
}

/// What comes of it, as it comes.
enum Update {
    /// Candidates so far.
    Progress(Value),
    /// The answer, or why there is none.
    Done(Result<Answered, assistant::Error>),
}

/// An answer, and the tokens of the conversation that it answers.
type Answered = (Box<Answer>, usize);

pub(crate) async fn answer(
    State(service): State<Arc<Service>>,
    Body(request): Body<ChatRequest>,
) -> Result<Response, ApiError> {
    let place = service.enter()?;
    if request.top_logprobs.unwrap_or(0) > 0 {
        return Err(ApiError::invalid("top_logprobs", "only the chosen token's is known: expected 0"));
    }
    let streaming = request.common.stream.unwrap_or(false);
    if request.ncomp.candidates == Some(1)
        && let Some(engine) = service.engine.clone()
    {
        let (longest, deadline) = (Duration::from_secs_f64(service.limits.seconds), service.deadline());
        let job = Job {
            prompt: prompt(engine.clone(), request.conversation()?, longest).await?,
            samples: request.common.count(MOST_CHOICES)?,
            sampling: request.common.sampling()?,
            adjustments: request.common.adjustments(Some(engine.generator().config().vocab_size))?,
            max_new_tokens: request.common.longest(service.limits.max_tokens)?,
            seed: request.common.seed.map_or_else(fresh_seed, |seed| seed as u64),
            stream: 0,
            stop: request.common.stop()?,
            pieces: streaming,
            deadline,
        };
        let usage = request.common.stream_options.unwrap_or_default().include_usage;
        let wanted = Plain { chat: true, log_probabilities: request.logprobs.unwrap_or(false), usage };
        return plain(service, engine, place, job, wanted).await;
    }
    let plan = plan(&service, &request)?;
    let guard = StopOnDrop::new();
    let updates = start(service.clone(), &plan, guard.0.clone(), place);
    if streaming {
        return Ok(stream(service, plan, updates, guard));
    }
    let (answer, prompt_tokens) = last(updates).await.map_err(|error| refused(&error))?;
    if answer.candidates.is_empty() {
        return Err(without_candidates(&plan));
    }
    service.metrics.answer(&answer);
    Ok(Json(whole(&service, &plan, &answer, prompt_tokens)).into_response())
}

/// The tokens of a conversation. They are made on a thread of their own, where nobody else waits for them,
/// for so long at most, and only as long as somebody waits.
async fn prompt(
    engine: Arc<Engine>,
    messages: Vec<Message>,
    longest: Duration,
) -> Result<Vec<u32>, ApiError> {
    let guard = StopOnDrop::new();
    let gone = guard.0.clone();
    let started = Instant::now();
    let made = tokio::task::spawn_blocking(move || {
        let stops = || gone.load(Ordering::Relaxed) || started.elapsed() > longest;
        let prompt = engine.generator().conversation(&messages, &stops)?;
        Ok(engine.generator().prompt_tokens(&prompt))
    });
    let made = made.await.map_err(|_| ApiError::failed("the prompt cannot be made"))?;
    made.map_err(|error: anyhow::Error| about_prompt(&error))
}

/// Whether it is the client's messages that a chat template refuses, or the template that is at fault.
pub(crate) fn about_prompt(error: &anyhow::Error) -> ApiError {
    match error.downcast_ref::<TemplateError>().map(|error| &error.problem) {
        Some(TemplateProblem::Refused(message)) => {
            ApiError::invalid("messages", format!("the model's chat template refuses them: {message}"))
        }
        _ => ApiError::failed(format!("{error:#}")),
    }
}

/// Another seed for every request that names none.
pub(crate) fn fresh_seed() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

fn plan(service: &Service, request: &ChatRequest) -> Result<Plan, ApiError> {
    let (common, ours, limits) = (&request.common, &request.ncomp, &service.limits);
    let messages = request.conversation()?;
    // A client that knows nothing of us gives tests as people do: among its words.
    let mut question = Question::parse(messages.last().map_or("", |message| message.content.as_str()));
    question.tests.extend(ours.tests.clone());
    if question.text.is_empty() {
        return Err(ApiError::invalid("messages", "expected text in the last message, found none"));
    }
    let choices = common.count(MOST_CHOICES)?;
    let candidates = ours.candidates.unwrap_or(limits.default_candidates.max(choices));
    if candidates < choices || candidates > limits.candidates {
        let message = format!("expected {choices} to {}, found {candidates}", limits.candidates);
        return Err(ApiError::invalid("ncomp.candidates", message));
    }
    let seconds = ours.budget_seconds.unwrap_or(limits.seconds);
    if !(seconds > 0.0 && seconds <= limits.seconds) {
        let message = format!("expected more than 0, up to {}, found {seconds}", limits.seconds);
        return Err(ApiError::invalid("ncomp.budget_seconds", message));
    }
    let until = ours.until.unwrap_or(Settings::default().until);
    if !(0.0..=1.0).contains(&until) {
        return Err(ApiError::invalid(
            "ncomp.until",
            format!("expected a probability, 0 to 1, found {until}"),
        ));
    }
    let vocabulary = service.engine.as_ref().map(|engine| engine.generator().config().vocab_size);
    // What is meant for a model's own text has no meaning for a program that was chosen.
    common.stop()?;
    Ok(Plan {
        question,
        messages: messages.clone(),
        settings: Settings {
            candidates,
            until,
            sampling: common.sampling()?,
            adjustments: common.adjustments(vocabulary)?,
            max_new_tokens: common.longest(limits.max_tokens)?,
            seed: common.seed.map_or_else(fresh_seed, |seed| seed as u64),
            streaming: true,
            selector: match &ours.selector {
                None => Settings::default().selector,
                Some(name) => selector(name).map_err(|error| ApiError::invalid("ncomp.selector", error))?,
            },
            conversation: if messages.len() > 1 { messages } else { Vec::new() },
            rankers: limits.rankers.clone(),
            scorer: limits.scorer.clone(),
        },
        choices,
        log_probabilities: request.logprobs.unwrap_or(false),
        details: ours.details,
        include_usage: common.stream_options.unwrap_or_default().include_usage,
        budget: Duration::from_secs_f64(seconds),
    })
}

/// Tells the work to stop when nobody waits for it any more.
struct StopOnDrop(Arc<AtomicBool>);

impl StopOnDrop {
    fn new() -> Self {
        StopOnDrop(Arc::default())
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Solves on a thread of its own, within the plan's budget.
fn start(
    service: Arc<Service>,
    plan: &Plan,
    stop: Arc<AtomicBool>,
    place: Place,
) -> UnboundedReceiver<Update> {
    let (sender, updates) = unbounded_channel();
    let (question, settings, details) = (plan.question.clone(), plan.settings.clone(), plan.details);
    let (deadline, over) = (plan.budget, stop.clone());
    let timer = tokio::spawn(async move {
        tokio::time::sleep(deadline).await;
        over.store(true, Ordering::Relaxed);
    });
    let client = service.pool.client(&fresh_id("request"));
    let messages = plan.messages.clone();
    tokio::task::spawn_blocking(move || {
        let prompt_tokens = prompt_tokens(&service, &messages, &stop);
        let answer = solve(&question, service.proposer.as_ref(), &client, &settings, &stop, &mut |checker| {
            if details {
                let so_far = json!({"candidates_so_far": checker.count(), "candidates": checker.judged()});
                let _ = sender.send(Update::Progress(so_far));
            }
        });
        timer.abort();
        // Given back before the answer goes out: who asks again at once finds it.
        drop(place);
        let _ = sender.send(Update::Done(answer.map(|answer| (Box::new(answer), prompt_tokens))));
    });
    updates
}

async fn last(mut updates: UnboundedReceiver<Update>) -> Result<Answered, assistant::Error> {
    while let Some(update) = updates.recv().await {
        if let Update::Done(answer) = update {
            return answer;
        }
    }
    Err(no_answer())
}

fn no_answer() -> assistant::Error {
    anyhow::anyhow!("the work ended without an answer").into()
}

/// The texts of the choices, best first: programs in fences; where no candidate is a program that
/// runs, what the model said.
fn choices<'a>(plan: &Plan, answer: &'a Answer) -> Vec<(String, &'a Judged)> {
    let mut texts: Vec<(String, &Judged)> = Vec::new();
    for judged in &answer.candidates {
        let text = match answer.status {
            Status::NoneFound => judged.candidate.text.clone(),
            _ => format!("```python\n{}\n```", judged.code.trim_end()),
        };
        if !texts.iter().any(|(known, _)| *known == text) {
            texts.push((text, judged));
        }
    }
    // The chosen one comes first, whatever the order of the others.
    if let Some(code) = &answer.code
        && let Some(at) = texts.iter().position(|(_, judged)| judged.code == *code)
    {
        let chosen = texts.remove(at);
        texts.insert(0, chosen);
    }
    // Fewer programs than choices: the best one again.
    while texts.len() < plan.choices && !texts.is_empty() {
        texts.push(texts[0].clone());
    }
    texts.truncate(plan.choices);
    texts
}

/// Time was up before there was anything to choose from.
fn without_candidates(plan: &Plan) -> ApiError {
    ApiError::unavailable(format!(
        "no candidate was written within {} s; ask with a larger ncomp.budget_seconds, or later",
        plan.budget.as_secs_f64()
    ))
}

fn verification(plan: &Plan, answer: &Answer) -> Value {
    let mut found = json!({
        "status": answer.status,
        "code": answer.code,
        "evidence": answer.evidence,
        "explanation": answer.explanation(),
    });
    if plan.details {
        found["candidates"] = json!(answer.candidates);
    }
    found
}

/// Tokens of a conversation as the model's chat template puts it: what one candidate is asked with, and
/// what the usage counts however many there are. None where the model is elsewhere, or its template
/// refuses the conversation.
fn prompt_tokens(service: &Service, messages: &[Message], stop: &AtomicBool) -> usize {
    let Some(engine) = &service.engine else { return 0 };
    let prompt = engine.generator().conversation(messages, &|| stop.load(Ordering::Relaxed));
    prompt.map_or(0, |prompt| engine.generator().prompt_tokens(&prompt).len())
}

fn finish_reason(judged: &Judged) -> &'static str {
    match judged.candidate.finish_reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
    }
}

/// An id that no other reply of this service has.
pub(crate) fn fresh_id(prefix: &str) -> String {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    format!("{prefix}-{:x}-{}", fresh_seed(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The log-probabilities of a candidate's tokens, where they are wanted and known.
fn of_tokens(service: &Service, plan: &Plan, judged: &Judged) -> Value {
    match &service.engine {
        Some(engine) if plan.log_probabilities => {
            let candidate = &judged.candidate;
            log_probabilities(engine.generator(), &candidate.tokens, &candidate.log_probabilities)
        }
        _ => Value::Null,
    }
}

fn whole(service: &Service, plan: &Plan, answer: &Answer, prompt_tokens: usize) -> Value {
    let choice = |(index, (text, judged)): (usize, (String, &Judged))| {
        json!({
            "index": index,
            "message": {"role": "assistant", "content": text},
            "logprobs": of_tokens(service, plan, judged),
            "finish_reason": finish_reason(judged),
        })
    };
    json!({
        "id": fresh_id("chatcmpl"),
        "object": "chat.completion",
        "created": now(),
        "model": service.model(),
        "choices": choices(plan, answer).into_iter().enumerate().map(choice).collect::<Vec<_>>(),
        "usage": usage(prompt_tokens, answer.evidence.tokens),
        "ncomp": verification(plan, answer),
    })
}

/// The answer as server-sent events: with details its progress, then the text, then why.
fn stream(
    service: Arc<Service>,
    plan: Plan,
    mut updates: UnboundedReceiver<Update>,
    guard: StopOnDrop,
) -> Response {
    let (sender, events) = unbounded_channel::<Result<Event, Infallible>>();
    tokio::spawn(async move {
        let _guard = guard;
        let (id, created, model) = (fresh_id("chatcmpl"), now(), service.model());
        let chunk = |choices: Value, more: Value| {
            let mut chunk = json!({"id": id, "object": "chat.completion.chunk", "created": created, "model": model, "choices": choices});
            if let (Value::Object(chunk), Value::Object(more)) = (&mut chunk, more) {
                chunk.extend(more);
            }
            Ok(Event::default().data(chunk.to_string()))
        };
        let roles: Vec<Value> = (0..plan.choices)
            .map(|index| json!({"index": index, "delta": {"role": "assistant", "content": ""}, "finish_reason": null}))
            .collect();
        let _ = sender.send(chunk(json!(roles), json!({})));
        let answer = loop {
            let update = tokio::select! {
                update = updates.recv() => update,
                () = sender.closed() => return,
            };
            match update {
                Some(Update::Progress(progress)) => {
                    let _ = sender.send(chunk(json!([]), json!({"ncomp": {"progress": progress}})));
                }
                Some(Update::Done(answer)) => break answer,
                None => break Err(no_answer()),
            }
        };
        match answer {
            Err(error) => {
                let _ = sender.send(Ok(Event::default().data(refused(&error).body().to_string())));
            }
            Ok((answer, _)) if answer.candidates.is_empty() => {
                let error = without_candidates(&plan).body().to_string();
                let _ = sender.send(Ok(Event::default().data(error)));
            }
            Ok((answer, prompt_tokens)) => {
                service.metrics.answer(&answer);
                for (index, (text, judged)) in choices(&plan, &answer).into_iter().enumerate() {
                    for line in text.split_inclusive('\n') {
                        let delta =
                            json!([{"index": index, "delta": {"content": line}, "finish_reason": null}]);
                        let _ = sender.send(chunk(delta, json!({})));
                    }
                    let end = json!([{"index": index, "delta": {}, "logprobs": of_tokens(&service, &plan, judged),
                        "finish_reason": finish_reason(judged)}]);
                    let why =
                        if index == 0 { json!({"ncomp": verification(&plan, &answer)}) } else { json!({}) };
                    let _ = sender.send(chunk(end, why));
                }
                if plan.include_usage {
                    let _ = sender.send(chunk(
                        json!([]),
                        json!({"usage": usage(prompt_tokens, answer.evidence.tokens)}),
                    ));
                }
            }
        }
        let _ = sender.send(Ok(Event::default().data("[DONE]")));
    });
    Sse::new(UnboundedReceiverStream::new(events)).keep_alive(KeepAlive::default()).into_response()
}
