//! What `rank` and `train ranker` know of candidates, and what it cost to learn it.

use super::limits::Limits;
use crate::context::{advised, model_path, watch};
use crate::device::device;
use anyhow::{Result, bail};
use critic::Critic;
use generator::{Generator, Request};
use learned::Learned;
use pipeline::behaviour::{Knowledge, MOST_OWN_INPUTS, observe};
use pipeline::observations::Observations;
use pipeline::{models, opinions, stages};
use problems::prompt::{PromptTests, comment_prompt};
use records::{Candidate, Problem, Score, Verdict, jsonl};
use selection::{Pool, Ranker, Selector, pools};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Instant;
use transformer::peft::is_adapter;

/// What selectors may know of a problem's tests, and how many inputs they make themselves.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Known {
    /// What selectors may know of the tests: 0 nothing, 1 the visible tests' inputs, 2 the inputs of
    /// all tests, 3 the visible tests with their values
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=3))]
    pub level: u8,
    /// Inputs to generate for each problem, variations of those that are known or guessed
    #[arg(long = "inputs", default_value_t = 40, value_parser = own_inputs)]
    pub own_inputs: usize,
    /// Seed of these inputs
    #[arg(long = "input-seed", default_value_t = 0)]
    pub seed: u64,
}

/// How many inputs to make up.
fn own_inputs(text: &str) -> Result<usize, String> {
    let found = text.parse().ok().filter(|count| *count <= MOST_OWN_INPUTS);
    found.ok_or_else(|| format!("expected 0 to {MOST_OWN_INPUTS}: each is a call of every candidate"))
}

/// Where signals come from.
#[derive(clap::Args)]
pub struct Signals {
    #[command(flatten)]
    pub knowledge: Known,
    /// A critic's directory, for the selector critic; one that is an adapter runs beside its base, --model.
    /// It reads programs after the prompt of --model, or without one after a prompt in comments
    #[arg(long)]
    critic: Option<PathBuf>,
    /// A model: a directory, a GGUF file, or owner/name on the Hub (with :Q4_K_M or :FILE.gguf), for the selectors reviewer and generated_tests
    #[arg(long)]
    model: Option<String>,
    /// Ask --model for no reviews and no tests: it is there for the critic alone
    #[arg(long, requires = "model")]
    no_reviews: bool,
    /// What was learned for the model that wrote the candidates.
    #[arg(skip)]
    pub parts: Option<Box<Learned>>,
    /// File of what candidates give on inputs: what it holds is not run again, and what is run is added;
    /// - keeps nothing [default: beside the samples]
    #[arg(long)]
    observations: Option<PathBuf>,
    /// Tests that the model writes for each problem
    #[arg(long, default_value_t = 20)]
    written_tests: usize,
    #[command(flatten)]
    limits: Limits,
}

/// What signals cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Cost {
    /// Calls made of candidates.
    pub executions: usize,
    /// Tokens that a model read or wrote.
    pub tokens: usize,
    /// Time it took on this machine.
    pub seconds: f64,
}

impl std::ops::Add for Cost {
    type Output = Cost;

    fn add(self, other: Cost) -> Cost {
        Cost {
            executions: self.executions + other.executions,
            tokens: self.tokens + other.tokens,
            seconds: self.seconds + other.seconds,
        }
    }
}

/// The cost of each kind of signal; none where it was not gathered.
#[derive(Clone, Copy, Debug, Default)]
pub struct Costs {
    behaviour: Option<Cost>,
    critic: Option<Cost>,
    reviewer: Option<Cost>,
    tests: Option<Cost>,
}

impl Costs {
    /// What a selector's signals cost; a ranker uses all.
    pub fn of(&self, selector: Selector) -> Cost {
        let used = match selector {
            Selector::Runs | Selector::Consensus | Selector::ConsensusSoft | Selector::VisibleTest => {
                [self.behaviour, None, None, None]
            }
            Selector::Critic => [self.critic, None, None, None],
            Selector::Reviewer => [self.reviewer, None, None, None],
            Selector::GeneratedTests => [self.tests, None, None, None],
            Selector::Combined => [self.behaviour, self.critic, self.reviewer, self.tests],
            _ => [None; 4],
        };
        used.into_iter().flatten().fold(Cost::default(), |sum, cost| sum + cost)
    }
}

impl Signals {
    /// The selector's need that neither candidates nor these signals meet, and what meets it.
    pub fn missing(&self, selector: Selector, candidates: &[Candidate]) -> Option<&'static str> {
        let has_likelihoods = || candidates.iter().all(|candidate| candidate.log_likelihood().is_some());
        match selector {
            Selector::Critic if !self.has_critic() => Some("a critic: name its directory with --critic"),
            Selector::Reviewer if self.reviewer().is_none() => Some("a reviewer: name a model with --model"),
            Selector::GeneratedTests if self.reviewer().is_none() => {
                Some("an author of tests: name a model with --model")
            }
            Selector::VisibleTest if self.knowledge.level != 3 => {
                Some("a visible test with its value: give --level 3")
            }
            Selector::Likelihood | Selector::LikelihoodSum if !has_likelihoods() => Some(
                "log-probabilities, which not all of these samples have: `ncomp generate` writes them as \
                 log_probabilities; a sample may have log_probability, the sum, beside tokens, their number",
            ),
            _ => None,
        }
    }

    /// The model that reviews candidates and writes tests.
    fn reviewer(&self) -> Option<&String> {
        self.model.as_ref().filter(|_| !self.no_reviews)
    }

    /// Whether the critic is the one that was learned for the model that wrote the candidates.
    pub fn uses_learned_critic(&self, parts: &Learned) -> bool {
        self.critic.is_none() && self.model.is_some() && parts.has_critic()
    }

    fn has_critic(&self) -> bool {
        self.critic.is_some() || self.parts.as_deref().is_some_and(|parts| self.uses_learned_critic(parts))
    }

    /// The model that was named.
    fn open_model(&self) -> Result<Option<Generator>> {
        let open = |model: &String| Generator::open(&model_path(model)?, device()?);
        self.model.as_ref().map(open).transpose()
    }

    /// The critic: the one that was named, or the one that was learned for the model.
    fn open_critic(&self, model: Option<&Generator>) -> Result<Option<Critic>> {
        match (&self.critic, &self.parts, model) {
            (Some(path), _, Some(model)) if is_adapter(path) => {
                let critic = model.with_reader(|base| Critic::attach(path, base, model.tokenizer.clone()));
                critic.map(Some)
            }
            (Some(path), _, None) if is_adapter(path) => {
                bail!("{} is an adapter: name its base model with --model", path.display())
            }
            (Some(path), _, _) => Ok(Some(Critic::load(path, device()?)?)),
            (None, Some(parts), Some(model)) => Ok(parts.critic(model)?),
            _ => Ok(None),
        }
    }

    /// What earlier commands saw. Where the file beside the samples cannot be had, nothing is kept.
    fn observations(&self, samples: &Path) -> Result<Observations> {
        let path = match &self.observations {
            Some(path) if path.as_os_str() == "-" => return Ok(Observations::default()),
            Some(path) => return Ok(Observations::open(path)?),
            None => samples.with_extension("observations.jsonl"),
        };
        match Observations::open(&path) {
            Err(jsonl::Error::Io { cause, .. }) if !path.exists() => {
                errln!(
                    "what candidates give is not kept: {}: {cause}; --observations names another file",
                    path.display()
                );
                Ok(Observations::default())
            }
            opened => Ok(opened?),
        }
    }

    /// The candidates in pools with every signal that is available.
    ///
    /// # Errors
    /// Where a model cannot be read or the verifier does not start; or when Ctrl-C stopped it.
    pub fn gather(
        &self,
        samples: &Path,
        problems: &[Problem],
        candidates: &[Candidate],
        verdicts: &[Verdict],
    ) -> Result<(Vec<Pool>, Costs)> {
        let mut costs = Costs::default();
        let mut scores = Vec::new();
        let model = self.open_model()?;
        if let Some(critic) = self.open_critic(model.as_ref())? {
            let started = Instant::now();
            let tokens;
            (scores, tokens) = critic_scores(&critic, model.as_ref(), problems, candidates)?;
            costs.critic = Some(Cost { executions: 0, tokens, seconds: started.elapsed().as_secs_f64() });
        }
        let mut pools = pools(problems, candidates, verdicts, &scores);
        let client = self.limits.start()?.client("signals");
        let started = Instant::now();
        let Known { level, own_inputs, seed } = self.knowledge;
        let knowledge = Knowledge { level, own_inputs, seed };
        let mut known = self.observations(samples)?;
        let effort = observe(watch(), &client, &mut known, problems, candidates, knowledge, &mut pools);
        let Some(effort) = effort.map_err(advised)? else {
            bail!("stopped before all candidates had run; the same command resumes from here");
        };
        if effort.known > 0 {
            errln!("{} calls were made earlier and are not made again", effort.known);
        }
        costs.behaviour =
            Some(Cost { executions: effort.calls, tokens: 0, seconds: started.elapsed().as_secs_f64() });
        let Some(model) = model.filter(|_| !self.no_reviews) else { return Ok((pools, costs)) };
        let started = Instant::now();
        let Some(tokens) = opinions::review(watch(), &model, problems, &mut pools).map_err(advised)? else {
            bail!("stopped before all candidates were reviewed");
        };
        costs.reviewer = Some(Cost { executions: 0, tokens, seconds: started.elapsed().as_secs_f64() });
        let started = Instant::now();
        let request = Request { samples: self.written_tests, ..Request::default() };
        let shown = self.knowledge.level == 3;
        let effort = opinions::test(watch(), &model, &request, shown, &client, problems, &mut pools);
        let Some(effort) = effort.map_err(advised)? else {
            bail!("stopped before all candidates had run");
        };
        costs.tests = Some(Cost {
            executions: effort.executions,
            tokens: effort.tokens,
            seconds: started.elapsed().as_secs_f64(),
        });
        Ok((pools, costs))
    }
}

/// Reads a ranker's file.
///
/// # Errors
/// Where it cannot be read, or was made by another version.
pub fn read_ranker(path: &Path) -> Result<Ranker> {
    models::read_ranker(path).map_err(advised)
}

/// The critic's scores, and how many tokens it read for them.
fn critic_scores(
    critic: &Critic,
    model: Option<&Generator>,
    problems: &[Problem],
    candidates: &[Candidate],
) -> Result<(Vec<Score>, usize)> {
    let prompt = |problem: &Problem| match model {
        Some(model) => model
            .prompt(&problem.shown, PromptTests::Visible)
            .map_err(|error| pipeline::Error::Learning(error.into())),
        None => Ok(comment_prompt(&problem.shown, PromptTests::Visible)),
    };
    let questions = stages::questions(&prompt, problems, candidates).map_err(advised)?;
    let tokens = questions.iter().map(|(question, _)| critic.tokenize(question).rows()).sum();
    Ok((stages::scores_of(critic, &questions).map_err(advised)?, tokens))
}
