//! `ncomp train`: one stage of learning, on files.

use super::train_ranker::TrainRanker;
use crate::device::{device, rank};
use crate::launch::Gpus;
use crate::loop_run::{self, model_path};
use crate::progress::{Progress, interrupted};
use crate::recipe::Recipe;
use crate::samples;
use crate::verdicts;
use anyhow::{Result, ensure};
use generator::Generator;
use learning::metrics::MetricsWriter;
use learning::supervised::{self, Example};
use learning::{Trainer, critic_training};
use problems::prompt::PromptTests;
use records::{Problem, jsonl};
use serde::Deserialize;
use std::ops::ControlFlow;
use std::path::PathBuf;
use transformer::Checkpoint;

/// What to train.
#[derive(clap::Subcommand)]
pub enum Train {
    /// A generator, on prompts and completions
    Sft(Sft),
    /// A generator, by reinforcement with execution rewards
    Grpo(Grpo),
    /// A critic, on candidates and their verdicts
    Critic(TrainCritic),
    /// The combined selector, on candidates and their verdicts
    Ranker(TrainRanker),
}

/// Supervised training on JSON lines with `prompt` and `completion`.
#[derive(clap::Args)]
pub struct Sft {
    /// Recipe whose [model] and [pretrain.training] hold the settings
    #[arg(long)]
    recipe: PathBuf,
    /// The examples
    #[arg(long)]
    data: PathBuf,
    /// Directory for the trained model
    #[arg(long)]
    out: PathBuf,
    #[command(flatten)]
    gpus: Gpus,
}

/// The GRPO stage of a recipe, alone.
#[derive(clap::Args)]
pub struct Grpo {
    /// The recipe
    #[arg(long)]
    recipe: PathBuf,
    /// Directory of the run; the model lands in its grpo/
    #[arg(long)]
    out: PathBuf,
    #[command(flatten)]
    gpus: Gpus,
}

/// A critic from files.
#[derive(clap::Args)]
pub struct TrainCritic {
    /// Recipe whose [model] is the backbone and whose [critic] holds the settings
    #[arg(long)]
    recipe: PathBuf,
    /// Candidates, as `generate` writes them
    #[arg(long)]
    samples: PathBuf,
    /// Their verdicts, as `execute` writes them
    #[arg(long)]
    verdicts: PathBuf,
    /// Directory for the critic
    #[arg(long)]
    out: PathBuf,
    #[command(flatten)]
    gpus: Gpus,
}

#[derive(Deserialize)]
struct Pair {
    prompt: String,
    completion: String,
}

impl Train {
    pub(super) fn run(self) -> Result<()> {
        match self {
            Train::Sft(sft) => sft.run(),
            Train::Grpo(grpo) => grpo.run(),
            Train::Critic(critic) => critic.run(),
            Train::Ranker(ranker) => ranker.run(),
        }
    }
}

impl Grpo {
    fn run(self) -> Result<()> {
        if self.gpus.launch()? {
            return Ok(());
        }
        // The first process's run is the run; each of the others keeps its own rollouts beside it.
        let out = match rank() {
            0 => self.out,
            rank => self.out.join(format!("ranks/{rank}")),
        };
        loop_run::reinforce_only(&Recipe::load(&self.recipe)?, &out)
    }
}

impl Sft {
    fn run(self) -> Result<()> {
        if self.gpus.launch()? {
            return Ok(());
        }
        let recipe = Recipe::load(&self.recipe)?;
        let settings = recipe.pretrain.clone().unwrap_or_default().training;
        let base = model_path(&recipe.model.path)?;
        let generator = Generator::load(&base, recipe.model.prompt, device()?)?;
        let pairs: Vec<Pair> = jsonl::read(&self.data)?;
        let end = generator.config().eos_token_ids.first().copied();
        let examples = pairs.iter().map(|pair| {
            let mut completion = generator.tokenizer.encode(&pair.completion);
            completion.extend(end);
            Example { prompt: generator.tokenizer.encode(&pair.prompt), completion }
        });
        let examples: Vec<Example> =
            examples.filter(|e| !e.prompt.is_empty() && !e.completion.is_empty()).collect();
        ensure!(examples.len() == pairs.len(), "{}: a prompt or completion is empty", self.data.display());
        let mut trainer = Trainer::new(generator.model()?, &settings.optimizer, device()?)?;
        let metrics_at =
            if rank() == 0 { self.out.join("metrics") } else { self.out.join(format!("ranks/{}", rank())) };
        let mut metrics = MetricsWriter::open(&metrics_at, "sft", 0)?;
        let mut failed = None;
        let mut progress = Progress::start("supervised training", settings.total_steps(examples.len()), 0);
        supervised::train(&mut trainer, &examples, &settings, recipe.seed, &mut |report| {
            failed = metrics.write(report).err();
            progress.set(report.step, &format!("loss {:.3}", report.metrics[0].1));
            if failed.is_some() || interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        progress.finish();
        if let Some(error) = failed {
            return Err(error);
        }
        ensure!(!interrupted(), "stopped before the end; nothing was written");
        if rank() > 0 {
            return Ok(());
        }
        trainer.model()?.save(&self.out, recipe.critic.precision)?;
        if let Some(adapters) = trainer.learner.adapters() {
            adapters.save(&self.out.join("adapter"), &recipe.model.path)?;
        }
        conversion::write_tokenizer(&Checkpoint::open(&base)?, &self.out)?;
        outln!("{}", self.out.display());
        Ok(())
    }
}

impl TrainCritic {
    fn run(self) -> Result<()> {
        if self.gpus.launch()? {
            return Ok(());
        }
        let recipe = Recipe::load(&self.recipe)?;
        let settings = &recipe.critic.training;
        let sets = loop_run::ProblemSets::of(&recipe)?;
        let problems: Vec<Problem> = sets.train.into_iter().chain(sets.test).collect();
        let candidates = samples::read(&self.samples, &problems)?.candidates;
        let verdicts = verdicts::read(&self.verdicts)?;
        let generator = Generator::load(&model_path(&recipe.model.path)?, recipe.model.prompt, device()?)?;
        let mut critic = loop_run::new_critic(&generator, settings.head_width, recipe.seed)?;
        critic.max_tokens = settings.max_tokens;
        let prompt = |problem: &Problem| generator.prompt(&problem.shown, PromptTests::Visible);
        let labelled = loop_run::label(candidates, &verdicts);
        let questions = loop_run::labelled_questions(&critic, &prompt, &problems, &labelled)?;
        let (held_out, training) = loop_run::split(questions, recipe.critic.validation, recipe.seed);
        let head = critic.head.clone();
        let mut trainer = critic_training::CriticTrainer::new(critic.model()?, head, settings, device()?)?;
        let mut progress = Progress::start("critic", settings.total_steps(training.len()), 0);
        critic_training::train(&mut trainer, &training, settings, recipe.seed, &mut |report| {
            progress.set(report.step, &format!("loss {:.3}", report.metrics[0].1));
            if interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        progress.finish();
        ensure!(!interrupted(), "stopped before the end; nothing was written");
        if rank() > 0 {
            return Ok(());
        }
        let critic = loop_run::trained_critic(critic, trainer)?;
        critic.save(&self.out, recipe.critic.precision)?;
        outln!("{:#}", loop_run::validate(&critic, &held_out, training.len())?);
        outln!("{}", self.out.display());
        Ok(())
    }
}
