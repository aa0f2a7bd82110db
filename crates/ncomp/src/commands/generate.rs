//! `ncomp generate`: candidates into a file of records.

use crate::context::{advised, model_path, watch};
use crate::learned_parts::LearnedChoice;
use crate::prompt;
use crate::samples::problem_set;
use anyhow::{Context, Result, ensure};
use generator::{Generator, Request, Sampling};
use pipeline::stages;
use problems::prompt::PromptTests;
use records::Split;
use std::path::PathBuf;

/// Samples candidates for problems into a file of records; resumes where it stopped.
#[derive(clap::Args)]
pub struct Generate {
    /// A model: a directory, a GGUF file, or owner/name on the Hub (with :Q4_K_M or :FILE.gguf)
    #[arg(long, default_value = "models/basics")]
    model: String,
    /// How the model is asked
    #[arg(long, value_enum, default_value = "auto")]
    prompt: prompt::Choice,
    /// Sample from the policy that was learned for the model: a directory with learned.json, or auto for
    /// the one in models/learned, here or beside the program; none is the model itself, as without this
    #[arg(long, value_name = "DIR|auto|none", num_args = 0..=1, default_missing_value = "auto")]
    learned: Option<String>,
    /// Problem set: basics, mbpp, mbpp-sanitized, humaneval, doctests:PACKAGE, or a file
    #[arg(long, default_value = "basics")]
    problems: String,
    /// Part of the set: train, validation, test or all
    #[arg(long, default_value = "test")]
    split: String,
    /// Take only the first problems
    #[arg(long)]
    limit: Option<usize>,
    /// Candidates a problem
    #[arg(short = 'n', long, default_value_t = 1)]
    samples: usize,
    /// Divides the logits; 0 takes the likeliest token
    #[arg(long, default_value_t = 0.8)]
    temperature: f32,
    /// Nucleus
    #[arg(long, default_value_t = 0.95)]
    top_p: f32,
    /// Likeliest tokens to keep; 0 keeps all
    #[arg(long, default_value_t = 0)]
    top_k: usize,
    /// Longest completion in tokens
    #[arg(long, default_value_t = 512)]
    max_new_tokens: usize,
    /// Sequences in flight; 0 leaves it to the device
    #[arg(long, default_value_t = 0)]
    max_sequences: usize,
    /// Seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Show all tests in the prompt, not only the visible one
    #[arg(long)]
    all_tests: bool,
    /// File to write
    #[arg(long)]
    out: PathBuf,
}

impl Generate {
    pub(super) fn run(self) -> Result<()> {
        let mut problems = problem_set(&self.problems)?;
        if self.split != "all" {
            let splits = [Split::Train, Split::Validation, Split::Test, Split::Prompt];
            let split = splits.into_iter().find(|split| split.name() == self.split);
            let split = split.with_context(|| {
                format!("--split: expected train, validation, test or all, found {}", self.split)
            })?;
            problems.retain(|problem| problem.split == split);
        }
        problems.truncate(self.limit.unwrap_or(usize::MAX));
        ensure!(!problems.is_empty(), "{} has no problems in the split {}", self.problems, self.split);
        let directory = model_path(&self.model)?;
        let generator = self.policy(prompt::open(&directory, self.prompt)?)?;
        let request = Request {
            samples: self.samples,
            sampling: Sampling {
                temperature: self.temperature,
                top_p: self.top_p,
                top_k: self.top_k,
                ..Sampling::PLAIN
            },
            max_new_tokens: self.max_new_tokens,
            max_sequences: self.max_sequences,
            seed: self.seed,
            tests: if self.all_tests { PromptTests::All } else { PromptTests::Visible },
        };
        stages::generate(watch(), "candidates", &generator, &problems, &request, &self.out)
            .map_err(advised)?;
        outln!("{}", self.out.display());
        Ok(())
    }

    /// The model, or the policy that was learned for it, if that is wanted.
    fn policy(&self, base: Generator) -> Result<Generator> {
        let Some(wanted) = self.learned.as_ref().filter(|wanted| *wanted != "none") else { return Ok(base) };
        let choice = LearnedChoice::of((wanted != "auto").then(|| wanted.clone()));
        let learned = choice.find(&[&self.model, &base.name])?;
        let learned = learned.with_context(|| {
            format!(
                "--learned: nothing in models/learned is for {}: name a directory with learned.json",
                self.model
            )
        })?;
        let policy = learned.policy(&base)?;
        policy.with_context(|| format!("--learned: {} has no policy", learned.directory().display()))
    }
}
