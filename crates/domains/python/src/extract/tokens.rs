//! Python's tokens, read one at a time from text that may be anything.
//!
//! The rules are those of the reference's lexical analysis, without its errors: what is no token is
//! [`Kind::Unknown`], a string without its end stops at the end of its line (at the end of the text,
//! if its quotes are triple).

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A name or a keyword.
    Name,
    /// A number.
    Number,
    /// A string with its prefix.
    Text {
        /// Whether it has replacement fields.
        formatted: bool,
        /// Whether its closing quote is there.
        closed: bool,
    },
    /// An operator, a delimiter or a bracket.
    Operator,
    /// The end of a physical line.
    Newline,
    /// From `#` to the end of the line.
    Comment,
    /// A character that starts no token.
    Unknown,
}

/// A token and its place in the text, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Token {
    /// Its text.
    pub(crate) fn of<'t>(&self, text: &'t str) -> &'t str {
        &text[self.start..self.end]
    }
}

/// Operators of more than one character, longest first.
const OPERATORS: [&str; 24] = [
    "**=", "//=", ">>=", "<<=", "...", "**", "//", ">>", "<<", "<=", ">=", "==", "!=", "->", "+=", "-=",
    "*=", "/=", "%=", "&=", "|=", "^=", "@=", ":=",
];

/// Reads tokens from a place on.
#[derive(Clone, Debug)]
pub(crate) struct Lexer<'t> {
    text: &'t str,
    position: usize,
    /// Triple quotes (`'`, `"`) that are known not to occur again, so that a text of many openings
    /// without an end is not searched again and again.
    never_closed: [bool; 2],
}

impl<'t> Lexer<'t> {
    /// From the start of a text.
    pub(crate) fn new(text: &'t str) -> Self {
        Lexer { text, position: 0, never_closed: [false; 2] }
    }

    /// Goes to a place, which has to be a character's start.
    pub(crate) fn seek(&mut self, position: usize) {
        self.position = position;
    }

    fn byte(&self, offset: usize) -> u8 {
        self.text.as_bytes().get(self.position + offset).copied().unwrap_or(0)
    }

    /// Skips what lies between tokens: spaces and escaped ends of lines.
    fn skip_space(&mut self) {
        loop {
            match (self.byte(0), self.byte(1)) {
                (b' ' | b'\t' | 0x0c, _) => self.position += 1,
                (b'\\', b'\n') => self.position += 2,
                _ => return,
            }
        }
    }

    fn name_end(&self) -> usize {
        let rest = &self.text[self.position..];
        let length = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        self.position + length
    }

    fn number_end(&self) -> usize {
        let bytes = self.text.as_bytes();
        let at = |index: usize| bytes.get(index).copied().unwrap_or(0);
        let run = |mut index: usize, accepted: fn(&u8) -> bool| {
            while accepted(&at(index)) || (at(index) == b'_' && accepted(&at(index + 1))) {
                index += 1;
            }
            index
        };
        let start = self.position;
        if at(start) == b'0' && matches!(at(start + 1), b'x' | b'X' | b'o' | b'O' | b'b' | b'B') {
            return run(start + 2, u8::is_ascii_hexdigit);
        }
        let mut end = run(start, u8::is_ascii_digit);
        if at(end) == b'.' {
            end = run(end + 1, u8::is_ascii_digit);
        }
        if matches!(at(end), b'e' | b'E') {
            let sign = usize::from(matches!(at(end + 1), b'+' | b'-'));
            if at(end + 1 + sign).is_ascii_digit() {
                end = run(end + 1 + sign, u8::is_ascii_digit);
            }
        }
        end + usize::from(matches!(at(end), b'j' | b'J'))
    }

    /// The end of a string whose opening quote is at `quote`, and whether it is closed.
    fn string_end(&mut self, quote: usize) -> (usize, bool) {
        let bytes = self.text.as_bytes();
        let mark = bytes[quote];
        let triple = bytes[quote..].starts_with(&[mark; 3]);
        let which = usize::from(mark == b'"');
        if triple && self.never_closed[which] {
            return (bytes.len(), false);
        }
        let mut index = quote + if triple { 3 } else { 1 };
        while index < bytes.len() {
            match bytes[index] {
                // An escaped character of several bytes has no byte that is a quote.
                b'\\' => index += 1,
                b'\n' if !triple => return (index, false),
                byte if byte == mark && !triple => return (index + 1, true),
                byte if byte == mark && bytes[index..].starts_with(&[mark; 3]) => return (index + 3, true),
                _ => {}
            }
            index += 1;
        }
        self.never_closed[which] |= triple;
        (bytes.len(), false)
    }
}

impl Iterator for Lexer<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        self.skip_space();
        let start = self.position;
        let rest = &self.text[start..];
        let first = rest.chars().next()?;
        let (kind, end) = match first {
            '\n' => (Kind::Newline, start + 1),
            '#' => (Kind::Comment, start + rest.find('\n').unwrap_or(rest.len())),
            '"' | '\'' => {
                let (end, closed) = self.string_end(start);
                (Kind::Text { formatted: false, closed }, end)
            }
            _ if first.is_ascii_digit() || (first == '.' && self.byte(1).is_ascii_digit()) => {
                (Kind::Number, self.number_end())
            }
            _ if first.is_alphabetic() || first == '_' => {
                let end = self.name_end();
                let quoted = matches!(self.text.as_bytes().get(end), Some(b'"' | b'\''));
                if quoted && is_prefix(&self.text[start..end]) {
                    let formatted = self.text[start..end].contains(['f', 'F', 't', 'T']);
                    let (end, closed) = self.string_end(end);
                    (Kind::Text { formatted, closed }, end)
                } else {
                    (Kind::Name, end)
                }
            }
            _ => match OPERATORS.iter().find(|operator| rest.starts_with(**operator)) {
                Some(operator) => (Kind::Operator, start + operator.len()),
                None if "+-*/%@<>&|^~:;,.=()[]{}".contains(first) => (Kind::Operator, start + 1),
                None => (Kind::Unknown, start + first.len_utf8()),
            },
        };
        self.position = end;
        Some(Token { kind, start, end })
    }
}

/// Whether a name right before a quote is a string's prefix.
fn is_prefix(name: &str) -> bool {
    name.len() <= 2
        && matches!(
            name.to_ascii_lowercase().as_str(),
            "r" | "u" | "b" | "f" | "t" | "br" | "rb" | "fr" | "rf" | "tr" | "rt"
        )
}

/// Words that are no names.
pub(crate) fn is_keyword(word: &str) -> bool {
    matches!(word, "False" | "None" | "True") || is_reserved(word)
}

/// Keywords that are no values.
pub(crate) fn is_reserved(word: &str) -> bool {
    matches!(
        word,
        "and"
            | "as"
            | "assert"
            | "async"
            | "await"
            | "break"
            | "class"
            | "continue"
            | "def"
            | "del"
            | "elif"
            | "else"
            | "except"
            | "finally"
            | "for"
            | "from"
            | "global"
            | "if"
            | "import"
            | "in"
            | "is"
            | "lambda"
            | "nonlocal"
            | "not"
            | "or"
            | "pass"
            | "raise"
            | "return"
            | "try"
            | "while"
            | "with"
            | "yield"
    )
}
