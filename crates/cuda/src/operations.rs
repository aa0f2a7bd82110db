//! The operations of a forward and backward pass on the GPU, which `transformer::pass` puts in order.
//!
//! Activations are bf16, statistics f32.

use crate::Error;
use crate::memory::{Buffer, View};
use crate::network::Network;
use crate::ops::{DeviceBatch, Ops, SlotCache};
use std::ops::Range;
use transformer::Config;
use transformer::pass::{Gradients, Keep, Operations};
use transformer::table::Table;

type Done = Result<(), Error>;
/// Sees each layer's queries, keys and values `[T, QKV]` after rotation, which is how a prompt fills the
/// KV cache.
pub(crate) type OnQkv<'a> = dyn FnMut(usize, View<u16>) -> Done + 'a;

/// Some rows of a model on the GPU.
pub(crate) struct GpuOperations<'a> {
    pub(crate) network: &'a Network,
    pub(crate) rows: usize,
    /// Token of each row.
    pub(crate) tokens: View<'a, i32>,
    pub(crate) attention: Attention<'a>,
    /// What a backward pass needs besides.
    pub(crate) training: Option<Training<'a>>,
}

/// What rows attend to.
pub(crate) enum Attention<'a> {
    /// Each other.
    Batch { batch: &'a DeviceBatch, on_qkv: &'a mut OnQkv<'a> },
    /// Each row, the next of a sequence, to that sequence's pages.
    Cache(SlotCache<'a>),
}

/// Where gradients go, and scratch memory of the kernels that make them.
pub(crate) struct Training<'a> {
    pub(crate) gradient: GradientPlace<'a>,
    /// Token of each row, on the host.
    pub(crate) tokens: &'a [u32],
    pub(crate) scratch: &'a Scratch,
}

/// Scratch memory of a backward pass.
pub(crate) struct Scratch {
    pub(crate) delta: Buffer<f32>,   // [T, heads]
    pub(crate) partial: Buffer<f32>, // sums over rows, in parts
}

/// Where the gradient of each weight is added to: numbers laid out like a stretch of the weights. What
/// lies outside of it is frozen.
#[derive(Clone)]
pub(crate) struct GradientPlace<'a> {
    /// As many as the stretch is long.
    pub numbers: View<'a, f32>,
    /// Their places among the weights.
    pub stretch: Range<usize>,
}

impl<'a> GradientPlace<'a> {
    /// That of a tensor, unless it is frozen.
    pub(crate) fn of(&self, network: &Network, tensor: usize) -> Option<View<'a, f32>> {
        let (place, start) = (&network.places.tensors()[tensor], self.stretch.start);
        let is_trained = self.stretch.contains(&place.start);
        is_trained.then(|| self.numbers.part(place.start - start..place.end - start))
    }
}

impl<'a> GpuOperations<'a> {
    fn weight(&self, tensor: usize) -> View<'a, u16> {
        self.network.weight(tensor)
    }

    /// Rows of the batch, inputs and outputs of a matrix.
    fn shape(&self, matrix: usize) -> (usize, usize, usize) {
        let shape = &self.network.table.tensors()[matrix].shape;
        (self.rows, shape[1], shape[0])
    }

    fn training(&self) -> Result<&Training<'a>, Error> {
        let nothing = || Error::Shape("nothing was kept for a backward pass".into());
        self.training.as_ref().ok_or_else(nothing)
    }

    /// The batch's rows and the width of what a gain is for.
    fn norm_shape(&self, gain: usize) -> (usize, usize) {
        (self.rows, self.network.table.tensors()[gain].len())
    }
}

impl Operations for GpuOperations<'_> {
    type Rows = Buffer<u16>;
    type Scales = Buffer<f32>;
    type Error = Error;

    fn config(&self) -> &Config {
        &self.network.config
    }

    fn table(&self) -> &Table {
        &self.network.table
    }

    fn rows(&self) -> usize {
        self.rows
    }

    fn reserve(&self, keep: Keep, rows: usize) -> Done {
        self.network.check_room(keep, rows)
    }

    fn allocate(&self, rows: usize, width: usize) -> Result<Buffer<u16>, Error> {
        self.network.gpu.allocate(rows * width, &format!("the activations of {rows} rows"))
    }

    fn allocate_scales(&self, rows: usize, width: usize) -> Result<Buffer<f32>, Error> {
        self.network.gpu.allocate(rows * width, &format!("the activations of {rows} rows"))
    }

    fn embed(&mut self, out: &mut Buffer<u16>) -> Done {
        let (network, width) = (self.network, self.network.config.hidden_size);
        let embedding = self.weight(network.table.embedding());
        network.ops.embed(embedding, self.tokens, self.rows, width, out.view())
    }

    fn norm(&mut self, x: &Buffer<u16>, gain: usize, out: &mut Buffer<u16>, scale: &mut Buffer<f32>) -> Done {
        let (shape, epsilon) = (self.norm_shape(gain), self.network.config.rms_norm_eps);
        self.network.ops.rms_norm(x.view(), self.weight(gain), shape, epsilon, out.view(), scale.view())
    }

    fn linear(&mut self, x: &Buffer<u16>, weight: usize, bias: Option<usize>, out: &mut Buffer<u16>) -> Done {
        let bias = bias.map(|bias| self.weight(bias));
        let (matrix, shape) = (self.weight(weight), self.shape(weight));
        self.network.gpu.linear(x.view(), matrix, bias, None, shape, out.view())
    }

    fn linear_add(
        &mut self,
        x: &Buffer<u16>,
        weight: usize,
        residual: &Buffer<u16>,
        out: &mut Buffer<u16>,
    ) -> Done {
        let (matrix, shape) = (self.weight(weight), self.shape(weight));
        self.network.gpu.linear(x.view(), matrix, None, Some(residual.view()), shape, out.view())
    }

    fn head_norms(
        &mut self,
        projected: &Buffer<u16>,
        gains: (usize, usize),
        qkv: &mut Buffer<u16>,
        scale: &mut Buffer<f32>,
    ) -> Done {
        let (gains, epsilon) =
            ((self.weight(gains.0), self.weight(gains.1)), self.network.config.rms_norm_eps);
        let ops = &self.network.ops;
        ops.head_norms(projected.view(), gains, self.rows, epsilon, qkv.view(), scale.view())
    }

    fn attend(
        &mut self,
        layer: usize,
        qkv: &mut Buffer<u16>,
        out: &mut Buffer<u16>,
        log_sum_exp: &mut Buffer<f32>,
    ) -> Done {
        let (ops, rotary) = (&self.network.ops, self.network.rotary_of(layer));
        match &mut self.attention {
            Attention::Batch { batch, on_qkv } => {
                if let Some(table) = rotary {
                    ops.rotate(qkv.view(), batch, table, false)?;
                }
                ops.attention(batch, qkv.view(), out.view(), log_sum_exp.view())?;
                on_qkv(layer, qkv.view())
            }
            Attention::Cache(cache) => {
                ops.attend_cache(cache, layer, qkv.view(), rotary, out.view(), self.rows)
            }
        }
    }

    fn gated(
        &mut self,
        x: &Buffer<u16>,
        weight: usize,
        gate_up: &mut Buffer<u16>,
        out: &mut Buffer<u16>,
    ) -> Done {
        let (rows, inputs, outputs) = self.shape(weight);
        // A backward pass needs what lies between; a decoding step does not.
        let is_step = matches!(self.attention, Attention::Cache(_));
        if is_step && Ops::is_skinny(rows, inputs, outputs / 2) {
            let shape = (rows, inputs, outputs / 2);
            return self.network.ops.gate_up_swiglu(x.view(), self.weight(weight), shape, out.view());
        }
        self.linear(x, weight, None, gate_up)?;
        self.swiglu(gate_up, out)
    }

    fn swiglu(&mut self, gate_up: &Buffer<u16>, out: &mut Buffer<u16>) -> Done {
        let width = self.network.config.intermediate_size;
        self.network.ops.swiglu(gate_up.view(), self.rows, width, out.view())
    }
}

impl Gradients for GpuOperations<'_> {
    fn norm_backward(
        &mut self,
        gradient: &Buffer<u16>,
        x: &Buffer<u16>,
        gain: usize,
        scale: &Buffer<f32>,
        replace: bool,
        x_gradient: &mut Buffer<u16>,
    ) -> Done {
        let training = self.training()?;
        self.network.ops.rms_norm_backward(
            gradient.view(),
            x.view(),
            self.weight(gain),
            scale.view(),
            self.norm_shape(gain),
            replace,
            x_gradient.view(),
            training.scratch.partial.view(),
            training.gradient.of(self.network, gain),
        )
    }

    fn linear_backward_input(
        &mut self,
        gradient: &Buffer<u16>,
        weight: usize,
        out: &mut Buffer<u16>,
    ) -> Done {
        let (matrix, shape) = (self.weight(weight), self.shape(weight));
        self.network.gpu.linear_backward_input(gradient.view(), shape.2, matrix, shape, out.view())
    }

    fn linear_backward_weight(
        &mut self,
        gradient: &Buffer<u16>,
        x: &Buffer<u16>,
        weight: usize,
        bias: Option<usize>,
    ) -> Done {
        let (training, shape, network) = (self.training()?, self.shape(weight), self.network);
        if let Some(target) = training.gradient.of(network, weight) {
            network.gpu.linear_backward_weight(gradient.view(), shape.2, x.view(), shape, target)?;
        }
        match bias.and_then(|bias| training.gradient.of(network, bias)) {
            Some(target) => {
                let partial = training.scratch.partial.view();
                network.ops.add_column_sums(gradient.view(), self.rows, shape.2, partial, target)
            }
            None => Ok(()),
        }
    }

    fn swiglu_backward(&mut self, gate_up: &mut Buffer<u16>, gradient: &mut Buffer<u16>) -> Done {
        let width = self.network.config.intermediate_size;
        self.network.ops.swiglu_backward(gate_up.view(), self.rows, width, gradient.view())
    }

    fn attend_backward(
        &mut self,
        layer: usize,
        qkv: &Buffer<u16>,
        out: &Buffer<u16>,
        log_sum_exp: &Buffer<f32>,
        out_gradient: &Buffer<u16>,
        qkv_gradient: &mut Buffer<u16>,
    ) -> Done {
        let Attention::Batch { batch, .. } = &self.attention else {
            return Err(Error::Shape("a cache is for decoding".into()));
        };
        let ops = &self.network.ops;
        ops.attention_backward(
            batch,
            qkv.view(),
            out.view(),
            log_sum_exp.view(),
            out_gradient.view(),
            self.training()?.scratch.delta.view(),
            qkv_gradient.view(),
        )?;
        match self.network.rotary_of(layer) {
            Some(table) => ops.rotate(qkv_gradient.view(), batch, table, true),
            None => Ok(()),
        }
    }

    fn head_norms_backward(
        &mut self,
        projected: &Buffer<u16>,
        gains: (usize, usize),
        scale: &Buffer<f32>,
        gradient: &mut Buffer<u16>,
    ) -> Done {
        let (training, network) = (self.training()?, self.network);
        let targets = (training.gradient.of(network, gains.0), training.gradient.of(network, gains.1));
        network.ops.head_norms_backward(
            projected.view(),
            (self.weight(gains.0), self.weight(gains.1)),
            scale.view(),
            self.rows,
            gradient.view(),
            training.scratch.partial.view(),
            targets,
        )
    }

    fn embed_backward(&mut self, gradient: &Buffer<u16>) -> Done {
        let (training, network) = (self.training()?, self.network);
        // Adapters leave the embedding alone.
        match training.gradient.of(network, network.table.embedding()) {
            Some(target) => {
                let width = network.config.hidden_size;
                network.ops.embed_backward(gradient.view(), training.tokens, width, target)
            }
            None => Ok(()),
        }
    }
}
