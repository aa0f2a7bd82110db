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

mod arguments;
mod as_python;
mod environment;
mod filters;
mod methods;
mod template;

pub use template::{ChatTemplate, TemplateError, TemplateProblem};

use records::Shown;
use serde::{Deserialize, Serialize};

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
#[derive(Clone, Debug, Serialize, Deserialize)]
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
