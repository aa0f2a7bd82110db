//! Low-rank adapters (Hu et al., 2021, LoRA).
//!
//! A matrix `W [outputs, inputs]` stays as it is; what is learned is `B [outputs, rank] A [rank, inputs]`,
//! and the model computes with `W + alpha / rank B A`. Here the sum is made once an update, in f32, so
//! that everything else runs as without adapters, sampling included; the gradients of `A` and `B` follow
//! from that of the sum: `scale B' dW` and `scale dW A'`. That saves the optimiser's memory (12 bytes a
//! weight), not the multiplications of the weights' gradients.
//!
//! On disk they are as PEFT has them: `adapter_config.json` and `adapter_model.safetensors`.

use crate::checkpoint::{Precision, ReadTensor, TensorFiles, save_tensors};
use crate::ops::matmul::{View, parallel_gemm};
use crate::optimizer::{AdamW, AdamWSettings};
use crate::table::Table;
use crate::{Config, Error, Weights};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::ops::Range;
use std::path::Path;

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
        let table = Table::of(config);
        let matrices = || {
            let parts = table.parts().filter(|(tensor, _)| {
                let info = &table.tensors()[*tensor];
                info.layer.is_some() && info.is_matrix()
            });
            parts
                .filter_map(|(tensor, part)| Some((tensor, part, part.hugging_face.strip_suffix(".weight")?)))
        };
        let is = |module: &str, target: &String| module.ends_with(&format!(".{target}"));
        for target in &settings.target_modules {
            if !matrices().any(|(_, _, module)| is(module, target)) {
                return Err(wrong(format!(
                    "lora.target_modules: the model has no '{target}' in its layers; expected some of {}",
                    LoraSettings::default().target_modules.join(", ")
                )));
            }
        }
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let adapters = matrices().filter_map(|(tensor, part, module)| {
            let wanted = settings.target_modules.iter().any(|target| is(module, target));
            let &[outputs, inputs] = part.shape.as_slice() else { return None };
            let bound = 1.0 / (inputs as f32).sqrt();
            wanted.then(|| Adapter {
                a: (0..settings.rank * inputs)
                    .map(|_| bound * (2.0 * random.random::<f32>() - 1.0))
                    .collect(),
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

    /// Writes them as PEFT does; `base` names the model that they belong to.
    ///
    /// # Errors
    /// Where the directory cannot be written.
    pub fn save(&self, directory: &Path, base: &str) -> Result<(), Error> {
        let config = json!({
            "base_model_name_or_path": base,
            "bias": "none",
            "fan_in_fan_out": false,
            "inference_mode": true,
            "init_lora_weights": true,
            "lora_alpha": self.settings.alpha,
            "lora_dropout": 0.0,
            "peft_type": "LORA",
            "r": self.settings.rank,
            "target_modules": self.settings.target_modules,
            "task_type": "CAUSAL_LM",
        });
        let path = directory.join("adapter_config.json");
        std::fs::create_dir_all(directory).map_err(|error| Error::io(directory, error))?;
        files::write(&path, format!("{config:#}\n").as_bytes()).map_err(|error| Error::io(&path, error))?;
        let tensors = self.all.iter().flat_map(|adapter| {
            let name = |part: &str| format!("base_model.model.{}.lora_{part}.weight", adapter.module);
            let rank = self.settings.rank;
            [
                (name("A"), vec![rank, adapter.inputs], adapter.a.as_slice()),
                (name("B"), vec![adapter.outputs, rank], adapter.b.as_slice()),
            ]
        });
        save_tensors(&directory.join("adapter_model.safetensors"), tensors, Precision::F32)
    }

    /// Reads what [`save`](Self::save) or PEFT wrote.
    ///
    /// # Errors
    /// Names the file and the field or tensor that is missing or does not fit the model.
    pub fn load(directory: &Path, config: &Config) -> Result<Self, Error> {
        let path = directory.join("adapter_config.json");
        let text = std::fs::read_to_string(&path).map_err(|error| Error::io(&path, error))?;
        let fields: serde_json::Value = serde_json::from_str(&text)
            .map_err(|error| Error::invalid(&path, format!("not JSON: {error}")))?;
        let expected = |name: &str, what: &str| Error::invalid(&path, format!("{name}: expected {what}"));
        let modules =
            fields["target_modules"].as_array().ok_or_else(|| expected("target_modules", "a list"))?;
        let settings = LoraSettings {
            rank: fields["r"].as_u64().ok_or_else(|| expected("r", "a number"))? as usize,
            alpha: fields["lora_alpha"].as_f64().ok_or_else(|| expected("lora_alpha", "a number"))?,
            target_modules: modules.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect(),
        };
        let mut adapters = Adapters::new(config, &settings, 0)?;
        let files = TensorFiles::open_file(&directory.join("adapter_model.safetensors"))?;
        for adapter in &mut adapters.all {
            let name = |part: &str| format!("base_model.model.{}.lora_{part}.weight", adapter.module);
            let (a, b) = (name("A"), name("B"));
            files.read(&a, &[settings.rank, adapter.inputs], &mut adapter.a)?;
            files.read(&b, &[adapter.outputs, settings.rank], &mut adapter.b)?;
        }
        Ok(adapters)
    }
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
    fn adapters_survive_being_written_and_read_and_change_only_their_matrices() {
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
        let directory = tempfile::tempdir().expect("a directory");
        adapters.save(directory.path(), "tiny").expect("written");
        assert_eq!(Adapters::load(directory.path(), &config).expect("read"), adapters);
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
