//! AdamW (Loshchilov and Hutter, 2019) and learning-rate schedules.

use rayon::prelude::*;

/// Settings of [`AdamW`]; the defaults are PyTorch's, weight decay apart.
#[derive(Clone, Copy, Debug)]
pub struct AdamWSettings {
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// Share of a matrix's weights that a step at learning rate 1 takes away; norms and biases
    /// are spared.
    pub weight_decay: f32,
}

impl Default for AdamWSettings {
    fn default() -> Self {
        AdamWSettings { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 }
    }
}

/// The optimiser with its moments, for any list of tensors.
#[derive(Clone, Debug)]
pub struct AdamW {
    settings: AdamWSettings,
    decayed: Vec<bool>,
    first: Vec<Vec<f32>>,
    second: Vec<Vec<f32>>,
    steps: i32,
}

impl AdamW {
    /// For tensors of the given sizes; `decayed` says for which weight decay applies. A size of 0
    /// marks a tensor that is never updated.
    pub fn new(settings: AdamWSettings, sizes: &[usize], decayed: Vec<bool>) -> Self {
        let zeros: Vec<Vec<f32>> = sizes.iter().map(|&size| vec![0.0; size]).collect();
        AdamW { settings, decayed, first: zeros.clone(), second: zeros, steps: 0 }
    }

    /// Number of steps taken.
    pub fn steps(&self) -> usize {
        self.steps as usize
    }

    /// First and second moments, in the order of the tensors.
    pub fn moments(&self) -> (Vec<&[f32]>, Vec<&[f32]>) {
        (self.first.iter().map(Vec::as_slice).collect(), self.second.iter().map(Vec::as_slice).collect())
    }

    /// The moments, to read a saved state into.
    pub fn moments_mut(&mut self) -> (Vec<&mut [f32]>, Vec<&mut [f32]>) {
        let AdamW { first, second, .. } = self;
        (
            first.iter_mut().map(Vec::as_mut_slice).collect(),
            second.iter_mut().map(Vec::as_mut_slice).collect(),
        )
    }

    /// Goes on counting from a saved state.
    pub fn set_steps(&mut self, steps: usize) {
        self.steps = steps as i32;
    }

    /// One step.
    pub fn step(&mut self, learning_rate: f32, weights: Vec<&mut [f32]>, gradients: &[&[f32]]) {
        self.steps += 1;
        let AdamWSettings { beta1, beta2, epsilon, weight_decay } = self.settings;
        let first_correction = 1.0 - beta1.powi(self.steps);
        let second_correction = (1.0 - beta2.powi(self.steps)).sqrt();
        let moments = self.first.iter_mut().zip(&mut self.second).zip(&self.decayed);
        for (((first, second), &decayed), (weights, gradients)) in
            moments.zip(weights.into_iter().zip(gradients))
        {
            let keep = 1.0 - if decayed { learning_rate * weight_decay } else { 0.0 };
            let size = 1 << 14;
            let tasks = first.par_chunks_mut(size).zip(second.par_chunks_mut(size));
            let tasks = tasks.zip(weights.par_chunks_mut(size)).zip(gradients.par_chunks(size));
            tasks.for_each(|(((first, second), weights), gradients)| {
                let numbers = first.iter_mut().zip(second).zip(weights).zip(gradients);
                for (((m, v), w), &g) in numbers {
                    *m = beta1 * *m + (1.0 - beta1) * g;
                    *v = beta2 * *v + (1.0 - beta2) * g * g;
                    let step = *m / first_correction / (v.sqrt() / second_correction + epsilon);
                    *w = *w * keep - learning_rate * step;
                }
            });
        }
    }
}

/// How the learning rate runs over the steps: linear warm-up, then decay.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// The highest rate.
    pub peak: f32,
    /// Steps until it is reached.
    pub warmup_steps: usize,
    /// All steps.
    pub total_steps: usize,
    /// How it falls afterwards.
    pub decay: Decay,
}

/// The fall of the learning rate after the warm-up, to zero at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// None.
    Constant,
    /// A straight line.
    Linear,
    /// Half a cosine.
    #[default]
    Cosine,
}

impl Schedule {
    /// The rate of a step, counted from 0.
    pub fn rate(&self, step: usize) -> f32 {
        if step < self.warmup_steps {
            return self.peak * (step + 1) as f32 / self.warmup_steps as f32;
        }
        let rest = self.total_steps.saturating_sub(self.warmup_steps).max(1);
        let done = ((step - self.warmup_steps) as f32 / rest as f32).min(1.0);
        self.peak
            * match self.decay {
                Decay::Constant => 1.0,
                Decay::Linear => 1.0 - done,
                Decay::Cosine => 0.5 * (1.0 + (std::f32::consts::PI * done).cos()),
            }
    }
}
