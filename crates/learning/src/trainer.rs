//! A model in training, with its optimiser.

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::path::Path;
use transformer::checkpoint::{Precision, TensorFiles, save_tensors};
use transformer::optimizer::{AdamW, AdamWSettings, Decay, Schedule, clip_gradient_norm};
use transformer::{Config, Model, Weights};

/// How weights are updated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerSettings {
    /// The highest learning rate.
    pub learning_rate: f64,
    /// Share of the steps until it is reached.
    pub warmup_ratio: f64,
    /// How it falls afterwards.
    pub decay: Decay,
    /// AdamW's second decay rate.
    pub beta2: f64,
    /// Decoupled weight decay of matrices.
    pub weight_decay: f64,
    /// Largest norm of a step's gradient.
    pub max_gradient_norm: f64,
}

impl Default for OptimizerSettings {
    fn default() -> Self {
        OptimizerSettings {
            learning_rate: 1e-3,
            warmup_ratio: 0.02,
            decay: Decay::Cosine,
            beta2: 0.99,
            weight_decay: 0.0,
            max_gradient_norm: 1.0,
        }
    }
}

impl OptimizerSettings {
    pub(crate) fn schedule(&self, total_steps: usize) -> Schedule {
        Schedule {
            peak: self.learning_rate as f32,
            warmup_steps: (total_steps as f64 * self.warmup_ratio).round() as usize,
            total_steps,
            decay: self.decay,
        }
    }

    pub(crate) fn adamw(&self) -> AdamWSettings {
        AdamWSettings {
            beta2: self.beta2 as f32,
            weight_decay: self.weight_decay as f32,
            ..AdamWSettings::default()
        }
    }
}

/// A model, its gradient, its optimiser and the number of steps taken.
pub struct Trainer {
    /// The model as it is now.
    pub model: Model,
    /// Where backward passes add to.
    pub gradient: Weights,
    optimizer: AdamW,
    settings: OptimizerSettings,
    step: usize,
}

impl Trainer {
    /// Starts at step 0.
    pub fn new(model: Model, settings: &OptimizerSettings) -> Self {
        Trainer {
            gradient: Weights::zeros(&model.config),
            optimizer: AdamW::for_model(settings.adamw(), &model.config, 0),
            settings: settings.clone(),
            step: 0,
            model,
        }
    }

    /// Steps of the training loop done so far.
    pub fn step(&self) -> usize {
        self.step
    }

    /// Counts a step of the training loop.
    pub fn finish_step(&mut self) {
        self.step += 1;
    }

    /// One update with the gradient gathered so far, which is then cleared. Returns the gradient's
    /// norm and the learning rate.
    ///
    /// # Errors
    /// Where the gradient is not finite: then the weights are left as they were.
    pub fn update(&mut self, total_steps: usize) -> Result<(f64, f64)> {
        let learning_rate = self.settings.schedule(total_steps).rate(self.step);
        let limit = self.settings.max_gradient_norm as f32;
        let norm = clip_gradient_norm(&mut self.gradient.tensors_mut(), limit);
        ensure!(
            norm.is_finite(),
            "the gradient of step {} is not finite; lower the learning rate ({learning_rate})",
            self.step
        );
        self.optimizer.step(learning_rate, self.model.weights.tensors_mut(), &self.gradient.tensors());
        self.gradient.tensors_mut().into_iter().for_each(|tensor| tensor.fill(0.0));
        Ok((f64::from(norm), f64::from(learning_rate)))
    }

    /// Writes everything needed to go on to one file, as a whole.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn save_state(&self, path: &Path) -> Result<()> {
        let steps = [self.step as f32, self.optimizer.steps() as f32];
        let mut tensors: Vec<(String, Vec<usize>, &[f32])> = vec![("steps".into(), vec![2], &steps)];
        let (first, second) = self.optimizer.moments();
        for (prefix, parts) in
            [("weight", self.model.weights.tensors()), ("first", first), ("second", second)]
        {
            for (index, part) in parts.into_iter().enumerate() {
                tensors.push((format!("{prefix}.{index}"), vec![part.len()], part));
            }
        }
        save_tensors(path, tensors, Precision::F32).context("cannot save the state of training")?;
        Ok(())
    }

    /// Goes on from a file that [`save_state`](Self::save_state) wrote.
    ///
    /// # Errors
    /// Where the file is damaged or belongs to a model of another shape.
    pub fn load_state(config: &Config, settings: &OptimizerSettings, path: &Path) -> Result<Self> {
        let files = TensorFiles::open_file(path)?;
        let mut steps = [0.0; 2];
        files.read("steps", &[2], &mut steps)?;
        let mut trainer =
            Trainer::new(Model { config: config.clone(), weights: Weights::zeros(config) }, settings);
        for (index, tensor) in trainer.model.weights.tensors_mut().into_iter().enumerate() {
            files.read(&format!("weight.{index}"), &[tensor.len()], tensor)?;
        }
        let (first, second) = trainer.optimizer.moments_mut();
        for (prefix, parts) in [("first", first), ("second", second)] {
            for (index, part) in parts.into_iter().enumerate() {
                files.read(&format!("{prefix}.{index}"), &[part.len()], part)?;
            }
        }
        trainer.optimizer.set_steps(steps[1] as usize);
        trainer.step = steps[0] as usize;
        Ok(trainer)
    }
}
