//! The processor as a [`Device`].

use crate::block_reader::{self, BlockReader, Format};
use crate::checkpoint::{Checkpoint, ReadTensor};
use crate::decode::Decode;
use crate::decoder::Decoder;
use crate::device::{Device, Learner, Plan, Pull, Reader, State, Weigh};
use crate::error::check_memory;
use crate::head::{Prediction, Target};
use crate::lora::{AdapterTraining, Adapters};
use crate::optimizer::AdamW;
use crate::pass::Keep;
use crate::table::TensorInfo;
use crate::{Config, Error, Model, PackedBatch, Weights, Workspace};
use std::borrow::Cow;

/// The processor.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    /// The form in which a model on disk is kept in memory.
    pub format: Format,
}

/// Memory that a batch in training takes for its activations at most, unless one text with its branches takes
/// more: more rows at once are not faster on a processor.
const ACTIVATION_BYTES: usize = 2 << 30;

impl Cpu {
    /// Bytes of activations that a row of a batch in training keeps for the backward pass.
    pub fn activation_bytes(config: &Config) -> usize {
        let row =
            6 * config.hidden_size + config.qkv_size() + config.query_size() + 3 * config.intermediate_size;
        size_of::<f32>() * config.num_hidden_layers * row
    }

    /// Rows of a batch in training.
    pub fn batch_rows(config: &Config) -> usize {
        (ACTIVATION_BYTES / Self::activation_bytes(config).max(1)).clamp(256, 6144)
    }
}

impl Device for Cpu {
    fn describe(&self) -> String {
        "cpu".to_owned()
    }

    fn weights(&self) -> &'static str {
        self.format.name()
    }

    fn reader(&self, model: Model) -> Result<Box<dyn Reader>, Error> {
        Ok(Box::new(CpuReader { model, workspace: Workspace::for_inference() }))
    }

    fn open(&self, checkpoint: &Checkpoint) -> Result<Box<dyn Reader>, Error> {
        self.check_room(checkpoint)?;
        match self.format.of(checkpoint)? {
            None => self.reader(checkpoint.model()?),
            Some(format) => Ok(Box::new(BlockReader::open(checkpoint, format)?)),
        }
    }

    fn check_room(&self, checkpoint: &Checkpoint) -> Result<(), Error> {
        // Single precision as it is trained is for small models, and checked where it is read.
        self.format.of(checkpoint)?.map_or(Ok(()), |format| block_reader::check_memory(checkpoint, format))
    }

    fn learner(&self, model: Model, plan: &Plan) -> Result<Box<dyn Learner>, Error> {
        // A gradient, and the optimiser's two moments of what is trained.
        let trained = plan.trained(&model.config).into_iter().zip(model.weights.tensors());
        let trained: usize = trained.map(|(trained, tensor)| if trained { tensor.len() } else { 0 }).sum();
        let moments = if plan.lora.rank == 0 { 2 * trained } else { model.config.parameters() };
        let needed = (model.config.parameters() + moments) * size_of::<f32>();
        check_memory(None, needed, &|| Ok(Vec::new()))?;
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
        let matrices = model.weights.table().tensors().iter().map(TensorInfo::is_matrix).collect();
        Ok(Box::new(CpuLearner {
            optimizer: AdamW::new(plan.optimizer, &sizes, matrices),
            gradient: Weights::zeros(&model.config),
            first_layer: plan.first_layer,
            frozen_output: plan.frozen_output || adapted.is_some(),
            adapted,
            reader: CpuReader { model, workspace: Workspace::for_inference() },
            workspace: Workspace::new(if plan.recompute { Keep::Inputs } else { Keep::Everything }),
        }))
    }
}

/// A model in single precision, as it is trained.
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

    fn adapted(&self, adapters: &Adapters) -> Result<Box<dyn Reader>, Error> {
        let base = &self.model.weights;
        adapters.check(base.table())?;
        // Products of packed single precision have no place for adapters: the sum is a copy.
        check_memory(None, 4 * self.model.config.parameters(), &|| Ok(Vec::new()))?;
        let mut model = self.model.clone();
        adapters.merge(base, &mut model.weights);
        Ok(Box::new(CpuReader { model, workspace: Workspace::for_inference() }))
    }

    fn decoder(&mut self) -> Result<Box<dyn Decode + '_>, Error> {
        let (config, table, products) = self.model.parts();
        Ok(Box::new(Decoder::new(config, table, products)))
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

    fn adapted(&self, adapters: &Adapters) -> Result<Box<dyn Reader>, Error> {
        self.reader.adapted(adapters)
    }

    fn decoder(&mut self) -> Result<Box<dyn Decode + '_>, Error> {
        self.reader.decoder()
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
        model.backward(batch, hidden_gradient, self.first_layer, &mut self.workspace, &mut self.gradient);
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
        model.backward(batch, hidden_gradient, self.first_layer, &mut self.workspace, &mut self.gradient);
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
        let weights = &mut self.reader.model.weights;
        if let Some((training, base)) = &mut self.adapted {
            training.update(learning_rate, scale);
            training.adapters.merge(base, weights);
        } else {
            if scale != 1.0 {
                let tensors = self.gradient.tensors_mut().into_iter();
                tensors.for_each(|tensor| tensor.iter_mut().for_each(|value| *value *= scale));
            }
            self.optimizer.step(learning_rate, weights.tensors_mut(), &self.gradient.tensors());
        }
        self.gradient.tensors_mut().into_iter().for_each(|tensor| tensor.fill(0.0));
        Ok(())
    }

    fn batch_rows(&self) -> usize {
        Cpu::batch_rows(&self.reader.model.config)
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
pub(crate) fn gather_rows(data: &[f32], rows: &[usize], width: usize) -> Vec<f32> {
    rows.iter().flat_map(|row| &data[row * width..(row + 1) * width]).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_in_training_fits_a_laptop_and_is_whole_where_the_model_is_small() {
        assert_eq!(Cpu::batch_rows(&Config::tiny()), 6144);
        let config = Config::qwen2_5_1_5b();
        let bytes = Cpu::batch_rows(&config) * Cpu::activation_bytes(&config);
        assert!((1 << 30..=2 << 30).contains(&bytes), "{bytes}");
    }
}
