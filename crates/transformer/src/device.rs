//! What a model does, wherever it runs.
//!
//! A [`Device`] turns a [`Model`] into a [`Reader`], which predicts and samples, or into a [`Learner`],
//! which also trains. [`Cpu`](crate::Cpu) is in this crate; a GPU is another crate's. Nobody who uses these needs to know
//! which it is.

use crate::checkpoint::{Checkpoint, ReadTensor};
use crate::decode::Decode;
use crate::head::{Prediction, Target};
use crate::lora::{Adapters, LoraSettings};
use crate::optimizer::AdamWSettings;
use crate::table::{Role, Table, TensorInfo};
use crate::{Config, Error, Model, PackedBatch};
use std::borrow::Cow;

/// Somewhere models can run.
pub trait Device: Send + Sync {
    /// In words, for people.
    fn describe(&self) -> String;

    /// The form in which it keeps the weights of a model that only reads: what it computes depends on it.
    fn weights(&self) -> &'static str;

    /// Takes a model to predict and sample with.
    ///
    /// # Errors
    /// Where it does not fit, or its shape is not one that the device can run.
    fn reader(&self, model: Model) -> Result<Box<dyn Reader>, Error>;

    /// Takes a model on disk to predict and sample with, in a form that suits the device.
    ///
    /// # Errors
    /// As [`reader`](Self::reader), and where a tensor cannot be read.
    fn open(&self, checkpoint: &Checkpoint) -> Result<Box<dyn Reader>, Error> {
        self.reader(checkpoint.model()?)
    }

    /// Makes sure that there is room for a model on disk, before anything of it is read.
    ///
    /// # Errors
    /// Where there is not.
    fn check_room(&self, _checkpoint: &Checkpoint) -> Result<(), Error> {
        Ok(())
    }

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
    /// Which tensors of the model's table are trained.
    pub fn trained(&self, config: &Config) -> Vec<bool> {
        let is_trained = |tensor: &TensorInfo| match (tensor.role, tensor.layer) {
            (Role::Output, _) => self.first_layer == 0 && !self.frozen_output,
            (Role::FinalNorm, _) => true,
            (_, layer) => self.first_layer == 0 || layer.is_some_and(|layer| layer >= self.first_layer),
        };
        Table::of(config).tensors().iter().map(is_trained).collect()
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

    /// Another reader of the same model with adapters added, to those that it has already. On the
    /// processor the two share weights that are kept as their file has them; elsewhere it is a copy.
    ///
    /// # Errors
    /// Where the adapters are for a model of another shape, or there is no room for a copy.
    fn adapted(&self, adapters: &Adapters) -> Result<Box<dyn Reader>, Error>;

    /// A sampler without sequences.
    ///
    /// # Errors
    /// As [`hidden_rows`](Self::hidden_rows).
    fn decoder(&mut self) -> Result<Box<dyn Decode + '_>, Error>;
}

/// Says what each target is worth: its index and the prediction to the derivative of the loss by its
/// log-probability (for a mean cross-entropy, `-1 / targets`).
pub type Weigh<'a> = dyn FnMut(usize, Prediction) -> f32 + 'a;
/// From hidden states `[rows, hidden size]` to the loss's gradient by them.
pub type Pull<'a> = dyn FnMut(&[f32]) -> Vec<f32> + 'a;
/// Steps taken, and every tensor that is needed to go on, by name.
pub type State<'a> = (usize, NamedTensors<'a>);
/// Tensors with their names.
pub type NamedTensors<'a> = Vec<(String, Cow<'a, [f32]>)>;

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
