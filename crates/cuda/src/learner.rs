//! Training: gradients and AdamW.

use crate::adapters::Adapted;
use crate::gpu::{Buffer, Gpu};
use crate::matmul::{logits_block, logits_stride};
use crate::network::{GradientPlace, Keep, Network, Workspace};
use crate::ops::{DeviceBatch, launch};
use crate::reader::{GpuReader, predict_block, read_rows, start};
use crate::weights::{Part, download};
use crate::{Communicator, Error};
use cudarc::driver::PushKernelArg;
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use transformer::device::{Decode, Learner, Plan, Pull, Rank, ReadTensor, Reader, State, Weigh};
use transformer::head::{Prediction, Target};
use transformer::lora::{AdapterTraining, Adapters};
use transformer::optimizer::AdamWSettings;
use transformer::{Config, Error as ModelError, Model, PackedBatch, Weights};

/// Rows of a batch beyond which the GPU is no busier.
const BATCH_ROWS: usize = 16_384;

/// A model on the GPU that trains: f32 masters and moments of what is trained beside the bf16 weights.
pub struct GpuLearner {
    /// The model, and the buffers of passes without a gradient.
    pub reader: GpuReader,
    plan: Plan,
    /// What is trained: a stretch of the weights.
    trained: Range<usize>,
    master: Buffer<f32>,
    first: Buffer<f32>,
    second: Buffer<f32>,
    gradient: Buffer<f32>,
    workspace: Workspace,
    hidden_gradient: Option<Buffer<u16>>,
    head_gradient: Option<Buffer<u16>>,
    steps: usize,
    rows_that_fit: usize,
    adapted: Option<Adapted>,
    /// The others that train the same model.
    pub(crate) group: Option<Arc<Communicator>>,
}

impl GpuLearner {
    /// Of a network; the masters are its weights as bf16 has them.
    ///
    /// # Errors
    /// Where the memory does not suffice.
    pub fn new(network: Network, plan: Plan) -> Result<Self, Error> {
        let keep = if plan.recompute { Keep::Inputs } else { Keep::Everything };
        let gpu = &network.gpu;
        let (free, _) = gpu.memory()?;
        if plan.lora.rank > 0 {
            return Self::of_adapters(network, plan, keep);
        }
        let trained = network.places.trained(plan.first_layer, !plan.frozen_output);
        let count = trained.len();
        if 16 * count > free {
            return Err(Error::OutOfMemory {
                what: format!("training {count} weights (16 bytes each)"),
                wanted: 16 * count,
                free,
                advice: "train adapters (optimizer.lora.rank), fewer layers, or a smaller model".into(),
            });
        }
        let master = gpu.zeros(count, "the masters of the weights")?;
        network.ops.widen(network.weights.at(trained.start), master.start(), count)?;
        let mut learner = GpuLearner {
            first: gpu.zeros(count, "the optimiser's first moments")?,
            second: gpu.zeros(count, "the optimiser's second moments")?,
            gradient: gpu.zeros(count, "the gradient")?,
            master,
            trained,
            plan,
            workspace: Workspace::new(keep),
            reader: GpuReader::new(network),
            hidden_gradient: None,
            head_gradient: None,
            steps: 0,
            rows_that_fit: BATCH_ROWS,
            group: None,
            adapted: None,
        };
        learner.plan_rows(keep)?;
        Ok(learner)
    }

    /// Trains adapters: the gradient of the layers' weights is kept, but no masters and no moments.
    fn of_adapters(network: Network, plan: Plan, keep: Keep) -> Result<Self, Error> {
        let training = AdapterTraining::new(&network.config, &plan.lora, plan.optimizer);
        let training = training.map_err(|error| Error::Shape(error.to_string()))?;
        let gpu = network.gpu.clone();
        let base = gpu.allocate(network.places.total(), "the weights without adapters")?;
        gpu.copy(network.weights.start(), base.start(), network.places.total())?;
        let trained = network.places.layer(0, Part::InputNorm)..network.places.trained(0, false).end;
        let mut learner = GpuLearner {
            first: gpu.zeros(0, "nothing")?,
            second: gpu.zeros(0, "nothing")?,
            master: gpu.zeros(0, "nothing")?,
            gradient: gpu.zeros(trained.len(), "the gradient")?,
            trained,
            plan,
            workspace: Workspace::new(keep),
            reader: GpuReader::new(network),
            hidden_gradient: None,
            head_gradient: None,
            steps: 0,
            rows_that_fit: BATCH_ROWS,
            group: None,
            adapted: Some(Adapted { training, base }),
        };
        learner.plan_rows(keep)?;
        Ok(learner)
    }

    fn plan_rows(&mut self, keep: Keep) -> Result<(), Error> {
        // Half of what is left, since sampling between updates needs room too.
        let (free, _) = self.reader.network.gpu.memory()?;
        let row = Workspace::bytes(&self.reader.network.config, keep, 1024) / 1024;
        self.rows_that_fit = (free / 2 / row).clamp(1, BATCH_ROWS);
        Ok(())
    }

    /// Takes the masters from weights in f32; adapters have none.
    pub(crate) fn set_masters(&mut self, weights: &Weights) -> Result<(), Error> {
        if self.adapted.is_some() {
            return Ok(());
        }
        let network = &self.reader.network;
        for (tensor, place) in weights.tensors().into_iter().zip(network.places.tensors()) {
            if self.trained.contains(&place.start) {
                network.gpu.write(self.master.at(place.start - self.trained.start), tensor)?;
            }
        }
        network.gpu.synchronize()
    }

    fn place(&self) -> GradientPlace {
        GradientPlace { numbers: self.gradient.start(), start: self.trained.start }
    }

    fn token_gradient(
        &mut self,
        batch: &PackedBatch,
        targets: &[Target],
        weigh: &mut Weigh,
    ) -> Result<Vec<Prediction>, Error> {
        check_distinct(batch, targets.iter().map(|target| target.row))?;
        let place = self.place();
        let trains_output = self.plan.first_layer == 0 && !self.plan.frozen_output && self.adapted.is_none();
        let GpuLearner { reader, workspace, hidden_gradient, head_gradient, plan, .. } = self;
        let GpuReader { network, head, .. } = reader;
        let device = network.forward(batch, workspace, &mut |_, _| Ok(()))?;
        let (vocabulary, width) = (network.config.vocab_size, network.config.hidden_size);
        let (gpu, ops) = (network.gpu.clone(), network.ops.clone());
        clear_hidden_gradient(&gpu, hidden_gradient, batch.rows() * width)?;
        let (stride, size) = (logits_stride(vocabulary), logits_block(vocabulary));
        gpu.grow(head_gradient, size.min(targets.len()) * width, "the gradient of hidden states")?;
        let mut predictions = Vec::with_capacity(targets.len());
        for block in targets.chunks(size) {
            let count = block.len();
            let found = predict_block(network, head, workspace.hidden(), block, true)?;
            let first = predictions.len();
            let weights: Vec<f32> =
                found.iter().enumerate().map(|(at, &found)| weigh(first + at, found)).collect();
            predictions.extend(found);
            let statistics = start(&head.statistics);
            let (log_sum_exp, weights_at) = (statistics.offset(2 * count), statistics.offset(3 * count));
            gpu.write(weights_at, &weights)?;
            let (rows, logits, slopes) = (start(&head.numbers), start(&head.logits), start(&head.slopes));
            let shape = (count, vocabulary, stride);
            ops.loss_gradient(logits, rows.offset(count), log_sum_exp, weights_at, shape, slopes)?;
            let (output, out) = (network.output(), start(head_gradient));
            gpu.linear_backward_input(slopes, stride, output, (count, width, vocabulary), out)?;
            ops.scatter_add(out, rows, count, width, start(hidden_gradient))?;
            if trains_output {
                let at = place.numbers.offset(network.places.output() - place.start);
                let gathered = start(&head.gathered);
                gpu.linear_backward_weight(slopes, stride, gathered, (count, width, vocabulary), at)?;
            }
        }
        let slopes = start(hidden_gradient);
        network.backward(batch, &device, slopes, plan.first_layer, workspace, place)?;
        Ok(predictions)
    }

    fn row_gradient(&mut self, batch: &PackedBatch, rows: &[usize], pull: &mut Pull) -> Result<(), Error> {
        check_distinct(batch, rows.iter().copied())?;
        let place = self.place();
        let GpuLearner { reader, workspace, hidden_gradient, plan, .. } = self;
        let network = &mut reader.network;
        let device: DeviceBatch = network.forward(batch, workspace, &mut |_, _| Ok(()))?;
        let width = network.config.hidden_size;
        let pulled = pull(&read_rows(network, workspace.hidden(), rows)?);
        let (gpu, ops) = (network.gpu.clone(), network.ops.clone());
        clear_hidden_gradient(&gpu, hidden_gradient, batch.rows() * width)?;
        let numbers = gpu.upload(&rows.iter().map(|&row| row as i32).collect::<Vec<i32>>(), "rows")?;
        let floats = gpu.upload(&pulled, "the gradient of hidden states")?;
        let halves = gpu.allocate::<u16>(pulled.len(), "the gradient of hidden states")?;
        ops.narrow(floats.start(), halves.start(), pulled.len())?;
        ops.scatter_add(halves.start(), numbers.start(), rows.len(), width, start(hidden_gradient))?;
        network.backward(batch, &device, start(hidden_gradient), plan.first_layer, workspace, place)
    }

    /// One step of AdamW over the stretches that decay and those that do not.
    fn step(&mut self, learning_rate: f32, scale: f32) -> Result<(), Error> {
        self.steps += 1;
        let AdamWSettings { beta1, beta2, epsilon, weight_decay } = self.plan.optimizer;
        let first_correction = 1.0 - beta1.powi(self.steps as i32);
        let second_correction = (1.0 - beta2.powi(self.steps as i32)).sqrt();
        let network = &self.reader.network;
        let ops = &network.ops;
        for (stretch, decays) in self.stretches() {
            let at = stretch.start - self.trained.start;
            let count = stretch.len();
            let keep = if decays { 1.0 - learning_rate * weight_decay } else { 1.0 };
            let blocks = count.div_ceil(4 * 256).min(16 * network.gpu.multiprocessors());
            launch!(
                ops,
                "adamw",
                (blocks, 1),
                256,
                self.master.at(at),
                self.first.at(at),
                self.second.at(at),
                self.gradient.at(at),
                network.weights.at(stretch.start),
                count as i64,
                scale,
                learning_rate,
                beta1,
                beta2,
                epsilon,
                keep,
                first_correction,
                second_correction
            )?;
        }
        Ok(())
    }

    /// Neighbouring tensors that decay alike, as one; whole vectors, padding included.
    fn stretches(&self) -> Vec<(Range<usize>, bool)> {
        let network = &self.reader.network;
        let decays = Weights::is_matrix(&network.config);
        let without_decay = self.plan.optimizer.weight_decay == 0.0;
        let places = network.places.tensors();
        let mut stretches: Vec<(Range<usize>, bool)> = Vec::new();
        for (index, (place, decays)) in places.iter().zip(decays).enumerate() {
            if !self.trained.contains(&place.start) {
                continue;
            }
            let end = places.get(index + 1).map_or(network.places.total(), |next| next.start);
            match stretches.last_mut() {
                Some((last, decay)) if *decay == decays || without_decay => last.end = end,
                _ => stretches.push((place.start..end, decays)),
            }
        }
        stretches
    }
}

fn clear_hidden_gradient(gpu: &Gpu, buffer: &mut Option<Buffer<u16>>, count: usize) -> Result<(), Error> {
    gpu.grow(buffer, count, "the gradient of hidden states")?;
    gpu.clear_part(start(buffer), count)
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
        if let Some(adapted) = &self.adapted {
            adapted.merge_on_host(network, &mut model.weights)?;
            return Ok(Cow::Owned(model));
        }
        download(&network.gpu, &network.places, self.master.start(), &self.trained, &mut model.weights)?;
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

    fn decoder(&mut self) -> Result<Box<dyn Decode + '_>, ModelError> {
        self.reader.decoder()
    }

    fn sequences(&self) -> usize {
        self.reader.sequences()
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
            group.sum_floats(self.gradient.start(), self.trained.len())?;
        }
        let GpuLearner { reader, gradient, trained, adapted, .. } = self;
        match adapted {
            Some(adapted) => Ok(adapted.project(&reader.network, gradient, trained.start)?),
            None => Ok(reader.network.ops.square_sum(gradient.start(), trained.len())?),
        }
    }

    fn update(&mut self, learning_rate: f32, scale: f32) -> Result<(), ModelError> {
        if let Some(adapted) = &mut self.adapted {
            adapted.training.update(learning_rate, scale);
            adapted.merge(&self.reader.network)?;
            return Ok(self.reader.network.gpu.clear(&self.gradient)?);
        }
        Ok(self.step(learning_rate, scale)?)
    }

    fn state(&self) -> Result<State<'_>, ModelError> {
        if let Some(adapted) = &self.adapted {
            let (steps, tensors) = adapted.training.state();
            return Ok((
                steps,
                tensors.into_iter().map(|(name, tensor)| (name, Cow::Borrowed(tensor))).collect(),
            ));
        }
        let network = &self.reader.network;
        let mut named = Vec::new();
        for (index, tensor) in self.model()?.into_owned().weights.tensors().into_iter().enumerate() {
            named.push((format!("weight.{index}"), Cow::Owned(tensor.to_vec())));
        }
        for (prefix, numbers) in [("first", &self.first), ("second", &self.second)] {
            for (index, place) in network.places.tensors().iter().enumerate() {
                // As on the CPU: what is not trained has no moments.
                let count = if self.trained.contains(&place.start) { place.len() } else { 0 };
                let at = place.start.saturating_sub(self.trained.start).min(numbers.len());
                named.push((
                    format!("{prefix}.{index}"),
                    Cow::Owned(network.gpu.read(numbers.at(at), count)?),
                ));
            }
        }
        Ok((self.steps, named))
    }

    fn set_state(&mut self, steps: usize, read: &mut ReadTensor) -> Result<(), ModelError> {
        if let Some(adapted) = &mut self.adapted {
            adapted.training.set_state(steps, read)?;
            return Ok(adapted.merge(&self.reader.network)?);
        }
        let config = self.reader.network.config.clone();
        let mut weights = Weights::zeros(&config);
        for (index, tensor) in weights.tensors_mut().into_iter().enumerate() {
            read(&format!("weight.{index}"), tensor)?;
        }
        let network = &mut self.reader.network;
        network.weights = crate::weights::upload(&network.gpu, &network.ops, &network.places, &weights)?;
        self.set_masters(&weights)?;
        let network = &self.reader.network;
        for (prefix, numbers) in [("first", &self.first), ("second", &self.second)] {
            for (index, place) in network.places.tensors().iter().enumerate() {
                if self.trained.contains(&place.start) {
                    let mut tensor = vec![0.0; place.len()];
                    read(&format!("{prefix}.{index}"), &mut tensor)?;
                    network.gpu.write(numbers.at(place.start - self.trained.start), &tensor)?;
                }
            }
        }
        network.gpu.synchronize()?;
        self.steps = steps;
        Ok(())
    }

    fn adapters(&self) -> Option<&Adapters> {
        self.adapted.as_ref().map(|adapted| &adapted.training.adapters)
    }

    fn as_reader(&mut self) -> &mut dyn Reader {
        self
    }
}
