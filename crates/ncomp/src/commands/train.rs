//! `ncomp train`: one stage of learning, on files.

use super::train_ranker::TrainRanker;
use crate::loop_run::{self, model_directory};
use crate::progress::{Progress, interrupted};
use crate::recipe::Recipe;
use crate::samples;
use anyhow::{Result, ensure};
use critic::Critic;
use generator::Generator;
use learning::supervised::{self, Example};
use learning::{Trainer, critic_training};
use problems::prompt::PromptTests;
use records::{Problem, Verdict, jsonl};
use serde::Deserialize;
use std::ops::ControlFlow;
use std::path::PathBuf;

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
            Train::Grpo(grpo) => loop_run::reinforce_only(&Recipe::load(&grpo.recipe)?, &grpo.out),
            Train::Critic(critic) => critic.run(),
            Train::Ranker(ranker) => ranker.run(),
        }
    }
}

impl Sft {
    fn run(self) -> Result<()> {
        let recipe = Recipe::load(&self.recipe)?;
        let settings = recipe.pretrain.clone().unwrap_or_default().training;
        let generator = Generator::load(&model_directory(&recipe.model.path)?, recipe.model.prompt)?;
        let pairs: Vec<Pair> = jsonl::read(&self.data)?;
        let end = generator.model.config.eos_token_ids.first().copied();
        let examples = pairs.iter().map(|pair| {
            let mut completion = generator.tokenizer.encode(&pair.completion);
            completion.extend(end);
            Example { prompt: generator.tokenizer.encode(&pair.prompt), completion }
        });
        let examples: Vec<Example> =
            examples.filter(|e| !e.prompt.is_empty() && !e.completion.is_empty()).collect();
        ensure!(examples.len() == pairs.len(), "{}: a prompt or completion is empty", self.data.display());
        let Generator { model, tokenizer, .. } = generator;
        let mut trainer = Trainer::new(model, &settings.optimizer);
        let mut progress = Progress::start("supervised training", settings.total_steps(examples.len()), 0);
        supervised::train(&mut trainer, &examples, &settings, recipe.seed, &mut |report| {
            progress.set(report.step, &format!("loss {:.3}", report.metrics[0].1));
            if interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        progress.finish();
        ensure!(!interrupted(), "stopped before the end; nothing was written");
        trainer.model.save(&self.out, recipe.critic.precision)?;
        tokenizer.save(&self.out)?;
        println!("{}", self.out.display());
        Ok(())
    }
}

impl TrainCritic {
    fn run(self) -> Result<()> {
        let recipe = Recipe::load(&self.recipe)?;
        let settings = &recipe.critic.training;
        let sets = loop_run::ProblemSets::of(&recipe)?;
        let problems: Vec<Problem> = sets.train.into_iter().chain(sets.test).collect();
        let candidates = samples::read(&self.samples, &problems)?.candidates;
        let verdicts: Vec<Verdict> = jsonl::read(&self.verdicts)?;
        let generator = Generator::load(&model_directory(&recipe.model.path)?, recipe.model.prompt)?;
        let (model, tokenizer) = (generator.model.clone(), generator.tokenizer.clone());
        let mut critic = Critic::new(model, tokenizer, settings.head_width, recipe.seed);
        critic.max_tokens = settings.max_tokens;
        let prompt = |problem: &Problem| generator.prompt(problem, PromptTests::Visible);
        let labelled = loop_run::label(candidates, &verdicts);
        let questions = loop_run::labelled_questions(&critic, &prompt, &problems, &labelled)?;
        let (held_out, training) = loop_run::split(questions, recipe.critic.validation, recipe.seed);
        let mut trainer = critic_training::CriticTrainer::new(critic.network.clone(), settings);
        let mut progress = Progress::start("critic", settings.total_steps(training.len()), 0);
        critic_training::train(&mut trainer, &training, settings, recipe.seed, &mut |report| {
            progress.set(report.step, &format!("loss {:.3}", report.metrics[0].1));
            if interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        progress.finish();
        ensure!(!interrupted(), "stopped before the end; nothing was written");
        critic.network = trainer.network;
        critic.save(&self.out, recipe.critic.precision)?;
        println!("{:#}", loop_run::validate(&critic, &held_out, training.len()));
        println!("{}", self.out.display());
        Ok(())
    }
}
