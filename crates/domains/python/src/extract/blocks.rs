//! Where in a completion code stands: fenced blocks and the text between them.

use super::statements::column;
use super::tokens::{Kind, Lexer, Token};
use std::ops::Range;

/// A part of a completion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// Without fences, moved to the left by the fence's indentation.
    pub(super) text: String,
    /// Whether it stood in a fence.
    pub(super) fenced: bool,
    /// Whether its fence says that it is another language's.
    pub(super) foreign: bool,
}

/// What a line does to blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Opens,
    Closes,
    /// Marks alone: closes the open block, opens one where none is.
    Either,
}

/// A line that opens or closes a block.
#[derive(Debug)]
struct Fence<'t> {
    role: Role,
    /// What it is made of; a marker in words counts as a space.
    mark: char,
    length: usize,
    /// Column of the marks.
    indent: usize,
    /// What follows the marks.
    info: &'t str,
    /// Whether it stands in a quotation, `> `.
    quoted: bool,
}

const OPENING: [&str; 14] = [
    "[BEGIN]",
    "[PYTHON]",
    "[CODE]",
    "[ANSWER]",
    "<pre><code>",
    "<pre>",
    "<code>",
    "<python>",
    "<answer>",
    "<solution>",
    "\\begin{code}",
    "\\begin{lstlisting}",
    "\\begin{verbatim}",
    "\\begin{minted}",
];
/// No line of Python begins or ends so.
const CLOSING: [&str; 13] = [
    "[/PYTHON]",
    "[/CODE]",
    "[/ANSWER]",
    "</code></pre>",
    "</pre>",
    "</code>",
    "</python>",
    "</answer>",
    "</solution>",
    "\\end{code}",
    "\\end{lstlisting}",
    "\\end{verbatim}",
    "\\end{minted}",
];
/// These could be lists and subscripts, so they count alone on a line, or after code and a space.
const CLOSING_WORDS: [&str; 2] = ["[DONE]", "[END]"];

impl<'t> Fence<'t> {
    fn of(line: &'t str) -> Option<Self> {
        let marks = line.trim_start_matches([' ', '\t', '>']);
        let worded = |role, info| Fence { role, mark: ' ', length: 0, indent: 0, info, quoted: false };
        let after = |markers: &[&str]| markers.iter().find_map(|marker| marks.strip_prefix(marker));
        if let Some(info) = after(&OPENING) {
            return Some(worded(Role::Opens, info));
        }
        if let Some(info) = after(&CLOSING).or_else(|| CLOSING_WORDS.contains(&line).then_some("")) {
            return Some(worded(Role::Closes, info));
        }
        let marks = after_bullet(marks);
        let mark = marks.chars().next().filter(|c| matches!(c, '`' | '~'))?;
        let info = marks.trim_start_matches(mark);
        let length = marks.len() - info.len();
        let info = info.trim();
        if length < 3 || (mark == '`' && info.contains('`') && !info.ends_with("```")) {
            return None;
        }
        let prefix = &line[..line.len() - marks.len()];
        let (indent, quoted) = (column(prefix), prefix.contains('>'));
        let fence = Fence { role: Role::Either, mark, length, indent, info, quoted };
        let role = if fence.names_language() { Role::Opens } else { Role::Either };
        Some(Fence { role, ..fence })
    }

    /// Whether it is made of words rather than marks.
    fn worded(&self) -> bool {
        self.mark == ' '
    }

    /// Whether it ends the block that another one opened.
    fn ends(&self, opening: &Fence<'_>) -> bool {
        self.worded() || opening.worded() || (self.mark == opening.mark && self.length >= opening.length)
    }

    /// Whether what follows the marks names a language, as only an opening fence does.
    fn names_language(&self) -> bool {
        !self.info.is_empty() && (is_python(self.info) || is_foreign(self.info))
    }
}

/// What follows a list item's mark, `- ` or `1. `.
fn after_bullet(line: &str) -> &str {
    let digits = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let numbered = if digits.len() < line.len() { digits.strip_prefix(['.', ')']) } else { None };
    let rest = numbered.or_else(|| line.strip_prefix(['-', '*', '+']));
    rest.and_then(|rest| rest.strip_prefix(' ')).map_or(line, |rest| rest.trim_start_matches(' '))
}

fn language(info: &str) -> String {
    let word =
        info.trim_start_matches(['{', '.']).split(|c: char| !(c.is_alphanumeric() || "+#".contains(c)));
    word.into_iter().next().unwrap_or("").to_lowercase()
}

fn is_python(info: &str) -> bool {
    let language = language(info);
    language.starts_with("py") || matches!(language.as_str(), "ipython" | "sage" | "code")
}

fn is_foreign(info: &str) -> bool {
    matches!(
        language(info).as_str(),
        "bash"
            | "sh"
            | "shell"
            | "zsh"
            | "console"
            | "cmd"
            | "powershell"
            | "text"
            | "txt"
            | "plaintext"
            | "plain"
            | "output"
            | "json"
            | "yaml"
            | "toml"
            | "ini"
            | "c"
            | "cpp"
            | "c++"
            | "c#"
            | "csharp"
            | "java"
            | "javascript"
            | "js"
            | "typescript"
            | "ts"
            | "go"
            | "rust"
            | "html"
            | "css"
            | "sql"
            | "diff"
            | "latex"
            | "tex"
            | "haskell"
            | "ruby"
            | "php"
            | "kotlin"
            | "swift"
            | "r"
            | "julia"
            | "xml"
            | "csv"
            | "mermaid"
            | "math"
            | "none"
            | "log"
            | "stdout"
            | "error"
    )
}

/// Takes a completion apart into fenced blocks and the texts between them, in order.
pub(super) fn blocks(text: &str) -> Vec<Block> {
    Splitter { text, lexer: Lexer::new(text), blocks: Vec::new() }.split()
}

struct Splitter<'t> {
    text: &'t str,
    /// Tells fences in a block's multi-line strings from the one that closes it.
    lexer: Lexer<'t>,
    blocks: Vec<Block>,
}

/// Where a line cuts the text.
struct Cut<'t> {
    /// The end of what stands before it.
    end: usize,
    /// The start of what follows.
    start: usize,
    /// The fence that is open then.
    open: Option<Fence<'t>>,
}

impl<'t> Splitter<'t> {
    fn split(mut self) -> Vec<Block> {
        let mut open: Option<Fence<'t>> = None;
        let (mut start, mut position, mut string_end) = (0, 0, 0);
        while position < self.text.len() {
            let rest = &self.text[position..];
            let end = position + rest.find('\n').map_or(rest.len(), |newline| newline + 1);
            let line = &self.text[position..end];
            if position >= string_end
                && let Some(cut) = cut(line, position, open.as_ref())
            {
                if open.is_some() || begins_as_code(&self.text[start..position]) {
                    string_end = string_over(&mut self.lexer, position);
                }
                if position >= string_end {
                    let before = start..cut.end;
                    let inline = cut.open.as_ref().and_then(inline_code);
                    // The prompt had opened the fence that closes here.
                    let opened_above = open.is_none()
                        && cut.open.as_ref().is_none_or(|fence| fence.role == Role::Either)
                        && looks_like_code(&self.text[before.clone()]);
                    self.push(before, open.as_ref(), opened_above);
                    open = if opened_above || inline.is_some() { None } else { cut.open };
                    start = if inline.is_some() { end } else { cut.start };
                    if let Some(code) = inline {
                        self.blocks.push(Block { text: code.to_owned(), fenced: true, foreign: false });
                    }
                    self.lexer.seek(start);
                }
            }
            position = end;
        }
        self.push(start..self.text.len(), open.as_ref(), false);
        self.blocks
    }

    fn push(&mut self, range: Range<usize>, fence: Option<&Fence<'_>>, opened_above: bool) {
        let text = &self.text[range];
        if text.trim().is_empty() {
            return;
        }
        let block = match fence {
            None => Block { text: text.to_owned(), fenced: opened_above, foreign: false },
            Some(fence) => {
                Block { text: unindent(text, fence), fenced: true, foreign: is_foreign(fence.info) }
            }
        };
        self.blocks.push(block);
    }
}

/// What a line at a place does while this fence is open.
fn cut<'t>(line: &'t str, position: usize, open: Option<&Fence<'t>>) -> Option<Cut<'t>> {
    let after = position + line.len();
    let line = line.trim_end();
    let Some(fence) = Fence::of(line) else {
        let code = before_closing(line)?;
        return Some(Cut { end: position + code.len(), start: after, open: None });
    };
    let opens = match open {
        Some(open) if !fence.ends(open) => return None,
        Some(open) => fence.role == Role::Opens || (fence.role == Role::Either && open.worded()),
        None => fence.role != Role::Closes,
    };
    // Code may follow a marker on its line.
    let start = if fence.worded() && opens { position + line.len() - fence.info.len() } else { after };
    Some(Cut { end: position, start, open: opens.then_some(fence) })
}

/// The end of the multi-line string that a place is in, read from where the lexer is; 0 where it is
/// in none.
fn string_over(lexer: &mut Lexer<'_>, position: usize) -> usize {
    let over = lexer.find(|token| token.end > position);
    match over {
        Some(Token { kind: Kind::Text { closed: true, .. }, start, end }) if start < position => end,
        _ => {
            lexer.seek(position);
            0
        }
    }
}

/// Whether a text that no fence has opened is a program's rather than prose: quotes in prose say
/// nothing about fences below it.
fn begins_as_code(text: &str) -> bool {
    let first = text.trim_start().trim_start_matches(['r', 'R']);
    first.starts_with("\"\"\"") || first.starts_with("'''") || looks_like_code(text)
}

/// Whether a line of a text can only be the start of a program's.
fn looks_like_code(text: &str) -> bool {
    const STARTS: [&str; 6] = ["def ", "class ", "import ", "async def ", "@", "#!"];
    text.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().take(4).collect();
        // `from x import y`, not "from the list, import …".
        STARTS.iter().any(|start| line.starts_with(start))
            || (line.starts_with("from ") && words.len() == 4 && words[2] == "import")
    })
}

/// What a line has before the fence or the marker that ends it: "return a + b```".
fn before_closing(line: &str) -> Option<&str> {
    if let Some(code) = line.strip_suffix("```") {
        return Some(code.trim_end_matches('`'));
    }
    let word = CLOSING_WORDS.iter().find_map(|word| line.strip_suffix(word));
    let word = word.filter(|code| code.ends_with([' ', '\t']));
    // A comment may speak of tags.
    let tag = || CLOSING.iter().find_map(|tag| line.strip_suffix(tag)).filter(|code| !code.contains('#'));
    word.or_else(tag)
}

/// Code on the fence's own line: "```f = lambda x: x```".
fn inline_code<'t>(fence: &Fence<'t>) -> Option<&'t str> {
    let code = before_closing(fence.info)?.trim();
    let rest = ["python3 ", "python ", "py "].iter().find_map(|language| code.strip_prefix(language));
    Some(rest.unwrap_or(code))
}

/// Takes the indentation of its fence, and the marks of its quotation, from a block's lines.
fn unindent(text: &str, fence: &Fence<'_>) -> String {
    let lines = text.split('\n').map(|line| {
        let mut line = line;
        if fence.quoted {
            let bare = line.trim_start_matches([' ', '\t']);
            line = bare.strip_prefix('>').map_or(line, |rest| rest.strip_prefix(' ').unwrap_or(rest));
        }
        if fence.quoted { line.to_owned() } else { super::statements::dedent(line, fence.indent) }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The input lines of an interactive session, `>>> ` and `... `, if a text is one that defines
/// something.
pub(super) fn session(text: &str) -> Option<String> {
    let first = text.trim_start();
    if !first.starts_with(">>> ") || !(text.contains(">>> def ") || text.contains(">>> class ")) {
        return None;
    }
    let lines = text.lines().filter_map(|line| {
        let line = line.trim_start();
        let bare = matches!(line, ">>>" | "...").then_some("");
        line.strip_prefix(">>> ").or_else(|| line.strip_prefix("... ")).or(bare)
    });
    Some(lines.collect::<Vec<_>>().join("\n"))
}

/// A continuation up to the fence that the prompt had opened, or to a marker that ends the answer.
pub(super) fn before_fence(text: &str) -> &str {
    let mut lexer = Lexer::new(text);
    let (mut position, mut string_end) = (0, 0);
    for line in text.split_inclusive('\n') {
        if position >= string_end && position > 0 && Fence::of(line.trim_end()).is_some() {
            string_end = string_over(&mut lexer, position);
            if position >= string_end {
                return &text[..position];
            }
        }
        position += line.len();
    }
    text
}
