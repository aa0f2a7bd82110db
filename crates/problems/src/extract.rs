//! From a completion to the program in it.
//!
//! Models wrap programs in fences and prose, go on with example calls, or stop in the middle.
//! [`extract_code`] keeps what a test would need: the longest part that reads as Python from the
//! first definition on, without the calls that follow the last one.

use regex::Regex;
use std::sync::LazyLock;

// The patterns are constants that compile.
#[expect(clippy::unwrap_used)]
static FENCE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?m)^[ \t]*```[ \t]*(\w*)[^\n]*$").unwrap());

/// The program in a completion. `entry_point` chooses among several fenced blocks.
///
/// - Of fenced blocks, the one that defines the entry point wins, then the first that defines
///   anything, then the first; one that was cut off counts up to its end.
/// - Without a fence, prose before the first line of code and after the last is dropped.
/// - Example calls, prints and a `__main__` block after the last definition are dropped;
///   assignments stay, since functions may need them.
pub fn extract_code(completion: &str, entry_point: &str) -> String {
    let text = completion.replace("\r\n", "\n").replace('\r', "\n");
    let blocks = fenced_blocks(&text);
    let defines = |block: &&String| defines_name(block, entry_point);
    let chosen = blocks
        .iter()
        .find(defines)
        .or_else(|| blocks.iter().find(|block| block.contains("def ")))
        .or_else(|| blocks.first());
    let code = match chosen {
        Some(block) => block.clone(),
        None => without_prose(&text),
    };
    trim_examples(&code)
}

fn defines_name(code: &str, name: &str) -> bool {
    !name.is_empty()
        && code.lines().any(|line| {
            let line = line.trim_start();
            let rest = line.strip_prefix("def ").or_else(|| line.strip_prefix("async def "));
            let rest = rest.or_else(|| line.strip_prefix("class ")).map(str::trim_start);
            let rest = rest.and_then(|rest| rest.strip_prefix(name));
            rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
        })
}

/// The contents of all fenced blocks; a fence that opens but never closes runs to the end, and one
/// that closes what was never opened (the prompt had opened it) ends a block from the start.
fn fenced_blocks(text: &str) -> Vec<String> {
    let fences: Vec<_> = FENCE.captures_iter(text).collect();
    let Some(first) = fences.first() else { return Vec::new() };
    let mut blocks = Vec::new();
    let mut opened: Option<usize> = None;
    let (start, language) = (first.get(0).map_or(0, |m| m.start()), &first[1]);
    let before = &text[..start];
    if language.is_empty() && looks_like_code(before) {
        opened = Some(0);
    }
    for fence in &fences {
        let (from, to) = fence.get(0).map_or((0, 0), |m| (m.start(), m.end()));
        match opened.take() {
            Some(start) => blocks.push(text[start..from].trim_start_matches('\n').to_owned()),
            None => opened = Some(to.min(text.len())),
        }
    }
    if let Some(start) = opened {
        blocks.push(text[start..].trim_start_matches('\n').to_owned());
    }
    blocks.retain(|block| !block.trim().is_empty());
    blocks
}

fn looks_like_code(text: &str) -> bool {
    text.lines().any(starts_code)
}

/// Whether a line can only be the start of a program.
fn starts_code(line: &str) -> bool {
    const STARTS: [&str; 7] = ["def ", "class ", "import ", "async def ", "@", "lambda ", "#!"];
    if STARTS.iter().any(|start| line.starts_with(start)) {
        return true;
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    // `from x import y`, not "from the list, import …".
    words.len() >= 4 && words[0] == "from" && words[2] == "import" && line.starts_with("from")
}

/// Unfenced text from its first line of code (or comment or assignment right above it) to its last.
fn without_prose(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let Some(mut first) = lines.iter().position(|line| starts_code(line)) else {
        return text.to_owned();
    };
    while first > 0 && belongs_above(lines[first - 1]) {
        first -= 1;
    }
    let mut last = lines.len();
    let mut open = false;
    for (index, line) in lines.iter().enumerate().skip(first) {
        // Inside a docstring anything goes.
        let quotes = line.matches("\"\"\"").count() + line.matches("'''").count();
        if !open && is_prose(line) {
            last = index;
            break;
        }
        open ^= quotes % 2 == 1;
    }
    lines[first..last].join("\n")
}

fn belongs_above(line: &str) -> bool {
    line.starts_with('#') || is_assignment(line)
}

/// Whether an unindented line is a sentence rather than code.
fn is_prose(line: &str) -> bool {
    if line.starts_with([' ', '\t', '#', '@', ')', ']', '}', '"', '\'']) || line.trim().is_empty() {
        return false;
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    let is_word = |word: &&str| {
        word.trim_end_matches([',', '.', ':', ';', '!', '?'])
            .chars()
            .all(|c| c.is_alphabetic() || c == '\'' || c == '-')
    };
    let keyword = matches!(
        words[0],
        "def"
            | "class"
            | "import"
            | "from"
            | "async"
            | "if"
            | "for"
            | "while"
            | "try"
            | "with"
            | "else:"
            | "elif"
            | "except"
            | "except:"
            | "finally:"
            | "return"
            | "print"
            | "assert"
            | "del"
            | "global"
            | "raise"
            | "pass"
            | "lambda"
    );
    let capitalised = words[0].starts_with(char::is_uppercase);
    let plain = words.iter().filter(|word| is_word(word)).count();
    let list_item = words[0].trim_end_matches(['.', ')']).parse::<u32>().is_ok() && words.len() > 2;
    let bullet = matches!(words[0], "-" | "*" | ">") && words.len() > 2;
    let sentence = !keyword && words.len() >= 3 && plain * 3 >= words.len() * 2 && !line.contains('=');
    sentence
        || list_item
        || bullet
        || (capitalised && words.len() >= 2 && words[1..].iter().all(is_word) && !line.contains(['=', '(']))
}

fn is_assignment(line: &str) -> bool {
    let Some((target, _)) = line.split_once('=') else { return false };
    let target = target.trim_end();
    !line.starts_with([' ', '\t'])
        && !target.is_empty()
        && target.split(',').all(|name| {
            let name = name.trim();
            !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "_.[]'\"".contains(c))
        })
}

/// Drops what follows the last definition: calls, prints, asserts, `if __name__ …`. What a
/// statement spans is found by indentation and open brackets.
fn trim_examples(code: &str) -> String {
    let lines: Vec<&str> = code.lines().collect();
    let statements = top_level_statements(&lines);
    let definition = |start: usize| {
        let line = lines[start];
        ["def ", "class ", "async def ", "@", "import ", "from "].iter().any(|s| line.starts_with(s))
            || is_assignment(line)
    };
    let is_main = |start: usize| lines[start].starts_with("if __name__");
    let Some(last) = statements.iter().rposition(|range| definition(range.start)) else {
        return finish(code.trim_end().to_owned());
    };
    // An assignment after the last function only sets an example up.
    let function = |start: usize| {
        !is_assignment(lines[start])
            && !lines[start].starts_with("import ")
            && !lines[start].starts_with("from ")
    };
    let last =
        statements.iter().rposition(|range| definition(range.start) && function(range.start)).unwrap_or(last);
    let aliases = statements[last + 1..].iter().filter(|range| is_alias(lines[range.start]));
    let aliases: Vec<usize> = aliases.map(|range| range.start).collect();
    let mut kept: Vec<&str> = Vec::new();
    for (index, range) in statements.iter().enumerate() {
        if (index <= last && !is_main(range.start)) || aliases.contains(&range.start) {
            kept.extend(&lines[range.clone()]);
        }
    }
    finish(kept.join("\n").trim_end().to_owned())
}

/// `name = other_name` after the functions: the entry point under another name.
fn is_alias(line: &str) -> bool {
    let is_name =
        |text: &str| !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '.');
    line.split_once('=').is_some_and(|(name, value)| {
        is_name(name.trim()) && (is_name(value.trim()) || value.trim_start().starts_with("lambda"))
    })
}

fn finish(mut code: String) -> String {
    code.push('\n');
    code
}

/// Ranges of lines, each a statement with its body; blank and comment lines go with what precedes.
fn top_level_statements(lines: &[&str]) -> Vec<std::ops::Range<usize>> {
    let mut statements: Vec<std::ops::Range<usize>> = Vec::new();
    let mut open = false;
    let mut depth = 0i32;
    for (index, line) in lines.iter().enumerate() {
        let continues = line.starts_with([' ', '\t', ')', ']', '}', '#'])
            || line.trim().is_empty()
            || open
            || depth > 0
            || ["else", "elif", "except", "finally"].iter().any(|word| line.starts_with(word));
        let after_decorator = statements
            .last()
            .is_some_and(|range| lines[range.start..index].iter().all(|l| l.starts_with('@')));
        match statements.last_mut() {
            Some(statement) if continues || after_decorator => statement.end = index + 1,
            _ => statements.push(index..index + 1),
        }
        let quotes = line.matches("\"\"\"").count() + line.matches("'''").count();
        open ^= quotes % 2 == 1;
        if !open && quotes == 0 {
            depth = (depth + brackets(line)).max(0);
        }
    }
    statements
}

/// Opening minus closing brackets outside of strings and comments.
fn brackets(line: &str) -> i32 {
    let (mut depth, mut quote, mut escaped) = (0, None, false);
    for c in line.chars() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '#') => break,
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') => depth -= 1,
            _ => {}
        }
    }
    depth
}
