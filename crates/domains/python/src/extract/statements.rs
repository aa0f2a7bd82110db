//! Top-level statements of a text that may be prose in part.

use super::grammar::{Grammar, is_compound};
use super::tokens::{Kind, Lexer, Token};
use std::ops::Range;

/// A logical line: what lies between two `NEWLINE` tokens of Python's grammar.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// Its tokens, comments and ends of lines left out.
    pub(super) tokens: Range<usize>,
    /// Column of its first token.
    pub(super) indent: usize,
    /// From the start of its first physical line.
    start: usize,
    /// To the end of its last token.
    end: usize,
    /// Whether it can be Python.
    sound: bool,
    /// Whether a block has to follow.
    pub(super) opens_block: bool,
}

/// A top-level statement with all its blocks and decorators.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    /// Where it lies in the text, whole lines from the first one's indentation on; of statements
    /// that share a line, its part of the line.
    pub(super) place: Range<usize>,
    /// Where the comments and blank lines above it begin.
    pub(super) lead: usize,
    /// Its indentation, which is not 0 where a whole program is indented.
    pub(super) base: usize,
    /// Its logical lines.
    pub(super) lines: Vec<Line>,
    /// Whether it is cut off or was never Python.
    pub(super) broken: bool,
}

/// A text taken apart.
#[derive(Debug)]
pub(super) struct Module<'t> {
    pub(super) text: &'t str,
    pub(super) tokens: Vec<Token>,
    pub(super) statements: Vec<Statement>,
}

impl<'t> Module<'t> {
    /// Takes a text apart. Lines at the top level that cannot be Python are left out as prose; in a
    /// `fenced` text those stay that at least begin as a definition, an import or an assignment.
    pub(super) fn new(text: &'t str, fenced: bool) -> Self {
        let reader = Reader { text, lexer: Lexer::new(text), tokens: Vec::new(), line_start: 0 };
        Splitter { reader, fenced, statements: Vec::new(), current: None, lead: 0 }.split()
    }

    /// The text of a token.
    pub(super) fn word(&self, index: usize) -> &'t str {
        self.tokens.get(index).map_or("", |token| token.of(self.text))
    }

    /// A statement's source, with what stands above it, moved to the left margin.
    pub(super) fn source(&self, statement: &Statement) -> String {
        let source = &self.text[statement.lead..statement.place.end];
        dedent(source, statement.base)
    }
}

/// Takes up to `columns` columns of space from each line.
pub(super) fn dedent(text: &str, columns: usize) -> String {
    if columns == 0 {
        return text.to_owned();
    }
    let lines = text.split('\n').map(|line| {
        let mut column = 0;
        let spaces = line.bytes().take_while(|byte| {
            column += if *byte == b'\t' { 8 - column % 8 } else { 1 };
            matches!(byte, b' ' | b'\t') && column <= columns
        });
        &line[spaces.count()..]
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The column at which text after this indentation stands.
pub(super) fn column(indentation: &str) -> usize {
    indentation.bytes().fold(0, |column, byte| match byte {
        b'\t' => (column / 8 + 1) * 8,
        b'\x0c' => 0,
        _ => column + 1,
    })
}

struct Reader<'t> {
    text: &'t str,
    lexer: Lexer<'t>,
    tokens: Vec<Token>,
    line_start: usize,
}

impl Reader<'_> {
    /// The next logical line that has tokens. `top` says of an indentation whether a line there is
    /// at the top level: such a line ends where its physical line does once it cannot be Python.
    fn next(&mut self, top: impl Fn(usize) -> bool) -> Option<Line> {
        let first = self.tokens.len();
        let mut grammar = Grammar::new();
        let mut start = self.line_start;
        let (mut indent, mut at_top) = (0, false);
        while let Some(token) = self.lexer.next() {
            match token.kind {
                Kind::Comment => {}
                Kind::Newline => {
                    self.line_start = token.end;
                    let empty = self.tokens.len() == first;
                    let given_up = at_top && grammar.faulty();
                    if !empty && (grammar.depth() == 0 || given_up || starts_over(&self.text[token.end..])) {
                        break;
                    }
                }
                _ => {
                    if self.tokens.len() == first {
                        start = self.line_start;
                        indent = column(&self.text[start..token.start]);
                        at_top = top(indent);
                    }
                    grammar.take(&token, self.text);
                    if at_top && grammar.faulty() {
                        // Prose may hold quotes and brackets: only the physical line is given up.
                        let rest = &self.text[token.start..];
                        let stop = token.start + rest.find('\n').unwrap_or(rest.len());
                        self.tokens.push(Token { end: token.end.min(stop), ..token });
                        self.lexer.seek(stop);
                        continue;
                    }
                    self.tokens.push(token);
                    if matches!(token.kind, Kind::Text { .. }) {
                        let newline = token.of(self.text).rfind('\n');
                        self.line_start = newline.map_or(self.line_start, |at| token.start + at + 1);
                    }
                }
            }
        }
        let end = self.tokens[first..].last()?.end;
        let tokens = first..self.tokens.len();
        let (sound, opens_block) = (grammar.finish(), grammar.opens_block());
        Some(Line { tokens, indent, start, end, sound, opens_block })
    }
}

/// Whether a line can only be the start of a statement, so that brackets still open before it are
/// never closed.
fn starts_over(rest: &str) -> bool {
    let line = rest.split('\n').next().unwrap_or("");
    let definition = ["def ", "class ", "async def ", "import "].iter().any(|start| line.starts_with(start));
    definition || (line.starts_with("from ") && line.contains(" import "))
}

struct Splitter<'t> {
    reader: Reader<'t>,
    fenced: bool,
    statements: Vec<Statement>,
    current: Option<Statement>,
    lead: usize,
}

impl<'t> Splitter<'t> {
    fn split(mut self) -> Module<'t> {
        loop {
            let base = self.current.as_ref().map(|current| current.base);
            let Some(line) = self.reader.next(|indent| base.is_none_or(|base| indent <= base)) else { break };
            match &mut self.current {
                Some(current) if belongs(current, &line, &self.reader) => {
                    current.place.end = line.end;
                    current.lines.push(line);
                }
                _ => {
                    self.finish();
                    self.start(line);
                }
            }
        }
        self.finish();
        Module { text: self.reader.text, tokens: self.reader.tokens, statements: self.statements }
    }

    fn start(&mut self, line: Line) {
        if !line.sound && !self.begins_as_code(&line) {
            self.lead = line_end(self.reader.text, line.end);
            return;
        }
        let place = line.start..line.end;
        let (lead, base) = (self.lead.min(line.start), line.indent);
        self.current = Some(Statement { place, lead, base, lines: vec![line], broken: false });
    }

    fn word(&self, index: usize) -> &'t str {
        self.reader.tokens.get(index).map_or("", |token| token.of(self.reader.text))
    }

    /// Whether a line that is not sound is broken code rather than prose.
    fn begins_as_code(&self, line: &Line) -> bool {
        let word = |index: usize| match line.tokens.start + index {
            index if index < line.tokens.end => self.word(index),
            _ => "",
        };
        let named = |index: usize| self.reader.tokens.get(line.tokens.start + index).map(|token| token.kind);
        let definition = |at: usize| named(at + 1) == Some(Kind::Name) && matches!(word(at + 2), "(" | ":");
        let code = match word(0) {
            "def" | "class" => definition(0),
            "async" => word(1) == "def" && definition(1),
            "@" => line.tokens.len() > 1,
            _ => false,
        };
        let fenced = match word(0) {
            "import" | "from" => true,
            first => is_compound(first) || word(1) == "=",
        };
        code || (self.fenced && fenced)
    }

    fn finish(&mut self) {
        let Some(mut statement) = self.current.take() else { return };
        let end = line_end(self.reader.text, statement.place.end);
        statement.place.end = end;
        let last = statement.lines.last();
        statement.broken = last.is_some_and(|last| !last.sound || last.opens_block)
            || statement.lines.first().is_some_and(|first| !first.sound)
            || only_decorators(&statement, &self.reader);
        self.lead = end;
        match semicolons(&statement, &self.reader) {
            Some(parts) => self.statements.extend(parts),
            None => self.statements.push(statement),
        }
    }
}

/// The end of the line, after its newline, that holds this place.
fn line_end(text: &str, place: usize) -> usize {
    text[place..].find('\n').map_or(text.len(), |newline| place + newline + 1)
}

fn word<'t>(reader: &Reader<'t>, index: usize) -> &'t str {
    reader.tokens.get(index).map_or("", |token| token.of(reader.text))
}

fn only_decorators(statement: &Statement, reader: &Reader<'_>) -> bool {
    statement.lines.iter().all(|line| word(reader, line.tokens.start) == "@")
}

/// Whether a line goes on with a statement: in its block, as its `else`, under its decorator.
fn belongs(statement: &Statement, line: &Line, reader: &Reader<'_>) -> bool {
    let decorated = |line: &Line| word(reader, line.tokens.start) == "@";
    if line.indent != statement.base {
        return line.indent > statement.base;
    }
    let first = word(reader, line.tokens.start);
    let clause = matches!(first, "else" | "elif" | "except" | "finally") && line.sound;
    let header = statement.lines.first().is_some_and(|line| is_compound(word(reader, line.tokens.start)));
    let defines = matches!(first, "def" | "class" | "async" | "@");
    (clause && header) || (defines && statement.lines.last().is_some_and(decorated))
}

/// The statements of a line of several, `a = 1; b = 2`.
fn semicolons(statement: &Statement, reader: &Reader<'_>) -> Option<Vec<Statement>> {
    let [line] = statement.lines.as_slice() else { return None };
    let range = line.tokens.clone();
    if is_compound(word(reader, range.start)) || !line.sound {
        return None;
    }
    let is_semicolon = |index: &usize| {
        let token = &reader.tokens[*index];
        token.kind == Kind::Operator && word(reader, *index) == ";"
    };
    // A sound line has no semicolon inside of brackets.
    let ends: Vec<usize> = range.clone().filter(is_semicolon).collect();
    if ends.is_empty() {
        return None;
    }
    let mut parts = Vec::new();
    let mut first = range.start;
    for end in ends.into_iter().chain([range.end]) {
        if let (Some(from), Some(to)) = (reader.tokens.get(first), reader.tokens.get(end.wrapping_sub(1)))
            && first < end
        {
            let mut part = Statement { lines: vec![line.clone()], ..statement.clone() };
            part.lines[0].tokens = first..end;
            part.place = from.start..to.end;
            if first == range.start {
                part.place.start = statement.place.start;
            } else {
                (part.lead, part.base) = (from.start, 0);
            }
            parts.push(part);
        }
        first = end + 1;
    }
    Some(parts)
}
