//! The model as a reviewer, and as an author of tests.
//!
//! A reviewer is asked what a program is for, and how likely it finds the problem's own text as the
//! answer (Zhang et al., 2022, Coder-Reviewer reranking). An author of tests goes on from an
//! `assert` that calls the function (Chen et al., 2022, CodeT).

use crate::{Generator, Prompter, Request, stream_of};
use anyhow::Result;
use problems::prompt::{Message, PromptTests, SYSTEM_MESSAGE, comment_prompt, instruction};
use records::Shown;
use std::ops::ControlFlow;
use transformer::PackedBatch;
use transformer::batch::split_by_rows;
use transformer::decode::{self, Settings, decode};
use transformer::head::{Prediction, Target};

/// Rows computed at once.
const ROWS: usize = 4096;
/// Longest test that is written, in tokens.
const TEST_TOKENS: usize = 96;

impl Generator {
    /// Mean log-probability of a token of the problem's statement, given each program. Programs longer
    /// than `max_tokens` lose their beginning.
    ///
    /// # Errors
    /// Where the model's chat template refuses the question, or the device fails.
    pub fn review(&self, shown: &Shown, programs: &[String], max_tokens: usize) -> Result<Vec<f64>> {
        let text = self.tokenizer.encode(&format!(" {}", shown.statement.trim()));
        let mut questions = Vec::with_capacity(programs.len());
        for program in programs {
            let mut question = self.prompt_tokens(&self.review_prompt(program)?);
            question.drain(..question.len().saturating_sub(max_tokens.max(1)));
            questions.push(question);
        }
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let mut found = Vec::with_capacity(programs.len());
        for group in split_by_rows(&questions, |question| question.len() + text.len(), ROWS) {
            found.extend(self.review_group(group, &text)?);
        }
        Ok(found)
    }

    fn review_group(&self, questions: &[Vec<u32>], text: &[u32]) -> Result<Vec<f64>> {
        let (mut batch, mut targets) = (PackedBatch::default(), Vec::new());
        for question in questions {
            let tokens = [question.as_slice(), &text[..text.len() - 1]].concat();
            let rows = batch.push_sequence(&tokens);
            // The row before a token predicts it.
            let first = rows.start + question.len() - 1;
            targets.extend(text.iter().enumerate().map(|(at, &token)| Target { row: first + at, token }));
        }
        let predictions = self.predictions(&batch, &targets)?;
        let mean = |of_one: &[Prediction]| {
            of_one.iter().map(|p| f64::from(p.log_probability)).sum::<f64>() / text.len() as f64
        };
        Ok(predictions.chunks(text.len()).map(mean).collect())
    }

    fn review_prompt(&self, program: &str) -> Result<String> {
        let program = program.trim_end();
        Ok(match &self.prompter {
            Prompter::Comment => format!("{program}\n\n# The function above solves this problem:\n#"),
            Prompter::Chat(template) => {
                let question = format!(
                    "Here is a Python program:\n```python\n{program}\n```\n\nState the problem that it solves."
                );
                template.render(&question_of(question), &|| false)?
            }
        })
    }

    /// Tests for a problem as the model would write them, as many as `samples`, equal ones included;
    /// lines of Python that begin with `assert`. It sees the examples that the problem shows by
    /// default where `examples` says so. With the request's seed, `id` determines the tests.
    ///
    /// # Errors
    /// Where the model's chat template refuses the question, or the device fails.
    pub fn write_tests(
        &self,
        id: &str,
        shown: &Shown,
        request: &Request,
        examples: bool,
    ) -> Result<Vec<String>> {
        let opening = format!("assert {}(", shown.name);
        let prompt = self.tests_prompt(shown, examples)? + &opening;
        let decode_request = decode::Request {
            prompt: self.prompt_tokens(&prompt),
            samples: request.samples,
            stream: stream_of(id) ^ (1 << 63),
        };
        let settings = Settings {
            sampling: request.sampling,
            max_new_tokens: TEST_TOKENS.min(request.max_new_tokens),
            seed: request.seed,
            max_sequences: request.max_sequences,
        };
        let ends_line =
            |tokens: &[u32]| self.tokenizer.decode(&tokens[tokens.len().saturating_sub(1)..]).contains('\n');
        let mut tests = Vec::with_capacity(request.samples);
        let mut reader = self.reader();
        let mut decoder = reader.decoder()?;
        let _ = decode(&mut *decoder, &[decode_request], &settings, &ends_line, &mut |sample| {
            let text = self.tokenizer.decode(&sample.tokens);
            tests.push(opening.clone() + text.lines().next().unwrap_or_default());
            ControlFlow::Continue(())
        })?;
        Ok(tests)
    }

    fn tests_prompt(&self, shown: &Shown, examples: bool) -> Result<String> {
        let known = match examples {
            true => shown.clone(),
            false => Shown { examples: Vec::new(), ..shown.clone() },
        };
        Ok(match &self.prompter {
            Prompter::Comment => format!(
                "{}def {}(*arguments):\n    ...\n\n# Tests of {}:\n",
                comment_prompt(&known, PromptTests::Visible),
                shown.name,
                shown.name
            ),
            Prompter::Chat(template) => {
                let task = instruction(&known, PromptTests::Visible);
                let question = format!(
                    "{task}\nDo not solve it. Write tests for the function {}, one assert a line.",
                    shown.name
                );
                template.render(&question_of(question), &|| false)? + problems::prompt::ANSWER_OPENING
            }
        })
    }
}

fn question_of(text: String) -> [Message; 2] {
    [Message::new("system", SYSTEM_MESSAGE), Message::new("user", text)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use transformer::Cpu;
    use transformer::device::Device;
    use transformer::{Config, Model, Tokenizer};

    fn generator() -> Generator {
        let texts = ["def f(a, b):\n    return a + b\n", "# Add two numbers.\n", "assert f(1, 2) == 3\n"];
        let tokenizer = Tokenizer::train(texts.into_iter(), 300, &["<|endoftext|>"]).expect("a tokenizer");
        let config = Config { vocab_size: tokenizer.vocab_size(), ..Config::tiny() };
        Generator::new(Cpu::default().reader(Model::random(config, 3)).expect("a reader"), tokenizer, "tiny")
    }

    #[test]
    fn a_review_is_the_texts_likelihood_after_each_program() {
        let generator = generator();
        let shown = Shown { statement: "Add two numbers.".into(), ..Shown::default() };
        let programs = ["def f(a, b):\n    return a + b\n".to_owned(), "x".to_owned(), String::new()];
        let together = generator.review(&shown, &programs, 512).expect("reviews");
        for (program, &expected) in programs.iter().zip(&together) {
            // Token by token, each from all tokens before it.
            let mut tokens = generator.tokenizer.encode(&generator.review_prompt(program).expect("a prompt"));
            let text = generator.tokenizer.encode(" Add two numbers.");
            let mut sum = 0.0;
            for &token in &text {
                let mut batch = PackedBatch::default();
                let rows = batch.push_sequence(&tokens);
                let target = Target { row: rows.end - 1, token };
                let found = generator.predictions(&batch, &[target]).expect("a prediction");
                sum += f64::from(found[0].log_probability);
                tokens.push(token);
            }
            let mean = sum / text.len() as f64;
            assert!((mean - expected).abs() < 1e-4, "{program:?}: {mean} {expected}");
        }
        assert!(generator.review(&shown, &[], 512).expect("none").is_empty());
        let cut = generator.review(&shown, &programs[..1], 4).expect("a review");
        assert!(cut[0].is_finite() && (cut[0] - together[0]).abs() > 1e-9);
    }

    #[test]
    fn tests_are_lines_that_call_the_function() {
        let generator = generator();
        let shown = Shown { statement: "Add two numbers.".into(), name: "f".into(), ..Shown::default() };
        let request = Request { samples: 5, max_new_tokens: 8, ..Request::default() };
        let tests = generator.write_tests("p", &shown, &request, true).expect("tests");
        assert_eq!(tests.len(), 5);
        assert!(tests.iter().all(|test| test.starts_with("assert f(") && !test.contains('\n')), "{tests:?}");
        assert_eq!(tests, generator.write_tests("p", &shown, &request, true).expect("tests"));
    }
}
