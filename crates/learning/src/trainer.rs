//! A model in training, with its optimiser.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use transformer::Model;
use transformer::checkpoint::{Precision, TensorFiles, save_tensors};
use transformer::device::{Device, Learner, Plan};
use transformer::lora::LoraSettings;
use transformer::optimizer::{AdamWSettings, Decay, Schedule};

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
    /// Adapters to train instead of the weights.
    pub lora: LoraSettings,
    /// Minutes between two saved states of training, from which a broken run goes on; 0 saves none.
    pub checkpoint_minutes: f64,
    /// Whether activations are computed again for the backward pass instead of kept: on a GPU less
    /// memory and more time; no effect on the CPU.
    pub recompute: bool,
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
            lora: LoraSettings::default(),
            checkpoint_minutes: 10.0,
            recompute: false,
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

/// A model in training and the number of steps taken.
pub struct Trainer {
    /// The model, its gradient and its optimiser, on their device.
    pub learner: Box<dyn Learner>,
    settings: OptimizerSettings,
    step: usize,
    checkpoint: Option<Checkpoint>,
}

impl Trainer {
    /// Starts at step 0.
    ///
    /// # Errors
    /// Where the device has no room for it.
    pub fn new(model: Model, settings: &OptimizerSettings, device: &dyn Device) -> Result<Self> {
        let plan = Plan {
            optimizer: settings.adamw(),
            recompute: settings.recompute,
            lora: settings.lora.clone(),
            ..Plan::default()
        };
        let learner = device.learner(model, &plan).context("cannot train the model")?;
        Ok(Trainer { learner, settings: settings.clone(), step: 0, checkpoint: None })
    }

    /// The model as it is now.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn model(&self) -> Result<Model> {
        Ok(self.learner.model()?.into_owned())
    }

    /// Steps of the training loop done so far.
    pub fn step(&self) -> usize {
        self.step
    }

    /// Saves the state to this file from time to time, as the settings say.
    pub fn save_regularly(&mut self, path: &Path) {
        self.checkpoint = Some(Checkpoint::new(path, self.settings.checkpoint_minutes));
    }

    /// Counts a step of the training loop, and saves the state if it is time.
    ///
    /// # Errors
    /// Where the state cannot be saved.
    pub fn finish_step(&mut self) -> Result<()> {
        self.step += 1;
        let due = self.checkpoint.as_ref().is_some_and(Checkpoint::is_due);
        if self.checkpoint.is_some() && self.learner.any(due)? {
            let path = self.checkpoint.as_mut().map(Checkpoint::take).unwrap_or_default();
            self.save_state(&path)?;
        }
        Ok(())
    }

    /// One update with the gradient gathered so far, which is then cleared. Returns the gradient's
    /// norm and the learning rate.
    ///
    /// # Errors
    /// Where the gradient is not finite: then the weights are left as they were.
    pub fn update(&mut self, total_steps: usize) -> Result<(f64, f64)> {
        let learning_rate = self.settings.schedule(total_steps).rate(self.step);
        let norm = self.learner.gradient_square()?.sqrt();
        let scale = clipping(norm, self.settings.max_gradient_norm);
        let scale = scale.with_context(|| not_finite(self.step, learning_rate))?;
        self.learner.update(learning_rate, scale)?;
        Ok((norm, f64::from(learning_rate)))
    }

    /// Writes everything needed to go on to one file, as a whole.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn save_state(&self, path: &Path) -> Result<()> {
        save(path, self.step, &*self.learner, Vec::new()).context("cannot save the state of training")
    }

    /// Goes on from a file that [`save_state`](Self::save_state) wrote of a training that started from `model`:
    /// the state of adapters does not hold the weights that they are added to.
    ///
    /// # Errors
    /// Where the file is damaged or belongs to a model of another shape.
    pub fn load_state(
        model: Model,
        settings: &OptimizerSettings,
        path: &Path,
        device: &dyn Device,
    ) -> Result<Self> {
        let files = TensorFiles::open_file(path)?;
        let mut trainer = Trainer::new(model, settings, device)?;
        trainer.step = load(&files, &mut *trainer.learner)?;
        Ok(trainer)
    }
}

/// Where the state of training is saved, and when next.
pub(crate) struct Checkpoint {
    path: PathBuf,
    every: Duration,
    last: Instant,
}

impl Checkpoint {
    pub(crate) fn new(path: &Path, minutes: f64) -> Self {
        let never = Duration::from_secs(u64::MAX / 2);
        let every =
            if minutes > 0.0 { Duration::try_from_secs_f64(60.0 * minutes).unwrap_or(never) } else { never };
        Checkpoint { path: path.to_owned(), every, last: Instant::now() }
    }

    pub(crate) fn is_due(&self) -> bool {
        self.last.elapsed() >= self.every
    }

    /// The file, and begins to wait for the next time.
    pub(crate) fn take(&mut self) -> PathBuf {
        self.last = Instant::now();
        self.path.clone()
    }
}

/// What a gradient is multiplied with so that its norm is at most `limit`; none where it is not finite.
pub(crate) fn clipping(norm: f64, limit: f64) -> Option<f32> {
    let scale = if norm > limit { limit / (norm + 1e-6) } else { 1.0 };
    norm.is_finite().then_some(scale as f32)
}

/// What to say of a gradient that is not finite.
pub(crate) fn not_finite(step: usize, learning_rate: f32) -> String {
    format!("the gradient of step {step} is not finite; lower the learning rate ({learning_rate})")
}

/// Writes a learner's state, the number of steps of its loop and further tensors to one file.
pub(crate) fn save(
    path: &Path,
    step: usize,
    learner: &dyn Learner,
    more: Vec<(String, &[f32])>,
) -> Result<()> {
    let (updates, tensors) = learner.state()?;
    let steps = [step as f32, updates as f32];
    let own = tensors.iter().map(|(name, tensor)| (name.clone(), &**tensor));
    let all = own.chain(more).chain([("steps".to_owned(), &steps[..])]);
    let shaped = all.map(|(name, tensor)| (name, vec![tensor.len()], tensor));
    Ok(save_tensors(path, shaped.collect::<Vec<_>>(), Precision::F32)?)
}

/// Reads what [`save`] wrote of the learner, and returns the number of steps of its loop.
pub(crate) fn load(files: &TensorFiles, learner: &mut dyn Learner) -> Result<usize> {
    let mut steps = [0.0; 2];
    files.read("steps", &[2], &mut steps)?;
    learner.set_state(steps[1] as usize, &mut |name, tensor| files.read(name, &[tensor.len()], tensor))?;
    Ok(steps[0] as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use transformer::{Config, Cpu};

    #[test]
    fn the_state_is_saved_from_time_to_time() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("state.safetensors");
        let trainer = |minutes: f64| {
            let settings = OptimizerSettings { checkpoint_minutes: minutes, ..OptimizerSettings::default() };
            let model = Model::random(Config::tiny(), 1);
            let mut trainer = Trainer::new(model, &settings, &Cpu::default()).expect("a trainer");
            trainer.save_regularly(&path);
            (0..3).for_each(|_| trainer.finish_step().expect("a step"));
            settings
        };
        trainer(0.0);
        assert!(!path.exists(), "never, where the settings say so");
        trainer(10.0);
        assert!(!path.exists(), "not before it is time");
        let settings = trainer(1e-9);
        let model = Model::random(Config::tiny(), 1);
        let again = Trainer::load_state(model, &settings, &path, &Cpu::default()).expect("a state");
        assert_eq!(again.step(), 3);
    }

    /// A state of adapters is small: what they are added to comes from the model that training started from.
    #[test]
    fn adapters_go_on_beside_the_weights_that_they_began_with() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("state.safetensors");
        let lora = LoraSettings { rank: 8, ..LoraSettings::default() };
        let settings = OptimizerSettings { lora, ..OptimizerSettings::default() };
        let model = || Model::random(Config::tiny(), 1);
        let trainer = Trainer::new(model(), &settings, &Cpu::default()).expect("a trainer");
        trainer.save_state(&path).expect("saved");
        let again = Trainer::load_state(model(), &settings, &path, &Cpu::default()).expect("a state");
        let weights = |trainer: &Trainer| trainer.model().expect("a model").weights.tensors().concat();
        assert_eq!(weights(&again), weights(&trainer));
    }
}
