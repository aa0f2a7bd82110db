//! `ncomp train`: one stage of learning, on files.

use super::train_ranker::TrainRanker;
use crate::context::{advised, context, hub, model_path};
use crate::device::{device, rank};
use crate::launch::Gpus;
use crate::samples;
use anyhow::{Result, ensure};
use generator::Generator;
use pipeline::critic_training::{CriticTraining, label, new_critic};
use pipeline::problem_sets::ProblemSets;
use pipeline::recipe::Recipe;
use pipeline::{Done, loop_run, supervised};
use records::Problem;
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
    Ranker(Box<TrainRanker>),
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
        match loop_run::reinforce_only(&Recipe::load(&self.recipe)?, &out, context()?).map_err(advised)? {
            // Of several processes the first one tells.
            Done::Whole if rank() > 0 => {}
            Done::Whole => outln!("{}", out.join("grpo").display()),
            Done::Interrupted => errln!("stopped; the same command resumes from here"),
        }
        Ok(())
    }
}

impl Sft {
    fn run(self) -> Result<()> {
        if self.gpus.launch()? {
            return Ok(());
        }
        let recipe = Recipe::load(&self.recipe)?;
        let (metrics, target) = match rank() {
            0 => (self.out.join("metrics"), Some(&*self.out)),
            // Of several processes the first one writes and tells.
            rank => (self.out.join(format!("ranks/{rank}")), None),
        };
        let done = supervised::train(&recipe, &self.data, &metrics, target, &context()?);
        ensure!(done.map_err(advised)? == Done::Whole, "stopped before the end; nothing was written");
        if target.is_some() {
            outln!("{}", self.out.display());
        }
        Ok(())
    }
}

impl TrainCritic {
    fn run(self) -> Result<()> {
        if self.gpus.launch()? {
            return Ok(());
        }
        let recipe = Recipe::load(&self.recipe)?;
        let sets = ProblemSets::of(&recipe, hub()).map_err(advised)?;
        let problems: Vec<Problem> =
            sets.train.into_iter().chain(sets.held_out).chain(sets.validation).chain(sets.test).collect();
        let mut candidates = samples::read(&self.samples, &problems)?.candidates;
        let verdicts = samples::verdicts_on(&self.verdicts, &mut candidates)?;
        samples::tell_of_test_problems(&problems, &candidates);
        let generator = Generator::load(&model_path(&recipe.model.path)?, recipe.model.prompt, device()?)?;
        let settings = &recipe.critic.training;
        let device = device()?;
        let new = |seed: u64| new_critic(&generator, settings, seed, device);
        let labelled = label(candidates, &verdicts).map_err(advised)?;
        let root = match rank() {
            0 => self.out.clone(),
            rank => self.out.join(format!("ranks/{rank}")),
        };
        let training = CriticTraining {
            recipe: &recipe.critic,
            seed: recipe.seed,
            root: &root,
            // Of several processes the first one writes and tells.
            target: (rank() == 0).then_some(&*self.out),
        };
        let trained = training.run(&context()?, &new, &generator, &problems, &labelled).map_err(advised)?;
        let Some(trained) = trained else {
            errln!("stopped; the same command resumes from here");
            return Ok(());
        };
        if let Some(validation) = trained.validation {
            outln!("{validation:#}");
            outln!("{}", self.out.display());
        }
        Ok(())
    }
}
