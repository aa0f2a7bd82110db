//! What a model does, wherever it runs.
//!
//! A [`Device`] turns a [`Model`] into a [`Reader`], which predicts and samples, or into a [`Learner`],
//! which also trains. [`Cpu`] is here; a GPU is another crate's. Nobody who uses these needs to know
//! which it is.

use crate::decode::{Admission, Decoder, Sample};
use crate::head::{Prediction, Target};
use crate::lora::{AdapterTraining, Adapters, LoraSettings};
use crate::optimizer::{AdamW, AdamWSettings};
use crate::{Config, Error, Model, PackedBatch, Weights, Workspace};
use std::borrow::Cow;

/// Somewhere models can run.
pub trait Device: Send + Sync {
    /// In words, for people.
    fn describe(&self) -> String;

    /// Takes a model to predict and sample with.
    ///
    /// # Errors
    /// Where it does not fit, or its shape is not one that the device can run.
    fn reader(&self, model: Model) -> Result<Box<dyn Reader>, Error>;

    /// Takes a model to train.
    ///
    /// # Errors
    /// As [`reader`](Self::reader).
    fn learner(&self, model: Model, plan: &Plan) -> Result<Box<dyn Learner>, Error>;
}

/// One of several processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rank {
    /// Which, from 0.
    pub index: usize,
    /// How many.
    pub of: usize,
}

impl Rank {
    /// The only one.
    pub const ALONE: Rank = Rank { index: 0, of: 1 };

    /// This process's share of a list: every `of`-th element.
    pub fn share<T: Clone>(&self, all: &[T]) -> Vec<T> {
        all.iter().skip(self.index).step_by(self.of).cloned().collect()
    }
}

/// What of a model is trained, and how.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// How weights are updated.
    pub optimizer: AdamWSettings,
    /// Layers below this, and unless it is 0 the embedding, stay as they are.
    pub first_layer: usize,
    /// Whether an output matrix of its own stays as it is: for those that have no use for it.
    pub frozen_output: bool,
    /// Whether the backward pass computes activations again instead of keeping them: less memory, more
    /// time. The CPU always keeps them.
    pub recompute: bool,
    /// Adapters to train instead of the weights themselves, if their rank is not 0; all else is frozen.
    pub lora: LoraSettings,
}

impl Plan {
    /// Which of [`Weights::tensors`] are trained.
    pub fn trained(&self, config: &Config) -> Vec<bool> {
        let layers = Weights::layer_of_tensor(config);
        let count = layers.len();
        let of_tensor = |(index, layer): (usize, usize)| {
            let is_output = !config.tie_word_embeddings && index + 1 == count;
            let is_final_norm = layer == config.num_hidden_layers + 1 && !is_output;
            match is_output {
                true => self.first_layer == 0 && !self.frozen_output,
                false => self.first_layer == 0 || is_final_norm || layer > self.first_layer,
            }
        };
        layers.into_iter().enumerate().map(of_tensor).collect()
    }
}

/// A model that predicts and samples.
pub trait Reader: Send {
    /// The model's shape.
    fn config(&self) -> &Config;

    /// The model's weights as they are now.
    ///
    /// # Errors
    /// Where the device fails.
    fn model(&self) -> Result<Cow<'_, Model>, Error>;

    /// Hidden states of some rows of a batch: `[rows.len(), hidden size]`.
    ///
    /// # Errors
    /// Where the device fails, or its memory does not suffice.
    fn hidden_rows(&mut self, batch: &PackedBatch, rows: &[usize]) -> Result<Vec<f32>, Error>;

    /// What the model says of each target.
    ///
    /// # Errors
    /// As [`hidden_rows`](Self::hidden_rows).
    fn predictions(&mut self, batch: &PackedBatch, targets: &[Target]) -> Result<Vec<Prediction>, Error>;

    /// A sampler without sequences.
    ///
    /// # Errors
    /// As [`hidden_rows`](Self::hidden_rows).
    fn decoder(&mut self) -> Result<Box<dyn Decode + '_>, Error>;

    /// Sequences that keep the device busy.
    fn sequences(&self) -> usize;
}

/// Says what each target is worth: its index and the prediction to the derivative of the loss by its
/// log-probability (for a mean cross-entropy, `-1 / targets`).
pub type Weigh<'a> = dyn FnMut(usize, Prediction) -> f32 + 'a;
/// From hidden states `[rows, hidden size]` to the loss's gradient by them.
pub type Pull<'a> = dyn FnMut(&[f32]) -> Vec<f32> + 'a;
/// Steps taken, and every tensor that is needed to go on, by name.
pub type State<'a> = (usize, Vec<(String, Cow<'a, [f32]>)>);
/// Fills a tensor by its name.
pub type ReadTensor<'a> = dyn FnMut(&str, &mut [f32]) -> Result<(), Error> + 'a;

/// A model that trains.
pub trait Learner: Reader {
    /// Adds the gradient of a loss over targets, in their order. A row may be the target of one token.
    ///
    /// # Errors
    /// Where the device fails, or its memory does not suffice.
    fn add_token_gradient(
        &mut self,
        batch: &PackedBatch,
        targets: &[Target],
        weigh: &mut Weigh,
    ) -> Result<Vec<Prediction>, Error>;

    /// Adds the gradient of a loss over the hidden states of some rows, none of them twice.
    ///
    /// # Errors
    /// As [`add_token_gradient`](Self::add_token_gradient).
    fn add_row_gradient(&mut self, batch: &PackedBatch, rows: &[usize], pull: &mut Pull)
    -> Result<(), Error>;

    /// Which of how many processes this is that train one model together on parts of the same batches.
    fn rank(&self) -> Rank {
        Rank::ALONE
    }

    /// Each number becomes its sum over all processes.
    ///
    /// # Errors
    /// Where another process cannot be reached.
    fn sum(&mut self, _numbers: &mut [f64]) -> Result<(), Error> {
        Ok(())
    }

    /// Whether something is true in any of the processes.
    ///
    /// # Errors
    /// As [`sum`](Self::sum).
    fn any(&mut self, here: bool) -> Result<bool, Error> {
        let mut count = [f64::from(u8::from(here))];
        self.sum(&mut count)?;
        Ok(count[0] > 0.0)
    }

    /// Rows of a batch that keep the device busy and fit its memory: a larger one is better taken in parts.
    fn batch_rows(&self) -> usize {
        6144
    }

    /// Adds up the gradients of all processes and returns the sum of squares.
    ///
    /// # Errors
    /// Where the device, or another process, fails.
    fn gradient_square(&mut self) -> Result<f64, Error>;

    /// One step of the optimiser with the gradient times `scale`; clears it. Follows
    /// [`gradient_square`](Self::gradient_square).
    ///
    /// # Errors
    /// Where the device fails.
    fn update(&mut self, learning_rate: f32, scale: f32) -> Result<(), Error>;

    /// Steps taken, and every tensor that is needed to go on, by name.
    ///
    /// # Errors
    /// Where the device fails.
    fn state(&self) -> Result<State<'_>, Error>;

    /// Goes on from a state; `read` is asked for every tensor that [`state`](Self::state) names.
    ///
    /// # Errors
    /// What `read` says, and where the device fails.
    fn set_state(&mut self, steps: usize, read: &mut ReadTensor) -> Result<(), Error>;

    /// The adapters as they are now, if those are what is trained.
    fn adapters(&self) -> Option<&Adapters>;

    /// The same as one that only reads.
    fn as_reader(&mut self) -> &mut dyn Reader;
}

/// Sequences that are sampled together: any can join or leave between two steps (continuous batching;
/// Yu et al., 2022, Orca).
pub trait Decode {
    /// Number of sequences in flight.
    fn active(&self) -> usize;

    /// The samples in flight as they are now, in no particular order.
    fn samples(&self) -> Vec<&Sample>;

    /// Drops the samples of which this is false.
    fn retain(&mut self, keep: &dyn Fn(&Sample) -> bool);

    /// Computes the prompts of new samples and draws their first tokens: of as many as there is room for,
    /// the first ones, whose number it returns.
    ///
    /// # Errors
    /// Where not even one fits though none is in flight, or the device fails.
    fn admit(&mut self, wanted: &[Admission]) -> Result<usize, Error>;

    /// Removes the samples that have ended: by an end token, at their length, or where `stop` is true of
    /// them.
    fn take_finished(&mut self, stop: &dyn Fn(&Sample) -> bool) -> Vec<Sample>;

    /// One token for each sequence in flight. A device may run a step ahead of what
    /// [`samples`](Self::samples) shows.
    ///
    /// # Errors
    /// Where the device fails.
    fn step(&mut self) -> Result<(), Error>;
}

/// The processor.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu;

impl Device for Cpu {
    fn describe(&self) -> String {
        "cpu".to_owned()
    }

    fn reader(&self, model: Model) -> Result<Box<dyn Reader>, Error> {
        Ok(Box::new(CpuReader { model, workspace: Workspace::for_inference() }))
    }

    fn learner(&self, model: Model, plan: &Plan) -> Result<Box<dyn Learner>, Error> {
        let adapted = match plan.lora.rank {
            0 => None,
            _ => Some((
                AdapterTraining::new(&model.config, &plan.lora, plan.optimizer)?,
                model.weights.clone(),
            )),
        };
        let trained = plan.trained(&model.config).into_iter().map(|trained| trained && adapted.is_none());
        let sizes = model.weights.tensors().into_iter().zip(trained);
        let sizes: Vec<usize> =
            sizes.map(|(tensor, trained)| if trained { tensor.len() } else { 0 }).collect();
        Ok(Box::new(CpuLearner {
            optimizer: AdamW::new(plan.optimizer, &sizes, Weights::is_matrix(&model.config)),
            gradient: Weights::zeros(&model.config),
            first_layer: plan.first_layer,
            frozen_output: plan.frozen_output || adapted.is_some(),
            adapted,
            reader: CpuReader { model, workspace: Workspace::for_inference() },
            workspace: Workspace::for_training(),
        }))
    }
}

struct CpuReader {
    model: Model,
    workspace: Workspace,
}

impl Reader for CpuReader {
    fn config(&self) -> &Config {
        &self.model.config
    }

    fn model(&self) -> Result<Cow<'_, Model>, Error> {
        Ok(Cow::Borrowed(&self.model))
    }

    fn hidden_rows(&mut self, batch: &PackedBatch, rows: &[usize]) -> Result<Vec<f32>, Error> {
        let hidden = self.model.forward(batch, &mut self.workspace);
        Ok(gather_rows(hidden, rows, self.model.config.hidden_size))
    }

    fn predictions(&mut self, batch: &PackedBatch, targets: &[Target]) -> Result<Vec<Prediction>, Error> {
        self.model.forward(batch, &mut self.workspace);
        Ok(self.model.predictions(self.workspace.hidden(), targets))
    }

    fn decoder(&mut self) -> Result<Box<dyn Decode + '_>, Error> {
        Ok(Box::new(Decoder::new(&self.model)))
    }

    fn sequences(&self) -> usize {
        256
    }
}

/// A model, its gradient and its optimiser.
struct CpuLearner {
    reader: CpuReader,
    gradient: Weights,
    optimizer: AdamW,
    first_layer: usize,
    frozen_output: bool,
    workspace: Workspace,
    /// Adapters in training, and the weights without them.
    adapted: Option<(AdapterTraining, Weights)>,
}

impl Reader for CpuLearner {
    fn config(&self) -> &Config {
        self.reader.config()
    }

    fn model(&self) -> Result<Cow<'_, Model>, Error> {
        self.reader.model()
    }

    fn hidden_rows(&mut self, batch: &PackedBatch, rows: &[usize]) -> Result<Vec<f32>, Error> {
        self.reader.hidden_rows(batch, rows)
    }

    fn predictions(&mut self, batch: &PackedBatch, targets: &[Target]) -> Result<Vec<Prediction>, Error> {
        self.reader.predictions(batch, targets)
    }

    fn decoder(&mut self) -> Result<Box<dyn Decode + '_>, Error> {
        self.reader.decoder()
    }

    fn sequences(&self) -> usize {
        self.reader.sequences()
    }
}

impl Learner for CpuLearner {
    fn add_token_gradient(
        &mut self,
        batch: &PackedBatch,
        targets: &[Target],
        weigh: &mut Weigh,
    ) -> Result<Vec<Prediction>, Error> {
        let model = &self.reader.model;
        let hidden = model.forward(batch, &mut self.workspace).to_vec();
        let mut hidden_gradient = Vec::new();
        let output = (self.first_layer == 0 && !self.frozen_output).then_some(&mut self.gradient);
        let predictions = model.loss_gradient(&hidden, targets, weigh, &mut hidden_gradient, output);
        model.backward(batch, &hidden_gradient, self.first_layer, &mut self.workspace, &mut self.gradient);
        Ok(predictions)
    }

    fn add_row_gradient(
        &mut self,
        batch: &PackedBatch,
        rows: &[usize],
        pull: &mut Pull,
    ) -> Result<(), Error> {
        let model = &self.reader.model;
        let width = model.config.hidden_size;
        let hidden = model.forward(batch, &mut self.workspace);
        let pulled = pull(&gather_rows(hidden, rows, width));
        let mut hidden_gradient = vec![0.0; batch.rows() * width];
        for (row, gradient) in rows.iter().zip(pulled.chunks_exact(width)) {
            hidden_gradient[row * width..(row + 1) * width].copy_from_slice(gradient);
        }
        model.backward(batch, &hidden_gradient, self.first_layer, &mut self.workspace, &mut self.gradient);
        Ok(())
    }

    fn gradient_square(&mut self) -> Result<f64, Error> {
        if let Some((training, _)) = &mut self.adapted {
            training.project(&self.gradient);
            return Ok(training.gradient_square());
        }
        let square =
            |tensor: &[f32]| tensor.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>();
        Ok(self.gradient.tensors().into_iter().map(square).sum())
    }

    fn update(&mut self, learning_rate: f32, scale: f32) -> Result<(), Error> {
        if scale != 1.0 {
            let tensors = self.gradient.tensors_mut().into_iter();
            tensors.for_each(|tensor| tensor.iter_mut().for_each(|value| *value *= scale));
        }
        let weights = &mut self.reader.model.weights;
        if let Some((training, base)) = &mut self.adapted {
            // The gradient was scaled above, and the adapters' were taken from it before.
            training.update(learning_rate, scale);
            training.adapters.merge(base, weights);
        } else {
            self.optimizer.step(learning_rate, weights.tensors_mut(), &self.gradient.tensors());
        }
        self.gradient.tensors_mut().into_iter().for_each(|tensor| tensor.fill(0.0));
        Ok(())
    }

    fn state(&self) -> Result<State<'_>, Error> {
        if let Some((training, _)) = &self.adapted {
            let (steps, tensors) = training.state();
            return Ok((
                steps,
                tensors.into_iter().map(|(name, tensor)| (name, Cow::Borrowed(tensor))).collect(),
            ));
        }
        let (first, second) = self.optimizer.moments();
        let weights = self.reader.model.weights.tensors();
        let mut named = Vec::new();
        for (prefix, parts) in [("weight", weights), ("first", first), ("second", second)] {
            let tensors = parts.into_iter().enumerate();
            named.extend(tensors.map(|(index, part)| (format!("{prefix}.{index}"), Cow::Borrowed(part))));
        }
        Ok((self.optimizer.steps(), named))
    }

    fn set_state(&mut self, steps: usize, read: &mut ReadTensor) -> Result<(), Error> {
        if let Some((training, base)) = &mut self.adapted {
            training.set_state(steps, read)?;
            training.adapters.merge(base, &mut self.reader.model.weights);
            return Ok(());
        }
        let weights = self.reader.model.weights.tensors_mut();
        let (first, second) = self.optimizer.moments_mut();
        for (prefix, parts) in [("weight", weights), ("first", first), ("second", second)] {
            for (index, part) in parts.into_iter().enumerate() {
                read(&format!("{prefix}.{index}"), part)?;
            }
        }
        self.optimizer.set_steps(steps);
        Ok(())
    }

    fn adapters(&self) -> Option<&Adapters> {
        self.adapted.as_ref().map(|(training, _)| &training.adapters)
    }

    fn as_reader(&mut self) -> &mut dyn Reader {
        self
    }
}

/// Some rows of a `[rows, width]` buffer, one after the other.
fn gather_rows(data: &[f32], rows: &[usize], width: usize) -> Vec<f32> {
    rows.iter().flat_map(|row| &data[row * width..(row + 1) * width]).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_trained_is_what_lies_above_the_first_layer() {
        let config = Config { tie_word_embeddings: false, ..Config::tiny() };
        let trained = |first_layer, frozen_output| {
            let plan = Plan { first_layer, frozen_output, ..Plan::default() };
            plan.trained(&config).iter().filter(|&&trained| trained).count()
        };
        // Embedding, two layers of seven, final norm, output.
        assert_eq!(trained(0, false), 1 + 14 + 2);
        assert_eq!(trained(0, true), 1 + 14 + 1);
        assert_eq!(trained(1, true), 7 + 1);
        assert_eq!(trained(2, true), 1);
    }
}
