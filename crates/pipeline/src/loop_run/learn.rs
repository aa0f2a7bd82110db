//! The two stages that learn: GRPO and the critic.

use super::{Loop, PoolName};
use crate::critic_training::{CriticTraining, label, new_critic};
use crate::error::learning;
use crate::recorder::Recorder;
use crate::verdicts::StoredVerdict;
use crate::{Done, Result};
use critic::Critic;
use learning::grpo::{self, RolloutContext};
use learning::{StepReport, Trainer};
use records::jsonl::Appender;
use records::{Candidate, Problem, jsonl, paired};
use std::ops::ControlFlow;
use std::path::Path;
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
        let mut trainer = self.trainer(&state)?;
        trainer.save_regularly(&state);
        let problems = self.problems.for_grpo(self.recipe);
        let rollouts = settings.sampled_prompts(problems.len()) * settings.group_size;
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
            problems: &problems,
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
        let is_whole = self.go_through_steps(&mut trainer, &mut context, &mut recorder, &state)?;
        recorder.finish()?;
        if !is_whole {
            trainer.save_state(&state).map_err(learning)?;
            return Ok(Done::Interrupted);
        }
        if self.best_step()?.is_some_and(|best| best != trainer.step()) {
            drop(trainer);
            trainer = self.trainer(&self.best_state())?;
        }
        let target = self.run.path("grpo");
        trainer.model().map_err(learning)?.save(&target, Default::default())?;
        if let Some(adapters) = trainer.learner.adapters() {
            adapters.save(&target.join("adapter"), &self.recipe.model.path, Default::default())?;
        }
        conversion::write_tokenizer(&Checkpoint::open(&self.model)?, &target)?;
        let _ = std::fs::remove_file(self.best_state());
        let _ = std::fs::remove_file(state);
        Ok(Done::Whole)
    }

    /// Goes through the steps that are left, and measures those of them that are to be. False where it was stopped.
    fn go_through_steps(
        &self,
        trainer: &mut Trainer,
        context: &mut RolloutContext,
        recorder: &mut Recorder,
        state: &Path,
    ) -> Result<bool> {
        let settings = &self.recipe.grpo;
        loop {
            if self.is_measured(trainer.step()) {
                trainer.save_state(state).map_err(learning)?;
                if self.measure_step(trainer)? == Done::Interrupted {
                    return Ok(false);
                }
            }
            let before = trainer.step();
            if before >= settings.steps {
                return Ok(true);
            }
            let mut on_step = |report: &StepReport| {
                let flow = recorder.step(report);
                if self.is_measured(report.step) { ControlFlow::Break(()) } else { flow }
            };
            grpo::train(trainer, context, settings, self.recipe.seed, &mut on_step).map_err(learning)?;
            let step = trainer.step();
            // Where it did not come to the end, nor to a step to measure, it was stopped.
            if step == before || step < settings.steps && !self.is_measured(step) {
                return Ok(false);
            }
        }
    }

    /// GRPO's trainer, where a state is as it left off there.
    fn trainer(&self, state: &Path) -> Result<Trainer> {
        let (settings, device) = (&self.recipe.grpo.optimizer, self.context.device);
        let model = self.base.model().map_err(learning)?;
        let trainer = match state.exists() {
            true => Trainer::load_state(model, settings, state, device),
            false => Trainer::new(model, settings, device),
        };
        trainer.map_err(learning)
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
        let (train, held_out) = (&self.problems.train, &self.problems.held_out);
        let count = recipe.problems.min(train.len() + held_out.len());
        // As many of those held out as their share says.
        let of_held_out = ((count as f64 * recipe.validation).round() as usize).min(held_out.len());
        let of_train = (count - of_held_out).min(train.len());
        // From the end: GRPO's rollouts are about the first ones, if it does not get through all.
        let last = |problems: &[Problem], count: usize| problems[problems.len() - count..].to_vec();
        let problems = [last(train, of_train), last(held_out, of_held_out)].concat();
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
        // Adapters are of the model that the run began with: one copy of it serves policy and critic.
        if recipe.start.is_empty() && settings.optimizer.lora.rank == 0 {
            self.tuned()?;
        }
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
        let problems = [&self.problems.train[..], &self.problems.held_out].concat();
        let training = CriticTraining { recipe, seed: self.recipe.seed, root: &root, target: Some(&target) };
        let device = self.context.device;
        let backbone = match settings.optimizer.lora.rank {
            0 => self.tuned.as_ref().unwrap_or(&self.base),
            _ => &self.base,
        };
        let new = |seed: u64| match recipe.start.as_str() {
            "" => new_critic(backbone, settings, seed, device),
            start => Critic::load(start.as_ref(), device).map_err(learning),
        };
        let trained = training.run(&self.context, &new, &self.base, &problems, &labelled)?;
        Ok(if trained.is_some() { Done::Whole } else { Done::Interrupted })
    }
}
