//! Teaching the critic which programs pass.
//!
//! Binary cross-entropy on execution labels, and a pairwise term inside each problem: a program
//! that passes should score above one that fails (Burges et al., 2005, RankNet). The pairwise term
//! is what a choice among one problem's candidates depends on. What else a verdict says, how many of the
//! tests passed and how it failed, can be taught beside, by logits of its own: it has more to say of
//! the program than one bit.

use crate::supervised::shuffled;
use crate::trainer::{Checkpoint, clipping, load, not_finite, save};
use crate::{OnStep, OptimizerSettings, StepReport};
use anyhow::{Context, Result, ensure};
use critic::{Head, TokenizedQuestion, pack, probability};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use records::{Outcome, Verdict, same_length};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Instant;
use transformer::Model;
use transformer::batch::split_by_rows;
use transformer::checkpoint::TensorFiles;
use transformer::device::{Device, Learner, Plan};
use transformer::optimizer::AdamW;

/// Settings of the critic and its training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CriticSettings {
    /// Width of the head's inner layer.
    pub head_width: usize,
    /// Share of the head's inner values dropped in training.
    pub dropout: f64,
    /// Layers of the backbone that learn, from the top; 0 freezes it, more than it has trains the
    /// embedding too.
    pub trainable_layers: usize,
    /// Longest text in tokens.
    pub max_tokens: usize,
    /// Times that every problem is seen.
    pub epochs: usize,
    /// Problems a step, with all their distinct programs.
    pub problems_per_step: usize,
    /// Weight of the pairwise term; 0 leaves plain binary cross-entropy.
    pub pairwise: f64,
    /// A program sampled n times weighs n to this power in the cross-entropy: 1 counts samples,
    /// 0 counts distinct programs.
    pub count_power: f64,
    /// Weight of learning what else a verdict says: the share of tests passed, and the kind of failure;
    /// 0 leaves it out.
    pub details: f64,
    /// How weights are updated.
    pub optimizer: OptimizerSettings,
}

impl Default for CriticSettings {
    fn default() -> Self {
        CriticSettings {
            head_width: 256,
            dropout: 0.1,
            trainable_layers: 2,
            max_tokens: 512,
            epochs: 2,
            problems_per_step: 16,
            pairwise: 1.0,
            count_power: 1.0,
            details: 0.0,
            optimizer: OptimizerSettings::default(),
        }
    }
}

impl CriticSettings {
    /// Logits of the head.
    pub fn outputs(&self) -> usize {
        if self.details > 0.0 { 1 + DETAILS } else { 1 }
    }

    /// Refuses a head of so many logits where it does not fit these settings.
    ///
    /// # Errors
    /// Says what was expected and found.
    pub fn check_head(&self, found: usize) -> Result<()> {
        let wanted = self.outputs();
        ensure!(
            found == wanted,
            "critic.training.details = {} takes a head of {wanted} logits, and that of the critic to go on from has {found}",
            self.details
        );
        Ok(())
    }

    /// Number of steps for so many questions.
    pub fn total_steps(&self, questions: usize) -> usize {
        self.epochs * questions.div_ceil(self.problems_per_step.max(1))
    }
}

/// What a verdict says besides whether the program passed.
pub const DETAILS: usize = 4;

/// The share of its tests that a program passed, and whether it gave a wrong answer, was no answer, or
/// ran into a limit: each from 0 to 1.
pub fn details(verdict: &Verdict) -> [f32; DETAILS] {
    let passed = verdict.tests.iter().filter(|test| test.outcome == Outcome::Passed).count();
    let share = if verdict.passed() { 1.0 } else { passed as f32 / verdict.tests.len().max(1) as f32 };
    let is = |holds| f32::from(u8::from(holds));
    [
        share,
        is(verdict.outcome == Outcome::Failed),
        is(matches!(verdict.outcome, Outcome::Invalid | Outcome::Refused)),
        is(matches!(verdict.outcome, Outcome::Limit(_))),
    ]
}

/// A problem with its programs and whether each passed.
#[derive(Clone, Debug)]
pub struct LabelledQuestion {
    /// The problem's id.
    pub problem: String,
    /// Prompt and programs.
    pub question: TokenizedQuestion,
    /// Whether each program passed.
    pub passed: Vec<bool>,
    /// What else is known of each.
    pub details: Vec<[f32; DETAILS]>,
    /// How many candidates each program stands for.
    pub counts: Vec<usize>,
}

/// A critic in training, with its optimiser.
pub struct CriticTrainer {
    /// The backbone, its gradient and its optimiser, on their device.
    pub learner: Box<dyn Learner>,
    /// The head as it is now.
    pub head: Head,
    head_gradient: Head,
    head_optimizer: AdamW,
    step: usize,
    checkpoint: Option<Checkpoint>,
}

impl CriticTrainer {
    /// Starts at step 0.
    ///
    /// # Errors
    /// Where the device has no room for it.
    pub fn new(backbone: Model, head: Head, settings: &CriticSettings, device: &dyn Device) -> Result<Self> {
        settings.check_head(head.outputs())?;
        let layers = backbone.config.num_hidden_layers;
        let plan = Plan {
            optimizer: settings.optimizer.adamw(),
            // 0 trains the embedding too.
            first_layer: layers.saturating_sub(settings.trainable_layers),
            // The critic has no use for an output matrix of its own.
            frozen_output: true,
            recompute: settings.optimizer.recompute,
            lora: settings.optimizer.lora.clone(),
        };
        let mut head_gradient = head.clone();
        head_gradient.named_mut().into_iter().for_each(|(_, _, tensor)| tensor.fill(0.0));
        let named = head.named();
        let sizes: Vec<usize> = named.iter().map(|(_, _, tensor)| tensor.len()).collect();
        let decayed = named.iter().map(|(_, shape, _)| shape.len() == 2).collect();
        Ok(CriticTrainer {
            head_optimizer: AdamW::new(settings.optimizer.adamw(), &sizes, decayed),
            learner: device.learner(backbone, &plan).context("cannot train the critic")?,
            head_gradient,
            head,
            step: 0,
            checkpoint: None,
        })
    }

    /// Saves the state to this file from time to time, as the settings say.
    pub fn save_regularly(&mut self, path: &Path, settings: &CriticSettings) {
        self.checkpoint = Some(Checkpoint::new(path, settings.optimizer.checkpoint_minutes));
    }

    fn save_if_due(&mut self) -> Result<()> {
        let due = self.checkpoint.as_ref().is_some_and(Checkpoint::is_due);
        if self.checkpoint.is_some() && self.learner.any(due)? {
            let path = self.checkpoint.as_mut().map(Checkpoint::take).unwrap_or_default();
            self.save_state(&path)?;
        }
        Ok(())
    }

    /// Steps done so far.
    pub fn step(&self) -> usize {
        self.step
    }

    fn update(&mut self, settings: &OptimizerSettings, total: usize) -> Result<(f64, f64)> {
        let learning_rate = settings.schedule(total).rate(self.step);
        self.sum_head_gradient()?;
        let square = |tensor: &[f32]| tensor.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>();
        let of_head: f64 = self.head_gradient.named().into_iter().map(|(_, _, tensor)| square(tensor)).sum();
        let norm = (self.learner.gradient_square()? + of_head).sqrt();
        let scale = clipping(norm, settings.max_gradient_norm);
        let scale =
            scale.with_context(|| not_finite(self.step, learning_rate)).context("training the critic")?;
        self.learner.update(learning_rate, scale)?;
        let gradients = self.head_gradient.named_mut();
        gradients.into_iter().for_each(|(_, _, tensor)| tensor.iter_mut().for_each(|x| *x *= scale));
        let gradients: Vec<&[f32]> =
            self.head_gradient.named().into_iter().map(|(_, _, tensor)| tensor).collect();
        let weights = self.head.named_mut().into_iter().map(|(_, _, tensor)| tensor).collect();
        self.head_optimizer.step(learning_rate, weights, &gradients);
        self.head_gradient.named_mut().into_iter().for_each(|(_, _, tensor)| tensor.fill(0.0));
        self.step += 1;
        Ok((norm, f64::from(learning_rate)))
    }

    /// The head's gradient becomes that of all processes.
    fn sum_head_gradient(&mut self) -> Result<()> {
        if self.learner.rank().of == 1 {
            return Ok(());
        }
        let tensors =
            self.head_gradient.named().into_iter().flat_map(|(_, _, tensor)| tensor.iter().copied());
        let mut numbers: Vec<f64> = tensors.map(f64::from).collect();
        self.learner.sum(&mut numbers)?;
        let tensors = self.head_gradient.named_mut().into_iter().flat_map(|(_, _, tensor)| tensor);
        tensors.zip(numbers).for_each(|(target, number)| *target = number as f32);
        Ok(())
    }

    /// Writes everything needed to go on to one file, as a whole.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn save_state(&self, path: &Path) -> Result<()> {
        let weights = self.head.named().into_iter().map(|(_, _, tensor)| tensor).collect();
        let (first, second) = self.head_optimizer.moments();
        let mut of_head: Vec<(String, &[f32])> = Vec::new();
        for (prefix, parts) in [("head", weights), ("head.first", first), ("head.second", second)] {
            of_head.extend(
                parts.into_iter().enumerate().map(|(index, part)| (format!("{prefix}.{index}"), part)),
            );
        }
        save(path, self.step, &*self.learner, of_head).context("cannot save the critic's state")
    }

    /// Goes on from a file that [`save_state`](Self::save_state) wrote; `backbone` and `head` give the
    /// shape.
    ///
    /// # Errors
    /// Where the file is damaged or belongs to a critic of another shape.
    pub fn load_state(
        backbone: Model,
        head: Head,
        settings: &CriticSettings,
        path: &Path,
        device: &dyn Device,
    ) -> Result<Self> {
        let files = TensorFiles::open_file(path)?;
        let mut trainer = Self::new(backbone, head, settings, device)?;
        trainer.step = load(&files, &mut *trainer.learner)?;
        let weights = trainer.head.named_mut().into_iter().map(|(_, _, tensor)| tensor).collect();
        let (first, second) = trainer.head_optimizer.moments_mut();
        for (prefix, parts) in [("head", weights), ("head.first", first), ("head.second", second)] {
            for (index, part) in parts.into_iter().enumerate() {
                files.read(&format!("{prefix}.{index}"), &[part.len()], part)?;
            }
        }
        trainer.head_optimizer.set_steps(trainer.step);
        Ok(trainer)
    }
}

/// Trains until all steps are done or `on_step` breaks off.
///
/// # Errors
/// Where there are no questions, or the loss stops being finite.
pub fn train(
    trainer: &mut CriticTrainer,
    questions: &[LabelledQuestion],
    settings: &CriticSettings,
    seed: u64,
    on_step: &mut OnStep,
) -> Result<()> {
    ensure!(!questions.is_empty(), "there are no labelled candidates to train the critic on");
    let total = settings.total_steps(questions.len());
    let steps_per_epoch = total / settings.epochs.max(1);
    let mut order: (usize, Vec<usize>) = (usize::MAX, Vec::new());
    while trainer.step < total {
        let started = Instant::now();
        let (epoch, at) = (trainer.step / steps_per_epoch, trainer.step % steps_per_epoch);
        if order.0 != epoch {
            order = (epoch, shuffled(questions.len(), seed.wrapping_add(epoch as u64)));
        }
        let start = at * settings.problems_per_step;
        let end = (start + settings.problems_per_step).min(questions.len());
        let batch: Vec<&LabelledQuestion> =
            order.1[start..end].iter().map(|&index| &questions[index]).collect();
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(trainer.step as u64);
        let (loss, accuracy) = gradient(trainer, &batch, settings, &mut random)?;
        let (norm, learning_rate) = trainer.update(&settings.optimizer, total)?;
        trainer.save_if_due()?;
        let metrics = vec![
            ("loss", loss),
            ("accuracy", accuracy),
            ("grad_norm", norm),
            ("learning_rate", learning_rate),
            ("step_time", started.elapsed().as_secs_f64()),
        ];
        let stops = on_step(&StepReport { step: trainer.step, total, metrics }).is_break();
        if trainer.learner.any(stops)? {
            break;
        }
    }
    Ok(())
}

/// Adds the gradient of this process's share of a batch; returns the mean loss and accuracy over all of
/// its programs.
fn gradient(
    trainer: &mut CriticTrainer,
    batch: &[&LabelledQuestion],
    settings: &CriticSettings,
    random: &mut ChaCha8Rng,
) -> Result<(f64, f64)> {
    for labelled in batch {
        let programs = labelled.question.programs.len();
        same_length("labels", labelled.passed.len(), "programs", programs)?;
        same_length("counts", labelled.counts.len(), "programs", programs)?;
        same_length("details", labelled.details.len(), "programs", programs)?;
    }
    let whole = Whole::of(batch, settings);
    let batch = trainer.learner.rank().share(batch);
    let mut totals = [0.0, 0.0];
    let rows = |labelled: &&LabelledQuestion| labelled.question.rows();
    for part in split_by_rows(&batch, rows, trainer.learner.batch_rows()) {
        let found = part_gradient(trainer, part, settings, random, &whole)?;
        totals.iter_mut().zip(found).for_each(|(total, found)| *total += found);
    }
    trainer.learner.sum(&mut totals)?;
    Ok((totals[0], totals[1]))
}

/// Adds the gradient of some questions, and returns what they add to mean loss and accuracy.
fn part_gradient(
    trainer: &mut CriticTrainer,
    part: &[&LabelledQuestion],
    settings: &CriticSettings,
    random: &mut ChaCha8Rng,
    whole: &Whole,
) -> Result<[f64; 2]> {
    let questions: Vec<TokenizedQuestion> = part.iter().map(|labelled| labelled.question.clone()).collect();
    let (packed, last_rows) = pack(&questions);
    if last_rows.is_empty() {
        return Ok([0.0; 2]);
    }
    let CriticTrainer { learner, head, head_gradient, .. } = trainer;
    let rate = settings.dropout as f32;
    let mut found = [0.0, 0.0];
    let mut pull = |pooled: &[f32]| {
        let dropout = (rate > 0.0).then_some((rate, &mut *random));
        let activations = head.forward(pooled, dropout);
        let (loss, correct, logit_gradient) = loss_gradients(part, &activations.logits, settings, whole);
        found = [loss, correct / whole.programs as f64];
        head.backward(pooled, &activations, &logit_gradient, rate, head_gradient)
    };
    if settings.trainable_layers > 0 {
        learner.add_row_gradient(&packed, &last_rows, &mut pull)?;
    } else {
        pull(&learner.hidden_rows(&packed, &last_rows)?);
    }
    Ok(found)
}

/// What the losses of a whole batch are divided by.
struct Whole {
    questions: usize,
    programs: usize,
    weight: f32,
}

impl Whole {
    fn of(batch: &[&LabelledQuestion], settings: &CriticSettings) -> Self {
        let counts = batch.iter().flat_map(|labelled| &labelled.counts);
        Whole {
            questions: batch.len(),
            programs: batch.iter().map(|labelled| labelled.passed.len()).sum(),
            weight: counts.map(|&count| weight_of(count, settings)).sum(),
        }
    }
}

/// What a program weighs that was sampled so many times.
fn weight_of(count: usize, settings: &CriticSettings) -> f32 {
    (count as f32).powf(settings.count_power as f32)
}

/// As [`loss_gradient`], by all logits of the head, `[programs, outputs]`.
fn loss_gradients(
    batch: &[&LabelledQuestion],
    logits: &[f32],
    settings: &CriticSettings,
    whole: &Whole,
) -> (f64, f64, Vec<f32>) {
    let outputs = settings.outputs();
    let main: Vec<f32> = logits.iter().copied().step_by(outputs).collect();
    let (mut loss, correct, main_gradient) = loss_gradient(batch, &main, settings, whole);
    if outputs == 1 {
        return (loss, correct, main_gradient);
    }
    let mut gradient = vec![0.0; logits.len()];
    let programs = batch.iter().flat_map(|labelled| labelled.details.iter().zip(&labelled.counts));
    let rows = logits.chunks_exact(outputs).zip(gradient.chunks_exact_mut(outputs));
    for (((details, &count), (logits, gradient)), main) in programs.zip(rows).zip(main_gradient) {
        gradient[0] = main;
        let weight = settings.details as f32 * weight_of(count, settings) / whole.weight / DETAILS as f32;
        for ((gradient, &logit), &target) in gradient[1..].iter_mut().zip(&logits[1..]).zip(details) {
            loss += f64::from(weight * (softplus(logit) - target * logit));
            *gradient = weight * (probability(logit) as f32 - target);
        }
    }
    (loss, correct, gradient)
}

/// The questions' part of a batch's mean loss, number of right programs, and the gradient by the logits.
fn loss_gradient(
    batch: &[&LabelledQuestion],
    logits: &[f32],
    settings: &CriticSettings,
    whole: &Whole,
) -> (f64, f64, Vec<f32>) {
    let mut gradient = vec![0.0; logits.len()];
    let (mut loss, mut correct) = (0.0, 0.0);
    let pairwise = settings.pairwise as f32;
    let mut start = 0;
    for labelled in batch {
        let rows = start..start + labelled.passed.len();
        start = rows.end;
        let logits = &logits[rows.clone()];
        let gradient = &mut gradient[rows];
        for (index, (&logit, &passed)) in logits.iter().zip(&labelled.passed).enumerate() {
            let weight = weight_of(labelled.counts[index], settings) / whole.weight;
            let target = f32::from(u8::from(passed));
            loss += f64::from(weight * (softplus(logit) - target * logit));
            gradient[index] += weight * (probability(logit) as f32 - target);
            correct += f64::from(u8::from((logit > 0.0) == passed));
        }
        let all = 0..logits.len();
        let pairs = all
            .clone()
            .filter(|&i| labelled.passed[i])
            .flat_map(|i| all.clone().filter(|&j| !labelled.passed[j]).map(move |j| (i, j)));
        let pairs: Vec<(usize, usize)> = pairs.collect();
        let scale = pairwise / (pairs.len().max(1) * whole.questions) as f32;
        for (better, worse) in pairs {
            let margin = logits[better] - logits[worse];
            loss += f64::from(scale * softplus(-margin));
            let pull = scale * probability(-margin) as f32;
            gradient[better] -= pull;
            gradient[worse] += pull;
        }
    }
    (loss, correct, gradient)
}

/// `ln(1 + e^x)`, without overflow.
fn softplus(x: f32) -> f32 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;
    use records::{Resource, TestResult};

    fn labelled() -> LabelledQuestion {
        LabelledQuestion {
            problem: "p".into(),
            question: TokenizedQuestion { prefix: vec![1], programs: vec![vec![1], vec![2], vec![3]] },
            passed: vec![true, false, false],
            details: vec![[1.0, 0.0, 0.0, 0.0], [0.5, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]],
            counts: vec![3, 1, 2],
        }
    }

    /// The gradient by every logit against finite differences, with and without the details.
    #[test]
    fn the_gradient_is_the_slope_of_the_loss() {
        for details in [0.0, 0.7] {
            let settings = CriticSettings { details, count_power: 0.5, ..CriticSettings::default() };
            let question = labelled();
            let batch = [&question];
            let whole = Whole::of(&batch, &settings);
            let count = 3 * settings.outputs();
            let logits: Vec<f32> = (0..count).map(|at| (at * 5 % 7) as f32 / 3.0 - 1.0).collect();
            let (_, _, gradient) = loss_gradients(&batch, &logits, &settings, &whole);
            assert_eq!(gradient.len(), count);
            for (at, &ours) in gradient.iter().enumerate() {
                let moved = |by: f32| {
                    let mut logits = logits.clone();
                    logits[at] += by;
                    loss_gradients(&batch, &logits, &settings, &whole).0
                };
                let slope = (moved(1e-2) - moved(-1e-2)) / 2e-2;
                assert!((slope - f64::from(ours)).abs() < 1e-3, "{details} {at}: {slope} {ours}");
            }
        }
    }

    #[test]
    fn a_verdict_says_how_many_tests_passed_and_how_it_failed() {
        let test = |outcome| TestResult { outcome, reason: String::new(), detail: String::new() };
        let verdict = |outcome, tests: &[Outcome]| Verdict {
            outcome,
            tests: tests.iter().map(|&outcome| test(outcome)).collect(),
            ..Verdict::infrastructure("p", 0, "")
        };
        let failed = verdict(Outcome::Failed, &[Outcome::Passed, Outcome::Failed]);
        assert_eq!(details(&failed), [0.5, 1.0, 0.0, 0.0]);
        assert_eq!(details(&verdict(Outcome::Invalid, &[])), [0.0, 0.0, 1.0, 0.0]);
        assert_eq!(details(&verdict(Outcome::Limit(Resource::Time), &[])), [0.0, 0.0, 0.0, 1.0]);
        assert_eq!(details(&verdict(Outcome::Passed, &[Outcome::Passed])), [1.0, 0.0, 0.0, 0.0]);
    }
}
