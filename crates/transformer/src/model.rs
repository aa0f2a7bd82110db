//! The whole model: forward and backward pass, readable from top to bottom.
//!
//! In the comments, T is the number of rows of the batch, H the hidden size, Q the width of all
//! query heads, QKV that of queries, keys and values together, F the feed-forward width.

use crate::batch::PackedBatch;
use crate::config::Config;
use crate::ops::attention::{attention, attention_backward};
use crate::ops::elementwise::{add, swiglu, swiglu_backward};
use crate::ops::matmul::{linear, linear_backward_input, linear_backward_weight};
use crate::ops::norm::{rms_norm, rms_norm_backward};
use crate::ops::rope::RotaryTable;
use crate::weights::{Layer, Weights};

/// A configuration with its weights.
#[derive(Clone, Debug)]
pub struct Model {
    /// The shape.
    pub config: Config,
    /// The numbers.
    pub weights: Weights,
}

/// What one layer leaves for the backward pass.
#[derive(Default)]
struct LayerActivations {
    input: Vec<f32>,         // [T, H] residual stream before the layer
    input_scale: Vec<f32>,   // [T]
    normed: Vec<f32>,        // [T, H]
    qkv: Vec<f32>,           // [T, QKV] after rotation
    attended: Vec<f32>,      // [T, Q]
    log_sum_exp: Vec<f32>,   // [T, heads]
    middle: Vec<f32>,        // [T, H] residual stream after attention
    middle_scale: Vec<f32>,  // [T]
    middle_normed: Vec<f32>, // [T, H]
    gate_up: Vec<f32>,       // [T, 2 F]; the backward pass turns it into its gradient
    activated: Vec<f32>,     // [T, F]
}

/// Buffers of the forward and backward pass, kept from batch to batch.
pub struct Workspace {
    keep_layers: bool,
    layers: Vec<LayerActivations>,
    residual: Vec<f32>,    // [T, H] after the last layer
    final_scale: Vec<f32>, // [T]
    hidden: Vec<f32>,      // [T, H] after the final norm
    scratch: Vec<f32>,
    gradient: Vec<f32>,        // [T, H] of the residual stream
    normed_gradient: Vec<f32>, // [T, H]
    qkv_gradient: Vec<f32>,    // [T, QKV]
    rotary: RotaryTable,
}

impl Workspace {
    fn new(keep_layers: bool) -> Self {
        Workspace {
            keep_layers,
            layers: Vec::new(),
            residual: Vec::new(),
            final_scale: Vec::new(),
            hidden: Vec::new(),
            scratch: Vec::new(),
            gradient: Vec::new(),
            normed_gradient: Vec::new(),
            qkv_gradient: Vec::new(),
            rotary: RotaryTable::default(),
        }
    }

    /// Keeps every layer's activations, for a backward pass.
    pub fn for_training() -> Self {
        Self::new(true)
    }

    /// Uses one layer's buffers for all of them.
    pub fn for_inference() -> Self {
        Self::new(false)
    }

    fn prepare(&mut self, config: &Config, rows: usize, positions: usize) {
        let layers = if self.keep_layers { config.num_hidden_layers } else { 1 };
        self.layers.resize_with(layers, LayerActivations::default);
        let hidden = rows * config.hidden_size;
        for layer in &mut self.layers {
            layer.input.resize(hidden, 0.0);
            layer.input_scale.resize(rows, 0.0);
            layer.normed.resize(hidden, 0.0);
            layer.qkv.resize(rows * config.qkv_size(), 0.0);
            layer.attended.resize(rows * config.query_size(), 0.0);
            layer.log_sum_exp.resize(rows * config.num_attention_heads, 0.0);
            layer.middle.resize(hidden, 0.0);
            layer.middle_scale.resize(rows, 0.0);
            layer.middle_normed.resize(hidden, 0.0);
            layer.gate_up.resize(2 * rows * config.intermediate_size, 0.0);
            layer.activated.resize(rows * config.intermediate_size, 0.0);
        }
        self.residual.resize(hidden, 0.0);
        self.final_scale.resize(rows, 0.0);
        self.hidden.resize(hidden, 0.0);
        if self.rotary.positions() < positions {
            let positions = positions.next_power_of_two();
            self.rotary = RotaryTable::new(config.head_dim, config.rope_theta, positions);
        }
    }

    /// The hidden states that the last forward pass returned: `[T, H]`.
    pub fn hidden(&self) -> &[f32] {
        &self.hidden
    }
}

impl Model {
    /// A model with random weights.
    pub fn random(config: Config, seed: u64) -> Self {
        let weights = Weights::random(&config, seed);
        Model { config, weights }
    }

    /// Hidden states after the final norm, `[T, H]`; they stay in the workspace too.
    ///
    /// # Panics
    /// If a token is not below the vocabulary's size.
    pub fn forward<'a>(&self, batch: &PackedBatch, workspace: &'a mut Workspace) -> &'a [f32] {
        self.forward_layers(batch, workspace, &mut |_, _| {})
    }

    /// As [`forward`](Self::forward); `on_qkv(layer, qkv)` sees each layer's queries, keys and
    /// values `[T, QKV]` after rotation, which is how a prompt fills the KV cache.
    pub fn forward_layers<'a>(
        &self,
        batch: &PackedBatch,
        workspace: &'a mut Workspace,
        on_qkv: &mut dyn FnMut(usize, &[f32]),
    ) -> &'a [f32] {
        workspace.prepare(&self.config, batch.rows(), batch.longest());
        let Workspace { layers, residual, final_scale, hidden, scratch, rotary, .. } = workspace;
        embed(&self.weights.embedding, &batch.tokens, self.config.hidden_size, residual);
        for (index, weights) in self.weights.layers.iter().enumerate() {
            let kept = index.min(layers.len() - 1);
            self.layer_forward(weights, batch, rotary, &mut layers[kept], residual, scratch);
            on_qkv(index, &layers[kept].qkv);
        }
        rms_norm(residual, &self.weights.final_norm, self.config.rms_norm_eps, hidden, final_scale);
        hidden
    }

    fn layer_forward(
        &self,
        weights: &Layer,
        batch: &PackedBatch,
        rotary: &RotaryTable,
        kept: &mut LayerActivations,
        residual: &mut [f32],
        scratch: &mut Vec<f32>,
    ) {
        let (config, rows) = (&self.config, batch.rows());
        let epsilon = config.rms_norm_eps;
        scratch.resize(residual.len(), 0.0);

        kept.input.copy_from_slice(residual);
        rms_norm(&kept.input, &weights.input_norm, epsilon, &mut kept.normed, &mut kept.input_scale);
        linear(&kept.normed, &weights.qkv, Some(&weights.qkv_bias), rows, &mut kept.qkv);
        let rotated = config.num_attention_heads + config.num_key_value_heads;
        rotary.rotate(&mut kept.qkv, config.qkv_size(), rotated, &batch.positions, false);
        attention(config, batch, &kept.qkv, &mut kept.attended, &mut kept.log_sum_exp);
        linear(&kept.attended, &weights.attention_out, None, rows, scratch);
        add(scratch, residual);

        kept.middle.copy_from_slice(residual);
        let (normed, scale) = (&mut kept.middle_normed, &mut kept.middle_scale);
        rms_norm(&kept.middle, &weights.feed_forward_norm, epsilon, normed, scale);
        linear(&kept.middle_normed, &weights.gate_up, None, rows, &mut kept.gate_up);
        swiglu(&kept.gate_up, config.intermediate_size, &mut kept.activated);
        linear(&kept.activated, &weights.down, None, rows, scratch);
        add(scratch, residual);
    }

    /// Adds to `gradient` what the loss's gradient by the hidden states, `[T, H]`, gives for every
    /// weight of layers `first_layer..`, of the final norm, and, if `first_layer` is 0, of the
    /// embedding. Must follow a [`forward`](Self::forward) of the same batch with a workspace
    /// made [for training](Workspace::for_training); it consumes what that left.
    pub fn backward(
        &self,
        batch: &PackedBatch,
        hidden_gradient: &[f32],
        first_layer: usize,
        workspace: &mut Workspace,
        gradient: &mut Weights,
    ) {
        let (config, rows) = (&self.config, batch.rows());
        workspace.gradient.clear();
        workspace.gradient.resize(rows * config.hidden_size, 0.0);
        let norm_gradient = rms_norm_backward(
            hidden_gradient,
            &workspace.residual,
            &self.weights.final_norm,
            &workspace.final_scale,
            &mut workspace.gradient,
        );
        add(&norm_gradient, &mut gradient.final_norm);
        for layer in (first_layer..config.num_hidden_layers).rev() {
            self.layer_backward(
                layer,
                batch,
                workspace,
                &mut gradient.layers[layer],
                layer > first_layer || first_layer == 0,
            );
        }
        if first_layer == 0 {
            embed_backward(&workspace.gradient, &batch.tokens, config.hidden_size, &mut gradient.embedding);
        }
    }

    /// `continue_below` is false for the lowest trained layer, whose input needs no gradient.
    fn layer_backward(
        &self,
        layer: usize,
        batch: &PackedBatch,
        workspace: &mut Workspace,
        gradient: &mut Layer,
        continue_below: bool,
    ) {
        let (config, rows) = (&self.config, batch.rows());
        let weights = &self.weights.layers[layer];
        let Workspace {
            layers,
            gradient: residual_gradient,
            normed_gradient,
            qkv_gradient,
            scratch,
            rotary,
            ..
        } = workspace;
        let kept = &mut layers[layer];
        normed_gradient.resize(rows * config.hidden_size, 0.0);
        qkv_gradient.resize(rows * config.qkv_size(), 0.0);

        // Feed-forward: residual += down(swiglu(gate_up(norm(middle)))).
        scratch.resize(rows * config.intermediate_size, 0.0);
        linear_backward_input(residual_gradient, &weights.down, rows, false, scratch);
        linear_backward_weight(residual_gradient, &kept.activated, rows, &mut gradient.down, None);
        swiglu_backward(scratch, config.intermediate_size, &mut kept.gate_up);
        linear_backward_weight(&kept.gate_up, &kept.middle_normed, rows, &mut gradient.gate_up, None);
        linear_backward_input(&kept.gate_up, &weights.gate_up, rows, false, normed_gradient);
        let norm_gradient = rms_norm_backward(
            normed_gradient,
            &kept.middle,
            &weights.feed_forward_norm,
            &kept.middle_scale,
            residual_gradient,
        );
        add(&norm_gradient, &mut gradient.feed_forward_norm);

        // Attention: residual += attention_out(attention(rotate(qkv(norm(input))))).
        scratch.resize(rows * config.query_size(), 0.0);
        linear_backward_input(residual_gradient, &weights.attention_out, rows, false, scratch);
        let out = &mut gradient.attention_out;
        linear_backward_weight(residual_gradient, &kept.attended, rows, out, None);
        attention_backward(
            config,
            batch,
            &kept.qkv,
            &kept.attended,
            &kept.log_sum_exp,
            scratch,
            qkv_gradient,
        );
        let rotated = config.num_attention_heads + config.num_key_value_heads;
        rotary.rotate(qkv_gradient, config.qkv_size(), rotated, &batch.positions, true);
        let bias = Some(gradient.qkv_bias.as_mut_slice());
        linear_backward_weight(qkv_gradient, &kept.normed, rows, &mut gradient.qkv, bias);
        linear_backward_input(qkv_gradient, &weights.qkv, rows, false, normed_gradient);
        // The lowest trained layer still needs its norm's gradient, not its input's.
        if !continue_below {
            residual_gradient.fill(0.0);
        }
        let norm_gradient = rms_norm_backward(
            normed_gradient,
            &kept.input,
            &weights.input_norm,
            &kept.input_scale,
            residual_gradient,
        );
        add(&norm_gradient, &mut gradient.input_norm);
    }
}

/// `out[t] = embedding[tokens[t]]`
pub(crate) fn embed(embedding: &[f32], tokens: &[u32], width: usize, out: &mut [f32]) {
    for (row, &token) in out.chunks_exact_mut(width).zip(tokens) {
        let start = token as usize * width;
        row.copy_from_slice(&embedding[start..start + width]);
    }
}

fn embed_backward(gradient: &[f32], tokens: &[u32], width: usize, embedding_gradient: &mut [f32]) {
    for (row, &token) in gradient.chunks_exact(width).zip(tokens) {
        let start = token as usize * width;
        for (sum, value) in embedding_gradient[start..start + width].iter_mut().zip(row) {
            *sum += value;
        }
    }
}
