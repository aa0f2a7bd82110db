//! Group relative policy optimisation (Shao et al., 2024, section 4.1) with verdicts as rewards.
//!
//! Each step samples a group of completions for each of several prompts, has them judged, and takes
//! as a completion's advantage what its reward is worth beside the group's, as the objective says. A
//! group whose advantages are zero says nothing: it is counted and skipped, and where more prompts are
//! sampled than learned from, others take its place (DAPO's dynamic sampling; Yu et al., 2025). The loss
//! is PPO's clipped surrogate, averaged over all completion tokens of the step, with an optional KL term
//! to the model that training started from (Schulman's estimator k3).

use crate::advantage::{Objective, advantages, mean_and_deviation};
use crate::rewards::{CriticGroups, rewards};
use crate::rounds::step_problems;
use crate::surrogate::{Clip, Terms, token_gradient};
use crate::{OnStep, OptimizerSettings, StepReport, Trainer};
use anyhow::{Context, Result, ensure};
use critic::Critic;
use generator::{Generator, Request, Sampling};
use problems::prompt::PromptTests;
use records::{Candidate, FinishReason, Outcome, Problem, Verdict, paired, same_length};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::time::Instant;
use transformer::PackedBatch;
use transformer::batch::split_by_rows;
use transformer::head::{Prediction, Target};
use verify::{Client, Judging};

/// Settings of GRPO.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GrpoSettings {
    /// Sampling steps; 0 leaves the generator as it is.
    pub steps: usize,
    /// Prompts that a step learns from.
    pub prompts_per_step: usize,
    /// Prompts sampled for each of these: where a group says nothing, another takes its place.
    pub oversampling: f64,
    /// Completions a prompt.
    pub group_size: usize,
    /// Temperature of the rollouts.
    pub temperature: f64,
    /// Nucleus of the rollouts.
    pub top_p: f64,
    /// Longest completion.
    pub max_new_tokens: usize,
    /// Updates that a step's groups are split into.
    pub minibatches: usize,
    /// Times that a step's groups are gone through.
    pub iterations: usize,
    /// What is raised: the `mean` reward of completions, or the `best_of` several.
    pub objective: Objective,
    /// How many completions the objective `best_of` takes the best of.
    pub best_of: usize,
    /// A ratio of new to old probability below `1 - clip_range` gives no gradient.
    pub clip_range: f64,
    /// Nor does one above `1 + clip_range_high`; wider than below, it leaves unlikely completions room to
    /// become likely (DAPO's clip-higher).
    pub clip_range_high: f64,
    /// Coefficient of the KL term to the starting model; 0 leaves it out, and saves its pass.
    pub kl_coefficient: f64,
    /// Coefficient of a bonus for the entropy of each token: what learning takes of it, the best of several
    /// loses. 0 leaves it out.
    pub entropy_coefficient: f64,
    /// Weight of execution in the reward: 1 for a completion that passes. 0 leaves learning to the critic, as
    /// for problems without tests; what execution says is measured all the same.
    pub execution_reward: f64,
    /// Weight of the critic's probability in the reward.
    pub critic_reward: f64,
    /// Groups whose rewards have it.
    pub critic_groups: CriticGroups,
    /// Tests that the prompt shows.
    pub prompt_tests: PromptTests,
    /// Steps after which the answers selected among candidates for problems that nothing is learned from are
    /// measured, again and again; the weights with the best of them are kept. 0 keeps the last step's.
    pub choose_every: usize,
    /// Candidates of each of these problems.
    pub choose_samples: usize,
    /// How weights are updated.
    pub optimizer: OptimizerSettings,
}

impl Default for GrpoSettings {
    fn default() -> Self {
        GrpoSettings {
            steps: 50,
            prompts_per_step: 64,
            oversampling: 1.0,
            group_size: 8,
            temperature: 1.0,
            top_p: 1.0,
            max_new_tokens: 256,
            minibatches: 1,
            iterations: 1,
            objective: Objective::Mean,
            best_of: 4,
            clip_range: 0.2,
            clip_range_high: 0.2,
            kl_coefficient: 0.0,
            entropy_coefficient: 0.0,
            execution_reward: 1.0,
            critic_reward: 0.0,
            critic_groups: CriticGroups::All,
            prompt_tests: PromptTests::Visible,
            choose_every: 0,
            choose_samples: 16,
            optimizer: OptimizerSettings { learning_rate: 1e-4, ..OptimizerSettings::default() },
        }
    }
}

impl GrpoSettings {
    /// Prompts that a step samples of so many problems.
    pub fn sampled_prompts(&self, problems: usize) -> usize {
        let sampled = (self.prompts_per_step as f64 * self.oversampling.max(1.0)).round();
        (sampled as usize).min(problems)
    }
}

/// Takes a step's candidates and their verdicts, in the same order.
pub type OnRollouts<'a> = dyn FnMut(&[Candidate], &[Verdict]) -> Result<()> + 'a;

/// What GRPO works with besides the model.
pub struct RolloutContext<'a> {
    /// How the model is asked; its own weights are not used.
    pub generator: &'a Generator,
    /// Decides what counts as solved, and finds the solutions in completions.
    pub client: &'a Client,
    /// Problems to learn from.
    pub problems: &'a [Problem],
    /// Scores rollouts for shaping, where the settings ask for it.
    pub critic: Option<&'a Critic>,
    /// The frozen model for the KL term.
    pub reference: Option<&'a Generator>,
    /// Takes each step's candidates and verdicts.
    pub on_rollouts: &'a mut OnRollouts<'a>,
    /// Asked between the parts of a step; true breaks it off without effect.
    pub interrupted: &'a dyn Fn() -> bool,
}

/// One completion ready to learn from.
struct Rollout {
    tokens: Vec<u32>,
    old: Vec<f32>,
    advantage: f32,
}

/// A prompt with its completions; the groups of a step are what updates are made of.
struct Group {
    prompt: Vec<u32>,
    rollouts: Vec<Rollout>,
}

/// Sums over a step's updates.
#[derive(Default)]
struct Sums {
    tokens: f64,
    kl: f64,
    entropy: f64,
    clipped_low: f64,
    clipped_high: f64,
    gradient_norm: f64,
    learning_rate: f64,
    updates: f64,
}

/// Trains until all steps are done or `on_step` breaks off.
///
/// # Errors
/// Where there are no problems, nobody judges a problem's domain, a prompt cannot be made, a
/// candidate gets no verdict or score, or the loss stops being finite.
pub fn train(
    trainer: &mut Trainer,
    context: &mut RolloutContext,
    settings: &GrpoSettings,
    seed: u64,
    on_step: &mut OnStep,
) -> Result<()> {
    ensure!(!context.problems.is_empty(), "there are no problems to learn from");
    for problem in context.problems {
        let domain = &problem.check.domain;
        let known = context.client.pool().domain(domain).is_some();
        ensure!(known, "{}: check.domain: nothing here judges '{domain}'", problem.id);
    }
    ensure!(settings.group_size > 1, "grpo.group_size: expected at least 2, found {}", settings.group_size);
    while trainer.step() < settings.steps && !trainer.learner.any((context.interrupted)())? {
        let started = Instant::now();
        let per_step = settings.sampled_prompts(context.problems.len());
        let batch = step_problems(context.problems, per_step, seed, trainer.step());
        // Of several processes each takes a share of the problems.
        let batch = trainer.learner.rank().share(&batch);
        let mut judging = context.client.judging();
        let candidates = sample(trainer, context, &batch, settings, seed, &mut judging)?;
        if trainer.learner.any((context.interrupted)())? {
            break;
        }
        let sampled = started.elapsed().as_secs_f64();
        let verdicts = in_order(&candidates, judging.finish())?;
        let judged = started.elapsed().as_secs_f64();
        (context.on_rollouts)(&candidates, &verdicts)?;
        let (rewards, by_source) = rewards(context, &batch, &candidates, &verdicts, settings)?;
        let scored = started.elapsed().as_secs_f64();
        let most = share_of(settings.prompts_per_step, trainer.learner.rank().of, batch.len());
        let (groups, rewarded) = groups(context.generator, &batch, &candidates, &rewards, settings, most)?;
        let sums = learn(trainer, &groups, context.reference, settings)?;
        trainer.finish_step()?;
        let total = started.elapsed().as_secs_f64();
        let mut metrics = rewarded;
        metrics.extend(by_source);
        metrics.extend(completion_metrics(&candidates, &verdicts));
        metrics.extend(sums.metrics());
        metrics.extend([
            ("time/generate", sampled),
            ("time/execute", judged - sampled),
            ("time/score", scored - judged),
            ("time/train", total - scored),
            ("step_time", total),
        ]);
        average(&mut metrics, trainer)?;
        let stops = on_step(&StepReport { step: trainer.step(), total: settings.steps, metrics }).is_break();
        if trainer.learner.any(stops)? {
            break;
        }
    }
    Ok(())
}

/// How many of a step's groups one of several processes learns from.
fn share_of(prompts: usize, processes: usize, sampled: usize) -> usize {
    prompts.div_ceil(processes.max(1)).min(sampled)
}

/// Each metric becomes its mean over all processes.
fn average(metrics: &mut Metrics, trainer: &mut Trainer) -> Result<()> {
    let mut numbers: Vec<f64> = metrics.iter().map(|metric| metric.1).collect();
    trainer.learner.sum(&mut numbers)?;
    let count = trainer.learner.rank().of as f64;
    metrics.iter_mut().zip(numbers).for_each(|(metric, sum)| metric.1 = sum / count);
    Ok(())
}

/// Samples the step's groups, and has each completion judged as soon as it is whole: one that runs into
/// its time limit holds up less.
fn sample<'a>(
    trainer: &mut Trainer,
    context: &mut RolloutContext,
    batch: &'a [Problem],
    settings: &GrpoSettings,
    seed: u64,
    judging: &mut Judging<'a>,
) -> Result<Vec<Candidate>> {
    let request = Request {
        samples: settings.group_size,
        sampling: Sampling {
            temperature: settings.temperature as f32,
            top_p: settings.top_p as f32,
            top_k: 0,
            ..Sampling::PLAIN
        },
        max_new_tokens: settings.max_new_tokens,
        max_sequences: 0,
        // Another seed each step, or a problem that comes again would give the same samples.
        seed: seed.wrapping_add(1 + trainer.step() as u64),
        tests: settings.prompt_tests,
    };
    let by_id: HashMap<&str, &'a Problem> =
        batch.iter().map(|problem| (problem.id.as_str(), problem)).collect();
    let mut candidates: Vec<Candidate> = Vec::with_capacity(batch.len() * settings.group_size);
    let interrupted = context.interrupted;
    let pool = context.client.pool();
    // Training began with a look at every problem's domain.
    let extract = |problem: &Problem, completion: &str| match pool.domain(&problem.check.domain) {
        Some(domain) => domain.extract(problem, completion),
        None => completion.to_owned(),
    };
    context.generator.generate_by(
        trainer.learner.as_reader(),
        batch,
        &request,
        &extract,
        &mut |candidate| {
            judging.add(by_id[candidate.problem.as_str()], candidate.index, &candidate.code);
            candidates.push(candidate);
            if interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        },
    )?;
    let place: HashMap<&str, usize> = batch.iter().enumerate().map(|(at, p)| (p.id.as_str(), at)).collect();
    candidates.sort_by_key(|candidate| (place[candidate.problem.as_str()], candidate.index));
    Ok(candidates)
}

/// Verdicts in the order of their candidates.
///
/// # Errors
/// Where a candidate has none: those after it would be rewarded for another's work.
fn in_order(candidates: &[Candidate], verdicts: Vec<Verdict>) -> Result<Vec<Verdict>> {
    let keyed = verdicts.into_iter().map(|verdict| ((verdict.problem.clone(), verdict.index), verdict));
    let mut verdicts: HashMap<(String, usize), Verdict> = keyed.collect();
    let verdict = |candidate: &Candidate| {
        let found = verdicts.remove(&(candidate.problem.clone(), candidate.index));
        found
            .with_context(|| format!("candidate {} of {} got no verdict", candidate.index, candidate.problem))
    };
    candidates.iter().map(verdict).collect()
}

pub(crate) type Metrics = Vec<(&'static str, f64)>;

/// The groups that say something, no more of them than the step learns from, and what the rewards were.
fn groups(
    generator: &Generator,
    batch: &[Problem],
    candidates: &[Candidate],
    rewards: &[Option<f64>],
    settings: &GrpoSettings,
    most: usize,
) -> Result<(Vec<Group>, Metrics)> {
    same_length("rewards", rewards.len(), "candidates", candidates.len())?;
    same_length("groups", candidates.len(), "completions", batch.len() * settings.group_size)?;
    let (mut groups, mut equal, mut deviations) = (Vec::new(), 0usize, 0.0);
    let known: Vec<f64> = rewards.iter().flatten().copied().collect();
    let of_groups = paired(
        candidates.chunks(settings.group_size),
        rewards.chunks(settings.group_size),
        ["groups", "groups of rewards"],
    )?;
    for (problem, (candidates, rewards)) in paired(batch, of_groups, ["problems", "groups"])? {
        let known: Vec<f64> = rewards.iter().flatten().copied().collect();
        let deviation = mean_and_deviation(&known).1;
        deviations += deviation;
        equal += usize::from(deviation < 1e-6);
        let advantages = advantages(rewards, settings.objective, settings.best_of);
        if groups.len() == most || advantages.iter().flatten().all(|advantage| advantage.abs() < 1e-6) {
            continue;
        }
        for candidate in candidates {
            let (tokens, of) = (candidate.tokens.len(), "tokens");
            same_length("log-probabilities", candidate.log_probabilities.len(), of, tokens)?;
        }
        let of_candidates = paired(candidates, advantages, ["candidates", "advantages"])?;
        let rollouts = of_candidates.filter_map(|(candidate, advantage)| {
            Some(Rollout {
                tokens: candidate.tokens.clone(),
                old: candidate.log_probabilities.clone(),
                advantage: advantage? as f32,
            })
        });
        let prompt = generator.prompt_tokens(&generator.prompt(&problem.shown, settings.prompt_tests)?);
        groups.push(Group { prompt, rollouts: rollouts.collect() });
    }
    let count = batch.len().max(1) as f64;
    let metrics = vec![
        ("reward", mean_and_deviation(&known).0),
        ("reward_std", deviations / count),
        ("frac_reward_zero_std", equal as f64 / count),
        ("groups", groups.len() as f64),
    ];
    Ok((groups, metrics))
}

fn learn(
    trainer: &mut Trainer,
    groups: &[Group],
    reference: Option<&Generator>,
    settings: &GrpoSettings,
) -> Result<Sums> {
    let mut sums = Sums::default();
    let minibatches = settings.minibatches.max(1);
    let size = groups.len().div_ceil(minibatches).max(1);
    for _ in 0..settings.iterations.max(1) {
        for index in 0..minibatches {
            let start = (index * size).min(groups.len());
            let minibatch = &groups[start..(start + size).min(groups.len())];
            let tokens: usize = minibatch.iter().flat_map(|g| &g.rollouts).map(|r| r.tokens.len()).sum();
            // Every process has as many minibatches, though some of them may be empty.
            let mut tokens = [tokens as f64];
            trainer.learner.sum(&mut tokens)?;
            if tokens[0] == 0.0 {
                continue;
            }
            // Rows are bounded, gradients add up: memory does not grow with the minibatch.
            let rows = |group: &Group| {
                group.prompt.len() + group.rollouts.iter().map(|rollout| rollout.tokens.len()).sum::<usize>()
            };
            for part in split_by_rows(minibatch, rows, trainer.learner.batch_rows()) {
                add_gradient(trainer, part, tokens[0] as f32, reference, settings, &mut sums)?;
            }
            let (norm, learning_rate) = trainer.update(settings.steps)?;
            sums.gradient_norm += norm;
            sums.learning_rate += learning_rate;
            sums.updates += 1.0;
        }
    }
    Ok(sums)
}

/// Packs groups, each prompt once. A completion's rows are the prompt's last token and all of its
/// own but the last: row i predicts token i.
fn pack(groups: &[Group]) -> Result<(PackedBatch, Vec<Target>)> {
    let (mut batch, mut targets) = (PackedBatch::default(), Vec::new());
    for group in groups {
        let Some((last, prefix)) = group.prompt.split_last() else { continue };
        let inputs = group.rollouts.iter().map(|rollout| {
            let own = &rollout.tokens[..rollout.tokens.len() - 1];
            [std::slice::from_ref(last), own].concat()
        });
        let inputs: Vec<Vec<u32>> = inputs.collect();
        let rows = batch.push_tree(prefix, inputs.iter().map(Vec::as_slice));
        for (rows, rollout) in paired(rows, &group.rollouts, ["branches", "rollouts"])? {
            let targeted = paired(rows, &rollout.tokens, ["rows", "tokens"])?;
            targets.extend(targeted.map(|(row, &token)| Target { row, token }));
        }
    }
    Ok((batch, targets))
}

fn add_gradient(
    trainer: &mut Trainer,
    groups: &[Group],
    tokens: f32,
    reference: Option<&Generator>,
    settings: &GrpoSettings,
    sums: &mut Sums,
) -> Result<()> {
    let (batch, targets) = pack(groups)?;
    if targets.is_empty() {
        return Ok(());
    }
    let rollouts = groups.iter().flat_map(|group| &group.rollouts);
    let per_token = rollouts.flat_map(|r| r.old.iter().map(|&old| (old, r.advantage)));
    let per_token: Vec<(f32, f32)> = per_token.collect();
    same_length("targets", targets.len(), "tokens", per_token.len())?;
    let terms = Terms { kl: settings.kl_coefficient as f32, entropy: settings.entropy_coefficient as f32 };
    let reference = match reference.filter(|_| terms.kl > 0.0) {
        Some(reference) => Some(reference.predictions(&batch, &targets)?),
        None => None,
    };
    let clip = Clip { low: settings.clip_range as f32, high: settings.clip_range_high as f32 };
    let mut weigh = |index: usize, prediction: Prediction| {
        let (old, advantage) = per_token[index];
        let reference = reference.as_ref().map(|reference| reference[index].log_probability);
        let token = token_gradient(prediction, old, advantage, clip, reference, terms);
        sums.tokens += 1.0;
        sums.entropy += f64::from(prediction.entropy);
        sums.kl += f64::from(token.kl);
        sums.clipped_low += f64::from(u8::from(token.clipped && advantage < 0.0));
        sums.clipped_high += f64::from(u8::from(token.clipped && advantage > 0.0));
        token.gradient / tokens
    };
    trainer.learner.add_token_gradient(&batch, &targets, &mut weigh)?;
    Ok(())
}

fn completion_metrics(candidates: &[Candidate], verdicts: &[Verdict]) -> Metrics {
    let count = candidates.len().max(1) as f64;
    let length: usize = candidates.iter().map(|candidate| candidate.tokens.len()).sum();
    let cut = candidates.iter().filter(|candidate| candidate.finish_reason == FinishReason::Length).count();
    let lost = verdicts.iter().filter(|verdict| verdict.outcome == Outcome::Infrastructure).count();
    vec![
        ("completions/mean_length", length as f64 / count),
        ("completions/clipped_ratio", cut as f64 / count),
        ("infrastructure_failures", lost as f64),
    ]
}

impl Sums {
    fn metrics(&self) -> Metrics {
        let (tokens, updates) = (self.tokens.max(1.0), self.updates.max(1.0));
        vec![
            ("kl", self.kl / tokens),
            ("entropy", self.entropy / tokens),
            ("clip_ratio/low_mean", self.clipped_low / tokens),
            ("clip_ratio/high_mean", self.clipped_high / tokens),
            ("grad_norm", self.gradient_norm / updates),
            ("learning_rate", self.learning_rate / updates),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_verdict_is_an_error_and_shifts_nobody_elses() {
        let candidate = |index| Candidate { problem: "p".into(), index, ..Candidate::default() };
        let candidates = [candidate(0), candidate(1), candidate(2)];
        let verdict = |index| Verdict { outcome: Outcome::Failed, ..Verdict::infrastructure("p", index, "") };
        let found = in_order(&candidates, vec![verdict(2), verdict(0), verdict(1)]).expect("all of them");
        assert_eq!(found.iter().map(|verdict| verdict.index).collect::<Vec<_>>(), [0, 1, 2]);
        let error = in_order(&candidates, vec![verdict(2), verdict(0)]).expect_err("one is missing");
        assert_eq!(error.to_string(), "candidate 1 of p got no verdict");
    }
}
