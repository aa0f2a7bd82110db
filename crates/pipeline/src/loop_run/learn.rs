//! The two stages that learn: GRPO and the critic.

use super::{Loop, PoolName};
use crate::critic_training::{CriticTraining, label, new_critic};
use crate::error::learning;
use crate::recorder::Recorder;
use crate::verdicts::StoredVerdict;
use crate::{Done, Result};
use critic::Critic;
use learning::Trainer;
use learning::grpo::{self, RolloutContext};
use records::jsonl::Appender;
use records::{Candidate, Problem, jsonl, paired};
use transformer::Checkpoint;

impl Loop<'_> {
    /// Reinforces the generator, into `grpo/`.
    pub(super) fn reinforce(&mut self) -> Result<Done> {
        let settings = &self.recipe.grpo;
        if settings.steps == 0 {
            return Ok(Done::Whole);
        }
        let state = self.run.path("states/grpo.safetensors");
        let device = self.context.device;
        let trainer = if state.exists() {
            Trainer::load_state(self.base.config(), &settings.optimizer, &state, device)
        } else {
            Trainer::new(self.base.model().map_err(learning)?, &settings.optimizer, device)
        };
        let mut trainer = trainer.map_err(learning)?;
        trainer.save_regularly(&state);
        let rollouts = settings.sampled_prompts(self.problems.train.len()) * settings.group_size;
        let done = trainer.step();
        let mut candidates = self.reopen::<Candidate>("generated/rollouts.jsonl", done * rollouts)?;
        let mut verdicts = self.reopen::<StoredVerdict>("verdicts/rollouts.jsonl", done * rollouts)?;
        let shaping = match self.recipe.critic.start.as_str() {
            start if !start.is_empty() && settings.critic_reward > 0.0 => {
                Some(Critic::load(start.as_ref(), device).map_err(learning)?)
            }
            _ => None,
        };
        let (watch, metrics) = (self.context.watch, self.run.path("metrics"));
        let steps = (done, settings.steps);
        let mut recorder = Recorder::open(watch, (&metrics, "grpo"), ("GRPO", "reward"), steps)?;
        let mut context = RolloutContext {
            generator: &self.base,
            client: &self.client,
            problems: &self.problems.train,
            critic: shaping.as_ref(),
            reference: (settings.kl_coefficient > 0.0).then_some(&self.base),
            on_rollouts: &mut |sampled, judged| {
                for (candidate, verdict) in paired(sampled, judged, ["candidates", "verdicts"])? {
                    candidates.append(candidate)?;
                    verdicts.append(verdict)?;
                }
                candidates.flush()?;
                Ok(verdicts.flush()?)
            },
            interrupted: watch.interrupted,
        };
        let mut on_step = |report: &_| recorder.step(report);
        grpo::train(&mut trainer, &mut context, settings, self.recipe.seed, &mut on_step)
            .map_err(learning)?;
        recorder.finish()?;
        if trainer.step() < settings.steps {
            trainer.save_state(&state).map_err(learning)?;
            return Ok(Done::Interrupted);
        }
        let target = self.run.path("grpo");
        trainer.model().map_err(learning)?.save(&target, Default::default())?;
        if let Some(adapters) = trainer.learner.adapters() {
            adapters.save(&target.join("adapter"), &self.recipe.model.path, Default::default())?;
        }
        conversion::write_tokenizer(&Checkpoint::open(&self.model)?, &target)?;
        let _ = std::fs::remove_file(state);
        Ok(Done::Whole)
    }

    /// Opens a file of rollouts and drops what a step that did not count left in it.
    fn reopen<T: serde::de::DeserializeOwned + serde::Serialize>(
        &self,
        name: &str,
        keep: usize,
    ) -> Result<Appender> {
        let path = self.run.path(name);
        let (file, old) = Appender::resume::<T>(&path)?;
        if old.len() <= keep {
            return Ok(file);
        }
        drop(file);
        jsonl::write(&path, &old[..keep])?;
        Ok(Appender::resume::<T>(&path)?.0)
    }

    /// Labelled candidates of training problems, by the generators before and after GRPO.
    pub(super) fn critic_data(&mut self) -> Result<Done> {
        let recipe = &self.recipe.critic;
        let count = recipe.problems.min(self.problems.train.len());
        // From the end: GRPO's rollouts are about the first ones, if it does not get through all.
        let problems: Vec<Problem> = self.problems.train[self.problems.train.len() - count..].to_vec();
        for (pool, samples) in [(PoolName::Before, recipe.base_samples), (PoolName::After, recipe.samples)] {
            if problems.is_empty() || samples == 0 {
                continue;
            }
            let [name, _] = pool.lessons();
            let label = format!("critic's examples {}", pool.words());
            if self.sample_and_judge(name, pool, &problems, samples, &label)? == Done::Interrupted {
                return Ok(Done::Interrupted);
            }
        }
        Ok(Done::Whole)
    }

    /// Trains the critic on everything labelled so far, into `critic/`.
    pub(super) fn train_critic(&mut self) -> Result<Done> {
        let recipe = &self.recipe.critic;
        let settings = &recipe.training;
        let critic = if recipe.start.is_empty() {
            let seed = self.recipe.seed;
            let device = self.context.device;
            // Adapters are of the model that the run began with: one copy of it serves policy and critic.
            let backbone = if settings.optimizer.lora.rank > 0 { &self.base } else { self.tuned()? };
            new_critic(backbone, settings, seed, device)?
        } else {
            Critic::load(recipe.start.as_ref(), self.context.device).map_err(learning)?
        };
        let mut sources = Vec::new();
        if recipe.problems > 0 && recipe.base_samples > 0 {
            sources.push("critic-data-base");
        }
        if recipe.problems > 0 && recipe.samples > 0 {
            sources.push("critic-data");
        }
        if recipe.rollouts && self.recipe.grpo.steps > 0 {
            sources.push("rollouts");
        }
        let mut labelled = Vec::new();
        for name in sources {
            // Indices start again in every source, so each is labelled by itself.
            labelled.extend(label(self.candidates(name)?, &self.verdicts(name)?)?);
        }
        let (root, target) = (self.run.root().to_owned(), self.run.path("critic"));
        let training = CriticTraining { recipe, seed: self.recipe.seed, root: &root, target: Some(&target) };
        let trained = training.run(&self.context, critic, &self.base, &self.problems.train, &labelled)?;
        Ok(if trained.is_some() { Done::Whole } else { Done::Interrupted })
    }
}
