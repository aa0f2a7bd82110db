//! Where candidates come from: a model of ours, or another server.

use super::signals::read_ranker;
use crate::context::model_path;
use crate::learned_parts::{LearnedChoice, announce};
use crate::prompt;
use anyhow::{Context, Result};
use assistant::{PolicyFirst, Proposer, Remote, Scorer};
use generator::{Engine, Generator};
use learned::{Learned, PolicySettings};
use selection::Ranker;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A model here or elsewhere.
#[derive(clap::Args, Clone)]
pub struct Source {
    /// A model: a directory, a GGUF file, or owner/name on the Hub (with :Q4_K_M or :FILE.gguf)
    #[arg(long, default_value = "models/basics")]
    model: String,
    /// How the model is asked
    #[arg(long, value_enum, default_value = "auto", conflicts_with = "generator")]
    prompt: prompt::Choice,
    #[command(flatten)]
    learned: LearnedChoice,
    /// Another server with OpenAI's interface (vLLM, llama.cpp, …), as http://host:port; --model is
    /// then its name for the model [default: the first it has]
    #[arg(long)]
    generator: Option<String>,
    /// That server's key
    #[arg(long, env = "NCOMP_GENERATOR_KEY", hide_env_values = true)]
    generator_key: Option<String>,
    /// Seconds that one of its answers may take
    #[arg(long, default_value_t = 120)]
    generator_timeout: u64,
    /// Sequences in flight
    #[arg(long, default_value_t = 64)]
    max_sequences: usize,
    /// Completions that may wait besides
    #[arg(long, default_value_t = 512)]
    queue: usize,
}

/// A model that answers, with what was learned for it.
pub struct Answering {
    /// Who suggests programs.
    pub proposer: Arc<dyn Proposer>,
    /// The model itself, where it runs here: the one whose single answers are best.
    pub engine: Option<Arc<Engine>>,
    /// Rankers that were learned for it.
    pub rankers: Vec<Ranker>,
    /// The critic that was learned for it.
    pub scorer: Option<Scorer>,
}

impl Source {
    /// The model, here or elsewhere, with what was learned for it; says on stderr which parts that are.
    ///
    /// # Errors
    /// Where the model or a part cannot be read, or the other server does not answer.
    pub fn start(&self) -> Result<Answering> {
        if let Some(remote) = self.remote()? {
            let learned = self.learned.find(&[&remote.name()])?;
            let rankers = learned.as_ref().map(|learned| learned.rankers().to_vec()).unwrap_or_default();
            if let Some(learned) = learned.filter(|_| !rankers.is_empty()) {
                announce(&learned, false, false);
            }
            return Ok(Answering { proposer: Arc::new(remote), engine: None, rankers, scorer: None });
        }
        let base = prompt::open(&model_path(&self.model)?, self.prompt)?;
        match self.learned.find(&[&self.model, &base.name])? {
            Some(learned) => self.with(base, &learned),
            None => Ok(Answering::of(Arc::new(self.engine(base)))),
        }
    }

    /// A model with its learned parts, which share its weights.
    fn with(&self, base: Generator, learned: &Learned) -> Result<Answering> {
        let (policy, critic) = (learned.policy(&base)?, learned.critic(&base)?);
        announce(learned, policy.is_some(), critic.is_some());
        let engine = Arc::new(self.engine(base));
        let scorer = critic.map(|critic| Scorer::new(Arc::new(critic), engine.generator().clone()));
        let rankers = learned.rankers().to_vec();
        let Some(policy) = policy else { return Ok(Answering { rankers, scorer, ..Answering::of(engine) }) };
        let policy = Arc::new(self.engine(policy));
        let PolicySettings { candidates, candidates_with_tests } = learned.manifest().policy;
        let proposer =
            PolicyFirst { policy: policy.clone(), base: engine, candidates, candidates_with_tests };
        let proposer = Arc::new(proposer);
        Ok(Answering { proposer, engine: Some(policy), rankers, scorer })
    }

    fn engine(&self, generator: Generator) -> Engine {
        Engine::start(generator, self.max_sequences, self.queue)
    }

    /// The other server, if there is one.
    fn remote(&self) -> Result<Option<Remote>> {
        let Some(url) = &self.generator else { return Ok(None) };
        let model = if self.model == "models/basics" { "" } else { &self.model };
        let patience = Duration::from_secs(self.generator_timeout.max(1));
        let remote = Remote::connect(url, model, self.generator_key.clone(), patience);
        Ok(Some(remote.with_context(|| format!("--generator {url}"))?))
    }
}

impl Answering {
    /// A model alone.
    fn of(engine: Arc<Engine>) -> Self {
        Answering { proposer: engine.clone(), engine: Some(engine), rankers: Vec::new(), scorer: None }
    }

    /// Rankers from files, and after them those that were learned: the first of a level counts.
    ///
    /// # Errors
    /// Where a file cannot be read.
    pub fn rankers_after(&self, files: &[PathBuf]) -> Result<Vec<Ranker>> {
        let given = files.iter().map(|path| read_ranker(path));
        given.chain(self.rankers.iter().cloned().map(Ok)).collect()
    }
}
