//! Low-rank adapters (Hu et al., 2021, LoRA).
//!
//! A matrix `W [outputs, inputs]` stays as it is; what is learned is `B [outputs, rank] A [rank, inputs]`,
//! and the model computes with `W + alpha / rank B A`. Here the sum is made once an update, in f32, so
//! that everything else runs as without adapters, sampling included; the gradients of `A` and `B` follow
//! from that of the sum: `scale B' dW` and `scale dW A'`. That saves the optimiser's memory (12 bytes a
//! weight), not the multiplications of the weights' gradients.
//!
//! A model that is not trained computes with them as they are, beside its matrices (`low_rank.rs`). On
//! disk they are as PEFT has them (`peft.rs`).

use crate::checkpoint::ReadTensor;
use crate::ops::matmul::{View, parallel_gemm};
use crate::optimizer::{AdamW, AdamWSettings};
use crate::table::Table;
use crate::{Config, Error, Weights};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::ops::Range;

/// Which adapters to train.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoraSettings {
    /// Rank of the adapters, a multiple of 8; 0 trains the weights themselves.
    pub rank: usize,
    /// Divided by the rank it scales what is added to a matrix.
    pub alpha: f64,
    /// The matrices that get an adapter, as PEFT names them.
    pub target_modules: Vec<String>,
}

impl Default for LoraSettings {
    fn default() -> Self {
        let all = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
        LoraSettings { rank: 0, alpha: 32.0, target_modules: all.map(str::to_owned).to_vec() }
    }
}

/// One matrix's adapter.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapter {
    /// The module's name in a Hugging Face file.
    pub module: String,
    /// Which tensor of the model's table holds the matrix.
    pub tensor: usize,
    /// Its numbers there.
    pub range: Range<usize>,
    /// Rows of the matrix.
    pub outputs: usize,
    /// Columns of the matrix.
    pub inputs: usize,
    /// `[rank, inputs]`
    pub a: Vec<f32>,
    /// `[outputs, rank]`
    pub b: Vec<f32>,
}

/// The adapters of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapters {
    /// What they were made from.
    pub settings: LoraSettings,
    /// One for each matrix.
    pub all: Vec<Adapter>,
}

impl Adapters {
    /// Adapters that add nothing yet: `A` is uniform within one over the root of the inputs, `B` zero.
    ///
    /// # Errors
    /// Where the settings name no matrix of the model, or the rank is no multiple of 8.
    pub fn new(config: &Config, settings: &LoraSettings, seed: u64) -> Result<Self, Error> {
        let wrong = |message: String| Error::Device { message };
        if settings.rank == 0 || !settings.rank.is_multiple_of(8) {
            return Err(wrong(format!("lora.rank: expected a multiple of 8, found {}", settings.rank)));
        }
        let mut adapters = Self::zeros(config, settings)?;
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        for adapter in &mut adapters.all {
            let bound = 1.0 / (adapter.inputs as f32).sqrt();
            adapter.a.iter_mut().for_each(|value| *value = bound * (2.0 * random.random::<f32>() - 1.0));
        }
        Ok(adapters)
    }

    /// Adapters of any rank whose numbers are all zero.
    pub(crate) fn zeros(config: &Config, settings: &LoraSettings) -> Result<Self, Error> {
        let wrong = |message: String| Error::Device { message };
        let table = Table::of(config);
        let matrices = || {
            let parts = table.parts().filter(|(tensor, _)| {
                let info = &table.tensors()[*tensor];
                info.layer.is_some() && info.is_matrix()
            });
            parts
                .filter_map(|(tensor, part)| Some((tensor, part, part.hugging_face.strip_suffix(".weight")?)))
        };
        for target in &settings.target_modules {
            if !matrices().any(|(_, _, module)| is_module(module, target)) {
                return Err(wrong(format!(
                    "lora.target_modules: the model has no '{target}' in its layers; expected some of {}",
                    LoraSettings::default().target_modules.join(", ")
                )));
            }
        }
        let adapters = matrices().filter_map(|(tensor, part, module)| {
            let wanted = settings.target_modules.iter().any(|target| is_module(module, target));
            let &[outputs, inputs] = part.shape.as_slice() else { return None };
            wanted.then(|| Adapter {
                a: vec![0.0; settings.rank * inputs],
                b: vec![0.0; outputs * settings.rank],
                module: module.to_owned(),
                tensor,
                range: part.range.clone(),
                outputs,
                inputs,
            })
        });
        let all: Vec<Adapter> = adapters.collect();
        if all.is_empty() {
            return Err(wrong("lora.target_modules is empty: name some matrices".to_owned()));
        }
        Ok(Adapters { settings: settings.clone(), all })
    }

    /// Makes sure that they are for a model of this shape.
    ///
    /// # Errors
    /// Names the first module that the model lacks or has in another shape.
    pub fn check(&self, table: &Table) -> Result<(), Error> {
        for adapter in &self.all {
            let fits = table.parts().any(|(tensor, part)| {
                (tensor, &part.range) == (adapter.tensor, &adapter.range)
                    && part.shape == [adapter.outputs, adapter.inputs]
            });
            if !fits {
                let (module, shape) = (&adapter.module, [adapter.outputs, adapter.inputs]);
                let message = format!(
                    "adapter of {module}: expected a matrix of shape {shape:?} in the model, found none; name \
                     the model that the adapter was trained on"
                );
                return Err(Error::Device { message });
            }
        }
        Ok(())
    }

    /// The same with the rank filled up with zeros to a multiple, as some devices' products need it.
    pub fn with_rank_multiple(&self, multiple: usize) -> Cow<'_, Self> {
        let (rank, wide) = (self.settings.rank, self.settings.rank.next_multiple_of(multiple));
        if rank == wide {
            return Cow::Borrowed(self);
        }
        let mut padded = self.clone();
        padded.settings.alpha *= wide as f64 / rank as f64;
        padded.settings.rank = wide;
        for adapter in &mut padded.all {
            adapter.a.resize(wide * adapter.inputs, 0.0);
            let rows = adapter.b.chunks_exact(rank);
            let zeros = std::iter::repeat_n(0.0, wide - rank);
            adapter.b = rows.flat_map(|row| row.iter().copied().chain(zeros.clone())).collect();
        }
        Cow::Owned(padded)
    }

    /// What `B A` is multiplied with.
    pub fn scale(&self) -> f32 {
        (self.settings.alpha / self.settings.rank as f64) as f32
    }

    /// Writes `base + scale B A` to the matrices of `weights` that have an adapter.
    pub fn merge(&self, base: &Weights, weights: &mut Weights) {
        let base = base.tensors();
        let mut tensors = weights.tensors_mut();
        for adapter in &self.all {
            let target = &mut tensors[adapter.tensor][adapter.range.clone()];
            target.copy_from_slice(&base[adapter.tensor][adapter.range.clone()]);
            self.add_to(adapter, target);
        }
    }

    /// Adds `scale B A` of one adapter to its matrix.
    pub fn add_to(&self, adapter: &Adapter, matrix: &mut [f32]) {
        let rank = self.settings.rank;
        let (b, a) =
            (View::new(&adapter.b, adapter.outputs, rank), View::new(&adapter.a, rank, adapter.inputs));
        parallel_gemm(self.scale(), b, a, 1.0, matrix);
    }

    /// Every `A` and `B`, in turn.
    pub fn tensors(&self) -> Vec<&[f32]> {
        self.all.iter().flat_map(|adapter| [adapter.a.as_slice(), &adapter.b]).collect()
    }

    /// As [`tensors`](Self::tensors), to write to.
    pub fn tensors_mut(&mut self) -> Vec<&mut [f32]> {
        self.all.iter_mut().flat_map(|adapter| [adapter.a.as_mut_slice(), &mut adapter.b]).collect()
    }
}

/// Whether a module is of those that a target names.
pub(crate) fn is_module(module: &str, target: &str) -> bool {
    module.strip_suffix(target).is_some_and(|before| before.ends_with('.'))
}

/// Adapters in training: their gradients and their optimiser, on the host for every device.
#[derive(Clone, Debug)]
pub struct AdapterTraining {
    /// The adapters as they are now.
    pub adapters: Adapters,
    /// The gradient of each of [`Adapters::tensors`].
    pub gradients: Vec<Vec<f32>>,
    optimizer: AdamW,
}

impl AdapterTraining {
    /// Starts with adapters that add nothing.
    ///
    /// # Errors
    /// As [`Adapters::new`].
    pub fn new(config: &Config, settings: &LoraSettings, adamw: AdamWSettings) -> Result<Self, Error> {
        let adapters = Adapters::new(config, settings, 0)?;
        let sizes: Vec<usize> = adapters.tensors().iter().map(|tensor| tensor.len()).collect();
        Ok(AdapterTraining {
            gradients: sizes.iter().map(|&size| vec![0.0; size]).collect(),
            optimizer: AdamW::new(adamw, &sizes, vec![true; sizes.len()]),
            adapters,
        })
    }

    /// Takes the adapters' gradients from those of the matrices.
    pub fn project(&mut self, gradient: &Weights) {
        let (scale, rank) = (self.adapters.scale(), self.adapters.settings.rank);
        let tensors = gradient.tensors();
        for (adapter, pair) in self.adapters.all.iter().zip(self.gradients.chunks_exact_mut(2)) {
            let [for_a, for_b] = pair else { continue };
            let matrix = &tensors[adapter.tensor][adapter.range.clone()];
            let matrix = View::new(matrix, adapter.outputs, adapter.inputs);
            let (a, b) =
                (View::new(&adapter.a, rank, adapter.inputs), View::new(&adapter.b, adapter.outputs, rank));
            parallel_gemm(scale, b.transposed(), matrix, 0.0, for_a);
            parallel_gemm(scale, matrix, a.transposed(), 0.0, for_b);
        }
    }

    /// The sum of squares of the gradients.
    pub fn gradient_square(&self) -> f64 {
        self.gradients.iter().flatten().map(|&value| f64::from(value) * f64::from(value)).sum()
    }

    /// One step with the gradients times `scale`.
    pub fn update(&mut self, learning_rate: f32, scale: f32) {
        self.gradients.iter_mut().flatten().for_each(|value| *value *= scale);
        let gradients: Vec<&[f32]> = self.gradients.iter().map(Vec::as_slice).collect();
        self.optimizer.step(learning_rate, self.adapters.tensors_mut(), &gradients);
    }

    /// Steps taken, and every tensor that is needed to go on, by name.
    pub fn state(&self) -> (usize, Vec<(String, &[f32])>) {
        let (first, second) = self.optimizer.moments();
        let mut named = Vec::new();
        for (prefix, parts) in [("adapter", self.adapters.tensors()), ("first", first), ("second", second)] {
            named.extend(
                parts.into_iter().enumerate().map(|(index, part)| (format!("{prefix}.{index}"), part)),
            );
        }
        (self.optimizer.steps(), named)
    }

    /// Goes on from a state.
    ///
    /// # Errors
    /// What `read` says.
    pub fn set_state(&mut self, steps: usize, read: &mut ReadTensor) -> Result<(), Error> {
        let (first, second) = self.optimizer.moments_mut();
        for (prefix, parts) in
            [("adapter", self.adapters.tensors_mut()), ("first", first), ("second", second)]
        {
            for (index, part) in parts.into_iter().enumerate() {
                read(&format!("{prefix}.{index}"), part)?;
            }
        }
        self.optimizer.set_steps(steps);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Model;
    use crate::table::Role;

    fn settings(targets: &[&str]) -> LoraSettings {
        let target_modules = targets.iter().map(|name| (*name).to_owned()).collect();
        LoraSettings { rank: 8, alpha: 16.0, target_modules }
    }

    #[test]
    fn adapters_change_only_their_matrices() {
        let config = Config::tiny();
        let mut adapters = Adapters::new(&config, &settings(&["q_proj", "down_proj"]), 3).expect("adapters");
        assert_eq!(adapters.all.len(), 4);
        let model = Model::random(config.clone(), 5);
        let mut merged = model.weights.clone();
        adapters.merge(&model.weights, &mut merged);
        assert_eq!(merged, model.weights, "B is zero at the start");
        adapters.all.iter_mut().for_each(|adapter| adapter.b.fill(0.5));
        adapters.merge(&model.weights, &mut merged);
        let (hidden, query) = (config.hidden_size, config.query_size());
        let column_sum: f32 = (0..8).map(|row| adapters.all[0].a[row * hidden]).sum();
        let layer = |weights: &Weights, role| weights.layer(0, role).expect("a matrix").to_vec();
        let (before, after) = (layer(&model.weights, Role::Qkv), layer(&merged, Role::Qkv));
        assert!((after[0] - before[0] - 2.0 * 0.5 * column_sum).abs() < 1e-6);
        assert_eq!(after[query * hidden..], before[query * hidden..]);
        assert_eq!(layer(&merged, Role::GateUp), layer(&model.weights, Role::GateUp));
    }

    #[test]
    fn a_rank_filled_up_adds_the_same() {
        let config = Config::tiny();
        let mut adapters = Adapters::new(&config, &settings(&["q_proj"]), 3).expect("adapters");
        adapters.all.iter_mut().for_each(|adapter| {
            adapter.b.iter_mut().enumerate().for_each(|(at, b)| *b = (at as f32).sin());
        });
        let padded = adapters.with_rank_multiple(16);
        assert_eq!((padded.settings.rank, padded.scale()), (16, adapters.scale()));
        let sum = |adapters: &Adapters| {
            let adapter = &adapters.all[1];
            let mut matrix = vec![1.0; adapter.outputs * adapter.inputs];
            adapters.add_to(adapter, &mut matrix);
            matrix
        };
        assert_eq!(sum(&padded), sum(&adapters));
        assert!(matches!(adapters.with_rank_multiple(8), Cow::Borrowed(_)));
    }

    #[test]
    fn adapters_of_another_shape_are_named() {
        let adapters =
            Adapters::new(&Config::tiny(), &settings(&["q_proj", "down_proj"]), 3).expect("adapters");
        adapters.check(&Table::of(&Config::tiny())).expect("its model");
        let other = Config { intermediate_size: 24, ..Config::tiny() };
        let message = adapters.check(&Table::of(&other)).expect_err("refused").to_string();
        assert!(message.contains("down_proj") && message.contains("trained on"), "{message}");
    }

    #[test]
    fn wrong_settings_are_named() {
        let message = |settings: &LoraSettings| {
            Adapters::new(&Config::tiny(), settings, 0).expect_err("refused").to_string()
        };
        assert!(message(&settings(&["qproj"])).contains("no 'qproj'"));
        assert!(message(&settings(&[])).contains("target_modules is empty"));
        assert!(message(&LoraSettings { rank: 12, ..settings(&["q_proj"]) }).contains("multiple of 8"));
    }

    /// The adapters' gradients against the slope of the loss.
    #[test]
    fn gradients_are_slopes() {
        use crate::Cpu;
        use crate::device::Device;
        use crate::head::Target;
        let model = Model::random(Config { tie_word_embeddings: false, ..Config::tiny() }, 5);
        let mut training =
            AdapterTraining::new(&model.config, &settings(&["k_proj", "up_proj"]), AdamWSettings::default())
                .expect("adapters");
        training.adapters.all.iter_mut().for_each(|adapter| {
            adapter.b.iter_mut().enumerate().for_each(|(at, b)| *b = (at as f32).sin() / 4.0);
        });
        let mut batch = crate::PackedBatch::default();
        let rows = batch.push_sequence(&[1, 2, 3, 4, 5, 6]);
        let targets: Vec<Target> = rows.map(|row| Target { row, token: 7 + row as u32 }).collect();
        let loss = |adapters: &Adapters| -> f64 {
            let mut merged = model.clone();
            adapters.merge(&model.weights, &mut merged.weights);
            let mut reader = Cpu::default().reader(merged).expect("a reader");
            let found = reader.predictions(&batch, &targets).expect("runs");
            found.iter().map(|prediction| -f64::from(prediction.log_probability)).sum()
        };
        let mut merged = model.clone();
        training.adapters.merge(&model.weights, &mut merged.weights);
        let mut workspace = crate::Workspace::for_training();
        let hidden = merged.forward(&batch, &mut workspace).to_vec();
        let (mut gradient, mut slopes) = (Weights::zeros(&model.config), Vec::new());
        merged.loss_gradient(&hidden, &targets, &mut |_, _| -1.0, &mut slopes, Some(&mut gradient));
        merged.backward(&batch, slopes, 0, &mut workspace, &mut gradient);
        training.project(&gradient);
        for (tensor, gradients) in training.gradients.iter().enumerate() {
            for at in [0, 7, gradients.len() - 1] {
                let moved = |by: f32| {
                    let mut adapters = training.adapters.clone();
                    adapters.tensors_mut()[tensor][at] += by;
                    loss(&adapters)
                };
                let slope = (moved(1e-2) - moved(-1e-2)) / 2e-2;
                let ours = f64::from(gradients[at]);
                assert!(
                    (slope - ours).abs() < 1e-3 + 2e-2 * slope.abs(),
                    "tensor {tensor}, {at}: {slope} {ours}"
                );
            }
        }
    }
}
