//! The verbs that work on files of records: `generate` and `rank`; `execute` has a file of its own.

use super::execute::Limits;
use super::train_ranker::coverage_text;
use crate::behaviour::{Knowledge, observe};
use crate::loop_run::model_directory;
use crate::samples::{self, problem_set};
use crate::stages;
use anyhow::{Context, Result, anyhow, bail, ensure};
use critic::Critic;
use generator::{Generator, Request, Sampling};
use problems::prompt::{PromptFormat, PromptTests, comment_prompt};
use records::{Candidate, Problem, Score, Split, Verdict, jsonl};
use report::table::{Row, text};
use selection::ranker::coverage;
use selection::{Ranker, Selector, pools};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Samples candidates for problems into a file of records; goes on where it stopped.
#[derive(clap::Args)]
pub struct Generate {
    /// A model's directory, or owner/name on the Hub
    #[arg(long, default_value = "models/basics")]
    model: String,
    /// Problem set: basics, mbpp, mbpp-sanitized, humaneval, or a file
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
    /// Sequences in flight
    #[arg(long, default_value_t = 256)]
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

/// Chooses one candidate a problem with each selector, and says how many of the choices pass.
#[derive(clap::Args)]
pub struct Rank {
    /// Candidates, as `generate` writes them
    #[arg(long)]
    samples: PathBuf,
    /// Problem set they belong to
    #[arg(long, default_value = "basics")]
    problems: String,
    /// Verdicts, as `execute` writes them: to say how good the choices are
    #[arg(long)]
    verdicts: Option<PathBuf>,
    /// A critic's directory, for the selector critic
    #[arg(long)]
    critic: Option<PathBuf>,
    /// A ranker's file, for the selector combined; level and inputs are then the ranker's
    #[arg(long)]
    ranker: Option<PathBuf>,
    /// Selectors: random, shortest, likelihood, likelihood_sum, critic, runs, consensus,
    /// consensus_soft, visible_test, combined, oracle
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "random,shortest,likelihood,likelihood_sum,critic,runs,consensus,consensus_soft,visible_test,combined,oracle"
    )]
    select: Vec<String>,
    #[command(flatten)]
    knowledge: Knowledge,
    #[command(flatten)]
    limits: Limits,
    /// File for the first selector's choices, as EvalPlus has them
    #[arg(long)]
    out: Option<PathBuf>,
    /// Print the table as JSON
    #[arg(long)]
    json: bool,
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
        let directory = model_directory(&self.model)?;
        let has_template = problems::prompt::ChatTemplate::load(&directory).is_ok();
        let format = if has_template { PromptFormat::Chat } else { PromptFormat::Comment };
        let generator = Generator::load(&directory, format)?;
        let request = Request {
            samples: self.samples,
            sampling: Sampling { temperature: self.temperature, top_p: self.top_p, top_k: self.top_k },
            max_new_tokens: self.max_new_tokens,
            max_sequences: self.max_sequences,
            seed: self.seed,
            tests: if self.all_tests { PromptTests::All } else { PromptTests::Visible },
        };
        stages::generate("candidates", &generator, &problems, &request, &self.out)?;
        println!("{}", self.out.display());
        Ok(())
    }
}

impl Rank {
    pub(super) fn run(self) -> Result<()> {
        let problems = problem_set(&self.problems)?;
        let candidates = samples::read(&self.samples, &problems)?;
        let verdicts: Vec<Verdict> =
            self.verdicts.as_deref().map(jsonl::read).transpose()?.unwrap_or_default();
        let scores = self
            .critic
            .as_deref()
            .map(|path| critic_scores(path, &problems, &candidates))
            .transpose()?
            .unwrap_or_default();
        let mut pools = pools(&problems, &candidates, &verdicts, &scores);
        let ranker = self.ranker.as_deref().map(read_ranker).transpose()?;
        let (level, own_inputs) =
            ranker.as_ref().map_or((self.knowledge.level, self.knowledge.own_inputs), |ranker| {
                (ranker.level, ranker.own_inputs)
            });
        let needs_behaviour = ["runs", "consensus", "consensus_soft", "visible_test", "combined"];
        if self.select.iter().any(|name| needs_behaviour.contains(&name.as_str())) {
            let knowledge = Knowledge { level, own_inputs, ..self.knowledge };
            let executor = self.limits.start()?;
            let Some(effort) = observe(&executor, &problems, &candidates, knowledge, &mut pools) else {
                bail!("stopped before all candidates had run");
            };
            eprintln!("behaviour of {} distinct programs in {} calls", effort.programs, effort.calls);
        }
        if let Some(ranker) = &ranker {
            pools.iter_mut().for_each(|pool| pool.combined = Some(ranker.probabilities(pool)));
        }
        let (mut rows, mut chosen) = (Vec::new(), None);
        for name in &self.select {
            let names = || Selector::ALL.map(Selector::name).join(", ");
            let Some(selector) = Selector::parse(name) else {
                bail!("--select: no selector '{name}'; expected {}", names())
            };
            if selector == Selector::Oracle && self.verdicts.is_none() {
                continue;
            }
            let Some(row) = Row::of_selector(selector, name, name, &pools, 0) else {
                eprintln!("{name} left out: at level {level} these candidates lack what it needs");
                continue;
            };
            chosen.get_or_insert(selector);
            rows.push(row);
        }
        if let (Some(path), Some(selector)) = (&self.out, chosen) {
            let picks = pools.iter().filter_map(|pool| {
                let choice = *selector.choices(pool)?.first()?;
                Some(json!({"task_id": pool.problem, "solution": pool.codes[choice]}))
            });
            jsonl::write(path, &picks.collect::<Vec<_>>())?;
        }
        if self.verdicts.is_none() {
            ensure!(
                self.out.is_some(),
                "give --verdicts to see how good the choices are, or --out to write them"
            );
            return Ok(());
        }
        match self.json {
            true => println!("{}", json!({"rows": rows, "coverage": coverage(&pools)})),
            false if ranker.is_some() => print!("{}\n{}", text(&rows), coverage_text(&pools)),
            false => print!("{}", text(&rows)),
        }
        Ok(())
    }
}

fn read_ranker(path: &Path) -> Result<Ranker> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ranker::parse(&text).map_err(|error| anyhow!("{}: {error}", path.display()))
}

fn critic_scores(path: &Path, problems: &[Problem], candidates: &[Candidate]) -> Result<Vec<Score>> {
    let critic = Critic::load(path)?;
    let prompt = |problem: &Problem| Ok(comment_prompt(problem, PromptTests::Visible));
    let mut scores = Vec::new();
    for (question, group) in stages::questions(&prompt, problems, candidates)? {
        let values = critic.score(std::slice::from_ref(&question)).remove(0);
        scores.extend(group.iter().zip(values).map(|(candidate, critic)| Score {
            problem: candidate.problem.clone(),
            index: candidate.index,
            critic,
        }));
    }
    Ok(scores)
}
