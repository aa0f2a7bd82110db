//! Jinja as transformers sets it up for chat templates.

use super::{as_python, filters, methods};
use minijinja::{Environment, Error, ErrorKind, Value};
use std::fmt::{self, Write as _};

/// Instructions that a template may take to write a conversation. Those of known models take thousands.
const MOST_STEPS: u64 = 2_000_000;
/// The name of the one template.
const NAME: &str = "chat";

/// A template, ready to be rendered.
pub(super) struct Compiled(Environment<'static>);

impl Compiled {
    /// Reads a template.
    pub(super) fn new(source: &str) -> Result<Self, Error> {
        let mut environment = Environment::new();
        environment.set_fuel(Some(MOST_STEPS));
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_unknown_method_callback(methods::call);
        filters::add(&mut environment);
        environment.set_formatter(|out, _, value| {
            out.write_str(&as_python::str(value)?).map_err(|_| Error::from(ErrorKind::WriteFailure))
        });
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        environment.add_template_owned(NAME, without_generation_tags(source))?;
        Ok(Compiled(environment))
    }

    pub(super) fn render(&self, context: &Value) -> Result<String, Error> {
        self.0.get_template(NAME)?.render(context)
    }
}

/// What a template says with `raise_exception`: it is not at fault itself.
#[derive(Debug)]
pub(super) struct Raised(pub(super) String);

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

impl Raised {
    /// What was said, if it is the cause of an error.
    pub(super) fn of(error: &Error) -> Option<&Raised> {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(error) = cause {
            if let Some(raised) = error.downcast_ref() {
                return Some(raised);
            }
            cause = error.source();
        }
        None
    }
}

fn raise_exception(message: String) -> Result<String, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, "raise_exception").with_source(Raised(message)))
}

/// Today's date in UTC.
fn strftime_now(format: String) -> Result<String, Error> {
    let mut text = String::new();
    write!(text, "{}", chrono::Utc::now().format(&format)).map(|()| text).map_err(|_| {
        let message = format!("strftime_now: '{format}' is no format of dates");
        Error::new(ErrorKind::InvalidOperation, message)
    })
}

/// `{% generation %}…{% endgeneration %}` marks what the assistant says, for training in transformers. It
/// writes nothing, and its variables end with it: as `{% with %}` does.
fn without_generation_tags(source: &str) -> String {
    let mut result = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        let end = tag.find("%}").map_or(tag.len(), |end| end + 2);
        let (tag, after) = tag.split_at(end);
        result.push_str(before);
        match tag.trim_matches(|c: char| "{%+-}".contains(c) || c.is_whitespace()) {
            "generation" => result.push_str(&tag.replace("generation", "with")),
            "endgeneration" => result.push_str(&tag.replace("endgeneration", "endwith")),
            _ => result.push_str(tag),
        }
        rest = after;
    }
    result + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(source: &str) -> String {
        let compiled = Compiled::new(source).expect("a template");
        compiled.render(&minijinja::context! { x => "hi" }).expect("a text")
    }

    #[test]
    fn what_the_assistant_says_may_be_marked() {
        let marked =
            "a\n  {%- generation %}\n{{ x }}\n{%+ endgeneration -%}\n  b{% generation %}!{%endgeneration%}";
        // What transformers, which knows the tag, makes of it.
        assert_eq!(rendered(marked), "ahi\nb!");
        assert_eq!(rendered("{% if '{% generation %}' %}generation{% endif %}"), "generation");
        let unclosed = Compiled::new("{% generation %}").map(drop).expect_err("not closed");
        assert!(unclosed.to_string().contains("syntax error"), "{unclosed}");
    }

    #[test]
    fn a_variable_that_is_set_in_a_marked_part_ends_with_it() {
        let source = "{% set y = 1 %}{% generation %}{% set y = 2 %}{% endgeneration %}{{ y }}";
        assert_eq!(rendered(source), "1");
    }
}
