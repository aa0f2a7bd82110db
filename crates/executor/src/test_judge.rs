//! The interpreter that holds those tests that are more than a comparison. It runs the problem's
//! own code, which is trusted as far as the problem is, and never a candidate's.

use crate::backend::{Conversation, Silence};
use crate::interpreter::Interpreter;
use crate::sandbox::Tier;
use crate::wire::{Message, decode, take_message};
use crate::zygote::readable;
use crate::{Error, Settings};
use records::{Problem, Test};
use rustix::process::Pid;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

const PROGRAM: &str = concat!(
    include_str!("python/plain.py"),
    include_str!("python/namespaces.py"),
    include_str!("python/confine.py"),
    include_str!("python/judge.py")
);
/// Longest message: what a test hands to the candidate.
const LIMIT: usize = 1 << 25;
/// Time for a test to end that gets no answers any more.
const ABANDONING: Duration = Duration::from_secs(1);
/// Time to take a problem's tests apart.
const LOWERING: Duration = Duration::from_secs(10);

/// One test, taken apart.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Lowered {
    /// Comparisons, and what is left over.
    Pieces {
        /// In the test's order, what is left over last.
        pieces: Vec<Piece>,
    },
    /// It is not Python.
    Unusable {
        /// What is wrong and where.
        error: String,
    },
}

/// Part of a test.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Piece {
    /// `assert call == expected`, both literal.
    Comparison {
        /// `f(1, 2)`
        call: String,
        /// The literal.
        expected: String,
    },
    /// Anything else.
    Source {
        /// Python statements.
        source: String,
    },
}

/// How a test that ran in the judge's interpreter ended.
pub enum Checked {
    /// Nothing was raised.
    Passed,
    /// The test raised this.
    Raised(String),
    /// It hands over what is not plain data, and has to run beside the candidate.
    Unfit,
    /// The candidate's process fell silent.
    Silent(Silence),
    /// A call gave this instead of a value or an exception.
    Refused(Message),
    /// The test itself ran out of time on what the candidate gave it.
    OutOfTime,
}

/// A running judge's interpreter.
pub struct TestJudge {
    interpreter: Interpreter,
    buffer: Vec<u8>,
}

impl TestJudge {
    /// Starts it, at the same tier as the candidates.
    pub fn start(settings: &Settings, tier: Tier) -> Result<Self, Error> {
        Ok(TestJudge { interpreter: Interpreter::start(PROGRAM, settings, tier)?, buffer: Vec::new() })
    }

    /// Its process.
    pub fn process(&self) -> Pid {
        self.interpreter.process()
    }

    /// Takes tests apart.
    pub fn lower(&mut self, entry_point: &str, tests: &[Test]) -> io::Result<Vec<Lowered>> {
        let sources: Vec<&str> = tests.iter().map(|test| test.source.as_str()).collect();
        self.send(&json!({ "op": "lower", "entry_point": entry_point, "tests": sources }))?;
        let answer = self.next(Instant::now() + LOWERING)?;
        serde_json::from_slice(&answer.payload).map_err(io::Error::other)
    }

    /// Runs a test whose calls go to a candidate.
    ///
    /// # Errors
    /// Where the interpreter itself is gone: this says nothing of the candidate.
    pub fn check(
        &mut self,
        problem: &Problem,
        source: &str,
        candidate: &mut dyn Conversation,
    ) -> io::Result<Checked> {
        let setup = format!("{}\n{}", problem.setup, problem.test_setup);
        self.send(
            &json!({ "op": "check", "setup": setup, "source": source, "entry_point": problem.entry_point }),
        )?;
        loop {
            let message = match self.next(candidate.deadline()) {
                Ok(message) => message,
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Ok(Checked::OutOfTime),
                Err(error) => return Err(error),
            };
            let text = || String::from_utf8_lossy(&message.payload).into_owned();
            match message.tag {
                b'P' => return Ok(Checked::Passed),
                b'E' => return Ok(Checked::Raised(text())),
                b'U' => return Ok(Checked::Unfit),
                b'C' => {
                    let ended = match candidate.call(&message.payload) {
                        Ok(answer) if answer.tag == b'V' && decode(&answer.payload).is_none() => {
                            Checked::Silent(Silence::Garbage)
                        }
                        Ok(answer) if matches!(answer.tag, b'V' | b'E') => {
                            self.answer(&answer)?;
                            continue;
                        }
                        Ok(answer) => Checked::Refused(answer),
                        Err(silence) => Checked::Silent(silence),
                    };
                    self.abandon()?;
                    return Ok(ended);
                }
                _ => return Err(io::Error::other("the judge's interpreter sent what is not an answer")),
            }
        }
    }

    /// Makes the test that waits for an answer end, whatever it does about it.
    fn abandon(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + ABANDONING;
        loop {
            self.answer(&Message { tag: b'X', payload: Vec::new() })?;
            if self.next(deadline)?.tag != b'C' {
                return Ok(());
            }
        }
    }

    fn send(&mut self, request: &Json) -> io::Result<()> {
        let text = request.to_string();
        self.interpreter.control.write_all(&(text.len() as u32).to_le_bytes())?;
        self.interpreter.control.write_all(text.as_bytes())
    }

    fn answer(&mut self, message: &Message) -> io::Result<()> {
        let mut frame = vec![message.tag];
        frame.extend((message.payload.len() as u32).to_le_bytes());
        frame.extend(&message.payload);
        self.interpreter.control.write_all(&frame)
    }

    fn next(&mut self, deadline: Instant) -> io::Result<Message> {
        let mut chunk = [0; 16 * 1024];
        loop {
            if let Some(message) = take_message(&mut self.buffer, LIMIT).map_err(io::Error::other)? {
                return Ok(message);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !readable(&self.interpreter.control, left) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match self.interpreter.control.read(&mut chunk)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.buffer.extend_from_slice(&chunk[..count]),
            }
        }
    }
}
