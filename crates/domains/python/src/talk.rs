//! What a process that holds tests says of them.

use crate::clock::Clock;
use crate::conclude::ran;
use crate::zygote::{Forked, Silence};
use records::TestResult;

/// What a tester said.
#[derive(Default)]
pub struct Talk {
    /// One result a test, as far as it came.
    pub tests: Vec<TestResult>,
    /// What a reference's objects were used for.
    pub recorded: Option<Vec<String>>,
    /// How often the candidate was asked, once that is known.
    pub calls: u32,
    /// What ended it before its end.
    pub silence: Option<Silence>,
    /// The candidate's process was gone before the tests were done.
    pub gone: bool,
}

impl Talk {
    /// Reads what it says, to its end. With `records` it says what a reference's objects were used for.
    pub fn listen(&mut self, tester: &mut Forked, tests: usize, records: bool, clock: &mut Clock) {
        const LIMIT: usize = 1 << 16;
        let mut counted = false;
        while !counted || (records && self.recorded.is_none()) {
            match tester.channel.next(LIMIT, clock) {
                Ok(message) if message.tag == b'C' => {
                    counted = true;
                    self.calls = message.text().parse().unwrap_or(0);
                }
                Ok(message) if message.tag == b'R' => {
                    self.recorded = Some(serde_json::from_slice(&message.payload).unwrap_or_default());
                }
                Ok(message) if message.tag == b'A' => {
                    self.gone = true;
                    return;
                }
                Ok(message) if self.tests.len() < tests => {
                    self.tests.push(ran(&message));
                    if matches!(message.tag, b'G' | b'T') {
                        return;
                    }
                }
                Ok(_) => {
                    self.silence = Some(Silence::Garbage);
                    return;
                }
                Err(silence) => {
                    self.silence = Some(silence);
                    return;
                }
            }
        }
    }
}
