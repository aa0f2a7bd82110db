//! Supervised training: the loss is on the completion only.

use crate::{OnStep, OptimizerSettings, StepReport, Trainer};
use anyhow::{Result, ensure};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::time::Instant;
use transformer::PackedBatch;
use transformer::batch::split_by_rows;
use transformer::head::Target;

/// A prompt and what shall follow it, the end token included.
#[derive(Clone, Debug)]
pub struct Example {
    /// Tokens of the prompt; at least one.
    pub prompt: Vec<u32>,
    /// Tokens to learn.
    pub completion: Vec<u32>,
}

/// Settings of supervised training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SupervisedSettings {
    /// Times that every example is seen.
    pub epochs: usize,
    /// Examples a step.
    pub batch_size: usize,
    /// Share of the loss on the prompt's own tokens; 0 is the completion only.
    pub prompt_weight: f64,
    /// How weights are updated.
    pub optimizer: OptimizerSettings,
}

impl Default for SupervisedSettings {
    fn default() -> Self {
        SupervisedSettings {
            epochs: 1,
            batch_size: 64,
            prompt_weight: 0.0,
            optimizer: OptimizerSettings::default(),
        }
    }
}

impl SupervisedSettings {
    /// Number of steps for so many examples.
    pub fn total_steps(&self, examples: usize) -> usize {
        self.epochs * examples.div_ceil(self.batch_size.max(1))
    }
}

/// Trains until all steps are done or `on_step` breaks off.
///
/// # Errors
/// Where there are no examples, or the loss stops being finite.
pub fn train(
    trainer: &mut Trainer,
    examples: &[Example],
    settings: &SupervisedSettings,
    seed: u64,
    on_step: &mut OnStep,
) -> Result<()> {
    ensure!(!examples.is_empty(), "there is nothing to train on");
    let total = settings.total_steps(examples.len());
    let steps_per_epoch = total / settings.epochs.max(1);
    let mut order: (usize, Vec<usize>) = (usize::MAX, Vec::new());
    while trainer.step() < total {
        let started = Instant::now();
        let (epoch, at) = (trainer.step() / steps_per_epoch, trainer.step() % steps_per_epoch);
        if order.0 != epoch {
            order = (epoch, shuffled(examples.len(), seed.wrapping_add(epoch as u64)));
        }
        let start = at * settings.batch_size;
        let end = (start + settings.batch_size).min(examples.len());
        let batch: Vec<&Example> = order.1[start..end].iter().map(|&index| &examples[index]).collect();
        let (loss, tokens) = gradient(trainer, &batch, settings.prompt_weight as f32)?;
        let (norm, learning_rate) = trainer.update(total)?;
        trainer.finish_step()?;
        let seconds = started.elapsed().as_secs_f64();
        let metrics = vec![
            ("loss", loss),
            ("grad_norm", norm),
            ("learning_rate", learning_rate),
            ("tokens_per_second", tokens as f64 / seconds),
            ("step_time", seconds),
        ];
        let stops = on_step(&StepReport { step: trainer.step(), total, metrics }).is_break();
        if trainer.learner.any(stops)? {
            break;
        }
    }
    Ok(())
}

pub(crate) fn shuffled(count: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    order
}

/// Adds the gradient of this process's share of a batch; returns the mean loss of completion tokens
/// and the number of tokens, both of the whole batch.
fn gradient(trainer: &mut Trainer, examples: &[&Example], prompt_weight: f32) -> Result<(f64, usize)> {
    let weight = |example: &Example, position: usize| {
        if position >= example.prompt.len() { 1.0 } else { prompt_weight }
    };
    let lengths = examples.iter().map(|example| (*example, example.prompt.len() + example.completion.len()));
    let all = lengths.flat_map(|(example, length)| (1..length).map(move |at| weight(example, at)));
    let scale = 1.0 / all.sum::<f32>().max(1.0);
    let share = trainer.learner.rank().share(examples);
    let length = |example: &&Example| example.prompt.len() + example.completion.len() - 1;
    let mut totals = [0.0; 3];
    for part in split_by_rows(&share, length, trainer.learner.batch_rows()) {
        let mut batch = PackedBatch::default();
        let (mut targets, mut weights) = (Vec::new(), Vec::new());
        for example in part {
            let tokens = [example.prompt.as_slice(), &example.completion].concat();
            let rows = batch.push_sequence(&tokens[..tokens.len() - 1]);
            for (row, (position, &token)) in rows.zip(tokens.iter().enumerate().skip(1)) {
                let weight = weight(example, position);
                if weight > 0.0 {
                    targets.push(Target { row, token });
                    weights.push(weight);
                }
            }
        }
        if targets.is_empty() {
            continue;
        }
        let mut weigh = |index: usize, _| -weights[index] * scale;
        let predictions = trainer.learner.add_token_gradient(&batch, &targets, &mut weigh)?;
        let completion = predictions.iter().zip(&weights).filter(|(_, weight)| **weight == 1.0);
        for (prediction, _) in completion {
            totals[0] -= f64::from(prediction.log_probability);
            totals[1] += 1.0;
        }
        totals[2] += batch.rows() as f64;
    }
    trainer.learner.sum(&mut totals)?;
    Ok((totals[0] / totals[1].max(1.0), totals[2] as usize))
}
