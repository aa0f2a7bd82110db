//! From what a problem shows to the text that a generator continues.
//!
//! Prompts are made of [`Shown`] alone, so that no prompt can show a hidden answer: a whole problem,
//! which holds its check, is no argument of any function here.
//!
//! ```compile_fail
//! use problems::prompt::{PromptTests, comment_prompt};
//!
//! comment_prompt(&records::Problem::default(), PromptTests::All);
//! ```

use records::Shown;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The form of a prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptFormat {
    /// Text and tests as Python comments, for models that continue code; the built-in model's.
    Comment,
    /// The reference protocol's instruction in the model's own chat template, the answer opened
    /// with a code fence.
    #[default]
    Chat,
}

/// Which of a problem's examples a prompt shows. What is not among [`Shown::examples`], such as a
/// hidden test, no prompt can show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptTests {
    /// Those that the problem shows by default.
    #[default]
    Visible,
    /// All of them.
    All,
}

impl PromptTests {
    fn of(self, shown: &Shown) -> &[String] {
        match self {
            PromptTests::Visible => shown.visible(),
            PromptTests::All => &shown.examples,
        }
    }
}

/// Statement and examples as comments; the program follows. The examples of a problem with an
/// opening stand in its statement already.
///
/// ```text
/// # Write a function to add two numbers.
/// # assert add(1, 2) == 3
/// ```
pub fn comment_prompt(shown: &Shown, tests: PromptTests) -> String {
    let examples = if shown.opening.is_some() { &[] } else { tests.of(shown) };
    comment_prompt_of(&shown.statement, examples.iter().map(String::as_str))
}

/// [`comment_prompt`] of a text and tests that are not yet a problem.
pub fn comment_prompt_of<'a>(text: &'a str, tests: impl Iterator<Item = &'a str>) -> String {
    let lines = text.lines().chain(tests.flat_map(str::lines));
    lines.map(|line| format!("# {line}\n")).collect()
}

/// The reference protocol's user message.
pub fn instruction(shown: &Shown, tests: PromptTests) -> String {
    match &shown.opening {
        Some(opening) => format!("Complete the following Python function:\n{opening}\n"),
        None => format!(
            "Write a Python function to solve the following problem:\n{}\n\nYour code must pass these tests:\n{}\n",
            shown.statement,
            tests.of(shown).join("\n")
        ),
    }
}

/// The reference protocol's system message.
pub const SYSTEM_MESSAGE: &str = "You are a helpful coding assistant.";

/// How the reference protocol opens the assistant's turn.
pub const ANSWER_OPENING: &str = "```python\n";

/// Where generation stops in the reference protocol, besides the end of the turn.
pub const ANSWER_CLOSING: &str = "```";

/// One turn of a conversation.
#[derive(Clone, Debug, Serialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// What was said.
    pub content: String,
}

impl Message {
    /// A turn.
    pub fn new(role: &str, content: impl Into<String>) -> Self {
        Message { role: role.to_owned(), content: content.into() }
    }
}

/// What can be wrong with a chat template.
#[derive(Debug, thiserror::Error)]
#[error("{}: {message}", path.display())]
pub struct TemplateError {
    /// `tokenizer_config.json`, or the template's own file.
    pub path: PathBuf,
    /// The field or line, and what was expected.
    pub message: String,
}

/// Longest template in bytes: ten times that of any known model.
const LONGEST_TEMPLATE: usize = 1 << 17;
/// Instructions that a template may take to write a conversation. Those of known models take thousands.
const MOST_STEPS: u64 = 2_000_000;
/// Bytes of stack, of which only what is used is ever there.
const DEEP_STACK: usize = 1 << 28;

/// Runs something that calls itself deeply.
fn on_a_deep_stack<T: Send>(run: impl FnOnce() -> T + Send) -> std::io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(DEEP_STACK).spawn_scoped(scope, run)?;
        thread.join().map_err(|_| std::io::Error::other("the template's parser failed"))
    })
}

/// A model's own Jinja chat template.
pub struct ChatTemplate {
    path: PathBuf,
    environment: minijinja::Environment<'static>,
    special_tokens: Vec<(String, String)>,
}

impl ChatTemplate {
    /// Reads `chat_template.jinja`, or the field `chat_template` of `tokenizer_config.json`; none if the
    /// model has no template.
    ///
    /// # Errors
    /// Where a file cannot be read, or the template is not valid Jinja.
    pub fn load(directory: &Path) -> Result<Option<Self>, TemplateError> {
        let fail = |path: &Path, message: String| TemplateError { path: path.to_owned(), message };
        let read = |path: &Path| match std::fs::read_to_string(path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(fail(path, error.to_string())),
        };
        let path = directory.join("tokenizer_config.json");
        let text = read(&path)?.unwrap_or_else(|| "{}".to_owned());
        let mut settings: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text)
            .map_err(|error| fail(&path, format!("expected a JSON object: {error}")))?;
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
    pub fn of(path: &Path, settings: &serde_json::Value) -> Result<Option<Self>, TemplateError> {
        let fail = |message: String| TemplateError { path: path.to_owned(), message };
        let source = match settings.get("chat_template") {
            None | Some(serde_json::Value::Null) => return Ok(None),
            Some(serde_json::Value::Array(all)) => {
                let default = all.iter().find(|template| template["name"] == "default");
                default.and_then(|template| template["template"].as_str())
            }
            Some(template) => template.as_str(),
        };
        let source = source.ok_or_else(|| fail("chat_template: expected a Jinja template".to_owned()))?;
        if source.len() > LONGEST_TEMPLATE {
            let (found, most) = (source.len(), LONGEST_TEMPLATE);
            return Err(fail(format!("chat_template: expected at most {most} bytes, found {found}")));
        }
        let mut environment = minijinja::Environment::new();
        environment.set_fuel(Some(MOST_STEPS));
        // As transformers sets Jinja up for chat templates.
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> Result<String, minijinja::Error> {
            Err(minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, message))
        });
        environment.add_function("strftime_now", |format: String| -> Result<String, minijinja::Error> {
            let mut text = String::new();
            write!(text, "{}", chrono::Utc::now().format(&format)).map(|()| text).map_err(|_| {
                let message = format!("strftime_now: '{format}' is no format of dates");
                minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, message)
            })
        });
        // A parser calls itself for each level of an expression: a template may be nothing but levels.
        let compiled = on_a_deep_stack(|| environment.add_template_owned("chat", source.to_owned()));
        compiled.map_err(|error| fail(error.to_string()))?.map_err(|error| {
            fail(format!("chat_template: {error}; set model.prompt = \"comment\" to do without it"))
        })?;
        let special_tokens =
            ["bos_token", "eos_token", "pad_token", "unk_token"].into_iter().filter_map(|name| {
                let value = settings.get(name)?;
                let text = value.as_str().or_else(|| value.get("content")?.as_str())?;
                Some((name.to_owned(), text.to_owned()))
            });
        let special_tokens = special_tokens.collect();
        Ok(Some(ChatTemplate { path: path.to_owned(), environment, special_tokens }))
    }

    /// The conversation as the model expects it, the assistant's turn opened.
    ///
    /// # Errors
    /// Where the template refuses these messages.
    pub fn render(&self, messages: &[Message]) -> Result<String, TemplateError> {
        let mut context = std::collections::BTreeMap::new();
        for (name, text) in &self.special_tokens {
            context.insert(name.as_str(), minijinja::Value::from(text.as_str()));
        }
        context.insert("messages", minijinja::Value::from_serialize(messages));
        context.insert("add_generation_prompt", minijinja::Value::from(true));
        // Qwen3 and SmolLM3 would write what they think before the answer, which is opened for them.
        context.insert("enable_thinking", minijinja::Value::from(false));
        let rendered = self.environment.get_template("chat").and_then(|template| template.render(&context));
        rendered.map_err(|error| TemplateError {
            path: self.path.clone(),
            message: format!("chat_template: {error}"),
        })
    }

    /// The reference protocol's prompt for a problem: system and user message, and the answer
    /// opened with a code fence.
    ///
    /// # Errors
    /// Where the template refuses it.
    pub fn protocol_prompt(&self, shown: &Shown, tests: PromptTests) -> Result<String, TemplateError> {
        let messages =
            [Message::new("system", SYSTEM_MESSAGE), Message::new("user", instruction(shown, tests))];
        Ok(self.render(&messages)? + ANSWER_OPENING)
    }
}
