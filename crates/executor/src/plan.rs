//! How a problem's tests are judged.
//!
//! As far as possible a test is data: a call, and a value to compare with. What is more than that
//! runs in an interpreter of the judge's, which calls the candidate by messages. Only what needs
//! the candidate's classes runs beside it, and says so.

use crate::test_judge::{Lowered, Piece, TestJudge};
use pydata::{Value, parse_assert, parse_literal};
use records::{JudgeMode, Problem, Test};
use std::io;

/// A test, or a part of one, ready to be judged.
#[derive(Clone, Debug)]
pub enum PreparedTest {
    /// The call's value is compared with the expected one here.
    Compared {
        /// `f(1, 2)`
        call: String,
        /// What it shall give.
        expected: Value,
    },
    /// The test runs in the judge's interpreter.
    Proxied {
        /// Its source.
        source: String,
    },
    /// The test runs in the candidate's process.
    InProcess {
        /// Its source.
        source: String,
    },
}

/// All tests of a problem.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Comparisons keep their order; what is more comes where its test stood.
    pub tests: Vec<PreparedTest>,
}

impl Plan {
    /// The plan where every test is a comparison that can be read here.
    pub fn of_comparisons(problem: &Problem) -> Option<Self> {
        let compared = |test: &Test| {
            let assert = parse_assert(&test.source).ok()?;
            Some(PreparedTest::Compared { call: assert.call.source, expected: assert.expected })
        };
        Some(Plan { tests: problem.tests.iter().map(compared).collect::<Option<_>>()? })
    }

    /// The plan of any problem.
    ///
    /// # Errors
    /// The inner error says which test is not Python; the outer one that the interpreter is gone.
    pub fn lowered(problem: &Problem, judge: &mut TestJudge) -> io::Result<Result<Self, String>> {
        let mut tests = Vec::new();
        let all = judge.lower(&problem.entry_point, &problem.tests)?;
        for (at, lowered) in all.into_iter().enumerate() {
            match lowered {
                Lowered::Unusable { error } => {
                    return Ok(Err(format!("test {} of {}: {error}", at + 1, problem.id)));
                }
                Lowered::Pieces { pieces } => tests.extend(pieces.into_iter().map(prepared)),
            }
        }
        Ok(Ok(Plan { tests }))
    }

    /// The weakest mode of its tests.
    pub fn mode(&self) -> JudgeMode {
        let mode = |test: &PreparedTest| match test {
            PreparedTest::Compared { .. } => JudgeMode::Compared,
            PreparedTest::Proxied { .. } => JudgeMode::Proxied,
            PreparedTest::InProcess { .. } => JudgeMode::InProcess,
        };
        self.tests.iter().map(mode).max().unwrap_or(JudgeMode::Compared)
    }

    /// The plan that runs beside the candidate what would run in the judge's interpreter. All tests
    /// of such a problem run so, as they were written.
    pub fn in_process(problem: &Problem) -> Self {
        let weak = |test: &Test| PreparedTest::InProcess { source: test.source.clone() };
        Plan { tests: problem.tests.iter().map(weak).collect() }
    }
}

fn prepared(piece: Piece) -> PreparedTest {
    match piece {
        Piece::Comparison { call, expected } => match parse_literal(&expected) {
            Ok(expected) => PreparedTest::Compared { call, expected },
            Err(_) => PreparedTest::Proxied { source: format!("assert {call} == {expected}") },
        },
        Piece::Source { source } => PreparedTest::Proxied { source },
    }
}
