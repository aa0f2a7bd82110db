//! The two stages that learn: GRPO and the critic.

use super::Loop;
use crate::device::device;
use crate::progress::{Progress, interrupted};
use crate::stages::{self, Done};
use crate::verdicts::StoredVerdict;
use anyhow::Result;
use critic::{Critic, Head, Question};
use generator::{Generator, Request};
use learning::critic_training::{CriticTrainer, LabelledQuestion};
use learning::grpo::{self, RolloutContext};
use learning::metrics::MetricsWriter;
use learning::{StepReport, Trainer, critic_training};
use problems::prompt::PromptTests;
use records::jsonl::Appender;
use records::{Candidate, Outcome, Problem, Verdict, jsonl};
use report::statistics::{area_under_curve, calibration, calibration_error};
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use transformer::Checkpoint;

impl Loop<'_> {
    /// Reinforces the generator, into `grpo/`.
    pub(super) fn reinforce(&mut self) -> Result<Done> {
        let settings = &self.recipe.grpo;
        if settings.steps == 0 {
            return Ok(Done::Whole);
        }
        let state = self.run.path("states/grpo.safetensors");
        let mut trainer = if state.exists() {
            Trainer::load_state(self.base.config(), &settings.optimizer, &state, device()?)?
        } else {
            Trainer::new(self.base.model()?, &settings.optimizer, device()?)?
        };
        trainer.save_regularly(&state);
        let rollouts = settings.prompts_per_step.min(self.problems.train.len()) * settings.group_size;
        let done = trainer.step();
        let mut candidates = self.reopen::<Candidate>("generated/rollouts.jsonl", done * rollouts)?;
        let mut verdicts = self.reopen::<StoredVerdict>("verdicts/rollouts.jsonl", done * rollouts)?;
        let mut metrics = MetricsWriter::open(&self.run.path("metrics"), "grpo", done)?;
        let directory = super::model_path(&self.recipe.model.path)?;
        let shaping = match self.recipe.critic.start.as_str() {
            start if !start.is_empty() && settings.critic_reward > 0.0 => {
                Some(Critic::load(start.as_ref(), device()?)?)
            }
            _ => None,
        };
        let mut progress = Progress::start("GRPO", settings.steps, done);
        let mut failed = None;
        let mut context = RolloutContext {
            generator: &self.base,
            client: &self.client,
            problems: &self.problems.train,
            critic: shaping.as_ref(),
            reference: (settings.kl_coefficient > 0.0).then_some(&self.base),
            on_rollouts: &mut |sampled, judged| {
                sampled.iter().try_for_each(|candidate| candidates.append(candidate))?;
                judged.iter().try_for_each(|verdict| verdicts.append(verdict))?;
                candidates.flush()?;
                Ok(verdicts.flush()?)
            },
            interrupted: &interrupted,
        };
        grpo::train(&mut trainer, &mut context, settings, self.recipe.seed, &mut |report| {
            failed = metrics.write(report).err();
            progress.set(report.step, &format!("reward {:.3}", metric(report, "reward")));
            if failed.is_some() || interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        progress.finish();
        if let Some(error) = failed {
            return Err(error);
        }
        if trainer.step() < settings.steps {
            trainer.save_state(&state)?;
            return Ok(Done::Interrupted);
        }
        let target = self.run.path("grpo");
        trainer.model()?.save(&target, Default::default())?;
        if let Some(adapters) = trainer.learner.adapters() {
            adapters.save(&target.join("adapter"), &self.recipe.model.path)?;
        }
        conversion::write_tokenizer(&Checkpoint::open(&directory)?, &target)?;
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
        for (name, tuned) in [("critic-data-base", false), ("critic-data", true)] {
            let samples = if tuned { recipe.samples } else { recipe.base_samples };
            if problems.is_empty() || samples == 0 {
                continue;
            }
            let request = Request {
                samples,
                sampling: self.pool_sampling(),
                max_new_tokens: self.recipe.pool.max_new_tokens,
                max_sequences: self.recipe.pool.max_sequences,
                // Without GRPO both halves are the same generator's: they must not be the same samples.
                seed: self.recipe.seed + u64::from(tuned),
                tests: self.recipe.pool.tests,
            };
            let path = self.run.path(&format!("generated/{name}.jsonl"));
            let label = format!("critic's examples {} GRPO", if tuned { "after" } else { "before" });
            if tuned {
                self.tuned()?;
            }
            let generator = self.tuned.as_ref().filter(|_| tuned).unwrap_or(&self.base);
            if stages::generate(&label, generator, &problems, &request, &path)? == Done::Interrupted {
                return Ok(Done::Interrupted);
            }
            let candidates = self.candidates(name)?;
            let path = self.run.path(&format!("verdicts/{name}.jsonl"));
            if stages::execute(&format!("verdicts on {name}"), &self.client, &problems, &candidates, &path)?
                == Done::Interrupted
            {
                return Ok(Done::Interrupted);
            }
        }
        Ok(Done::Whole)
    }

    /// Trains the critic on everything labelled so far, into `critic/`.
    pub(super) fn train_critic(&mut self) -> Result<Done> {
        let recipe = &self.recipe.critic;
        let settings = &recipe.training;
        let mut critic = if recipe.start.is_empty() {
            let seed = self.recipe.seed;
            new_critic(self.tuned()?, settings.head_width, seed)?
        } else {
            Critic::load(recipe.start.as_ref(), device()?)?
        };
        critic.max_tokens = settings.max_tokens;
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
        let mut candidates = Vec::new();
        for name in sources {
            // Indices start again in every source, so each is labelled by itself.
            candidates.extend(label(self.candidates(name)?, &self.verdicts(name)?));
        }
        let prompt = |problem: &Problem| self.base.prompt(&problem.shown, PromptTests::Visible);
        let questions = labelled_questions(&critic, &prompt, &self.problems.train, &candidates)?;
        let (held_out, training) = split(questions, recipe.validation, self.recipe.seed);
        self.hold_out(&held_out.iter().map(|question| question.problem.as_str()).collect::<Vec<_>>())?;
        let state = self.run.path("states/critic.safetensors");
        let mut trainer = match state.exists() {
            true => {
                CriticTrainer::load_state(critic.model()?, critic.head.clone(), settings, &state, device()?)?
            }
            false => CriticTrainer::new(critic.model()?, critic.head.clone(), settings, device()?)?,
        };
        trainer.save_regularly(&state, settings);
        let mut metrics = MetricsWriter::open(&self.run.path("metrics"), "critic", trainer.step())?;
        let mut progress = Progress::start("critic", settings.total_steps(training.len()), trainer.step());
        let mut failed = None;
        critic_training::train(&mut trainer, &training, settings, self.recipe.seed, &mut |report| {
            failed = metrics.write(report).err();
            progress.set(report.step, &format!("accuracy {:.3}", metric(report, "accuracy")));
            if failed.is_some() || interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        progress.finish();
        if let Some(error) = failed {
            return Err(error);
        }
        if trainer.step() < settings.total_steps(training.len()) {
            trainer.save_state(&state)?;
            return Ok(Done::Interrupted);
        }
        let critic = trained_critic(critic, trainer)?;
        let measured = validate(&critic, &held_out, training.len())?;
        jsonl::write_atomically(&self.run.path("metrics/critic-validation.json"), |file| {
            file.write_all(measured.to_string().as_bytes())
        })?;
        critic.save(&self.run.path("critic"), recipe.precision)?;
        let _ = std::fs::remove_file(state);
        Ok(Done::Whole)
    }
}

/// A critic that has learned nothing yet: a copy of a generator's model and a random head.
pub(crate) fn new_critic(generator: &Generator, head_width: usize, seed: u64) -> Result<Critic> {
    let head = Head::random(generator.config().hidden_size, head_width, seed);
    let backbone = device()?.reader(generator.model()?)?;
    Ok(Critic::new(backbone, head, generator.tokenizer.clone()))
}

/// The critic as its trainer left it.
pub(crate) fn trained_critic(before: Critic, trainer: CriticTrainer) -> Result<Critic> {
    let backbone = device()?.reader(trainer.learner.model()?.into_owned())?;
    let mut critic = Critic::new(backbone, trainer.head, before.tokenizer);
    critic.max_tokens = before.max_tokens;
    Ok(critic)
}

fn metric(report: &StepReport, name: &str) -> f64 {
    report.metrics.iter().find(|metric| metric.0 == name).map_or(f64::NAN, |metric| metric.1)
}

/// A candidate's problem, program and whether it passed.
pub(crate) struct Labelled {
    problem: String,
    code: String,
    passed: bool,
}

/// Joins candidates with their verdicts; what the verifier failed on is left out. Rollouts repeat
/// indices from step to step, so files that correspond line by line are joined so.
pub(crate) fn label(candidates: Vec<Candidate>, verdicts: &[Verdict]) -> Vec<Labelled> {
    let aligned = candidates.len() == verdicts.len()
        && candidates.iter().zip(verdicts).all(|(c, v)| c.problem == v.problem && c.index == v.index);
    let by_key: HashMap<(&str, usize), Outcome> =
        verdicts.iter().map(|verdict| ((verdict.problem.as_str(), verdict.index), verdict.outcome)).collect();
    let labelled = candidates.into_iter().enumerate().filter_map(|(at, candidate)| {
        let outcome = match aligned {
            true => Some(verdicts[at].outcome),
            false => by_key.get(&(candidate.problem.as_str(), candidate.index)).copied(),
        };
        let outcome = outcome.filter(|&outcome| outcome != Outcome::Infrastructure)?;
        Some(Labelled {
            problem: candidate.problem,
            code: candidate.code,
            passed: outcome == Outcome::Passed,
        })
    });
    labelled.collect()
}

/// One question for each problem with its distinct programs, in tokens.
pub(crate) fn labelled_questions(
    critic: &Critic,
    prompt: &dyn Fn(&Problem) -> Result<String>,
    problems: &[Problem],
    labelled: &[Labelled],
) -> Result<Vec<LabelledQuestion>> {
    let mut by_problem: HashMap<&str, BTreeMap<&str, (bool, usize)>> = HashMap::new();
    for candidate in labelled {
        let programs = by_problem.entry(&candidate.problem).or_default();
        programs.entry(&candidate.code).or_insert((candidate.passed, 0)).1 += 1;
    }
    let mut questions = Vec::new();
    for problem in problems {
        let Some(programs) = by_problem.remove(problem.id.as_str()) else { continue };
        let codes = programs.keys().map(|code| (*code).to_owned()).collect();
        questions.push(LabelledQuestion {
            problem: problem.id.clone(),
            question: critic.tokenize(&Question { prompt: prompt(problem)?, programs: codes }),
            passed: programs.values().map(|program| program.0).collect(),
            counts: programs.values().map(|program| program.1).collect(),
        });
    }
    Ok(questions)
}

/// Some problems kept apart, and the others.
pub(crate) fn split(
    questions: Vec<LabelledQuestion>,
    share: f64,
    seed: u64,
) -> (Vec<LabelledQuestion>, Vec<LabelledQuestion>) {
    use rand::{Rng, SeedableRng};
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed ^ 0x5eed);
    questions.into_iter().partition(|_| random.random::<f64>() < share)
}

/// Accuracy, AUC and calibration on problems that training never saw; every candidate counts.
pub(crate) fn validate(
    critic: &Critic,
    held_out: &[LabelledQuestion],
    trained_on: usize,
) -> Result<serde_json::Value> {
    let tokenized: Vec<_> = held_out.iter().map(|labelled| labelled.question.clone()).collect();
    let logits = critic.logits(&tokenized)?;
    let (mut scores, mut passed) = (Vec::new(), Vec::new());
    for (labelled, logits) in held_out.iter().zip(logits) {
        for ((&count, &label), logit) in labelled.counts.iter().zip(&labelled.passed).zip(logits) {
            scores.extend(std::iter::repeat_n(critic::probability(logit), count));
            passed.extend(std::iter::repeat_n(label, count));
        }
    }
    let right = scores.iter().zip(&passed).filter(|(score, passed)| (**score > 0.5) == **passed).count();
    Ok(json!({
        "problems": held_out.len(),
        "training_problems": trained_on,
        "candidates": scores.len(),
        "accuracy": right as f64 / scores.len().max(1) as f64,
        "share_passing": passed.iter().filter(|&&p| p).count() as f64 / passed.len().max(1) as f64,
        "auc": area_under_curve(&scores, &passed),
        "calibration_error": calibration_error(&calibration(&scores, &passed)),
    }))
}
