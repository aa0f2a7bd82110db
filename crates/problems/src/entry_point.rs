//! Which function a problem's tests are about.

use std::collections::HashSet;

/// The name of the function that tests call.
///
/// With a reference solution it is the first called name that the reference defines. Otherwise it is
/// the first called name that is neither a builtin of Python, nor a method, nor imported, defined or
/// assigned by the tests themselves; then one that such a function of theirs is given (`check(f)`).
/// Where only builtins are called (`assert abs(pow(2, 3) - 8) <
/// 1e-9`), it is the first that tests do not usually wrap around a result, and failing that the
/// first.
pub fn of_tests<'a>(
    tests: impl IntoIterator<Item = &'a str> + Clone,
    reference: Option<&str>,
) -> Option<String> {
    let scanned: Vec<Scan> = tests.into_iter().map(scan).collect();
    let own: HashSet<&str> = scanned.iter().flat_map(|scan| &scan.own).copied().collect();
    let called: Vec<&str> = scanned.iter().flat_map(|scan| &scan.called).copied().collect();
    let foreign = |name: &&&str| !own.contains(**name);
    if let Some(reference) = reference {
        let defined = defined_names(reference);
        let found = called.iter().find(|name| defined.contains(**name));
        if found.is_some() {
            return found.map(|name| (*name).to_owned());
        }
    }
    let candidate = called.iter().filter(foreign).find(|name| !is_in(BUILTINS, name));
    let builtin = || called.iter().filter(foreign).find(|name| !is_in(WRAPPERS, name));
    let handed = || {
        scanned
            .iter()
            .flat_map(|scan| &scan.handed)
            .find(|(to, name)| own.contains(to) && !own.contains(name))
    };
    let found = candidate.copied().or_else(|| handed().map(|(_, name)| *name));
    let found = found.or_else(|| builtin().or_else(|| called.iter().find(foreign)).copied());
    found.or(called.first().copied()).map(str::to_owned)
}

/// Names that a program defines: its functions and classes, and what it assigns at its top level.
fn defined_names(program: &str) -> HashSet<&str> {
    let tokens = tokens(program);
    let mut names = HashSet::new();
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Name("def" | "class") => names.extend(name_at(&tokens, at + 1)),
            Token::Name(name) if starts_line(&tokens, at) && is_assigned(&tokens, at) => {
                names.insert(*name);
            }
            _ => {}
        }
    }
    names
}

/// What one test calls and what it names itself.
#[derive(Default)]
struct Scan<'a> {
    /// Called names in the order in which they are written; methods are left out.
    called: Vec<&'a str>,
    /// Calls of one name with another as the only argument: `check(f)`.
    handed: Vec<(&'a str, &'a str)>,
    /// Names that the test imports, defines, assigns or binds.
    own: HashSet<&'a str>,
}

fn scan(test: &str) -> Scan<'_> {
    let tokens = tokens(test);
    let mut scan = Scan::default();
    for (at, token) in tokens.iter().enumerate() {
        let Token::Name(name) = *token else { continue };
        let before = at.checked_sub(1).map(|at| tokens[at]);
        match name {
            "import" => scan.own.extend(listed(&tokens, at + 1)),
            "def" => {
                scan.own.extend(name_at(&tokens, at + 1));
                scan.own.extend(parameters(&tokens, at + 2, Token::Mark(')')));
            }
            "lambda" => scan.own.extend(parameters(&tokens, at, Token::Mark(':'))),
            "class" | "as" => scan.own.extend(name_at(&tokens, at + 1)),
            "for" => scan.own.extend(listed(&tokens, at + 1)),
            _ if is_in(KEYWORDS, name) || before == Some(Token::Mark('.')) => {}
            _ if matches!(before, Some(Token::Name("def" | "class"))) => {}
            _ if tokens.get(at + 1) == Some(&Token::Mark('(')) => {
                scan.called.push(name);
                if let [Token::Name(argument), Token::Mark(')'), ..] = tokens[at + 2..] {
                    scan.handed.push((name, argument));
                }
            }
            _ if starts_line(&tokens, at) && is_assigned(&tokens, at) => {
                scan.own.insert(name);
            }
            _ => {}
        }
    }
    scan
}

/// A token, as far as this module needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Name(&'a str),
    Mark(char),
    Line,
}

/// The tokens of a text without its strings, numbers and comments. Indentation is dropped.
fn tokens(code: &str) -> Vec<Token<'_>> {
    let (mut tokens, mut rest) = (Vec::new(), code);
    while let Some(first) = rest.chars().next() {
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        let length = match first {
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '\'' | '"' => quoted(rest, first),
            '\n' => {
                tokens.push(Token::Line);
                1
            }
            _ if first.is_alphabetic() || first == '_' => {
                let end = rest.find(|c: char| !is_name(c)).unwrap_or(rest.len());
                tokens.push(Token::Name(&rest[..end]));
                end
            }
            _ if first.is_ascii_digit() => rest.find(|c: char| !is_name(c) && c != '.').unwrap_or(rest.len()),
            _ => {
                if !first.is_whitespace() {
                    tokens.push(Token::Mark(first));
                }
                first.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    tokens
}

/// Length in bytes of the string that a text begins with.
fn quoted(text: &str, quote: char) -> usize {
    let triple: String = [quote; 3].iter().collect();
    let long = text.starts_with(&triple);
    let closing = if long { triple.as_str() } else { &triple[..1] };
    let mut at = closing.len();
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with(closing) {
            return at + closing.len();
        }
        let mut characters = rest.chars();
        let first = characters.next().map_or(1, char::len_utf8);
        at += match rest.as_bytes()[0] {
            b'\\' => first + characters.next().map_or(0, char::len_utf8),
            b'\n' if !long => return at,
            _ => first,
        };
    }
    text.len()
}

fn name_at<'a>(tokens: &[Token<'a>], at: usize) -> Option<&'a str> {
    match tokens.get(at) {
        Some(Token::Name(name)) => Some(name),
        _ => None,
    }
}

/// Names from here to the end of the line or of the clause: `a, b as c`, `(a, b)`, `x, y in …`.
fn listed<'a>(tokens: &[Token<'a>], from: usize) -> Vec<&'a str> {
    let listed = tokens.iter().skip(from).take_while(|token| {
        matches!(token, Token::Name(name) if *name != "in")
            || matches!(token, Token::Mark(',' | '(' | ')' | '.' | '*'))
    });
    listed.filter_map(|token| if let Token::Name(name) = token { Some(*name) } else { None }).collect()
}

/// Names that follow `lambda`, `(` or a comma, up to the mark that ends the parameters.
fn parameters<'a>(tokens: &[Token<'a>], from: usize, end: Token) -> Vec<&'a str> {
    let within: Vec<Token> = tokens.iter().skip(from).copied().take_while(|token| *token != end).collect();
    let opens = |token: Token| matches!(token, Token::Name("lambda") | Token::Mark('(' | ',' | '*'));
    let pairs = within.windows(2).filter(|pair| opens(pair[0]));
    pairs.filter_map(|pair| if let Token::Name(name) = pair[1] { Some(name) } else { None }).collect()
}

fn starts_line(tokens: &[Token], at: usize) -> bool {
    at == 0 || matches!(tokens[at - 1], Token::Line | Token::Mark(';'))
}

/// Whether the name here is the target of an assignment.
fn is_assigned(tokens: &[Token], at: usize) -> bool {
    let statement =
        tokens[at + 1..].iter().take_while(|token| !matches!(token, Token::Line | Token::Mark(';')));
    let rest: Vec<Token> = statement.copied().collect();
    match rest.as_slice() {
        [Token::Mark('='), next, ..] => *next != Token::Mark('='),
        // `a, b = …` and `a: int = …`
        [Token::Mark(',' | ':'), ..] => {
            let at = rest.iter().position(|token| *token == Token::Mark('='));
            at.is_some_and(|at| rest.get(at + 1) != Some(&Token::Mark('=')))
        }
        _ => false,
    }
}

fn is_in(words: &str, name: &str) -> bool {
    words.split(' ').any(|word| word == name)
}

const KEYWORDS: &str = "and assert async await break continue del elif else except finally from global if in is \
    nonlocal not or pass raise return try while with yield";

/// Builtins that tests wrap around what they test.
const WRAPPERS: &str = "abs all any bool bytearray bytes callable chr complex dict enumerate filter float format \
    frozenset getattr hasattr hash id int isinstance issubclass iter len list map next ord print \
    range repr reversed round set slice sorted str tuple type vars zip";

/// Every callable builtin that tests use.
const BUILTINS: &str = "abs aiter all anext any ascii bin bool breakpoint bytearray bytes callable chr classmethod \
    compile complex delattr dict dir divmod enumerate eval exec filter float format frozenset \
    getattr globals hasattr hash help hex id input int isinstance issubclass iter len list locals \
    map max memoryview min next object oct open ord pow print property range repr reversed round \
    set setattr slice sorted staticmethod str sum super tuple type vars zip __import__ Exception \
    ValueError TypeError AssertionError";

#[cfg(test)]
mod tests {
    use super::*;

    fn name(test: &str) -> String {
        of_tests([test], None).unwrap_or_default()
    }

    #[test]
    fn the_function_under_test_is_found_without_a_reference() {
        let cases = [
            ("assert add(1, 2) == 3", "add"),
            ("assert sorted(merge([3], [1])) == [1, 3]", "merge"),
            ("assert abs(pow(2, 3) - 8) < 1e-9", "pow"),
            ("assert abs(-3) == 3", "abs"),
            ("assert len(set(f(3))) == 2", "f"),
            ("assert math.isclose(area(2), 12.5)", "area"),
            ("import math\nassert math.isclose(area(2), 12.5)", "area"),
            ("from math import isclose\nassert isclose(area(2), 12.5)", "area"),
            ("from collections import Counter as C\nassert C(f('a')) == C('a')", "f"),
            ("x = []\nx.append(1)\nassert f(x) == 1", "f"),
            ("def close(a, b):\n    return abs(a - b) < 1e-6\nassert close(root(4), 2)", "root"),
            ("def check(candidate):\n    assert candidate(1) == 2\ncheck(f)", "f"),
            ("for n in range(3):\n    assert f(n) == n", "f"),
            ("g = lambda x: x + 1\nassert g(f(1)) == 3", "f"),
            ("assert 'g(1)' == f(1)  # not h(2)", "f"),
            ("assert not (is_even(3))", "is_even"),
            ("assert\tf (1) == 2", "f"),
            ("assert Stack().push(1) == 1", "Stack"),
        ];
        for (test, expected) in cases {
            assert_eq!(name(test), expected, "{test}");
        }
        assert_eq!(of_tests(["assert True", "x = 1"], None), None);
        assert_eq!(of_tests([], None), None);
    }

    #[test]
    fn a_reference_says_which_of_the_called_names_it_is() {
        let found = |test: &str, reference: &str| of_tests([test], Some(reference)).unwrap_or_default();
        assert_eq!(found("assert helper(add(1, 2)) == 3", "def add(a, b): return a + b"), "add");
        assert_eq!(found("assert sorted(sum([1], [2])) == [1]", "def sum (a, b): return a + b"), "sum");
        assert_eq!(found("assert double(2) == 4", "double = lambda x: 2 * x"), "double");
        assert_eq!(found("assert g(f(2)) == 4", "# def g(x)\nclass f: pass"), "f");
        // A reference that defines nothing that is called says nothing.
        assert_eq!(found("assert sorted(f(2)) == [4]", "def other(): pass"), "f");
    }

    #[test]
    fn whatever_is_written_is_read() {
        for text in ["'", "\"\"\"", "f(", "def", "lambda", "assert '\\", "import", "ä(1)", "a, b = 1; f(a)"]
        {
            let _ = of_tests([text], Some(text));
        }
    }
}
