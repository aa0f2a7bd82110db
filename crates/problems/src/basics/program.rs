//! From a chain of primitives to a problem's text and to programs in several styles.

use super::data::{Data, Kind};
use super::primitive::{Code, Primitive};
use rand::Rng;
use rand::seq::IndexedRandom;

/// Ways to write the same program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// One expression where that reads well.
    Nested,
    /// One assignment a step, to the parameter's own name.
    Reassigned,
    /// One assignment a step, to new names.
    Named,
    /// Filters and maps as loops.
    Loops,
}

impl Style {
    /// Every style.
    pub const ALL: [Style; 4] = [Style::Nested, Style::Reassigned, Style::Named, Style::Loops];
}

/// What the input goes through.
pub fn evaluate(chain: &[&Primitive], input: &Data) -> Option<Data> {
    chain
        .iter()
        .try_fold(input.clone(), |data, primitive| (primitive.meaning)(&data).filter(Data::is_presentable))
}

/// The problem in words.
pub fn text(chain: &[&Primitive], random: &mut impl Rng) -> String {
    let phrases: Vec<&str> = chain.iter().map(|p| *p.phrases.choose(random).unwrap_or(&p.name)).collect();
    let noun = chain.first().map_or("a value", |primitive| primitive.from.noun());
    match random.random_range(0..3) {
        0 => format!("Write a function to take {noun} and {}.", phrases.join(", then ")),
        1 => format!("Given {noun}, {}.", joined(&phrases, ", ", " and finally ")),
        _ => {
            format!("Write a python function that takes {noun} to {}.", joined(&phrases, ", ", " and then "))
        }
    }
}

fn joined(phrases: &[&str], separator: &str, last: &str) -> String {
    match phrases.split_last() {
        Some((end, rest)) if !rest.is_empty() => format!("{}{last}{end}", rest.join(separator)),
        _ => phrases.concat(),
    }
}

/// The program; `wrong[i]` picks one of step `i`'s mistakes instead of its right code.
pub fn code(
    entry_point: &str,
    chain: &[&Primitive],
    wrong: &[Option<usize>],
    style: Style,
    random: &mut impl Rng,
) -> String {
    let input = chain.first().map_or(Kind::Int, |primitive| primitive.from);
    let parameters = input.parameters().choose(random).copied().unwrap_or("x");
    let mut writer =
        Writer { lines: Vec::new(), value: parameters.to_owned(), style, names: vec!["result", "res"] };
    if style == Style::Named {
        writer.names = ["y", "x"].to_vec();
    }
    for (primitive, wrong) in chain.iter().zip(wrong) {
        let code = wrong.and_then(|index| primitive.wrong.get(index)).unwrap_or(&primitive.right);
        writer.step(code, parameters);
    }
    let body = writer.finish();
    format!("def {entry_point}({parameters}):\n{body}")
}

struct Writer {
    lines: Vec<String>,
    /// The expression that stands for the value so far.
    value: String,
    style: Style,
    /// New names still unused.
    names: Vec<&'static str>,
}

impl Writer {
    fn step(&mut self, code: &Code, parameters: &str) {
        let element = if self.style == Style::Loops { self.loop_over(code) } else { None };
        if let Some(name) = element {
            self.value = name;
            return;
        }
        let pattern = match code {
            Code::Filter(condition) => format!("[v for v in {{x}} if {condition}]"),
            Code::Map(expression) => format!("[{expression} for v in {{x}}]"),
            Code::Expression(expression) => (*expression).to_owned(),
        };
        let once = pattern.matches("{x}").count() <= 1;
        let nests = self.style == Style::Nested && once;
        if !nests && self.value != parameters && !is_name(&self.value) {
            let name = self.name(parameters);
            self.lines.push(format!("{name} = {}", self.value));
            self.value = name;
        }
        let inner = match is_closed(&self.value) {
            true => self.value.clone(),
            false => format!("({})", self.value),
        };
        let (a, b) = parameters.split_once(", ").unwrap_or((parameters, parameters));
        self.value = pattern.replace("{x}", &inner).replace("{a}", a).replace("{b}", b);
    }

    /// Writes a filter or map as a loop and returns the list's name.
    fn loop_over(&mut self, code: &Code) -> Option<String> {
        let (condition, element) = match code {
            Code::Filter(condition) => (Some(*condition), "v"),
            Code::Map(expression) => (None, *expression),
            Code::Expression(_) => return None,
        };
        let name = self.names.pop()?.to_owned();
        self.lines.push(format!("{name} = []"));
        self.lines.push(format!("for v in {}:", self.value));
        match condition {
            Some(condition) => {
                self.lines.push(format!("    if {condition}:"));
                self.lines.push(format!("        {name}.append({element})"));
            }
            None => self.lines.push(format!("    {name}.append({element})")),
        }
        Some(name)
    }

    fn name(&mut self, parameters: &str) -> String {
        let own = self.style == Style::Reassigned && !parameters.contains(',');
        if own { parameters.to_owned() } else { self.names.pop().unwrap_or("out").to_owned() }
    }

    fn finish(self) -> String {
        let mut body: String = self.lines.iter().map(|line| format!("    {line}\n")).collect();
        body.push_str(&format!("    return {}\n", self.value));
        body
    }
}

fn is_name(text: &str) -> bool {
    text.chars().all(|c| c.is_alphanumeric() || c == '_')
}

/// Whether an expression can be indexed or called upon without parentheses: a name, or one
/// bracketed group after a name.
fn is_closed(text: &str) -> bool {
    if is_name(text) {
        return true;
    }
    let head = text.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_' || c == '.');
    let mut depth = 0;
    for (at, c) in head.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + c.len_utf8() == head.len() && at > 0;
        }
    }
    false
}
