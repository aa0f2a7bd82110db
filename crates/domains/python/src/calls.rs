//! The calls of a function in its tests, wherever in them they stand.

use crate::extract::tokens::{Kind, Lexer, Token};
use pydata::parse_call;

/// The different calls of `function` that tests make, in their order: `assert set(f(1)) == {2}` calls
/// `f(1)`. A call whose arguments name what only the test knows is none: nobody else could make it. In a
/// `check` function, `candidate` is the function.
pub(crate) fn of_tests(tests: &[String], function: &str) -> Vec<String> {
    let mut calls: Vec<String> = Vec::new();
    for test in tests {
        let has_check = test.contains("def check(candidate)");
        let names = [function, "candidate"];
        for call in of_test(test, &names[..1 + usize::from(has_check)]) {
            let arguments = &call[call.find('(').unwrap_or(call.len())..];
            let call = format!("{function}{arguments}");
            if !calls.contains(&call) {
                calls.push(call);
            }
        }
    }
    calls
}

/// The calls of one of some names in a test.
fn of_test<'t>(test: &'t str, names: &[&str]) -> Vec<&'t str> {
    let tokens: Vec<Token> = Lexer::new(test).filter(|token| token.kind != Kind::Comment).collect();
    let text = |at: usize| tokens.get(at).map_or("", |token: &Token| token.of(test));
    let mut calls = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let is_called = token.kind == Kind::Name && names.contains(&token.of(test)) && text(at + 1) == "(";
        let is_other = at > 0 && matches!(text(at - 1), "." | "def");
        if !is_called || is_other {
            continue;
        }
        let Some(end) = closing(&tokens, test, at + 1) else { continue };
        let source = &test[token.start..tokens[end].end];
        if parse_call(source).is_ok() || stands_alone(&tokens[at + 2..end], test) {
            calls.push(source);
        }
    }
    calls
}

/// The place of the bracket that closes the one at `open`.
fn closing(tokens: &[Token], test: &str, open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.of(test) {
            "(" | "[" | "{" if token.kind == Kind::Operator => depth += 1,
            ")" | "]" | "}" if token.kind == Kind::Operator => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// Whether arguments mean the same outside their test: their names are called (`Pair(1, 2)`, which a
/// solution defines) or name an argument.
fn stands_alone(arguments: &[Token], test: &str) -> bool {
    arguments.iter().enumerate().all(|(at, token)| {
        let next = arguments.get(at + 1).map_or("", |next| next.of(test));
        token.kind != Kind::Name
            || matches!(token.of(test), "None" | "True" | "False")
            || matches!(next, "(" | "=")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_found_wherever_it_stands() {
        let is = |test: &str, calls: &[&str]| assert_eq!(of_tests(&[test.to_owned()], "f"), calls, "{test}");
        is("assert f(1, [2]) == 3", &["f(1, [2])"]);
        is("assert math.isclose(f(1.5), 2, rel_tol=0.01)", &["f(1.5)"]);
        is("assert set(f('a(', {1: 2})) == set(['a'])", &["f('a(', {1: 2})"]);
        is("assert f(1)[0] == f(2, k=3)[0]", &["f(1)", "f(2, k=3)"]);
        is("assert f([Pair(1, 2), Pair(3, 4)], 2) == 2", &["f([Pair(1, 2), Pair(3, 4)], 2)"]);
        is("assert f(\n    1,  # one\n) == 2", &["f(\n    1,  # one\n)"]);
        is("assert f(f(1)) == 3", &["f(f(1))", "f(1)"]);
    }

    #[test]
    fn what_only_the_test_could_call_is_no_call() {
        for test in ["assert f(x) == 1", "assert g.f(1) == 1", "assert g('f(1)') == 1", "# f(1)", "f(1"] {
            assert!(of_tests(&[test.to_owned()], "f").is_empty(), "{test}");
        }
        let check = "def check(candidate):\n    for x in [1]:\n        assert candidate(x) == 2\n    assert candidate(3) == 4\n";
        assert_eq!(of_tests(&[check.to_owned()], "f"), ["f(3)"]);
        assert!(of_tests(&["assert candidate(1) == 2".to_owned()], "f").is_empty());
    }
}
