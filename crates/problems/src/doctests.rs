//! Problems from documented functions: a docstring's words ask, its examples are the tests.
//!
//! The interpreter finds the package and parses its files ([`collect.py`](collect)); nothing of the
//! package is imported. A function that is like a problem that others report on ([`kept_out`](crate::kept_out))
//! is left out: what is learned from must not hold what is measured by.

use crate::kept_out::{KeptOut, Like};
use crate::sets::PROTOCOL_IMPORTS;
use python::Check;
use records::{Problem, Shown, Split};
use serde::Deserialize;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What the interpreter runs.
const COLLECT: &str = include_str!("doctests/collect.py");

/// Problems, and the functions that are none.
#[derive(Debug, Default)]
pub struct Collected {
    /// The problems; none has been judged yet.
    pub problems: Vec<Problem>,
    /// Functions with examples of which no problem can be made.
    pub dropped: Vec<Dropped>,
}

/// A function of which no problem can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// The function, with its module.
    pub function: String,
    /// Why.
    pub reason: String,
}

/// Why there are no such problems.
#[derive(Debug, thiserror::Error)]
pub enum DoctestError {
    /// There is no Python to parse with.
    #[error("cannot run '{}' as Python: {source}", python.display())]
    NoPython {
        /// What was tried.
        python: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The package is not there, or has no source.
    #[error("doctests:{target}: {message}")]
    NotFound {
        /// What was asked for.
        target: String,
        /// What the interpreter said.
        message: String,
    },
    /// No function of it makes a problem.
    #[error(
        "doctests:{target}: expected functions whose docstrings have words and examples (>>> f(1)), found none that \
         can stand alone"
    )]
    None {
        /// What was asked for.
        target: String,
    },
}

/// One line of what the interpreter says.
#[derive(Deserialize)]
struct Line {
    function: String,
    #[serde(default)]
    dropped: Option<String>,
    #[serde(default)]
    name: String,
    #[serde(default)]
    signature: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    tests: Vec<String>,
    #[serde(default)]
    test_setup: String,
    #[serde(default)]
    reference: String,
}

/// The documented functions of a folder, a file, or a package that this interpreter has, as problems to
/// learn from.
///
/// # Errors
/// Where the interpreter does not run, finds no source, or no function makes a problem.
pub fn collect(python: &Path, target: &str) -> Result<Collected, DoctestError> {
    let mut command = Command::new(python);
    command.args(["-c", COLLECT, target]).stdin(Stdio::null());
    let output =
        command.output().map_err(|source| DoctestError::NoPython { python: python.to_owned(), source })?;
    let refused =
        |message: &str| DoctestError::NotFound { target: target.to_owned(), message: message.to_owned() };
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        return Err(refused(told.lines().last().unwrap_or("the interpreter ended without a word").trim()));
    }
    let mut collected = Collected::default();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let line: Line = serde_json::from_str(line)
            .map_err(|error| refused(&format!("the interpreter's answer cannot be read: {error}")))?;
        let reason = line.dropped.clone().or_else(|| reserved(&line).map(str::to_owned));
        match reason {
            Some(reason) => collected.dropped.push(Dropped { function: line.function, reason }),
            None => collected.problems.push(problem(line)),
        }
    }
    if collected.problems.is_empty() {
        return Err(DoctestError::None { target: target.to_owned() });
    }
    Ok(collected)
}

fn problem(line: Line) -> Problem {
    let Line { function, name, signature, text, tests, test_setup, reference, .. } = line;
    let check = Check {
        entry_point: name.clone(),
        setup: PROTOCOL_IMPORTS.to_owned(),
        test_setup,
        tests: tests.clone(),
        ..Check::default()
    };
    Problem {
        id: format!("doctests/{function}"),
        shown: Shown {
            statement: format!("Write a function `{signature}` that does the following.\n\n{text}"),
            examples: tests,
            default_examples: 1,
            opening: None,
            name,
        },
        check: check.into_record(),
        references: vec![reference],
        split: Split::Train,
    }
}

/// Why a function must not be learned from.
fn reserved(line: &Line) -> Option<&'static str> {
    KeptOut::published().like(&line.name, &line.text).map(|like| match like {
        Like::Name => "a problem of MBPP's test split or of HumanEval has its name",
        Like::Text => "a problem of MBPP's test split or of HumanEval has nearly its words",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODULE: &str = r#"
import operator
from functools import reduce as fold
from .other import helper
import unknown_package

LIMIT = 3

def product(values, start=1):
    """Multiply all values.

    >>> product([2, 3])
    6
    >>> product(x for x in [])
    1
    >>> numbers = [4, 5]
    >>> product(numbers, start=LIMIT)
    60
    >>> product(['a', 2])
    Traceback (most recent call last):
    TypeError: no
    >>> product([2.5]) # doctest: +ELLIPSIS
    2...
    """
    # All of them.
    return fold(operator.mul, values, start)

def leading(values):
    """The first of some values, as a set of itself.

    >>> sorted(leading(helper([3, 1])))
    [3]
    >>> leading([1])
    {1}
    >>> leading([2]) == {2}
    True
    >>> print(leading([5]))
    {5}
    """
    return {helper(values)[0]}

def _hidden():
    """>>> _hidden()
    1
    """

def foreign(value):
    """Something else again, by another package.

    >>> foreign(1)
    1
    """
    return unknown_package.go(value)

def add(x, y):
    """Has a name that is taken.

    >>> add(1, 2)
    3
    """
    return x + y
"#;

    fn collected() -> Collected {
        let directory = tempfile::tempdir().expect("a directory");
        let package = directory.path().join("kit");
        std::fs::create_dir(&package).expect("a directory");
        std::fs::write(package.join("__init__.py"), "raise SystemExit('imported')\n").expect("written");
        std::fs::write(package.join("main.py"), MODULE).expect("written");
        std::fs::write(package.join("other.py"), "def helper(v):\n    'Doc.'\n    return list(v)\n")
            .expect("written");
        collect("python3".as_ref(), &package.display().to_string()).expect("problems")
    }

    #[test]
    fn a_documented_function_is_a_problem_that_stands_alone() {
        let Collected { problems, dropped } = collected();
        let ids: Vec<&str> = problems.iter().map(|problem| problem.id.as_str()).collect();
        assert_eq!(ids, ["doctests/kit.main.product", "doctests/kit.main.leading"]);
        let check = Check::of(&problems[0]).expect("a check");
        assert_eq!(
            check.tests,
            [
                "assert product([2, 3]) == 6",
                "assert product((x for x in [])) == 1",
                "numbers = [4, 5]\nassert product(numbers, start=LIMIT) == 60",
            ]
        );
        assert_eq!(check.test_setup, "LIMIT = 3");
        let shown = &problems[0].shown;
        assert_eq!(
            shown.statement,
            "Write a function `product(values, start=1)` that does the following.\n\nMultiply all values."
        );
        assert_eq!((shown.visible().len(), problems[0].split), (1, Split::Train));
        assert_eq!(
            problems[0].references[0],
            "from functools import reduce as fold\n\nimport operator\n\ndef product(values, start=1):\n    # All of \
             them.\n    return fold(operator.mul, values, start)\n"
        );
        assert_eq!(
            Check::of(&problems[1]).expect("a check").tests[1..],
            [
                "assert leading([1]) == {1}",
                "assert (leading([2]) == {2}) == True",
                "assert str(leading([5])) == '{5}'",
            ]
        );
        assert!(problems[1].references[0].starts_with("def helper(v):\n    return list(v)\n"));
        let reasons: Vec<(&str, &str)> =
            dropped.iter().map(|dropped| (dropped.function.as_str(), dropped.reason.as_str())).collect();
        assert_eq!(reasons[0], ("kit.main.foreign", "it needs another package"));
        assert!(reasons[1].1.contains("HumanEval has its name") && reasons.len() == 2, "{reasons:?}");
    }

    /// A disk, or a folder of many packages, is no package.
    #[test]
    fn what_is_too_much_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let large = std::fs::File::create(directory.path().join("large.py")).expect("a file");
        large.set_len(49 << 20).expect("a long file");
        let target = directory.path().display().to_string();
        let error = collect("python3".as_ref(), &target).expect_err("too much").to_string();
        assert!(error.contains("48 MiB") && error.contains("name a part of it"), "{error}");
    }

    #[test]
    fn what_is_not_there_is_named() {
        let message = |target: &str| collect("python3".as_ref(), target).expect_err(target).to_string();
        assert!(message("no_such_package_here").contains("no file, folder or installed package"));
        assert!(message("sys").contains("no Python source"));
        let error = collect("/nowhere/python".as_ref(), "json").expect_err("no interpreter");
        assert!(error.to_string().contains("/nowhere/python"));
    }
}
