//! A model's own chat template. It comes with the model and may be anybody's: it is read and rendered in a
//! process of its own, whose memory and time are limited.

use super::environment::{Compiled, Raised};
use super::{ANSWER_OPENING, Message, PromptTests, SYSTEM_MESSAGE, instruction};
use crate::fields::quoted;
use forked::{Failure, Limits, Worker};
use records::Shown;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::Duration;

/// What can be wrong with a chat template.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct TemplateError {
    /// `tokenizer_config.json`, the template's own file, or the model's GGUF file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: TemplateProblem,
}

/// What is wrong with a chat template.
#[derive(Debug, thiserror::Error)]
pub enum TemplateProblem {
    /// The file cannot be read.
    #[error("{0}")]
    Unreadable(io::Error),
    /// The file that should hold it is no JSON object.
    #[error("expected a JSON object, found {0}")]
    Json(String),
    /// The model has none.
    #[error("chat_template: there is none")]
    Missing,
    /// The field holds no text.
    #[error("chat_template: expected a Jinja template, found {0}")]
    Kind(String),
    /// The template is too long.
    #[error("chat_template: expected at most {LONGEST_TEMPLATE} bytes, found {0}")]
    Length(usize),
    /// It is not valid Jinja.
    #[error("chat_template: {0}")]
    Syntax(String),
    /// It refuses the conversation, in its own words.
    #[error("chat_template: {0}")]
    Refused(String),
    /// It asks for what is unknown here, or is wrong in itself.
    #[error("chat_template: cannot be rendered: {0}")]
    Faulty(String),
    /// It takes more than it may.
    #[error("chat_template: cannot be rendered: {0}")]
    Limits(Failure),
}

/// Longest template in bytes: ten times that of any known model.
const LONGEST_TEMPLATE: usize = 1 << 17;
/// Longest prompt in bytes: more than any model's context holds.
const LONGEST_PROMPT: usize = 8 << 20;
/// Longest time for one prompt. Known templates take milliseconds.
const LONGEST: Duration = Duration::from_secs(20);
/// What an answer of the process begins with.
const DONE: u8 = 0;
const SYNTAX: u8 = 1;
const REFUSED: u8 = 2;
const FAULTY: u8 = 3;

/// A request that a template is read only.
const NOTHING: &[u8] = b"null";

/// What a template is given, as transformers gives it: what nobody asks for is None rather than undefined.
#[derive(Serialize)]
struct Context<'a> {
    messages: &'a [Message],
    tools: Option<()>,
    documents: Option<()>,
    add_generation_prompt: bool,
    enable_thinking: bool,
    #[serde(flatten)]
    special_tokens: BTreeMap<&'a str, &'a str>,
}

/// A model's own Jinja chat template.
pub struct ChatTemplate {
    path: PathBuf,
    source: String,
    special_tokens: Vec<(String, String)>,
    /// None after it failed, until the next prompt.
    renderer: Mutex<Option<Worker>>,
}

impl ChatTemplate {
    /// Reads `chat_template.jinja`, or the field `chat_template` of `tokenizer_config.json`; none if the
    /// model has no template.
    ///
    /// # Errors
    /// Where a file cannot be read, or the template is not valid Jinja.
    pub fn load(directory: &Path) -> Result<Option<Self>, TemplateError> {
        let path = directory.join("tokenizer_config.json");
        let mut settings = match read(&path)? {
            None => Map::new(),
            Some(text) => object(&text).map_err(|problem| TemplateError { path: path.clone(), problem })?,
        };
        let own_file = directory.join("chat_template.jinja");
        match read(&own_file)? {
            None => Self::of(&path, &settings.into()),
            Some(source) => {
                settings.insert("chat_template".to_owned(), source.into());
                Self::of(&own_file, &settings.into())
            }
        }
    }

    /// The template in the settings of a tokenizer, the fields of `tokenizer_config.json`; `path` is
    /// where they come from. Of several, as older models have them, it is the one called `default`.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn of(path: &Path, settings: &Value) -> Result<Option<Self>, TemplateError> {
        let fail = |problem: TemplateProblem| TemplateError { path: path.to_owned(), problem };
        let source = match settings.get("chat_template") {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Array(all)) => {
                let default = all.iter().find(|template| template["name"] == "default");
                default.and_then(|template| template["template"].as_str())
            }
            Some(template) => template.as_str(),
        };
        let source = source
            .ok_or_else(|| fail(TemplateProblem::Kind(quoted(&settings["chat_template"].to_string()))))?;
        if source.len() > LONGEST_TEMPLATE {
            return Err(fail(TemplateProblem::Length(source.len())));
        }
        let names =
            ["bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token"];
        let names = names.into_iter();
        let special_tokens = names.filter_map(|name| {
            let value = settings.get(name)?;
            let text = value.as_str().or_else(|| value.get("content")?.as_str())?;
            Some((name.to_owned(), text.to_owned()))
        });
        let template = ChatTemplate {
            path: path.to_owned(),
            source: source.to_owned(),
            special_tokens: special_tokens.collect(),
            renderer: Mutex::default(),
        };
        // A request without messages: the template is read only.
        template.ask(NOTHING, &|| false)?;
        Ok(Some(template))
    }

    /// The conversation as the model expects it, the assistant's turn opened. It is given up once `stops`
    /// is true.
    ///
    /// # Errors
    /// Where the template refuses these messages, or takes more memory or time than it may.
    pub fn render(&self, messages: &[Message], stops: &dyn Fn() -> bool) -> Result<String, TemplateError> {
        let context = Context {
            messages,
            tools: None,
            documents: None,
            add_generation_prompt: true,
            // Qwen3 and SmolLM3 would write what they think before the answer, which is opened for them.
            enable_thinking: false,
            special_tokens: self.special_tokens.iter().map(|(name, text)| (&**name, &**text)).collect(),
        };
        // Made of texts, which always serialise.
        self.ask(&serde_json::to_vec(&context).unwrap_or_default(), stops)
    }

    /// The reference protocol's prompt for a problem: system and user message, and the answer
    /// opened with a code fence.
    ///
    /// # Errors
    /// As [`render`](Self::render).
    pub fn protocol_prompt(
        &self,
        shown: &Shown,
        tests: PromptTests,
        stops: &dyn Fn() -> bool,
    ) -> Result<String, TemplateError> {
        let messages =
            [Message::new("system", SYSTEM_MESSAGE), Message::new("user", instruction(shown, tests))];
        Ok(self.render(&messages, stops)? + ANSWER_OPENING)
    }

    fn ask(&self, context: &[u8], stops: &dyn Fn() -> bool) -> Result<String, TemplateError> {
        let fail = |problem: TemplateProblem| TemplateError { path: self.path.clone(), problem };
        let mut renderer =
            self.renderer(stops).ok_or_else(|| fail(TemplateProblem::Limits(Failure::Stopped)))?;
        let worker = match &mut *renderer {
            Some(worker) => worker,
            none => none.insert(self.start().map_err(|error| fail(TemplateProblem::Limits(error.into())))?),
        };
        match worker.ask(context, LONGEST, stops) {
            Ok(answer) => text_of(&answer).map_err(fail),
            Err(failure) => {
                *renderer = None;
                Err(fail(TemplateProblem::Limits(failure)))
            }
        }
    }

    /// The process, once it is free; none once `stops` is true.
    fn renderer(&self, stops: &dyn Fn() -> bool) -> Option<MutexGuard<'_, Option<Worker>>> {
        loop {
            match self.renderer.try_lock() {
                Ok(renderer) => return Some(renderer),
                Err(TryLockError::Poisoned(error)) => return Some(error.into_inner()),
                Err(TryLockError::WouldBlock) if stops() => return None,
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    fn start(&self) -> io::Result<Worker> {
        let mut compiled = None;
        Worker::start(Limits { answer: LONGEST_PROMPT, ..Limits::default() }, |request| {
            let compiled = compiled.get_or_insert_with(|| Compiled::new(&self.source));
            answer(compiled, request)
        })
    }
}

/// What the process answers: what has become of it, and the text.
fn answer(compiled: &Result<Compiled, minijinja::Error>, context: &[u8]) -> Vec<u8> {
    let (kind, text) = match compiled {
        Err(error) => (SYNTAX, error.to_string()),
        Ok(_) if context == NOTHING => (DONE, String::new()),
        Ok(compiled) => {
            // The context is JSON that was written above; fields stay in their order.
            let context: minijinja::Value = serde_json::from_slice(context).unwrap_or_default();
            match compiled.render(&context) {
                Ok(text) => (DONE, text),
                Err(error) => match Raised::of(&error) {
                    Some(raised) => (REFUSED, raised.to_string()),
                    None => (FAULTY, error.to_string()),
                },
            }
        }
    };
    let mut answer = Vec::with_capacity(text.len() + 1);
    answer.push(kind);
    answer.extend_from_slice(text.as_bytes());
    answer
}

fn text_of(answer: &[u8]) -> Result<String, TemplateProblem> {
    let (kind, text) = answer.split_first().unwrap_or((&FAULTY, &[]));
    let text = String::from_utf8_lossy(text);
    match *kind {
        DONE => Ok(text.into_owned()),
        SYNTAX => Err(TemplateProblem::Syntax(quoted(&text))),
        REFUSED => Err(TemplateProblem::Refused(quoted(&text))),
        _ => Err(TemplateProblem::Faulty(quoted(&text))),
    }
}

fn read(path: &Path) -> Result<Option<String>, TemplateError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => {
            Err(TemplateError { path: path.to_owned(), problem: TemplateProblem::Unreadable(error) })
        }
    }
}

fn object(text: &str) -> Result<Map<String, Value>, TemplateProblem> {
    match serde_json::from_str(text) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(other) => Err(TemplateProblem::Json(quoted(&other.to_string()))),
        Err(error) => Err(TemplateProblem::Json(format!("no JSON: {error}"))),
    }
}
