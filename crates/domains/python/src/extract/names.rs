//! What a top-level statement binds, changes, uses and calls, with Python's scopes.

use super::statements::{Module, Statement};
use super::tokens::{Kind, is_keyword};
use std::collections::HashSet;
use std::ops::Range;

/// Some names, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NameSet<'t>(Vec<&'t str>);

impl<'t> NameSet<'t> {
    pub(super) fn contains(&self, name: &str) -> bool {
        self.0.binary_search(&name).is_ok()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &'t str> + Clone + use<'_, 't> {
        self.0.iter().copied()
    }
}

impl<'t> From<HashSet<&'t str>> for NameSet<'t> {
    fn from(names: HashSet<&'t str>) -> Self {
        let mut names: Vec<_> = names.into_iter().collect();
        names.sort_unstable();
        NameSet(names)
    }
}

/// Names of a module that a statement has to do with.
#[derive(Debug, Default)]
pub(super) struct Names<'t> {
    /// Bound when the module is loaded.
    pub(super) binds: NameSet<'t>,
    /// Whose objects may change when the module is loaded.
    pub(super) changes: NameSet<'t>,
    /// Needed when the module is loaded: of functions their decorators, defaults and annotations.
    pub(super) uses: NameSet<'t>,
    /// Called when the module is loaded.
    pub(super) calls: NameSet<'t>,
    /// Needed when a function that it defines is called.
    pub(super) later_uses: NameSet<'t>,
    /// Called when a function that it defines is called.
    pub(super) later_calls: NameSet<'t>,
    /// Bound by `global` or changed when a function that it defines is called.
    pub(super) effects: NameSet<'t>,
    /// Whether an `assert` is executed when the module is loaded.
    pub(super) asserts: bool,
    /// Whether an `assert` is executed when a function that it defines is called.
    pub(super) later_asserts: bool,
    /// Whether a function that it defines changes what it is given.
    pub(super) changes_arguments: bool,
    /// Whether it imports all names of a module.
    pub(super) star: bool,
    /// Whether it has a function or a class in it.
    pub(super) defines: bool,
}

/// Python refuses a hundred levels of indentation.
const DEEPEST: usize = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Module,
    Function,
    Class,
}

/// Names met in a scope that is not finished.
#[derive(Debug)]
pub(super) struct Scope<'t> {
    sort: Sort,
    /// Indentation of its header.
    indent: usize,
    pub(super) bound: HashSet<&'t str>,
    global: HashSet<&'t str>,
    /// Of a function, those that bring objects from outside.
    parameters: Vec<&'t str>,
    pub(super) changed: HashSet<&'t str>,
    pub(super) used: HashSet<&'t str>,
    pub(super) called: HashSet<&'t str>,
    /// Of functions in it, what they leave free.
    later_used: HashSet<&'t str>,
    later_called: HashSet<&'t str>,
    effects: HashSet<&'t str>,
}

impl Scope<'_> {
    fn new(sort: Sort, indent: usize) -> Self {
        Scope {
            sort,
            indent,
            bound: HashSet::new(),
            global: HashSet::new(),
            parameters: Vec::new(),
            changed: HashSet::new(),
            used: HashSet::new(),
            called: HashSet::new(),
            later_used: HashSet::new(),
            later_called: HashSet::new(),
            effects: HashSet::new(),
        }
    }
}

/// The names of a statement.
pub(super) fn names<'t>(module: &Module<'t>, statement: &Statement) -> Names<'t> {
    let mut walk = Walk {
        module,
        scopes: Vec::new(),
        scope: Scope::new(Sort::Module, 0),
        closing: Vec::new(),
        offset: 0,
        local: HashSet::new(),
        asserts: false,
        later_asserts: false,
        changes_arguments: false,
        star: false,
        defines: false,
    };
    for line in &statement.lines {
        while !walk.scopes.is_empty() && line.indent <= walk.scope.indent {
            walk.leave();
        }
        walk.line(line.tokens.clone(), line.indent);
    }
    while !walk.scopes.is_empty() {
        walk.leave();
    }
    let Walk { scope, asserts, later_asserts, changes_arguments, star, defines, .. } = walk;
    Names {
        binds: scope.bound.into(),
        changes: scope.changed.into(),
        uses: scope.used.into(),
        calls: scope.called.into(),
        later_uses: scope.later_used.into(),
        later_calls: scope.later_called.into(),
        effects: scope.effects.into(),
        asserts,
        later_asserts,
        changes_arguments,
        star,
        defines,
    }
}

/// Adds the smaller set to the larger.
fn merge<'t>(into: &mut HashSet<&'t str>, mut from: HashSet<&'t str>) {
    if from.len() > into.len() {
        std::mem::swap(into, &mut from);
    }
    into.extend(from);
}

/// Goes through a statement line by line.
pub(super) struct Walk<'m, 't> {
    pub(super) module: &'m Module<'t>,
    /// Enclosing scopes of the current one.
    scopes: Vec<Scope<'t>>,
    pub(super) scope: Scope<'t>,
    /// For each token of the line, where the bracket that it opens is closed.
    closing: Vec<usize>,
    /// The first token of the line.
    offset: usize,
    /// Names that only parts of the line see: of comprehensions and lambdas.
    pub(super) local: HashSet<&'t str>,
    asserts: bool,
    later_asserts: bool,
    changes_arguments: bool,
    star: bool,
    defines: bool,
}

impl<'t> Walk<'_, 't> {
    pub(super) fn word(&self, index: usize) -> &'t str {
        self.module.word(index)
    }

    pub(super) fn is_name(&self, index: usize) -> bool {
        let kind = self.module.tokens.get(index).map(|token| token.kind);
        kind == Some(Kind::Name) && !is_keyword(self.word(index))
    }

    fn enter(&mut self, sort: Sort, indent: usize) {
        if self.scopes.len() < DEEPEST {
            self.scopes.push(std::mem::replace(&mut self.scope, Scope::new(sort, indent)));
        }
    }

    /// Hands what the current scope leaves free to the one around it.
    fn leave(&mut self) {
        let Some(outer) = self.scopes.pop() else { return };
        let mut inner = std::mem::replace(&mut self.scope, outer);
        self.changes_arguments |= inner.parameters.iter().any(|name| inner.changed.contains(name));
        let bound_outside = inner.global.iter().copied().filter(|name| inner.bound.contains(name));
        self.scope.effects.extend(bound_outside);
        let hidden: Vec<_> = inner.bound.difference(&inner.global).copied().collect();
        let free = |names: &mut HashSet<&'t str>| hidden.iter().for_each(|name| _ = names.remove(name));
        free(&mut inner.used);
        free(&mut inner.called);
        free(&mut inner.changed);
        if inner.sort == Sort::Class {
            // A class's block runs where it stands; its names are not seen by its methods.
            merge(&mut self.scope.used, inner.used);
            merge(&mut self.scope.called, inner.called);
            merge(&mut self.scope.changed, inner.changed);
        } else {
            free(&mut inner.later_used);
            free(&mut inner.later_called);
            free(&mut inner.effects);
            merge(&mut self.scope.later_used, inner.used);
            merge(&mut self.scope.later_called, inner.called);
            merge(&mut self.scope.effects, inner.changed);
        }
        merge(&mut self.scope.later_used, inner.later_used);
        merge(&mut self.scope.later_called, inner.later_called);
        merge(&mut self.scope.effects, inner.effects);
    }

    /// A logical line: a header with the suite on its line, or simple statements.
    fn line(&mut self, tokens: Range<usize>, indent: usize) {
        self.pair_brackets(tokens.clone());
        self.find_local_names(tokens.clone());
        let mut rest = tokens;
        while !rest.is_empty() {
            rest = self.statement(rest, indent);
        }
    }

    fn pair_brackets(&mut self, tokens: Range<usize>) {
        self.offset = tokens.start;
        self.closing = vec![tokens.end; tokens.len()];
        let mut open = Vec::new();
        for index in tokens {
            match self.word(index) {
                "(" | "[" | "{" => open.push(index),
                ")" | "]" | "}" => {
                    if let Some(opened) = open.pop() {
                        self.closing[opened - self.offset] = index;
                    }
                }
                _ => {}
            }
        }
    }

    /// Where the bracket opened by this token of the line is closed.
    pub(super) fn closed_at(&self, index: usize) -> usize {
        self.closing.get(index - self.offset).copied().unwrap_or(index)
    }

    fn is_open(&self, index: usize) -> bool {
        matches!(self.word(index), "(" | "[" | "{")
    }

    /// The first of these words outside of brackets, else the end.
    fn find(&self, tokens: Range<usize>, words: &[&str]) -> usize {
        let mut index = tokens.start;
        while index < tokens.end {
            if words.contains(&self.word(index)) {
                return index;
            }
            index = if self.is_open(index) { self.closed_at(index) + 1 } else { index + 1 };
        }
        tokens.end
    }

    /// The colon that ends a header, else the end.
    fn header_end(&self, tokens: Range<usize>) -> usize {
        let mut at = tokens.start;
        let mut lambdas = 0;
        loop {
            at = self.find(at..tokens.end, &[":", "lambda"]);
            match self.word(at) {
                _ if at >= tokens.end => return tokens.end,
                "lambda" => lambdas += 1,
                _ if lambdas == 0 => return at,
                _ => lambdas -= 1,
            }
            at += 1;
        }
    }

    fn find_local_names(&mut self, tokens: Range<usize>) {
        self.local.clear();
        let mut depth = 0usize;
        let (mut in_lambda, mut in_target) = (None, false);
        for index in tokens.clone() {
            match self.word(index) {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth = depth.saturating_sub(1),
                "lambda" => in_lambda = Some(depth),
                ":" if in_lambda == Some(depth) => in_lambda = None,
                "for" if depth > 0 => in_target = true,
                "in" => in_target = false,
                _ => {
                    let parameter = in_lambda == Some(depth)
                        && index > tokens.start
                        && matches!(self.word(index - 1), "lambda" | "," | "*" | "**");
                    if self.is_name(index) && (in_target || parameter) {
                        self.local.insert(self.word(index));
                    }
                }
            }
        }
    }

    /// Takes one statement of a line and returns what is left of the line.
    fn statement(&mut self, tokens: Range<usize>, indent: usize) -> Range<usize> {
        let Range { start, end } = tokens;
        let after = start + 1;
        match self.word(start) {
            "async" | "else" | "try" | "finally" | ":" | ";" => after..end,
            "def" => self.function(after..end, indent),
            "class" => {
                let header = self.header_end(after..end);
                self.defines = true;
                self.bind(after);
                self.expression((after + 1).min(header)..header);
                self.enter(Sort::Class, indent);
                header..end
            }
            "for" => {
                let header = self.header_end(after..end);
                let inside = self.find(after..header, &["in"]);
                self.target(after..inside);
                self.expression(inside..header);
                header..end
            }
            "if" | "elif" | "while" | "with" | "except" => {
                let header = self.header_end(after..end);
                self.expression(after..header);
                self.bind_aliases(after..header);
                header..end
            }
            "match" if start == self.offset && self.word(end - 1) == ":" && end - start > 2 => {
                self.expression(after..end);
                end..end
            }
            "case" if start == self.offset && self.header_end(after..end) < end => {
                let header = self.header_end(after..end);
                self.pattern(after..header);
                header..end
            }
            _ => {
                let stop = self.find(start..end, &[";"]);
                self.simple(start..stop);
                stop..end
            }
        }
    }

    /// `def` up to the colon; the rest of the line is in the function's scope.
    fn function(&mut self, tokens: Range<usize>, indent: usize) -> Range<usize> {
        self.defines = true;
        self.bind(tokens.start);
        let header = self.header_end(tokens.clone());
        let open = self.find(tokens.start..header, &["("]);
        let close = self.closed_at(open).min(header);
        let mut parameters = Vec::new();
        let mut start = (open + 1).min(close);
        while start < close {
            let end = self.find(start..close, &[","]);
            let name = start + usize::from(matches!(self.word(start), "*" | "**"));
            if name < end && self.is_name(name) {
                parameters.push(self.word(name));
            }
            self.expression((name + 1).min(end)..end);
            start = end + 1;
        }
        self.expression((close + 1).min(header)..header);
        self.enter(Sort::Function, indent);
        self.scope.bound.extend(&parameters);
        parameters.retain(|name| !matches!(*name, "self" | "cls"));
        self.scope.parameters = parameters;
        header..tokens.end
    }

    /// A pattern of `case`: plain names are bound.
    fn pattern(&mut self, tokens: Range<usize>) {
        for index in tokens {
            if self.is_name(index) && self.word(index) != "_" {
                if matches!(self.word(index + 1), "(" | ".") {
                    self.scope.used.insert(self.word(index));
                } else {
                    self.bind(index);
                }
            }
        }
    }

    fn simple(&mut self, tokens: Range<usize>) {
        let Range { start, end } = tokens;
        match self.word(start) {
            "import" => self.import((start + 1).min(end)..end),
            "from" => {
                let names = (self.find(start..end, &["import"]) + 1).min(end)..end;
                self.star |= self.word(names.start) == "*";
                self.import(names);
            }
            "global" if self.scope.sort == Sort::Function => {
                let names = (start..end).filter(|index| self.is_name(*index)).map(|index| self.word(index));
                let names: Vec<_> = names.collect();
                self.scope.global.extend(names);
            }
            "global" | "nonlocal" => {}
            "del" => self.target((start + 1).min(end)..end),
            "assert" => {
                let enclosing = self.scopes.iter().chain([&self.scope]);
                let later = enclosing.into_iter().any(|scope| scope.sort == Sort::Function);
                let flag = if later { &mut self.later_asserts } else { &mut self.asserts };
                *flag = true;
                self.expression((start + 1).min(end)..end);
            }
            _ => self.assignment(start..end),
        }
    }

    /// `a.b as c, d`, brackets around it or not.
    fn import(&mut self, tokens: Range<usize>) {
        let mut first = true;
        let mut alias = None;
        for index in tokens.clone().chain([tokens.end]) {
            match self.word(index) {
                _ if index < tokens.end && self.is_name(index) => {
                    if first || alias.is_some_and(|(_, named)| named) {
                        alias = Some((index, false));
                    }
                    first = false;
                }
                "as" if index < tokens.end => alias = alias.map(|(name, _)| (name, true)),
                "." if index < tokens.end => {}
                _ => {
                    if let Some((name, _)) = alias.take() {
                        self.bind(name);
                    }
                    first = true;
                }
            }
        }
    }

    fn assignment(&mut self, tokens: Range<usize>) {
        const AUGMENTED: [&str; 13] =
            ["+=", "-=", "*=", "/=", "//=", "%=", "**=", ">>=", "<<=", "&=", "|=", "^=", "@="];
        let mut start = tokens.start;
        let colon = self.find(tokens.clone(), &[":", "=", "lambda"]);
        if colon < tokens.end && self.word(colon) == ":" {
            let value = self.find(colon..tokens.end, &["="]);
            self.expression(colon..value);
            if value < tokens.end {
                self.target(start..colon);
            }
            start = value;
        }
        loop {
            let equals = self.find(start..tokens.end, &["=", "lambda"]);
            if equals >= tokens.end || self.word(equals) != "=" {
                break;
            }
            self.target(start..equals);
            start = equals + 1;
        }
        let augmented = self.find(start..tokens.end, &AUGMENTED);
        if start == tokens.start && augmented < tokens.end {
            self.target(start..augmented);
            self.expression(start..augmented);
        }
        self.expression(start..tokens.end);
    }

    pub(super) fn bind(&mut self, index: usize) {
        if self.is_name(index) {
            let name = self.word(index);
            self.scope.bound.insert(name);
        }
    }

    fn bind_aliases(&mut self, tokens: Range<usize>) {
        for index in tokens {
            if self.word(index) == "as" && self.word(index + 1) == "(" {
                self.target(index + 1..self.closed_at(index + 1));
            } else if self.word(index) == "as" {
                self.bind(index + 1);
            }
        }
    }
}
