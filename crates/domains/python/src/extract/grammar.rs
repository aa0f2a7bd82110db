//! Whether a line can be Python, judged token by token.
//!
//! English sentences are told from code by what no Python line has: two operands without an operator
//! between them, an operator without its operands, a keyword out of its place, characters and quotes
//! that start no token. The check accepts every correct line; many wrong ones pass too.

use super::tokens::{Kind, Token, is_reserved};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    /// The start of a statement.
    Start,
    /// A value is complete.
    Operand,
    /// As `Operand`; another string may follow.
    Text,
    /// As `Operand`; a call, which is no target of an assignment.
    Call,
    Comma,
    Colon,
    /// An operator that wants an operand.
    Operator,
    /// A keyword that wants an operand or may end a statement.
    Keyword,
}

/// The state of one logical line.
#[derive(Debug)]
pub(super) struct Grammar<'t> {
    /// Open brackets, each with whether it opens a call.
    open: Vec<(char, bool)>,
    before: Before,
    word: &'t str,
    first: &'t str,
    count: usize,
    lambdas: usize,
    header_colon: bool,
    /// `not` follows an operand, so `in` has to come.
    wants_in: bool,
    faulty: bool,
}

impl<'t> Grammar<'t> {
    pub(super) fn new() -> Self {
        Grammar {
            open: Vec::new(),
            before: Before::Start,
            word: "",
            first: "",
            count: 0,
            lambdas: 0,
            header_colon: false,
            wants_in: false,
            faulty: false,
        }
    }

    /// Open brackets.
    pub(super) fn depth(&self) -> usize {
        self.open.len()
    }

    /// Whether something was seen that no Python line has.
    pub(super) fn faulty(&self) -> bool {
        self.faulty
    }

    /// Takes the next token that is neither a comment nor the end of a line.
    pub(super) fn take(&mut self, token: &Token, text: &'t str) {
        let word = token.of(text);
        if self.count == 0 {
            self.first = word;
        }
        self.faulty |= self.wants_in && word != "in";
        self.wants_in = false;
        let after = match token.kind {
            Kind::Text { closed, .. } => {
                self.faulty |= !closed;
                self.operand(self.before == Before::Text);
                Before::Text
            }
            Kind::Number => {
                self.operand(false);
                Before::Operand
            }
            Kind::Name if is_reserved(word) => self.keyword(word),
            Kind::Name => {
                // Soft keywords: `match x:`, `case y:`, `type X = int`.
                let soft = self.count == 1 && matches!(self.word, "match" | "case" | "type");
                let definition = matches!(self.word, "def" | "class");
                self.operand(soft || definition);
                Before::Operand
            }
            Kind::Operator => self.operator(word),
            Kind::Unknown => {
                self.faulty = true;
                Before::Operand
            }
            Kind::Newline | Kind::Comment => return,
        };
        self.before = after;
        self.word = word;
        self.count += 1;
    }

    fn complete(&self) -> bool {
        matches!(self.before, Before::Operand | Before::Text | Before::Call)
    }

    fn require(&mut self, holds: bool) {
        self.faulty |= !holds;
    }

    fn operand(&mut self, allowed: bool) {
        let soft = self.count == 1 && matches!(self.word, "match" | "case");
        self.require(allowed || soft || !self.complete());
    }

    fn keyword(&mut self, word: &str) -> Before {
        let complete = self.complete();
        let starts = matches!(self.before, Before::Start | Before::Colon) && self.open.is_empty();
        match word {
            "and" | "or" => self.require(complete),
            "is" => self.require(complete),
            "in" => self.require(complete || self.before == Before::Comma || self.word == "not"),
            "not" => self.wants_in = complete,
            "if" | "else" => self.require(complete || starts),
            "for" => self.require(complete || starts || self.word == "async"),
            "as" => self.require(complete),
            "lambda" => {
                self.operand(false);
                self.lambdas += usize::from(self.open.is_empty());
            }
            "await" | "yield" => self.operand(false),
            "from" => self.require(starts || self.word == "yield" || self.first == "raise" || complete),
            "import" => self.require(starts || self.first == "from"),
            "def" | "with" => self.require(starts || self.word == "async"),
            "async" => self.require(starts || complete),
            _ => self.require(starts),
        }
        match word {
            "pass" | "break" | "continue" => Before::Operand,
            _ => Before::Keyword,
        }
    }

    fn operator(&mut self, word: &str) -> Before {
        let complete = self.complete();
        let top = self.open.is_empty();
        match word {
            "(" | "[" | "{" => {
                let called = complete && word == "(";
                if word == "{" {
                    self.operand(false);
                }
                self.open.push((word.chars().next().unwrap_or('('), called));
                return Before::Operator;
            }
            ")" | "]" | "}" => {
                let expected = match word {
                    ")" => '(',
                    "]" => '[',
                    _ => '{',
                };
                let opened = self.open.pop();
                self.require(opened.is_some_and(|(open, _)| open == expected));
                return if opened.is_some_and(|(_, call)| call) { Before::Call } else { Before::Operand };
            }
            "..." => {
                // Also `from ...package import name`.
                self.operand(false);
                return if self.first == "from" { Before::Operator } else { Before::Operand };
            }
            "," => {
                let bare = matches!(self.word, "*" | "/" | ":");
                self.require(complete || bare && (!top || self.lambdas > 0));
                return Before::Comma;
            }
            ":" => {
                let bare = matches!(self.word, "else" | "try" | "finally" | "except" | "lambda");
                self.require(complete || bare || !top || self.lambdas > 0);
                if top && self.lambdas > 0 {
                    self.lambdas -= 1;
                    return Before::Operator;
                }
                self.header_colon |= top;
                return if top { Before::Colon } else { Before::Operator };
            }
            ";" => {
                self.require(top && complete || matches!(self.word, "return"));
                return Before::Start;
            }
            "=" => {
                let target = self.before != Before::Call || !top;
                let starred = top && self.before == Before::Comma;
                self.require((complete && target) || starred);
            }
            "+" | "-" | "~" | "*" | "**" | "@" => {}
            "." => self.require(complete || self.first == "from"),
            "/" => self.require(complete || self.before == Before::Comma),
            _ => self.require(complete),
        }
        Before::Operator
    }

    /// Whether the line as a whole can be Python; false also if it was cut off.
    pub(super) fn finish(&self) -> bool {
        let compound = is_compound(self.first);
        let ended = self.complete()
            || self.before == Before::Comma
            || (self.before == Before::Colon && (compound || self.soft_header()))
            || (self.before == Before::Keyword && matches!(self.word, "return" | "raise" | "yield"))
            || (self.before == Before::Start && self.count > 0)
            || (self.first == "from" && self.word == "*");
        let header = !compound || self.header_colon;
        ended && header && !self.faulty && self.open.is_empty()
    }

    /// Whether `match …:` or `case …:` opens a block.
    fn soft_header(&self) -> bool {
        matches!(self.first, "match" | "case") && self.count > 2
    }

    /// Whether the line ends in the colon of a header, so that a block has to follow.
    pub(super) fn opens_block(&self) -> bool {
        self.before == Before::Colon
            && self.open.is_empty()
            && (is_compound(self.first) || self.soft_header())
    }
}

/// Whether statements that start so have a block.
pub(super) fn is_compound(word: &str) -> bool {
    matches!(
        word,
        "if" | "elif"
            | "else"
            | "for"
            | "while"
            | "try"
            | "except"
            | "finally"
            | "with"
            | "def"
            | "class"
            | "async"
    )
}
