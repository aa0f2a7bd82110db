//! Examples in a docstring, as tests.

use pydata::{parse_call, parse_literal};

/// Calls of `name` with literal arguments that a text shows with their results, as asserts in their
/// order:
///
/// ```text
/// >>> add(2, 3)
/// 5
/// ```
///
/// gives `assert add(2, 3) == 5`. What is not a single call, or whose result is not a literal, is
/// left out, and so is a repetition.
pub(crate) fn examples(text: &str, name: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let mut examples: Vec<String> = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(source) = line.strip_prefix(">>>").map(str::trim) else { continue };
        let Some(call) = parse_call(source).ok().filter(|call| call.function == name) else { continue };
        let shown: Vec<&str> = lines[at + 1..]
            .iter()
            .take_while(|line| !line.is_empty() && !line.starts_with(">>>"))
            .map(|line| line.trim_end_matches("\"\"\"").trim_end_matches("'''").trim_end())
            .collect();
        // One line that words may follow, or several lines, whose breaks an assert cannot keep.
        let one_line =
            || shown.first().filter(|line| parse_literal(line).is_ok()).map(|line| (*line).to_owned());
        let several = || parse_literal(&shown.join("\n")).ok().map(|value| value.to_string());
        let Some(result) = one_line().or_else(several) else { continue };
        let example = format!("assert {} == {result}", call.source.trim());
        if !examples.contains(&example) {
            examples.push(example);
        }
    }
    examples
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
}
