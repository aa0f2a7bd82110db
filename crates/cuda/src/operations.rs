//! The operations of a forward and backward pass on the GPU, which `transformer::pass` puts in order.
//!
//! Activations are bf16, statistics f32.

use crate::Error;
use crate::memory::{Address, Buffer};
use crate::network::Network;
use crate::ops::{DeviceBatch, SlotCache};
use std::ops::Range;
use transformer::Config;
use transformer::pass::{Gradients, Keep, Operations};
use transformer::table::Table;

type Done = Result<(), Error>;
/// Sees each layer's queries, keys and values `[T, QKV]` after rotation, which is how a prompt fills the
/// KV cache.
pub(crate) type OnQkv<'a> = dyn FnMut(usize, Address<u16>) -> Done + 'a;

/// Some rows of a model on the GPU.
pub(crate) struct GpuOperations<'a> {
    pub(crate) network: &'a Network,
    pub(crate) rows: usize,
    /// Token of each row.
    pub(crate) tokens: Address<i32>,
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
    pub(crate) gradient: GradientPlace,
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
pub(crate) struct GradientPlace {
    /// The first number.
    pub numbers: Address<f32>,
    /// Their places among the weights.
    pub stretch: Range<usize>,
}

impl GradientPlace {
    /// Where that of a tensor begins, unless it is frozen.
    pub(crate) fn of(&self, network: &Network, tensor: usize) -> Option<Address<f32>> {
        let place = network.places.start(tensor);
        self.stretch.contains(&place).then(|| self.numbers.offset(place - self.stretch.start))
    }
}

impl GpuOperations<'_> {
    fn weight(&self, tensor: usize) -> Address<u16> {
        self.network.weight(tensor)
    }

    /// Rows of the batch, inputs and outputs of a matrix.
    fn shape(&self, matrix: usize) -> (usize, usize, usize) {
        let shape = &self.network.table.tensors()[matrix].shape;
        (self.rows, shape[1], shape[0])
    }

    fn training(&self) -> Result<&Training<'_>, Error> {
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
        network.ops.embed(embedding, self.tokens, self.rows, width, out.start())
    }

    fn norm(&mut self, x: &Buffer<u16>, gain: usize, out: &mut Buffer<u16>, scale: &mut Buffer<f32>) -> Done {
        let (shape, epsilon) = (self.norm_shape(gain), self.network.config.rms_norm_eps);
        self.network.ops.rms_norm(x.start(), self.weight(gain), shape, epsilon, out.start(), scale.start())
    }

    fn linear(&mut self, x: &Buffer<u16>, weight: usize, bias: Option<usize>, out: &mut Buffer<u16>) -> Done {
        let bias = bias.map(|bias| self.weight(bias));
        let (matrix, shape) = (self.weight(weight), self.shape(weight));
        self.network.gpu.linear(x.start(), matrix, bias, None, shape, out.start())
    }

    fn linear_add(
        &mut self,
        x: &Buffer<u16>,
        weight: usize,
        residual: &Buffer<u16>,
        out: &mut Buffer<u16>,
    ) -> Done {
        let (matrix, shape) = (self.weight(weight), self.shape(weight));
        self.network.gpu.linear(x.start(), matrix, None, Some(residual.start()), shape, out.start())
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
        ops.head_norms(projected.start(), gains, self.rows, epsilon, qkv.start(), scale.start())
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
                    ops.rotate(qkv.start(), batch, table, false)?;
                }
                ops.attention(batch, qkv.start(), out.start(), log_sum_exp.start())?;
                on_qkv(layer, qkv.start())
            }
            Attention::Cache(cache) => {
                ops.rotate_and_store(cache, layer, qkv.start(), rotary, self.rows)?;
                ops.attend_cache(cache, layer, qkv.start(), out.start(), self.rows)
            }
        }
    }

    fn swiglu(&mut self, gate_up: &Buffer<u16>, out: &mut Buffer<u16>) -> Done {
        let width = self.network.config.intermediate_size;
        self.network.ops.swiglu(gate_up.start(), self.rows, width, out.start())
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
            gradient.start(),
            x.start(),
            self.weight(gain),
            scale.start(),
            self.norm_shape(gain),
            replace,
            x_gradient.start(),
            training.scratch.partial.start(),
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
        self.network.gpu.linear_backward_input(gradient.start(), shape.2, matrix, shape, out.start())
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
            network.gpu.linear_backward_weight(gradient.start(), shape.2, x.start(), shape, target)?;
        }
        match bias.and_then(|bias| training.gradient.of(network, bias)) {
            Some(target) => {
                let partial = training.scratch.partial.start();
                network.ops.add_column_sums(gradient.start(), self.rows, shape.2, partial, target)
            }
            None => Ok(()),
        }
    }

    fn swiglu_backward(&mut self, gate_up: &mut Buffer<u16>, gradient: &mut Buffer<u16>) -> Done {
        let width = self.network.config.intermediate_size;
        self.network.ops.swiglu_backward(gate_up.start(), self.rows, width, gradient.start())
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
            qkv.start(),
            out.start(),
            log_sum_exp.start(),
            out_gradient.start(),
            self.training()?.scratch.delta.start(),
            qkv_gradient.start(),
        )?;
        match self.network.rotary_of(layer) {
            Some(table) => ops.rotate(qkv_gradient.start(), batch, table, true),
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
            projected.start(),
            (self.weight(gains.0), self.weight(gains.1)),
            scale.start(),
            self.rows,
            gradient.start(),
            training.scratch.partial.start(),
            targets,
        )
    }

    fn embed_backward(&mut self, gradient: &Buffer<u16>) -> Done {
        let (training, network) = (self.training()?, self.network);
        // Adapters leave the embedding alone.
        match training.gradient.of(network, network.table.embedding()) {
            Some(target) => {
                let width = network.config.hidden_size;
                network.ops.embed_backward(gradient.start(), training.tokens, width, target)
            }
            None => Ok(()),
        }
    }
}
