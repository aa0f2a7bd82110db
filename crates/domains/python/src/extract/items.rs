//! Statements and what they are to a program.

use super::names::{Names, names};
use super::statements::{Module, Statement};

/// What a statement is to a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Definition,
    Import,
    /// A string, as a module's docstring.
    Text,
    /// Has no effect, or one that no test needs: `print`, `assert`, `exit()`, `if __name__ …`.
    Idle,
    /// An assignment.
    Assignment,
    /// An expression with a call in it.
    Call,
    /// Everything else: loops, `try`, `if`, `with`, `del`.
    Other,
}

/// A statement and what is known of it.
#[derive(Debug)]
pub(super) struct Item<'t> {
    pub(super) role: Role,
    pub(super) names: Names<'t>,
    /// Kept only where the others need it.
    pub(super) optional: bool,
    /// Whether it stands after the program that it may add to.
    pub(super) after: bool,
    pub(super) broken: bool,
    /// The function that a call statement calls, the first name of an assigned value.
    pub(super) head: &'t str,
    /// Whether an assigned value is a literal or a display.
    pub(super) literal: bool,
}

impl<'t> Item<'t> {
    /// Looks at a statement.
    pub(super) fn new(module: &Module<'t>, statement: &Statement) -> Self {
        let names = names(module, statement);
        let (role, value) = role(module, statement, &names);
        let head = module.word(value);
        let literal = head.starts_with(|c: char| "[({\"'".contains(c) || c.is_ascii_digit());
        Item { role, names, optional: false, after: false, broken: statement.broken, head, literal }
    }

    /// Whether it gives its name a value that is made from the name's old value.
    pub(super) fn rebinds(&self, name: &str) -> bool {
        self.role == Role::Assignment && self.names.uses.contains(name)
    }

    /// Whether it asks the user when the module is loaded.
    pub(super) fn reads_input(&self) -> bool {
        self.names.calls.contains("input") || self.names.calls.contains("raw_input")
    }

    /// Names that it binds or whose objects it changes.
    pub(super) fn touched<'i>(&'i self) -> impl Iterator<Item = &'t str> + use<'i, 't> {
        let changed = self.names.changes.iter().filter(|name| !self.names.binds.contains(name));
        self.names.binds.iter().chain(changed)
    }
}

/// The role of a statement, and the token where its value or call begins.
fn role(module: &Module<'_>, statement: &Statement, names: &Names<'_>) -> (Role, usize) {
    let tokens = statement.lines.first().map_or(0..0, |line| line.tokens.clone());
    let word = |offset: usize| match tokens.start + offset {
        index if index < tokens.end => module.word(index),
        _ => "",
    };
    let only_line = statement.lines.len() == 1;
    let start = tokens.start;
    let role = match word(0) {
        "def" | "class" | "@" => Role::Definition,
        "async" if word(1) == "def" => Role::Definition,
        "import" | "from" => Role::Import,
        "assert" | "pass" => Role::Idle,
        "if" if is_main(module, statement) => Role::Idle,
        "if" | "for" | "while" | "with" | "try" | "async" | "del" | "raise" | "return" | "global"
        | "match" => Role::Other,
        _ if !names.binds.is_empty() || assigns(module, statement) => {
            let equals = tokens.clone().find(|index| module.word(*index) == "=");
            return (Role::Assignment, equals.map_or(start, |equals| equals + 1));
        }
        first if only_line && tokens.len() == 1 && first.ends_with(['"', '\'']) => Role::Text,
        first => {
            let called = tokens.clone().any(|index| module.word(index) == "(");
            let member = word(2);
            let idle = match (first, word(1)) {
                ("print" | "pprint" | "exit" | "quit" | "display" | "help", "(") => true,
                ("doctest" | "pytest" | "pprint", ".") => true,
                ("unittest", ".") => member == "main",
                ("sys", ".") => matches!(member, "exit" | "stdout" | "stderr"),
                _ => !called,
            };
            if idle { Role::Idle } else { Role::Call }
        }
    };
    (role, start)
}

/// Whether it is `if __name__ == "__main__":` without an `else`.
fn is_main(module: &Module<'_>, statement: &Statement) -> bool {
    let Some(first) = statement.lines.first() else { return false };
    let words = first.tokens.clone().skip(1).map(|index| module.word(index));
    let words: Vec<_> = words.filter(|word| !matches!(*word, "(" | ")")).take(4).collect();
    let main = |word: &str| matches!(word, "\"__main__\"" | "'__main__'");
    let test = match words.as_slice() {
        [name, "==", value, ":", ..] => {
            (*name == "__name__" && main(value)) || (*value == "__name__" && main(name))
        }
        _ => false,
    };
    let other = statement.lines.iter().any(|line| {
        line.indent == statement.base && matches!(module.word(line.tokens.start), "else" | "elif")
    });
    test && !other
}

/// Whether a simple statement has an assignment's sign outside of brackets.
fn assigns(module: &Module<'_>, statement: &Statement) -> bool {
    let mut depth = 0usize;
    let tokens = statement.lines.iter().flat_map(|line| line.tokens.clone());
    for index in tokens {
        match module.word(index) {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            "=" | "lambda" if depth == 0 => return module.word(index) == "=",
            "<=" | ">=" | "==" | "!=" => {}
            word if depth == 0 && word.len() > 1 && word.ends_with('=') => return true,
            _ => {}
        }
    }
    false
}
