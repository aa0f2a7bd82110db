//! From what a model wrote to the program in it.
//!
//! Models wrap programs in fences and prose, correct themselves, spread one program over several
//! blocks, go on with example calls, or stop in the middle. [`extract_code`] finds the blocks, takes
//! them apart into top-level statements with a tokenizer of its own, and keeps by the flow of data
//! what a test needs. [`continue_opening`] does the same for answers to a prompt that ends within a
//! function.

mod blocks;
mod expressions;
mod grammar;
mod items;
mod names;
mod select;
mod statements;
pub(crate) mod tokens;
mod vocabulary;

#[cfg(test)]
mod tests;

use blocks::Block;
use items::{Item, Role};
use statements::{Module, Statement};

/// The program in a completion, for tests that call `entry_point`.
///
/// - Code is what stands in fences, ``` or `~~~`, or between markers such as `[BEGIN]` and `[DONE]`;
///   without any, or where none defines the entry point, the text without its prose.
/// - Of several blocks, the last that defines the entry point wins, since later ones correct earlier
///   ones. What it needs and does not define comes from the others.
/// - Prints, asserts, `if __name__ == "__main__"`, calls of the program's functions for nothing and
///   what only those need are dropped; whatever the functions need is kept, wherever it stands.
///
/// A program that was cut off stays cut off. The result ends in one newline; it is empty but for
/// that if there is no text at all.
pub fn extract_code(completion: &str, entry_point: &str) -> String {
    let text = clean(completion);
    let blocks = blocks::blocks(&text);
    finish(&program(&blocks, entry_point).unwrap_or_else(|| text.trim().to_owned()))
}

/// The whole program of a completion whose prompt ended in `opening`: imports and helpers, then a
/// function's header and docstring, as HumanEval's do.
///
/// - A bare continuation is put after the opening. It ends with the function's body; of what
///   follows, only what the function needs stays.
/// - A completion that has the whole function, in a fence or not, follows what the opening has before
///   its function.
/// - A function's body in a fence, or one that lost its indentation, is indented.
pub fn continue_opening(opening: &str, completion: &str, entry_point: &str) -> String {
    let opening = with_unix_lines(opening);
    let text = clean(completion);
    if continues(&text, entry_point) {
        return continued(&opening, &text, entry_point);
    }
    let blocks = blocks::blocks(&text);
    if blocks.iter().any(|block| Candidate::new(block, entry_point).defines != Defines::Not) {
        let program = program(&blocks, entry_point).unwrap_or_default();
        return after_helpers(&opening, &program, entry_point);
    }
    let fenced = blocks.iter().find(|block| block.fenced && !block.foreign);
    match fenced.or_else(|| blocks.iter().find(|block| is_body(&block.text))) {
        Some(block) => continued(&opening, &block.text, entry_point),
        None => continued(&opening, &text, entry_point),
    }
}

/// Marks that end a model's turn; nothing after them is part of the answer.
const ENDS_OF_TURN: [&str; 7] = [
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|EOT|>",
    "<|end|>",
    "<|end_of_text|>",
    "<｜end▁of▁sentence｜>",
];

fn with_unix_lines(text: &str) -> String {
    text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n").replace('\r', "\n")
}

/// An answer without its reasoning and without what follows the end of the turn.
fn clean(completion: &str) -> String {
    let text = with_unix_lines(completion);
    let answer = text.rsplit_once("</think>").map(|(_, answer)| answer);
    let answer = answer.filter(|answer| !answer.trim().is_empty()).unwrap_or(&text);
    let ends = ENDS_OF_TURN.iter().filter_map(|end| answer.find(end));
    let answer = &answer[..ends.min().unwrap_or(answer.len())];
    answer.trim_end().strip_suffix("</s>").unwrap_or(answer).to_owned()
}

fn finish(program: &str) -> String {
    let lines = program.trim_end();
    let first = lines.len() - lines.trim_start_matches('\n').len();
    format!("{}\n", &lines[first..])
}

/// How a block defines the entry point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Defines {
    Not,
    /// By an import, or by an assignment of a value that is no function: use rather than definition.
    Barely,
    /// By a function without a body: `pass`, `...` or a docstring.
    Stub,
    /// By a function that is cut off.
    Broken,
    Fully,
}

/// A block of a completion as a program.
struct Candidate<'t> {
    module: Module<'t>,
    items: Vec<Item<'t>>,
    defines: Defines,
    foreign: bool,
}

impl<'t> Candidate<'t> {
    fn new(block: &'t Block, entry_point: &str) -> Self {
        let module = Module::new(&block.text, block.fenced);
        let items: Vec<_> = module.statements.iter().map(|statement| Item::new(&module, statement)).collect();
        let pairs = items.iter().zip(&module.statements);
        let binding = pairs.filter(|(item, _)| item.names.binds.contains(entry_point));
        let defines = binding.map(|(item, statement)| defines(&module, item, statement, entry_point)).max();
        Candidate { defines: defines.unwrap_or(Defines::Not), foreign: block.foreign, module, items }
    }

    fn has_definitions(&self) -> bool {
        self.items.iter().any(|item| item.role == Role::Definition)
    }
}

fn defines(module: &Module<'_>, item: &Item<'_>, statement: &Statement, entry_point: &str) -> Defines {
    match item.role {
        Role::Import => Defines::Barely,
        Role::Assignment if item.literal || item.head == entry_point => Defines::Barely,
        Role::Definition if is_stub(module, statement) => Defines::Stub,
        _ if statement.broken => Defines::Broken,
        _ => Defines::Fully,
    }
}

/// Whether a function's body is empty but for a docstring.
fn is_stub(module: &Module<'_>, statement: &Statement) -> bool {
    let header = statement.lines.iter().position(|line| module.word(line.tokens.start) != "@");
    let body = &statement.lines[header.map_or(0, |header| header + 1)..];
    let filler = |first: &str| matches!(first, "pass" | "...") || first.ends_with(['"', '\'']);
    let raises = |tokens: &std::ops::Range<usize>| {
        module.word(tokens.start) == "raise" && module.word(tokens.start + 1) == "NotImplementedError"
    };
    !statement.broken
        && !body.is_empty()
        && body.iter().all(|line| filler(module.word(line.tokens.start)) || raises(&line.tokens))
}

/// The program in these blocks, if they have any code.
fn program(blocks: &[Block], entry_point: &str) -> Option<String> {
    let sessions: Vec<Block> = blocks
        .iter()
        .map(|block| Block {
            text: blocks::session(&block.text).unwrap_or_else(|| block.text.clone()),
            ..block.clone()
        })
        .collect();
    let mut candidates: Vec<_> = sessions.iter().map(|block| Candidate::new(block, entry_point)).collect();
    let chosen = choose(&sessions, &candidates)?;
    let fenced = sessions[chosen].fenced;
    let mut items = Vec::new();
    let mut sources = Vec::new();
    for (at, candidate) in candidates.iter_mut().enumerate() {
        let helps = !candidate.foreign && (sessions[at].fenced || !fenced);
        if at != chosen && !helps {
            continue;
        }
        for (mut item, statement) in candidate.items.drain(..).zip(&candidate.module.statements) {
            (item.optional, item.after) = (at != chosen, at > chosen);
            items.push(item);
            sources.push((&candidate.module, statement));
        }
    }
    let kept = select::select(&items, entry_point);
    let pairs = items.iter().zip(&kept).zip(sources);
    let mut statements: Vec<_> =
        pairs.filter(|((_, kept), _)| **kept).map(|((item, _), source)| (item, source)).collect();
    if statements.is_empty() {
        let whole = sessions[chosen].text.trim_end();
        return (!whole.trim().is_empty()).then(|| whole.to_owned());
    }
    // `from __future__` has to come first.
    statements.sort_by_key(|(item, (module, statement))| !is_future(module, item, statement));
    let sources = statements.into_iter().map(|(_, (module, statement))| module.source(statement));
    Some(joined(sources))
}

fn is_future(module: &Module<'_>, item: &Item<'_>, statement: &Statement) -> bool {
    let first = statement.lines.first().map_or(0, |line| line.tokens.start);
    item.role == Role::Import && module.word(first + 1) == "__future__"
}

fn joined(sources: impl Iterator<Item = String>) -> String {
    let mut program = String::new();
    for source in sources {
        if !program.is_empty() && !program.ends_with('\n') {
            program.push('\n');
        }
        program.push_str(&source);
    }
    program
}

/// The block that has the program: of those that define the entry point the last, fenced before
/// unfenced and whole before cut off; else the first that defines anything; else the first.
fn choose(blocks: &[Block], candidates: &[Candidate<'_>]) -> Option<usize> {
    let worth = |at: usize| (candidates[at].defines, !candidates[at].foreign, blocks[at].fenced);
    let defining = (0..blocks.len()).filter(|at| candidates[*at].defines != Defines::Not);
    let at = |wanted: &dyn Fn(usize) -> bool| (0..blocks.len()).find(|at| wanted(*at));
    defining
        .max_by_key(|at| worth(*at))
        .or_else(|| at(&|at| blocks[at].fenced && candidates[at].has_definitions()))
        .or_else(|| at(&|at| candidates[at].has_definitions()))
        .or_else(|| at(&|at| blocks[at].fenced && !blocks[at].foreign))
        .or_else(|| at(&|at| !candidates[at].items.is_empty()))
}

/// Whether a completion goes on within the function rather than begins anew.
fn continues(text: &str, entry_point: &str) -> bool {
    let Some(line) = text.lines().find(|line| !line.trim().is_empty()) else { return true };
    if !line.starts_with([' ', '\t']) {
        return false;
    }
    let module = Module::new(text, false);
    let Some(first) = module.statements.first() else { return line.trim_start().starts_with('#') };
    // Prose before the first statement leaves a gap.
    let begins = text[..first.lead].trim().is_empty();
    let defines = module.statements.iter().take_while(|statement| statement.base > 0);
    let mut defines = defines.map(|statement| Item::new(&module, statement));
    begins && !defines.any(|item| item.names.binds.contains(entry_point) && item.role == Role::Definition)
}

/// Whether a text is a function's body without its header: it returns something.
fn is_body(text: &str) -> bool {
    let module = Module::new(text, true);
    module.statements.iter().any(|statement| {
        let mut words = statement.lines.iter().map(|line| module.word(line.tokens.start));
        match words.next() {
            Some("def" | "class" | "async" | "@") | None => false,
            Some(first) => matches!(first, "return" | "yield") || words.any(|word| word == "return"),
        }
    })
}

/// The statement of an opening whose function is to be continued: the last that binds its name.
fn entry_statement<'m>(module: &'m Module<'_>, entry_point: &str) -> Option<&'m Statement> {
    let binds = |statement: &&Statement| Item::new(module, statement).names.binds.contains(entry_point);
    module.statements.iter().rfind(binds)
}

/// An opening followed by the rest of its function and what that needs.
fn continued(opening: &str, completion: &str, entry_point: &str) -> String {
    let indent = body_indent(opening, entry_point);
    let body = blocks::before_fence(completion);
    let body = indented(body, &indent);
    let ends_line = opening.is_empty() || opening.ends_with('\n') || body.starts_with('\n');
    let within_line = opening.rsplit('\n').next().is_some_and(|last| last.trim().is_empty());
    let separator = if ends_line || (within_line && !body.starts_with([' ', '\t'])) { "" } else { "\n" };
    let opening = format!("{opening}{separator}");
    let text = format!("{opening}{body}");
    let module = Module::new(&text, false);
    let boundary = opening.len();
    let mut items = Vec::new();
    for statement in &module.statements {
        let item = Item::new(&module, statement);
        let follows = statement.place.start >= boundary;
        items.push(Item { optional: follows, after: follows, ..item });
    }
    let kept = select::select(&items, entry_point);
    let crosses = |statement: &&Statement| statement.place.start < boundary && statement.place.end > boundary;
    let body_end = module.statements.iter().find(crosses).map_or(boundary, |statement| statement.place.end);
    let following = module.statements.iter().zip(kept);
    let following = following.filter(|(statement, kept)| *kept && statement.place.start >= boundary);
    let following = following.map(|(statement, _)| module.source(statement));
    finish(&joined([text[..body_end].to_owned()].into_iter().chain(following)))
}

/// The indentation of the function's body in an opening; four spaces where it has none yet.
fn body_indent(opening: &str, entry_point: &str) -> String {
    let module = Module::new(opening, true);
    let line = entry_statement(&module, entry_point)
        .and_then(|statement| statement.lines.iter().find(|line| line.indent > statement.base))
        .map(|line| margin(&module, line.tokens.start).to_owned());
    line.filter(|indent| indent.trim().is_empty()).unwrap_or_else(|| "    ".to_owned())
}

/// A function's body with its indentation put back where it lost it: on all lines, or on the first.
fn indented(body: &str, indent: &str) -> String {
    let module = Module::new(body, true);
    let mut lines = module.statements.iter().flat_map(|statement| &statement.lines);
    let Some(first) = lines.next().filter(|first| first.indent == 0) else { return body.to_owned() };
    let rest: Vec<_> = lines.collect();
    let outermost = rest.iter().min_by_key(|line| line.indent);
    let second = rest.first().map_or(0, |line| line.indent);
    let whole = match outermost {
        None => true,
        Some(line) if line.indent == 0 => true,
        // A single block: its own lines are one step deeper than its header.
        Some(line) => first.opens_block && line.indent == second && second < 2 * statements::column(indent),
    };
    if whole {
        let put =
            |line: &str| if line.trim().is_empty() { line.to_owned() } else { format!("{indent}{line}") };
        return body.split('\n').map(put).collect::<Vec<_>>().join("\n");
    }
    let indent = match outermost {
        Some(line) if line.indent < second || !first.opens_block => margin(&module, line.tokens.start),
        _ => indent,
    };
    let at = module.tokens[first.tokens.start].start;
    format!("{}{indent}{}", &body[..at], &body[at..])
}

/// The indentation of the line that a token begins.
fn margin<'t>(module: &Module<'t>, token: usize) -> &'t str {
    let before = module.tokens.get(token).map_or("", |token| &module.text[..token.start]);
    before.rsplit('\n').next().unwrap_or("")
}

/// A whole program after what an opening has before its function.
fn after_helpers(opening: &str, program: &str, entry_point: &str) -> String {
    let module = Module::new(opening, true);
    let place =
        entry_statement(&module, entry_point).map_or(opening.len(), |statement| statement.place.start);
    let helpers = opening[..place].trim_end();
    if helpers.trim().is_empty() {
        return finish(program);
    }
    let own = Module::new(program, true);
    let (mut future, mut rest) = (String::new(), String::new());
    for statement in &own.statements {
        let item = Item::new(&own, statement);
        let part = if is_future(&own, &item, statement) { &mut future } else { &mut rest };
        part.push_str(&own.source(statement));
    }
    if future.is_empty() {
        return finish(&format!("{helpers}\n\n\n{}", program.trim_start_matches('\n')));
    }
    finish(&format!("{future}{helpers}\n\n\n{}", rest.trim_start_matches('\n')))
}
