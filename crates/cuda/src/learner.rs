//! Training: gradients of the whole model, and what an update changes.

use crate::adapters::Adapted;
use crate::gpu::Gpu;
use crate::linear::{logits_block, logits_stride};
use crate::masters::Masters;
use crate::memory::Buffer;
use crate::network::{Network, Workspace, workspace_bytes};
use crate::operations::GradientPlace;
use crate::reader::{GpuReader, predict_block, read_rows};
use crate::{Communicator, Error};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use transformer::checkpoint::ReadTensor;
use transformer::decode::Decode;
use transformer::device::{Learner, NamedTensors, Plan, Pull, Rank, Reader, State, Weigh};
use transformer::head::{Prediction, Target};
use transformer::lora::Adapters;
use transformer::pass::Keep;
use transformer::table::Role;
use transformer::{Config, Error as ModelError, Model, PackedBatch, Weights};

/// Rows of a batch beyond which the GPU is no busier.
pub const BATCH_ROWS: usize = 16_384;

/// A model on the GPU that trains.
pub struct GpuLearner {
    /// The model, and the buffers of passes without a gradient.
    pub reader: GpuReader,
    plan: Plan,
    trained: Trained,
    /// Of a stretch of the weights.
    gradient: Buffer<f32>,
    stretch: Range<usize>,
    workspace: Workspace,
    hidden_gradient: Option<Buffer<u16>>,
    head_gradient: Option<Buffer<u16>>,
    slopes: Option<Buffer<u16>>, // [block, stride] gradient of logits
    rows_that_fit: usize,
    /// The others that train the same model.
    pub(crate) group: Option<Arc<Communicator>>,
}

/// What an update changes.
enum Trained {
    /// The weights themselves: f32 masters beside the bf16 weights.
    Weights(Masters),
    /// Adapters.
    Adapters(Adapted),
}

impl GpuLearner {
    /// Of a network; the masters are its weights as bf16 has them.
    ///
    /// # Errors
    /// Where the memory does not suffice.
    pub fn new(network: Network, plan: Plan) -> Result<Self, Error> {
        let keep = if plan.recompute { Keep::Inputs } else { Keep::Everything };
        let (trained, range) = if plan.lora.rank > 0 {
            // The gradient is that of the layers' weights, from which the adapters' is taken.
            let (places, table) = (&network.places, &network.table);
            let first = table.of_layer(0, Role::InputNorm);
            let range = places.start(first)..places.next(table.final_norm());
            (Trained::Adapters(Adapted::new(&network, &plan)?), range)
        } else {
            let range = network.places.trained(&plan.trained(&network.config));
            (Trained::Weights(Masters::new(&network, range.clone(), plan.optimizer)?), range)
        };
        let gradient = network.gpu.zeros(range.len(), "the gradient")?;
        // Half of what is left, since sampling between updates needs room too.
        let (free, _) = network.gpu.memory()?;
        let row = workspace_bytes(&network.config, keep, 1);
        Ok(GpuLearner {
            rows_that_fit: (free / 2 / row).clamp(1, BATCH_ROWS),
            reader: GpuReader::new(network),
            plan,
            trained,
            gradient,
            stretch: range,
            workspace: Workspace::new(keep),
            hidden_gradient: None,
            head_gradient: None,
            slopes: None,
            group: None,
        })
    }

    /// Takes the masters from weights in f32; adapters have none.
    pub(crate) fn set_masters(&mut self, weights: &Weights) -> Result<(), Error> {
        match &mut self.trained {
            Trained::Weights(masters) => masters.set(&self.reader.network, weights),
            Trained::Adapters(_) => Ok(()),
        }
    }

    fn token_gradient(
        &mut self,
        batch: &PackedBatch,
        targets: &[Target],
        weigh: &mut Weigh,
    ) -> Result<Vec<Prediction>, Error> {
        check_distinct(batch, targets.iter().map(|target| target.row))?;
        let GpuLearner { reader, workspace, hidden_gradient, head_gradient, slopes, plan, .. } = self;
        let place = GradientPlace { numbers: self.gradient.view(), stretch: self.stretch.clone() };
        let GpuReader { network, head, .. } = reader;
        let device = network.forward(batch, workspace, &mut |_, _| Ok(()))?;
        let (vocabulary, width) = (network.config.vocab_size, network.config.hidden_size);
        let (gpu, ops) = (network.gpu.clone(), network.ops.clone());
        let hidden_gradient = cleared(&gpu, hidden_gradient, batch.rows() * width)?;
        // Where the embedding serves as output it may be trained, but not as that.
        let output_gradient = place.of(network, network.table.output()).filter(|_| !plan.frozen_output);
        let (stride, size) = (logits_stride(vocabulary), logits_block(vocabulary));
        let head_gradient =
            gpu.grow(head_gradient, size.min(targets.len()) * width, "the gradient of hidden states")?;
        let slopes = gpu.grow(slopes, size.min(targets.len()) * stride, "the gradient of logits")?;
        let mut predictions = Vec::with_capacity(targets.len());
        for block in targets.chunks(size) {
            let count = block.len();
            let there = head.block(&gpu, &network.config, count)?;
            let found = predict_block(network, &there, workspace.hidden()?, block)?;
            let first = predictions.len();
            let weights: Vec<f32> =
                found.iter().enumerate().map(|(at, &found)| weigh(first + at, found)).collect();
            predictions.extend(found);
            gpu.write(there.weights, &weights)?;
            let (shape, slopes) = ((count, vocabulary, stride), slopes.view());
            let (logits, tokens) = (there.logits, there.tokens);
            ops.loss_gradient(logits, tokens, there.log_sum_exp, there.weights, shape, slopes)?;
            let (output, out) = (network.output(), head_gradient.view());
            gpu.linear_backward_input(slopes, stride, output, (count, width, vocabulary), out)?;
            ops.scatter_add(out, there.rows, count, width, hidden_gradient.view())?;
            if let Some(at) = output_gradient {
                let shape = (count, width, vocabulary);
                gpu.linear_backward_weight(slopes, stride, there.gathered, shape, at)?;
            }
        }
        network.backward(batch, &device, hidden_gradient, plan.first_layer, workspace, place)?;
        Ok(predictions)
    }

    fn row_gradient(&mut self, batch: &PackedBatch, rows: &[usize], pull: &mut Pull) -> Result<(), Error> {
        check_distinct(batch, rows.iter().copied())?;
        let GpuLearner { reader, workspace, hidden_gradient, plan, .. } = self;
        let place = GradientPlace { numbers: self.gradient.view(), stretch: self.stretch.clone() };
        let network = &mut reader.network;
        let device = network.forward(batch, workspace, &mut |_, _| Ok(()))?;
        let width = network.config.hidden_size;
        let pulled = pull(&read_rows(network, workspace.hidden()?, rows)?);
        let (gpu, ops) = (network.gpu.clone(), network.ops.clone());
        let hidden_gradient = cleared(&gpu, hidden_gradient, batch.rows() * width)?;
        let numbers = gpu.upload(&rows.iter().map(|&row| row as i32).collect::<Vec<i32>>(), "rows")?;
        let floats = gpu.upload(&pulled, "the gradient of hidden states")?;
        let halves = gpu.allocate::<u16>(pulled.len(), "the gradient of hidden states")?;
        ops.narrow(floats.view(), halves.part(0..pulled.len()))?;
        ops.scatter_add(halves.view(), numbers.view(), rows.len(), width, hidden_gradient.view())?;
        network.backward(batch, &device, hidden_gradient, plan.first_layer, workspace, place)
    }
}

/// Zeros for the gradient of hidden states.
fn cleared<'a>(
    gpu: &Gpu,
    buffer: &'a mut Option<Buffer<u16>>,
    count: usize,
) -> Result<&'a Buffer<u16>, Error> {
    let buffer = gpu.grow(buffer, count, "the gradient of hidden states")?;
    gpu.clear(buffer.part(0..count))?;
    Ok(buffer)
}

/// Rows are added to in parallel, so none may come twice.
fn check_distinct(batch: &PackedBatch, rows: impl Iterator<Item = usize>) -> Result<(), Error> {
    let mut seen = vec![false; batch.rows()];
    for row in rows {
        if std::mem::replace(&mut seen[row], true) {
            return Err(Error::Shape(format!("row {row} of a batch is asked for twice")));
        }
    }
    Ok(())
}

impl Reader for GpuLearner {
    fn config(&self) -> &Config {
        self.reader.config()
    }

    fn model(&self) -> Result<Cow<'_, Model>, ModelError> {
        let mut model = self.reader.model()?.into_owned();
        let network = &self.reader.network;
        match &self.trained {
            Trained::Weights(masters) => masters.read(network, &mut model.weights)?,
            Trained::Adapters(adapted) => adapted.merge_on_host(network, &mut model.weights)?,
        }
        Ok(Cow::Owned(model))
    }

    fn hidden_rows(&mut self, batch: &PackedBatch, rows: &[usize]) -> Result<Vec<f32>, ModelError> {
        self.reader.hidden_rows(batch, rows)
    }

    fn predictions(
        &mut self,
        batch: &PackedBatch,
        targets: &[Target],
    ) -> Result<Vec<Prediction>, ModelError> {
        self.reader.predictions(batch, targets)
    }

    fn adapted(&self, adapters: &Adapters) -> Result<Box<dyn Reader>, ModelError> {
        self.reader.adapted(adapters)
    }

    fn decoder(&mut self) -> Result<Box<dyn Decode + '_>, ModelError> {
        self.reader.decoder()
    }
}

impl Learner for GpuLearner {
    fn add_token_gradient(
        &mut self,
        batch: &PackedBatch,
        targets: &[Target],
        weigh: &mut Weigh,
    ) -> Result<Vec<Prediction>, ModelError> {
        Ok(self.token_gradient(batch, targets, weigh)?)
    }

    fn add_row_gradient(
        &mut self,
        batch: &PackedBatch,
        rows: &[usize],
        pull: &mut Pull,
    ) -> Result<(), ModelError> {
        Ok(self.row_gradient(batch, rows, pull)?)
    }

    fn rank(&self) -> Rank {
        self.group.as_ref().map_or(Rank::ALONE, |group| group.rank())
    }

    fn sum(&mut self, numbers: &mut [f64]) -> Result<(), ModelError> {
        match &self.group {
            Some(group) => Ok(group.sum(numbers)?),
            None => Ok(()),
        }
    }

    fn batch_rows(&self) -> usize {
        self.rows_that_fit
    }

    fn gradient_square(&mut self) -> Result<f64, ModelError> {
        if let Some(group) = &self.group {
            group.sum_floats(self.gradient.view())?;
        }
        let GpuLearner { reader, gradient, trained, stretch, .. } = self;
        match trained {
            Trained::Weights(_) => Ok(reader.network.ops.square_sum(gradient.view())?),
            Trained::Adapters(adapted) => Ok(adapted.project(&reader.network, gradient, stretch.start)?),
        }
    }

    fn update(&mut self, learning_rate: f32, scale: f32) -> Result<(), ModelError> {
        let network = &self.reader.network;
        match &mut self.trained {
            Trained::Weights(masters) => Ok(masters.step(network, &self.gradient, learning_rate, scale)?),
            Trained::Adapters(adapted) => {
                adapted.training.update(learning_rate, scale);
                adapted.merge(network)?;
                Ok(network.gpu.clear(self.gradient.view())?)
            }
        }
    }

    fn state(&self) -> Result<State<'_>, ModelError> {
        let masters = match &self.trained {
            Trained::Weights(masters) => masters,
            Trained::Adapters(adapted) => {
                let (steps, tensors) = adapted.training.state();
                let tensors = tensors.into_iter().map(|(name, tensor)| (name, Cow::Borrowed(tensor)));
                return Ok((steps, tensors.collect()));
            }
        };
        let mut named = NamedTensors::new();
        for (index, tensor) in self.model()?.into_owned().weights.tensors().into_iter().enumerate() {
            named.push((format!("weight.{index}"), Cow::Owned(tensor.to_vec())));
        }
        named.extend(masters.moments(&self.reader.network)?);
        Ok((masters.steps, named))
    }

    fn set_state(&mut self, steps: usize, read: &mut ReadTensor) -> Result<(), ModelError> {
        let network = &mut self.reader.network;
        match &mut self.trained {
            Trained::Weights(masters) => {
                let mut weights = Weights::zeros(&network.config);
                for (index, tensor) in weights.tensors_mut().into_iter().enumerate() {
                    read(&format!("weight.{index}"), tensor)?;
                }
                network.set_weights(&weights)?;
                masters.set(network, &weights)?;
                masters.steps = steps;
                masters.set_moments(network, read)
            }
            Trained::Adapters(adapted) => {
                adapted.training.set_state(steps, read)?;
                Ok(adapted.merge(network)?)
            }
        }
    }

    fn adapters(&self) -> Option<&Adapters> {
        match &self.trained {
            Trained::Weights(_) => None,
            Trained::Adapters(adapted) => Some(&adapted.training.adapters),
        }
    }

    fn as_reader(&mut self) -> &mut dyn Reader {
        self
    }
}
