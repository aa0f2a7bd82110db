//! `ncomp solve`: one function that has been checked.

use super::limits::Limits;
use super::source::Source;
use crate::progress::{interrupted, interruption};
use anyhow::{Context, Result};
use assistant::{Answer, Question, Settings, Status, selector, solve};
use generator::Sampling;
use selection::Selector;
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Writes a function, checks it, and prints it to stdout, and to stderr why to believe it.
///
/// Exit status: 0 if it passes the tests that were given, 3 if there were none to check it with, 4 if
/// no candidate passes them or none runs, 1 on errors, 130 after Ctrl-C.
#[derive(clap::Args)]
pub struct Solve {
    /// What the function shall do; - reads it from stdin
    text: String,
    /// A test that it must pass, as Python: 'assert f(1) == 2'; may be given several times
    #[arg(long = "test")]
    tests: Vec<String>,
    /// File of tests: asserts, each a test of its own; or any Python, which is then one test
    #[arg(long = "tests")]
    tests_file: Option<PathBuf>,
    /// Most candidates
    #[arg(short = 'n', long = "candidates", default_value_t = 50)]
    candidates: usize,
    /// Probability of being right from which no more candidates are asked for
    #[arg(long, default_value_t = 0.95)]
    until: f64,
    /// How one is chosen among those that tests leave: combined, consensus, consensus_soft, runs,
    /// likelihood, likelihood_sum, shortest or random
    #[arg(long, default_value = "combined", value_parser = selector)]
    select: Selector,
    /// A ranker's file in place of the built-in one of its level (0 without tests, 3 with)
    #[arg(long = "ranker")]
    rankers: Vec<PathBuf>,
    #[command(flatten)]
    source: Source,
    /// Divides the logits
    #[arg(long, default_value_t = 0.8)]
    temperature: f32,
    /// Nucleus
    #[arg(long, default_value_t = 0.95)]
    top_p: f32,
    /// Longest candidate in tokens
    #[arg(long, default_value_t = 512)]
    max_new_tokens: usize,
    /// Seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Run candidates only after the last is written (to compare)
    #[arg(long)]
    no_streaming: bool,
    #[command(flatten)]
    limits: Limits,
    /// Print the answer with all its evidence and candidates as JSON
    #[arg(long)]
    json: bool,
}

impl Solve {
    pub(super) fn run(mut self) -> Result<ExitCode> {
        if self.text == "-" {
            self.text.clear();
            std::io::stdin().read_to_string(&mut self.text).context("cannot read stdin")?;
        }
        if let Some(path) = &self.tests_file {
            self.tests.extend(read_tests(path)?);
        }
        let question = Question { text: self.text.clone(), tests: self.tests.clone() };
        let client = self.limits.start()?.client("solve");
        let model = self.source.start()?;
        let settings = Settings {
            candidates: self.candidates.max(1),
            until: self.until,
            sampling: Sampling { temperature: self.temperature, top_p: self.top_p, ..Sampling::PLAIN },
            adjustments: None,
            max_new_tokens: self.max_new_tokens,
            seed: self.seed,
            streaming: !self.no_streaming,
            selector: self.select,
            conversation: Vec::new(),
            rankers: model.rankers_after(&self.rankers)?,
            scorer: model.scorer.clone(),
        };
        let terminal = std::io::stderr().is_terminal();
        let answer =
            solve(&question, model.proposer.as_ref(), &client, &settings, interruption(), &mut |checker| {
                if terminal {
                    err!("\r{} of {} candidates checked ", checker.count(), settings.candidates);
                }
            })
            .map_err(|error| match error {
                assistant::Error::Proposer(error) => error,
                error => error.into(),
            })?;
        if terminal {
            err!("\r{:60}\r", "");
        }
        self.print(&answer)?;
        Ok(match answer.status {
            _ if interrupted() => ExitCode::from(130),
            Status::Verified => ExitCode::SUCCESS,
            Status::Unverified => ExitCode::from(3),
            Status::NoneFound => ExitCode::from(4),
        })
    }

    fn print(&self, answer: &Answer) -> Result<()> {
        let mut stdout = std::io::stdout().lock();
        if self.json {
            writeln!(stdout, "{}", serde_json::to_string_pretty(answer)?)?;
        } else if let Some(code) = &answer.code {
            writeln!(stdout, "{}", code.trim_end())?;
        }
        stdout.flush()?;
        err!("{}", answer.explanation());
        Ok(())
    }
}

/// The tests in a file: asserts that stand for themselves, or the whole.
fn read_tests(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut tests: Vec<String> = Vec::new();
    let mut only_asserts = true;
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        if line.starts_with("assert ") || line.starts_with("assert(") {
            tests.push(line.to_owned());
        } else if line.starts_with([' ', '\t', ')', ']', '}']) && !tests.is_empty() {
            // A test that goes on.
            if let Some(last) = tests.last_mut() {
                last.push('\n');
                last.push_str(line);
            }
        } else {
            only_asserts = false;
        }
    }
    anyhow::ensure!(!text.trim().is_empty(), "{}: expected tests, found nothing", path.display());
    Ok(if only_asserts { tests } else { vec![text] })
}

#[cfg(test)]
mod tests {
    use super::read_tests;

    #[test]
    fn asserts_are_tests_of_their_own_and_other_python_is_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("tests.py");
        let read = |text: &str| {
            std::fs::write(&path, text).expect("written");
            read_tests(&path)
        };
        assert_eq!(read("# two\nassert f(1) == 2\n\nassert f([\n    1,\n]) == 3\n").expect("tests").len(), 2);
        let whole = "def check(f):\n    assert f(1) == 2\n\ncheck(f)\n";
        assert_eq!(read(whole).expect("tests"), [whole]);
        assert!(read(" \n").expect_err("an error").to_string().contains("tests.py"));
    }
}
