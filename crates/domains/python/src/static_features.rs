//! What a program's text tells of whether it is right: it is read, never run.
//!
//! A scan of tokens, not a parser: it must say something of programs that do not parse, too.

/// The static features of a program for a problem's function, as named numbers. Names and order are
/// the same for every program; rankers are trained on them.
pub fn of(code: &str, entry_point: &str) -> Vec<(&'static str, f64)> {
    let features = StaticFeatures::of(code, entry_point);
    vec![
        ("unused_parameters", features.unused_parameters),
        ("returns_nothing", features.returns_nothing),
        ("endless_recursion", features.endless_recursion),
        ("functions", features.functions),
        ("loops", features.loops),
        ("branches", features.branches),
        ("imports", features.imports),
        ("prints", features.prints),
        ("inputs", features.inputs),
        ("calls", features.calls),
        ("constants", features.constants),
        ("list_of_set", features.list_of_set),
        ("docstring", features.docstring),
        ("unclosed", features.unclosed),
    ]
}

/// What the text of a program shows; counts stop at 5, where more says no more.
#[derive(Clone, Debug, Default, PartialEq)]
struct StaticFeatures {
    /// Parameters of the entry point that its body never names.
    unused_parameters: f64,
    /// Whether nothing is ever returned.
    returns_nothing: f64,
    /// Whether it calls itself and never asks whether to.
    endless_recursion: f64,
    /// Functions defined.
    functions: f64,
    /// `for` and `while`, those of comprehensions included.
    loops: f64,
    /// `if`, `elif` and conditional expressions.
    branches: f64,
    /// `import` statements.
    imports: f64,
    /// Calls of `print`.
    prints: f64,
    /// Calls of `input`.
    inputs: f64,
    /// Calls of anything.
    calls: f64,
    /// Numbers and texts written out.
    constants: f64,
    /// Whether a set becomes a list: its order is then anybody's guess.
    list_of_set: f64,
    /// Whether it has a text in three quotes: a docstring, mostly.
    docstring: f64,
    /// Whether brackets or quotes are left open.
    unclosed: f64,
}

/// A token, as far as features need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Name(&'a str),
    Constant,
    LongText,
    Mark(char),
}

impl StaticFeatures {
    /// Reads a program for a problem's function.
    fn of(code: &str, entry_point: &str) -> Self {
        let (tokens, closed) = tokens(code);
        let count = |wanted: &[&str]| {
            let named = tokens.iter().filter(|t| matches!(t, Token::Name(name) if wanted.contains(name)));
            capped(named.count())
        };
        let calls_of = |name: &str| {
            let is = |pair: &&[Token]| pair[0] == Token::Name(name) && pair[1] == Token::Mark('(');
            tokens.windows(2).filter(is).count()
        };
        let calls = tokens.windows(2).filter(|pair| {
            matches!(pair[0], Token::Name(name) if !is_keyword(name)) && pair[1] == Token::Mark('(')
        });
        let list_of_set = tokens.windows(3).any(|three| {
            three[0] == Token::Name("list") && three[1] == Token::Mark('(') && three[2] == Token::Name("set")
        });
        let constants = tokens.iter().filter(|token| **token == Token::Constant).count();
        // Its own definition looks like a call once.
        let calls_itself = calls_of(entry_point) > 1;
        StaticFeatures {
            unused_parameters: unused_parameters(&tokens, entry_point),
            returns_nothing: number(count(&["return", "yield", "lambda"]) == 0.0),
            endless_recursion: number(calls_itself && count(&["if", "while", "and", "or"]) == 0.0),
            functions: count(&["def"]),
            loops: count(&["for", "while"]),
            branches: count(&["if", "elif"]),
            imports: count(&["import"]),
            prints: capped(calls_of("print")),
            inputs: capped(calls_of("input")),
            calls: (calls.count() as f64).ln_1p(),
            constants: (constants as f64).ln_1p(),
            list_of_set: number(list_of_set),
            docstring: number(tokens.contains(&Token::LongText)),
            unclosed: number(!closed),
        }
    }
}

fn number(yes: bool) -> f64 {
    f64::from(u8::from(yes))
}

fn capped(count: usize) -> f64 {
    count.min(5) as f64
}

fn is_keyword(name: &str) -> bool {
    [
        "if", "elif", "while", "for", "in", "not", "and", "or", "return", "def", "lambda", "print", "yield",
        "is",
    ]
    .contains(&name)
}

/// Parameters of a function's last definition that are not named after its signature.
fn unused_parameters(tokens: &[Token], entry_point: &str) -> f64 {
    let defines = |pair: &[Token]| pair[0] == Token::Name("def") && pair[1] == Token::Name(entry_point);
    let Some(start) = tokens.windows(2).rposition(defines) else { return 0.0 };
    let (mut depth, mut parameters, mut expects_name, mut end) = (0usize, Vec::new(), false, tokens.len());
    for (at, token) in tokens.iter().enumerate().skip(start + 2) {
        match token {
            Token::Mark('(' | '[' | '{') => {
                depth += 1;
                expects_name = depth == 1;
            }
            Token::Mark(')' | ']' | '}') => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    end = at + 1;
                    break;
                }
            }
            Token::Mark(',') if depth == 1 => expects_name = true,
            Token::Name(name) if depth == 1 && expects_name => {
                parameters.push(*name);
                expects_name = false;
            }
            _ => {}
        }
    }
    let body = &tokens[end..];
    capped(parameters.iter().filter(|name| !body.contains(&Token::Name(name))).count())
}

/// The tokens of a program without comments, and whether all that opens closes.
fn tokens(code: &str) -> (Vec<Token<'_>>, bool) {
    let (mut tokens, mut depth, mut closed) = (Vec::new(), 0i64, true);
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let taken = match first {
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '\'' | '"' => {
                let (length, long, ends) = quoted(rest, first);
                tokens.push(if long { Token::LongText } else { Token::Constant });
                closed &= ends;
                length
            }
            _ if first.is_alphabetic() || first == '_' => {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                tokens.push(Token::Name(&rest[..end]));
                end
            }
            _ if first.is_ascii_digit() => {
                tokens.push(Token::Constant);
                rest.find(|c: char| !c.is_alphanumeric() && c != '.' && c != '_').unwrap_or(rest.len())
            }
            _ => {
                depth += i64::from("([{".contains(first)) - i64::from(")]}".contains(first));
                if !first.is_whitespace() {
                    tokens.push(Token::Mark(first));
                }
                first.len_utf8()
            }
        };
        rest = &rest[taken..];
    }
    (tokens, closed && depth == 0)
}

/// Length in bytes of the text that begins here, whether it has three quotes, and whether it ends.
fn quoted(code: &str, quote: char) -> (usize, bool, bool) {
    let triple: String = [quote; 3].iter().collect();
    let long = code.starts_with(&triple);
    let closing = if long { triple.as_str() } else { &triple[..1] };
    let mut at = closing.len();
    while at < code.len() {
        let rest = &code[at..];
        if rest.starts_with(closing) {
            return (at + closing.len(), long, true);
        }
        let mut characters = rest.chars();
        let first = characters.next().map_or(1, char::len_utf8);
        at += match rest.as_bytes()[0] {
            b'\\' => first + characters.next().map_or(0, char::len_utf8),
            b'\n' if !long => return (at, long, false),
            _ => first,
        };
    }
    (code.len(), long, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_read_from_text() {
        let features = StaticFeatures::of(
            "import re\ndef f(a, b=[1, 2], *rest):\n    '''the b of rest'''\n    # b\n    print(\"b\")\n    return list(set(a))\n",
            "f",
        );
        assert_eq!(features.unused_parameters, 2.0);
        assert_eq!((features.imports, features.prints, features.functions), (1.0, 1.0, 1.0));
        assert_eq!((features.list_of_set, features.docstring, features.unclosed), (1.0, 1.0, 0.0));
        assert_eq!(features.returns_nothing, 0.0);
    }

    #[test]
    fn names_and_order_are_the_same_for_every_program() {
        let names = |code: &str| of(code, "f").into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(""), names("def f(x):\n    return x\n"));
        assert_eq!((names("").len(), of("def f(): print(1)", "f")[1]), (14, ("returns_nothing", 1.0)));
    }

    #[test]
    fn recursion_needs_an_end() {
        let endless = |code: &str| StaticFeatures::of(code, "f").endless_recursion;
        assert_eq!(endless("def f(n): return n * f(n - 1)"), 1.0);
        assert_eq!(endless("def f(n): return n * f(n - 1) if n else 1"), 0.0);
        assert_eq!(endless("def f(n): return n"), 0.0);
    }

    #[test]
    fn whatever_is_written_is_read() {
        for code in
            ["", "'", "\"\"\"", "def f(", "'\\", "def f(ä): return 'ü\\", "\\\u{3042}\n'\\\u{3042}", ")))"]
        {
            let features = StaticFeatures::of(code, "f");
            assert!(features.unclosed == 1.0 || !code.contains(['(', ')', '\'', '"']), "{code}");
        }
    }
}
