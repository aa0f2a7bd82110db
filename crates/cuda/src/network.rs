//! The whole model on the GPU: forward and backward pass, readable from top to bottom.
//!
//! The same operations in the same order as `transformer::model` on the CPU. T is the number of rows of
//! the batch, H the hidden size, Q the width of all query heads, QKV that of queries, keys and values
//! together, F the feed-forward width. Activations are bf16, statistics f32.

use crate::Error;
use crate::gpu::Gpu;
use crate::linear::{logits_block, logits_stride};
use crate::memory::{Address, Buffer};
use crate::ops::{DeviceBatch, Ops};
use crate::weights::{Part, Places, upload};
use std::sync::Arc;
use transformer::{Config, Model, PackedBatch};

/// The model's weights in bf16, with what running it needs.
pub struct Network {
    pub(crate) gpu: Arc<Gpu>,
    pub(crate) ops: Ops,
    pub(crate) config: Config,
    pub(crate) places: Places,
    pub(crate) weights: Buffer<u16>,
    rotary: Option<Buffer<f32>>,
    rotary_positions: usize,
}

/// Where the gradient of each weight is added to; numbers laid out like the weights, from `start` on.
#[derive(Clone, Copy)]
pub(crate) struct GradientPlace {
    /// The first number.
    pub numbers: Address<f32>,
    /// Its place among the weights.
    pub start: usize,
}

impl GradientPlace {
    fn at(&self, place: usize) -> Address<f32> {
        self.numbers.offset(place - self.start)
    }
}

/// What one layer leaves for the backward pass.
struct LayerActivations {
    normed: Buffer<u16>,        // [T, H]
    input_scale: Buffer<f32>,   // [T]
    qkv: Buffer<u16>,           // [T, QKV] after rotation
    attended: Buffer<u16>,      // [T, Q]
    log_sum_exp: Buffer<f32>,   // [T, heads]
    middle: Buffer<u16>,        // [T, H] residual stream after attention
    middle_scale: Buffer<f32>,  // [T]
    middle_normed: Buffer<u16>, // [T, H]
    gate_up: Buffer<u16>,       // [T, 2 F]; the backward pass turns it into its gradient
}

/// How much a forward pass keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Nothing: there will be no backward pass.
    Nothing,
    /// Every layer's activations.
    Everything,
    /// Every layer's input; the backward pass computes the rest again, layer by layer.
    Inputs,
}

/// Buffers of the forward and backward pass, kept from batch to batch.
pub(crate) struct Workspace {
    keep: Keep,
    rows: usize,
    layers: Vec<LayerActivations>,
    inputs: Vec<Buffer<u16>>, // [T, H] residual stream before each layer, and after the last
    final_scale: Option<Buffer<f32>>, // [T]
    hidden: Option<Buffer<u16>>, // [T, H] after the final norm
    activated: Option<Buffer<u16>>, // [T, F]; gradient of it, then itself, in the backward pass
    backward: Option<BackwardBuffers>,
}

struct BackwardBuffers {
    residual: Buffer<u16>, // [T, H] gradient of the residual stream
    normed: Buffer<u16>,   // [T, H]
    qkv: Buffer<u16>,      // [T, QKV]
    attended: Buffer<u16>, // [T, Q]
    delta: Buffer<f32>,    // [T, heads]
    partial: Buffer<f32>,  // sums over rows, in parts
}

impl Workspace {
    /// Buffers that grow with the batches they are used for.
    pub fn new(keep: Keep) -> Self {
        Workspace {
            keep,
            rows: 0,
            layers: Vec::new(),
            inputs: Vec::new(),
            final_scale: None,
            hidden: None,
            activated: None,
            backward: None,
        }
    }

    /// Bytes that a batch of so many rows needs.
    pub fn bytes(config: &Config, keep: Keep, rows: usize) -> usize {
        let (hidden, qkv, query) = (config.hidden_size, config.qkv_size(), config.query_size());
        let layer = 2 * (3 * hidden + qkv + query + 2 * config.intermediate_size)
            + 4 * (2 + config.num_attention_heads);
        let layers = config.num_hidden_layers;
        let (kept, inputs) = match keep {
            Keep::Nothing => (1, 2),
            Keep::Everything => (layers, layers + 1),
            Keep::Inputs => (1, layers + 1),
        };
        let backward = if keep == Keep::Nothing { 0 } else { 2 * (2 * hidden + qkv + query) };
        rows * (kept * layer + inputs * 2 * hidden + 2 * (hidden + config.intermediate_size) + backward)
    }

    fn prepare(&mut self, gpu: &Gpu, ops: &Ops, config: &Config, rows: usize) -> Result<(), Error> {
        if self.rows >= rows {
            return Ok(());
        }
        // The old ones go first: there may be no room for both.
        *self = Workspace::new(self.keep);
        let needed = Self::bytes(config, self.keep, rows);
        let (free, _) = gpu.memory()?;
        if needed > free {
            return Err(out_of_memory(config, self.keep, rows, needed, free));
        }
        let what = format!("the activations of {rows} rows");
        let half = |width: usize| gpu.allocate::<u16>(rows * width, &what);
        let single = |width: usize| gpu.allocate::<f32>(rows * width, &what);
        let layers = config.num_hidden_layers;
        let (kept, inputs) = match self.keep {
            Keep::Nothing => (1, 2),
            Keep::Everything => (layers, layers + 1),
            Keep::Inputs => (1, layers + 1),
        };
        for _ in 0..kept {
            self.layers.push(LayerActivations {
                normed: half(config.hidden_size)?,
                input_scale: single(1)?,
                qkv: half(config.qkv_size())?,
                attended: half(config.query_size())?,
                log_sum_exp: single(config.num_attention_heads)?,
                middle: half(config.hidden_size)?,
                middle_scale: single(1)?,
                middle_normed: half(config.hidden_size)?,
                gate_up: half(2 * config.intermediate_size)?,
            });
        }
        for _ in 0..inputs {
            self.inputs.push(half(config.hidden_size)?);
        }
        self.final_scale = Some(single(1)?);
        self.hidden = Some(half(config.hidden_size)?);
        self.activated = Some(half(config.intermediate_size)?);
        if self.keep != Keep::Nothing {
            let widest = config.hidden_size.max(config.qkv_size());
            self.backward = Some(BackwardBuffers {
                residual: half(config.hidden_size)?,
                normed: half(config.hidden_size)?,
                qkv: half(config.qkv_size())?,
                attended: half(config.query_size())?,
                delta: single(config.num_attention_heads)?,
                partial: gpu.allocate(ops.norm_parts().max(128) * widest, &what)?,
            });
        }
        self.rows = rows;
        Ok(())
    }

    /// Hidden states of the last forward pass after the final norm: `[T, H]`.
    pub fn hidden(&self) -> Address<u16> {
        self.hidden.as_ref().map_or(Address::null(), Buffer::start)
    }

    fn input(&self, layer: usize) -> Address<u16> {
        match self.keep {
            Keep::Nothing => self.inputs[layer % 2].start(),
            _ => self.inputs[layer].start(),
        }
    }

    fn layer(&self, layer: usize) -> &LayerActivations {
        &self.layers[if self.keep == Keep::Everything { layer } else { 0 }]
    }
}

fn out_of_memory(config: &Config, keep: Keep, rows: usize, wanted: usize, free: usize) -> Error {
    let fits = free / (wanted / rows).max(1);
    let less = match keep {
        Keep::Everything => format!(
            "at most {fits} fit; with recomputation about {}",
            free / (Workspace::bytes(config, Keep::Inputs, 1024) / 1024)
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
    Workspace::bytes(config, keep, rows) + 6 * logits
}

impl Network {
    /// Copies a model to the GPU.
    pub fn new(gpu: &Arc<Gpu>, model: &Model) -> Result<Self, Error> {
        let config = model.config.clone();
        let ops = Ops::new(gpu, &config)?;
        let places = Places::of(&config);
        let weights = upload(gpu, &ops, &places, &model.weights)?;
        Ok(Network { gpu: gpu.clone(), ops, config, places, weights, rotary: None, rotary_positions: 0 })
    }

    /// A model of random weights, made on the GPU: as `transformer::Weights::random` makes them, but for
    /// the numbers themselves.
    pub fn random(gpu: &Arc<Gpu>, config: &Config, seed: u32) -> Result<Self, Error> {
        let ops = Ops::new(gpu, config)?;
        let places = Places::of(config);
        let weights = gpu.zeros(places.total(), "the weights")?;
        let largest = places.tensors().iter().map(|range| range.len()).max().unwrap_or(0);
        let scratch = gpu.allocate::<f32>(largest, "random weights")?;
        let residual = 0.02 / (2.0 * config.num_hidden_layers as f32).sqrt();
        let matrices = transformer::Weights::is_matrix(config);
        for (tensor, (place, is_matrix)) in places.tensors().iter().zip(matrices).enumerate() {
            let part =
                if (1..=7 * config.num_hidden_layers).contains(&tensor) { (tensor - 1) % 7 } else { 7 };
            if part == Part::QkvBias as usize {
                continue;
            }
            if is_matrix {
                let into_residual = part == Part::AttentionOut as usize || part == Part::Down as usize;
                let deviation = if into_residual { residual } else { 0.02 };
                ops.fill_normal(scratch.start(), place.len(), seed, tensor as u32, deviation)?;
            } else {
                gpu.write(scratch.start(), &vec![1.0f32; place.len()])?;
            }
            ops.narrow(scratch.start(), weights.at(place.start), place.len())?;
        }
        gpu.synchronize()?;
        let (gpu, config) = (gpu.clone(), config.clone());
        Ok(Network { gpu, ops, config, places, weights, rotary: None, rotary_positions: 0 })
    }

    /// Where a layer's tensor lies.
    pub(crate) fn weight(&self, layer: usize, part: Part) -> Address<u16> {
        self.weights.at(self.places.layer(layer, part))
    }

    /// The matrix from hidden states to logits.
    pub(crate) fn output(&self) -> Address<u16> {
        self.weights.at(self.places.output())
    }

    /// Cosines and sines for at least so many positions: `[positions, head_dim / 2]` pairs.
    pub(crate) fn rotary(&mut self, positions: usize) -> Result<Address<f32>, Error> {
        if self.rotary_positions < positions || self.rotary.is_none() {
            let positions = positions.next_power_of_two().max(1024);
            let table = transformer::ops::rope::RotaryTable::new(
                self.config.head_dim,
                self.config.rope_theta,
                positions,
            );
            self.rotary = Some(self.gpu.upload(&table.pairs(), "rotary positions")?);
            self.rotary_positions = positions;
        }
        Ok(self.rotary.as_ref().map_or(Address::null(), Buffer::start))
    }

    /// Hidden states after the final norm, `[T, H]`, in the workspace. `on_qkv(layer, qkv)` sees each
    /// layer's queries, keys and values after rotation, which is how a prompt fills the KV cache.
    pub(crate) fn forward(
        &mut self,
        batch: &PackedBatch,
        workspace: &mut Workspace,
        on_qkv: &mut dyn FnMut(usize, Address<u16>) -> Result<(), Error>,
    ) -> Result<DeviceBatch, Error> {
        self.check_tokens(batch.tokens.iter().copied())?;
        let rotary = self.rotary(batch.longest())?;
        let (config, ops) = (&self.config, &self.ops);
        workspace.prepare(&self.gpu, ops, config, batch.rows())?;
        let device = DeviceBatch::upload(&self.gpu, batch)?;
        let (rows, width) = (device.rows, config.hidden_size);
        ops.embed(self.weights.start(), device.tokens(), rows, width, workspace.input(0))?;
        for layer in 0..config.num_hidden_layers {
            self.layer_attention(layer, &device, rotary, workspace)?;
            on_qkv(layer, workspace.layer(layer).qkv.start())?;
            self.layer_feed_forward(layer, rows, workspace)?;
        }
        let last = workspace.input(config.num_hidden_layers);
        let scale = workspace.final_scale.as_ref().map_or(Address::null(), Buffer::start);
        let norm = self.weights.at(self.places.final_norm());
        ops.rms_norm(last, norm, (rows, width), config.rms_norm_eps, workspace.hidden(), scale)?;
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

    /// middle = input + attention_out(attention(rotate(qkv(norm(input)))))
    fn layer_attention(
        &self,
        layer: usize,
        batch: &DeviceBatch,
        rotary: Address<f32>,
        workspace: &Workspace,
    ) -> Result<(), Error> {
        let (config, ops, rows) = (&self.config, &self.ops, batch.rows);
        let (hidden, query, qkv) = (config.hidden_size, config.query_size(), config.qkv_size());
        let kept = workspace.layer(layer);
        let (input, normed) = (workspace.input(layer), kept.normed.start());
        let gain = self.weight(layer, Part::InputNorm);
        ops.rms_norm(input, gain, (rows, hidden), config.rms_norm_eps, normed, kept.input_scale.start())?;
        let bias = Some(self.weight(layer, Part::QkvBias));
        self.gpu.linear(
            normed,
            self.weight(layer, Part::Qkv),
            bias,
            None,
            (rows, hidden, qkv),
            kept.qkv.start(),
        )?;
        ops.rotate(kept.qkv.start(), batch, rotary, false)?;
        ops.attention(batch, kept.qkv.start(), kept.attended.start(), kept.log_sum_exp.start())?;
        let out = self.weight(layer, Part::AttentionOut);
        self.gpu.linear(
            kept.attended.start(),
            out,
            None,
            Some(input),
            (rows, query, hidden),
            kept.middle.start(),
        )
    }

    /// The next layer's input = middle + down(swiglu(gate_up(norm(middle))))
    fn layer_feed_forward(&self, layer: usize, rows: usize, workspace: &Workspace) -> Result<(), Error> {
        let (hidden, width) = (self.config.hidden_size, self.config.intermediate_size);
        self.layer_gate_up(layer, rows, workspace)?;
        let kept = workspace.layer(layer);
        let activated = workspace.activated.as_ref().map_or(Address::null(), Buffer::start);
        self.ops.swiglu(kept.gate_up.start(), rows, width, activated)?;
        let (down, next) = (self.weight(layer, Part::Down), workspace.input(layer + 1));
        self.gpu.linear(activated, down, None, Some(kept.middle.start()), (rows, width, hidden), next)
    }

    fn layer_gate_up(&self, layer: usize, rows: usize, workspace: &Workspace) -> Result<(), Error> {
        let (config, kept) = (&self.config, workspace.layer(layer));
        let (hidden, width) = (config.hidden_size, config.intermediate_size);
        let (gain, normed) = (self.weight(layer, Part::FeedForwardNorm), kept.middle_normed.start());
        let (middle, scale) = (kept.middle.start(), kept.middle_scale.start());
        self.ops.rms_norm(middle, gain, (rows, hidden), config.rms_norm_eps, normed, scale)?;
        let gate_up = self.weight(layer, Part::GateUp);
        self.gpu.linear(normed, gate_up, None, None, (rows, hidden, 2 * width), kept.gate_up.start())
    }

    /// Adds to `gradient` what the loss's gradient by the hidden states, `[T, H]`, gives for every weight of
    /// layers `first_layer..`, of the final norm, and, if `first_layer` is 0, of the embedding. Must follow
    /// a [`forward`](Self::forward) of the same batch with a workspace that keeps what is needed; it
    /// consumes what that left.
    pub(crate) fn backward(
        &mut self,
        batch: &PackedBatch,
        device: &DeviceBatch,
        hidden_gradient: Address<u16>,
        first_layer: usize,
        workspace: &Workspace,
        gradient: GradientPlace,
    ) -> Result<(), Error> {
        let rotary = self.rotary(batch.longest())?;
        let (config, ops) = (&self.config, &self.ops);
        let Some(buffers) = &workspace.backward else {
            return Err(Error::Shape("nothing was kept for a backward pass".into()));
        };
        let (rows, width) = (device.rows, config.hidden_size);
        let residual = buffers.residual.start();
        let place = self.places.final_norm();
        let scale = workspace.final_scale.as_ref().map_or(Address::null(), Buffer::start);
        ops.rms_norm_backward(
            hidden_gradient,
            workspace.input(config.num_hidden_layers),
            self.weights.at(place),
            scale,
            (rows, width),
            true,
            residual,
            buffers.partial.start(),
            Some(gradient.at(place)),
        )?;
        for layer in (first_layer..config.num_hidden_layers).rev() {
            if workspace.keep == Keep::Inputs {
                self.layer_attention(layer, device, rotary, workspace)?;
                self.layer_gate_up(layer, rows, workspace)?;
            }
            self.feed_forward_backward(layer, rows, workspace, buffers, gradient)?;
            self.attention_backward(layer, device, rotary, workspace, buffers, gradient)?;
        }
        // Adapters leave the embedding alone: their gradient begins behind it.
        if first_layer == 0 && gradient.start == 0 {
            ops.embed_backward(residual, &batch.tokens, width, gradient.at(0))?;
        }
        Ok(())
    }

    /// Through residual += down(swiglu(gate_up(norm(middle)))).
    fn feed_forward_backward(
        &self,
        layer: usize,
        rows: usize,
        workspace: &Workspace,
        buffers: &BackwardBuffers,
        gradient: GradientPlace,
    ) -> Result<(), Error> {
        let (gpu, ops, kept) = (&self.gpu, &self.ops, workspace.layer(layer));
        let (hidden, width) = (self.config.hidden_size, self.config.intermediate_size);
        let (residual, normed, gate_up) =
            (buffers.residual.start(), buffers.normed.start(), kept.gate_up.start());
        let activated = workspace.activated.as_ref().map_or(Address::null(), Buffer::start);
        let place = |part| gradient.at(self.places.layer(layer, part));
        let down = self.weight(layer, Part::Down);
        gpu.linear_backward_input(residual, hidden, down, (rows, width, hidden), activated)?;
        ops.swiglu_backward(gate_up, rows, width, activated)?;
        gpu.linear_backward_weight(residual, hidden, activated, (rows, width, hidden), place(Part::Down))?;
        let shape = (rows, hidden, 2 * width);
        gpu.linear_backward_weight(
            gate_up,
            2 * width,
            kept.middle_normed.start(),
            shape,
            place(Part::GateUp),
        )?;
        gpu.linear_backward_input(gate_up, 2 * width, self.weight(layer, Part::GateUp), shape, normed)?;
        ops.rms_norm_backward(
            normed,
            kept.middle.start(),
            self.weight(layer, Part::FeedForwardNorm),
            kept.middle_scale.start(),
            (rows, hidden),
            false,
            residual,
            buffers.partial.start(),
            Some(place(Part::FeedForwardNorm)),
        )
    }

    /// Through residual += attention_out(attention(rotate(qkv(norm(input))))).
    fn attention_backward(
        &self,
        layer: usize,
        batch: &DeviceBatch,
        rotary: Address<f32>,
        workspace: &Workspace,
        buffers: &BackwardBuffers,
        gradient: GradientPlace,
    ) -> Result<(), Error> {
        let (gpu, ops, kept, rows) = (&self.gpu, &self.ops, workspace.layer(layer), batch.rows);
        let (hidden, query, qkv) =
            (self.config.hidden_size, self.config.query_size(), self.config.qkv_size());
        let (residual, normed) = (buffers.residual.start(), buffers.normed.start());
        let (attended, qkv_gradient) = (buffers.attended.start(), buffers.qkv.start());
        let place = |part| gradient.at(self.places.layer(layer, part));
        let out = self.weight(layer, Part::AttentionOut);
        gpu.linear_backward_input(residual, hidden, out, (rows, query, hidden), attended)?;
        let shape = (rows, query, hidden);
        gpu.linear_backward_weight(
            residual,
            hidden,
            kept.attended.start(),
            shape,
            place(Part::AttentionOut),
        )?;
        ops.attention_backward(
            batch,
            kept.qkv.start(),
            kept.attended.start(),
            kept.log_sum_exp.start(),
            attended,
            buffers.delta.start(),
            qkv_gradient,
        )?;
        ops.rotate(qkv_gradient, batch, rotary, true)?;
        let shape = (rows, hidden, qkv);
        gpu.linear_backward_weight(qkv_gradient, qkv, kept.normed.start(), shape, place(Part::Qkv))?;
        ops.add_column_sums(qkv_gradient, rows, qkv, buffers.partial.start(), place(Part::QkvBias))?;
        gpu.linear_backward_input(qkv_gradient, qkv, self.weight(layer, Part::Qkv), shape, normed)?;
        ops.rms_norm_backward(
            normed,
            workspace.input(layer),
            self.weight(layer, Part::InputNorm),
            kept.input_scale.start(),
            (rows, hidden),
            false,
            residual,
            buffers.partial.start(),
            Some(place(Part::InputNorm)),
        )
    }
}
