//! The whole model on the GPU: its weights, and passes over batches.
//!
//! What a pass computes and in which order is `transformer::pass`; the operations are in
//! `operations.rs`.

use crate::Error;
use crate::gpu::Gpu;
use crate::linear::{logits_block, logits_stride};
use crate::memory::{Buffer, View};
use crate::operations::{Attention, GpuOperations, GradientPlace, OnQkv, Scratch, Training};
use crate::ops::{DeviceBatch, Ops};
use crate::weights::{Places, Upload};
use std::sync::Arc;
use transformer::ops::rope::RotaryTable;
use transformer::pass::{self, Keep, numbers_per_row};
use transformer::table::{Role, Table};
use transformer::weights::initial_deviation;
use transformer::{Checkpoint, Config, Error as ModelError, Model, PackedBatch};

/// Positions that there are cosines and sines for from the beginning.
const FIRST_POSITIONS: usize = 1024;

/// The model's weights in bf16, with what running it needs.
pub struct Network {
    pub(crate) gpu: Arc<Gpu>,
    pub(crate) ops: Ops,
    pub(crate) config: Config,
    pub(crate) table: Table,
    pub(crate) places: Places,
    pub(crate) weights: Buffer<u16>,
    rotary: Buffer<f32>, // [positions, head_dim / 2] pairs of cosine and sine
    rotary_positions: usize,
}

/// Buffers of the forward and backward pass, kept from batch to batch.
pub(crate) struct Workspace {
    pub(crate) buffers: pass::Workspace<Buffer<u16>, Buffer<f32>>,
    scratch: Option<Scratch>,
}

impl Workspace {
    /// Buffers that grow with the batches they are used for.
    pub(crate) fn new(keep: Keep) -> Self {
        Workspace { buffers: pass::Workspace::new(keep), scratch: None }
    }

    /// Hidden states of the last forward pass after the final norm: `[T, H]`.
    pub(crate) fn hidden(&self) -> Result<View<'_, u16>, Error> {
        let nothing = || Error::Shape("there was no forward pass".into());
        self.buffers.hidden().map(Buffer::view).ok_or_else(nothing)
    }
}

/// Bytes that the activations of so many rows take.
pub(crate) fn workspace_bytes(config: &Config, keep: Keep, rows: usize) -> usize {
    let (halves, singles) = numbers_per_row(config, keep);
    rows * (2 * halves + 4 * singles)
}

fn out_of_memory(config: &Config, keep: Keep, rows: usize, wanted: usize, free: usize) -> Error {
    let fits = free / (wanted / rows).max(1);
    let less = match keep {
        Keep::Everything => format!(
            "at most {fits} fit; with recomputation about {}",
            free / workspace_bytes(config, Keep::Inputs, 1)
        ),
        _ => format!("at most {fits} fit"),
    };
    Error::OutOfMemory { what: format!("a batch of {rows} tokens"), wanted, free, advice: less }
}

/// Bytes of the GPU's memory that a batch of so many rows needs for training, besides the weights: its
/// activations, and the logits of a block of them with their gradient.
pub fn activation_bytes(config: &Config, rows: usize, recompute: bool) -> usize {
    let keep = if recompute { Keep::Inputs } else { Keep::Everything };
    let logits = logits_block(config.vocab_size).min(rows) * logits_stride(config.vocab_size);
    workspace_bytes(config, keep, rows) + 6 * logits
}

impl Network {
    /// Copies a model to the GPU.
    pub fn new(gpu: &Arc<Gpu>, model: &Model) -> Result<Self, Error> {
        let mut network = Self::empty(gpu, &model.config)?;
        network.set_weights(&model.weights)?;
        Ok(network)
    }

    /// Copies a model from disk to the GPU, tensor by tensor: the host never holds all of it.
    ///
    /// # Errors
    /// Where a tensor cannot be read, or does not fit.
    pub fn open(gpu: &Arc<Gpu>, checkpoint: &Checkpoint) -> Result<Self, ModelError> {
        let network = Self::empty(gpu, checkpoint.config())?;
        let mut upload = Upload::default();
        let mut numbers = Vec::new();
        for (index, place) in network.places.tensors().iter().enumerate() {
            numbers.resize(place.len(), 0.0);
            checkpoint.read(index, &mut numbers)?;
            upload.put(&network.ops, &numbers, network.weights.part(place.clone()))?;
        }
        gpu.synchronize()?;
        Ok(network)
    }

    /// A model of random weights, made on the GPU: as `transformer::Weights::random` makes them, but for
    /// the numbers themselves.
    pub fn random(gpu: &Arc<Gpu>, config: &Config, seed: u32) -> Result<Self, Error> {
        let network = Self::empty(gpu, config)?;
        let (ops, places) = (&network.ops, network.places.tensors());
        let largest = places.iter().map(|range| range.len()).max().unwrap_or(0);
        let scratch = gpu.allocate::<f32>(largest, "random weights")?;
        for (index, (place, info)) in places.iter().zip(network.table.tensors()).enumerate() {
            match initial_deviation(config, info.role) {
                Some(deviation) => {
                    ops.fill_normal(scratch.part(0..place.len()), seed, index as u32, deviation)?;
                }
                None if info.role == Role::QkvBias => continue,
                None => gpu.write(scratch.view(), &vec![1.0f32; place.len()])?,
            }
            ops.narrow(scratch.view(), network.weights.part(place.clone()))?;
        }
        gpu.synchronize()?;
        Ok(network)
    }

    /// A model whose weights are all zero.
    fn empty(gpu: &Arc<Gpu>, config: &Config) -> Result<Self, Error> {
        let ops = Ops::new(gpu, config)?;
        let table = Table::of(config);
        let places = Places::of(&table);
        let weights = gpu.zeros(places.total(), "the weights")?;
        let rotary = rotary_table(gpu, config, FIRST_POSITIONS)?;
        Ok(Network {
            gpu: gpu.clone(),
            ops,
            config: config.clone(),
            table,
            places,
            weights,
            rotary,
            rotary_positions: FIRST_POSITIONS,
        })
    }

    /// Another of the same weights.
    pub(crate) fn copy(&self) -> Result<Self, Error> {
        let network = Self::empty(&self.gpu, &self.config)?;
        self.gpu.copy(self.weights.view(), network.weights.view())?;
        Ok(network)
    }

    /// Replaces all weights.
    pub(crate) fn set_weights(&mut self, weights: &transformer::Weights) -> Result<(), Error> {
        let mut upload = Upload::default();
        for (numbers, place) in weights.tensors().into_iter().zip(self.places.tensors()) {
            upload.put(&self.ops, numbers, self.weights.part(place.clone()))?;
        }
        self.gpu.synchronize()
    }

    /// A tensor.
    pub(crate) fn weight(&self, tensor: usize) -> View<'_, u16> {
        self.weights.part(self.places.tensors()[tensor].clone())
    }

    /// The matrix from hidden states to logits.
    pub(crate) fn output(&self) -> View<'_, u16> {
        self.weight(self.table.output())
    }

    /// Makes cosines and sines for at least so many positions.
    pub(crate) fn extend_rotary(&mut self, positions: usize) -> Result<(), Error> {
        if self.rotary_positions < positions {
            let positions = positions.next_power_of_two();
            self.rotary = rotary_table(&self.gpu, &self.config, positions)?;
            self.rotary_positions = positions;
        }
        Ok(())
    }

    /// For how many positions there are cosines and sines: they stay where they are as long as that
    /// number is the same.
    pub(crate) fn rotary_positions(&self) -> usize {
        self.rotary_positions
    }

    /// Cosines and sines that a layer's queries and keys turn with, if they do.
    pub(crate) fn rotary_of(&self, layer: usize) -> Option<View<'_, f32>> {
        self.config.has_rope(layer).then(|| self.rotary.view())
    }

    /// Whether the activations of so many rows find room.
    pub(crate) fn check_room(&self, keep: Keep, rows: usize) -> Result<(), Error> {
        let needed = workspace_bytes(&self.config, keep, rows);
        let (free, _) = self.gpu.memory()?;
        match needed > free {
            true => Err(out_of_memory(&self.config, keep, rows, needed, free)),
            false => Ok(()),
        }
    }

    /// Makes buffers for passes over so many rows; they stay where they are as long as no pass has more.
    pub(crate) fn make_room(&self, workspace: &mut Workspace, rows: usize) -> Result<(), Error> {
        let nothing = DeviceBatch::upload(&self.gpu, &PackedBatch::default())?;
        workspace.buffers.prepare(&self.operations(&nothing, &mut |_, _| Ok(()), None), rows)
    }

    fn operations<'a>(
        &'a self,
        batch: &'a DeviceBatch,
        on_qkv: &'a mut OnQkv<'a>,
        training: Option<Training<'a>>,
    ) -> GpuOperations<'a> {
        GpuOperations {
            network: self,
            rows: batch.rows,
            tokens: batch.tokens(),
            attention: Attention::Batch { batch, on_qkv },
            training,
        }
    }

    /// Hidden states after the final norm, `[T, H]`, in the workspace. `on_qkv(layer, qkv)` sees each
    /// layer's queries, keys and values after rotation, which is how a prompt fills the KV cache.
    pub(crate) fn forward(
        &mut self,
        batch: &PackedBatch,
        workspace: &mut Workspace,
        on_qkv: &mut OnQkv,
    ) -> Result<DeviceBatch, Error> {
        self.check_tokens(batch.tokens.iter().copied())?;
        self.extend_rotary(batch.longest())?;
        let device = DeviceBatch::upload(&self.gpu, batch)?;
        pass::forward(&mut self.operations(&device, on_qkv, None), &mut workspace.buffers)?;
        Ok(device)
    }

    /// A token that the model does not have would be read from memory that is not the embedding's.
    pub(crate) fn check_tokens(&self, mut tokens: impl Iterator<Item = u32>) -> Result<(), Error> {
        let vocabulary = self.config.vocab_size;
        match tokens.find(|&token| token as usize >= vocabulary) {
            Some(token) => Err(Error::Token { token, vocabulary }),
            None => Ok(()),
        }
    }

    /// Adds to `gradient` what the loss's gradient by the hidden states, `[T, H]`, gives for every weight
    /// that has a place there, of layers `first_layer..`. Must follow a [`forward`](Self::forward) of the
    /// same batch with a workspace that keeps what is needed; it consumes what that left.
    pub(crate) fn backward(
        &self,
        batch: &PackedBatch,
        device: &DeviceBatch,
        hidden_gradient: &Buffer<u16>,
        first_layer: usize,
        workspace: &mut Workspace,
        gradient: GradientPlace,
    ) -> Result<(), Error> {
        let Workspace { buffers, scratch } = workspace;
        let scratch = self.scratch(scratch, device.rows)?;
        let training = Training { gradient, tokens: &batch.tokens, scratch };
        let nobody: &mut OnQkv = &mut |_, _| Ok(());
        let mut operations = self.operations(device, nobody, Some(training));
        pass::backward(&mut operations, hidden_gradient, first_layer, buffers)
    }

    /// Scratch memory for a backward pass over so many rows.
    fn scratch<'a>(&self, scratch: &'a mut Option<Scratch>, rows: usize) -> Result<&'a Scratch, Error> {
        let heads = self.config.num_attention_heads;
        if let Some(found) = scratch.take_if(|found| found.delta.len() < rows * heads) {
            drop(found); // Before the next one: there may be no room for both.
        }
        let widest = self.config.hidden_size.max(self.config.qkv_size());
        let what = format!("the activations of {rows} rows");
        let found = match scratch.take() {
            Some(found) => found,
            None => Scratch {
                delta: self.gpu.allocate(rows * heads, &what)?,
                partial: self.gpu.allocate(self.ops.sum_parts() * widest, &what)?,
            },
        };
        Ok(scratch.insert(found))
    }
}

/// Cosines and sines of positions.
fn rotary_table(gpu: &Gpu, config: &Config, positions: usize) -> Result<Buffer<f32>, Error> {
    let table = RotaryTable::new(&config.rope_frequencies(), positions);
    gpu.upload(&table.pairs(), "rotary positions")
}
