//! What is asked.

use crate::Error;
use records::Problem;

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// What the program shall do, in words.
    pub text: String,
    /// Tests that it must pass: pieces of Python that raise when it is wrong, asserts mostly.
    pub tests: Vec<String>,
}

impl Question {
    /// A question as people write it: lines that are `assert call == literal` are its tests, the
    /// others its words.
    pub fn parse(text: &str) -> Self {
        let is_test = |line: &&str| pydata::parse_assert(line.trim_start()).is_ok();
        let (tests, words): (Vec<&str>, Vec<&str>) = text.lines().map(str::trim_end).partition(is_test);
        Question {
            text: words.join("\n").trim().to_owned(),
            tests: tests.iter().map(|test| test.trim().to_owned()).collect(),
        }
    }

    /// The question as a problem; its function's name is what the tests call. All tests may be shown.
    ///
    /// # Errors
    /// Where there is no text.
    pub fn problem(&self) -> Result<Problem, Error> {
        let text = self.text.trim();
        if text.is_empty() {
            return Err(Error::Empty);
        }
        Ok(problems::sets::problem_of_tests("question", text, self.tests.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_in_a_message_are_tests() {
        let question =
            Question::parse("Double it.\n  assert f(1) == 2\nassert that it works\nassert f(2) == 4\n");
        assert_eq!(question.text, "Double it.\nassert that it works");
        assert_eq!(question.tests, ["assert f(1) == 2", "assert f(2) == 4"]);
    }

    #[test]
    fn a_question_is_a_problem_whose_tests_may_be_shown() {
        let question = Question { text: " Double. ".into(), tests: vec!["assert twice(2) == 4".into()] };
        let problem = question.problem().expect("a problem");
        assert_eq!((problem.shown.statement.as_str(), problem.shown.name.as_str()), ("Double.", "twice"));
        assert_eq!(problem.shown.examples, question.tests);
        assert!(matches!(Question::default().problem(), Err(Error::Empty)));
    }
}
