//! Examples in a docstring, as tests.

use pydata::{parse_call, parse_literal};

/// Calls of `name` with literal arguments that a text shows with their results, as asserts in their
/// order:
///
/// ```text
/// >>> add(2, 3)
/// 5
/// add(1, 1) => 2
/// add(4, 1) should return 5.
/// ```
///
/// gives `assert add(2, 3) == 5` and so on. What is not a single call, or whose result is not a literal,
/// is left out, and so is a repetition.
pub(crate) fn examples(text: &str, name: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let mut examples: Vec<String> = Vec::new();
    for at in 0..lines.len() {
        let found = interactive(&lines[at..], name).or_else(|| in_a_line(lines[at], name));
        let Some((call, result)) = found else { continue };
        let example = format!("assert {call} == {result}");
        if !examples.contains(&example) {
            examples.push(example);
        }
    }
    examples
}

/// A call after the interpreter's prompt, and its result below.
fn interactive(lines: &[&str], name: &str) -> Option<(String, String)> {
    let source = lines.first()?.strip_prefix(">>>").map(str::trim)?;
    let call = parse_call(source).ok().filter(|call| call.function == name)?;
    let shown: Vec<&str> = lines[1..]
        .iter()
        .take_while(|line| !line.is_empty() && !line.starts_with(">>>"))
        .map(|line| without_quotes(line))
        .collect();
    // One line that words may follow, or several lines, whose breaks an assert cannot keep.
    let one_line = || shown.first().filter(|line| parse_literal(line).is_ok()).map(|line| (*line).to_owned());
    let several = || parse_literal(&shown.join("\n")).ok().map(|value| value.to_string());
    Some((call.source.trim().to_owned(), one_line().or_else(several)?))
}

/// A line without the quotes that close its docstring.
fn without_quotes(line: &str) -> &str {
    line.trim_end_matches("\"\"\"").trim_end_matches("'''").trim_end()
}

/// What people write between a call and its result, longer ones before those that they begin with.
const BETWEEN: [&str; 10] = ["==>", "=>", "==", "->", "➞", "→", "=", "should return", "returns", "return"];

/// A call and its result in one line.
fn in_a_line(line: &str, name: &str) -> Option<(String, String)> {
    let start = line.find(&format!("{name}("))?;
    let before = line[..start].trim().trim_end_matches(['.', ')']);
    // A list's mark, or a word that leads to an example; else it is a sentence, or a piece of program.
    if !matches!(before, "" | "*" | "-" | "for" | "For" | ">>>") && before.parse::<u32>().is_err() {
        return None;
    }
    let end = start + call_length(&line[start..])?;
    let call = parse_call(&line[start..end]).ok()?;
    let rest = line[end..].trim_start().trim_start_matches('#').trim_start();
    let result = BETWEEN.iter().find_map(|between| rest.strip_prefix(between))?.trim();
    Some((call.source, result_of(without_quotes(result))?))
}

/// The literal that a text is, whatever words or marks follow it.
fn result_of(text: &str) -> Option<String> {
    let ends = [" #", " (", "#"].into_iter().filter_map(|mark| text.find(mark));
    let parts = [text.len()].into_iter().chain(ends).map(|end| text[..end].trim_end());
    parts.flat_map(|part| [part, part.trim_end_matches(['.', ',', ';'])]).find_map(|part| match part {
        "true" | "True" => Some("True".to_owned()),
        "false" | "False" => Some("False".to_owned()),
        _ => parse_literal(part).is_ok().then(|| part.to_owned()),
    })
}

/// Length in bytes of the call that a text begins with.
fn call_length(text: &str) -> Option<usize> {
    let (mut depth, mut quote, mut escaped) = (0usize, None, false);
    for (at, character) in text.char_indices() {
        match (quote, character) {
            _ if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), _) if open == character => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(character),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_with_literal_results_become_asserts() {
        let prompt = "def f(a, b):\n    \"\"\" Adds.\n    >>> f(2, 3)\n    5\n    >>> f(2.5, b=1)\n    3.5\n    \
                      >>> g(1)\n    1\n    >>> f(x, 1)\n    2\n    >>> f(1, 1)\n    two\n    >>> f(0, 0)\n\n    \
                      >>> f([1],\n    >>> f('a', 'b')\n    'ab'\"\"\"\n";
        let expected = ["assert f(2, 3) == 5", "assert f(2.5, b=1) == 3.5", "assert f('a', 'b') == 'ab'"];
        assert_eq!(examples(prompt, "f"), expected);
        assert!(examples(prompt, "h").is_empty());
    }

    #[test]
    fn a_result_may_take_several_lines_or_be_followed_by_words() {
        assert_eq!(examples(">>> f(1)\n[1,\n2]\n\nEnd", "f"), ["assert f(1) == [1, 2]"]);
        assert_eq!(examples(">>> f(1)\n[1]\nThat is all.", "f"), ["assert f(1) == [1]"]);
        assert_eq!(examples(">>> f(1)\n1\n>>> f(1)\n1", "f").len(), 1);
    }

    #[test]
    fn a_result_may_stand_in_the_line_of_its_call() {
        let is = |line: &str, example: &str| assert_eq!(examples(line, "f"), [example], "{line}");
        is("    f(1, 'a)') => [2]", "assert f(1, 'a)') == [2]");
        is("* f(1) ==> true", "assert f(1) == True");
        is("f(1) should return 'x'.", "assert f(1) == 'x'");
        is("f(1) # => 'No' (since it is none)", "assert f(1) == 'No'");
        is("2. f(2.5) \u{279e} -1,", "assert f(2.5) == -1");
        is("f(2) == 3\"\"\"", "assert f(2) == 3");
        for line in
            ["if f(1) == 2:", "def f(1) = 2", "f(x) = 2", "f(1) = 1 + n", "f(1", "f(1) 2", "x = f(1) == 2"]
        {
            assert!(examples(line, "f").is_empty(), "{line}");
        }
    }
}
