//! A model in single precision on the processor: what is trained.

use crate::batch::PackedBatch;
use crate::config::Config;
use crate::operations::{Attention, CpuOperations};
use crate::ops::rope::RotaryTable;
use crate::pass::{self, Keep};
use crate::products::{Products, Scratch};
use crate::table::Table;
use crate::weights::Weights;

/// A configuration with its weights.
#[derive(Clone, Debug)]
pub struct Model {
    /// The shape.
    pub config: Config,
    /// The numbers.
    pub weights: Weights,
}

/// Buffers of the forward and backward pass on the processor, kept from batch to batch.
pub struct Workspace {
    buffers: pass::Workspace<Vec<f32>, Vec<f32>>,
    pub(crate) rotary: RotaryTable,
    pub(crate) scratch: Scratch,
    rows: usize,
    width: usize,
}

impl Workspace {
    /// Buffers that grow with the batches they are used for.
    pub fn new(keep: Keep) -> Self {
        Workspace {
            buffers: pass::Workspace::new(keep),
            rotary: RotaryTable::default(),
            scratch: Scratch::default(),
            rows: 0,
            width: 0,
        }
    }

    /// Keeps every layer's activations, for a backward pass.
    pub fn for_training() -> Self {
        Self::new(Keep::Everything)
    }

    /// Uses one layer's buffers for all of them.
    pub fn for_inference() -> Self {
        Self::new(Keep::Nothing)
    }

    /// The hidden states that the last forward pass returned: `[T, H]`.
    pub fn hidden(&self) -> &[f32] {
        self.buffers.hidden().map_or(&[], |hidden| &hidden[..self.rows * self.width])
    }
}

/// Makes room for positions in a table.
pub(crate) fn extend_rotary(rotary: &mut RotaryTable, config: &Config, positions: usize) {
    if rotary.positions() < positions {
        *rotary = RotaryTable::new(&config.rope_frequencies(), positions.next_power_of_two());
    }
}

/// Hidden states after the final norm of a batch, `[T, H]`, of a model in any form.
///
/// # Panics
/// If a token is not below the vocabulary's size.
pub(crate) fn forward<'a>(
    model: (&Config, &Table, Products),
    batch: &PackedBatch,
    workspace: &'a mut Workspace,
) -> &'a [f32] {
    forward_rows(model, (&batch.tokens, &batch.positions), Attention::Batch(batch), workspace)
}

/// As [`forward`], of rows that attend to anything.
pub(crate) fn forward_rows<'a>(
    (config, table, products): (&Config, &Table, Products),
    (tokens, positions): (&[u32], &[u32]),
    attention: Attention,
    workspace: &'a mut Workspace,
) -> &'a [f32] {
    let longest = positions.iter().max().map_or(0, |&position| position as usize + 1);
    extend_rotary(&mut workspace.rotary, config, longest);
    let Workspace { buffers, rotary, scratch, .. } = workspace;
    let mut operations = CpuOperations {
        config,
        table,
        products,
        rotary,
        tokens,
        positions,
        attention,
        scratch,
        gradient: None,
    };
    let Ok(()) = pass::forward(&mut operations, buffers);
    (workspace.rows, workspace.width) = (tokens.len(), config.hidden_size);
    workspace.hidden()
}

impl Model {
    /// A model with random weights.
    pub fn random(config: Config, seed: u64) -> Self {
        let weights = Weights::random(&config, seed);
        Model { config, weights }
    }

    pub(crate) fn parts(&self) -> (&Config, &Table, Products<'_>) {
        (&self.config, self.weights.table(), Products::Plain(&self.weights))
    }

    /// Hidden states after the final norm, `[T, H]`; they stay in the workspace too.
    ///
    /// # Panics
    /// If a token is not below the vocabulary's size.
    pub fn forward<'a>(&self, batch: &PackedBatch, workspace: &'a mut Workspace) -> &'a [f32] {
        forward(self.parts(), batch, workspace)
    }

    /// Adds to `gradient` what the loss's gradient by the hidden states, `[T, H]`, gives for every
    /// weight of layers `first_layer..`, of the final norm, and, if `first_layer` is 0, of the
    /// embedding. Must follow a [`forward`](Self::forward) of the same batch with a workspace
    /// made [for training](Workspace::for_training); it consumes what that left.
    ///
    /// # Panics
    /// If the workspace is one for inference.
    pub fn backward(
        &self,
        batch: &PackedBatch,
        hidden_gradient: Vec<f32>,
        first_layer: usize,
        workspace: &mut Workspace,
        gradient: &mut Weights,
    ) {
        let Workspace { buffers, rotary, scratch, .. } = workspace;
        let (config, table, products) = self.parts();
        let mut operations = CpuOperations {
            config,
            table,
            products,
            rotary,
            tokens: &batch.tokens,
            positions: &batch.positions,
            attention: Attention::Batch(batch),
            scratch,
            gradient: Some(gradient),
        };
        let Ok(()) = pass::backward(&mut operations, &hidden_gradient, first_layer, buffers);
    }
}
