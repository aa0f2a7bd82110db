//! Where candidates come from: a model of ours, or another server.

use crate::context::model_path;
use crate::prompt;
use anyhow::{Context, Result};
use assistant::{Proposer, Remote};
use generator::Engine;
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

impl Source {
    /// The engine of a model here.
    ///
    /// # Errors
    /// Where the model cannot be read.
    pub fn engine(&self) -> Result<Engine> {
        let generator = prompt::open(&model_path(&self.model)?, self.prompt)?;
        Ok(Engine::start(generator, self.max_sequences, self.queue))
    }

    /// The other server, if there is one.
    ///
    /// # Errors
    /// Where it does not answer.
    pub fn remote(&self) -> Result<Option<Remote>> {
        let Some(url) = &self.generator else { return Ok(None) };
        let model = if self.model == "models/basics" { "" } else { &self.model };
        let patience = Duration::from_secs(self.generator_timeout.max(1));
        let remote = Remote::connect(url, model, self.generator_key.clone(), patience);
        Ok(Some(remote.with_context(|| format!("--generator {url}"))?))
    }

    /// Whichever it is.
    ///
    /// # Errors
    /// As [`engine`](Self::engine) and [`remote`](Self::remote).
    pub fn proposer(&self) -> Result<Box<dyn Proposer>> {
        Ok(match self.remote()? {
            Some(remote) => Box::new(remote),
            None => Box::new(self.engine()?),
        })
    }
}
