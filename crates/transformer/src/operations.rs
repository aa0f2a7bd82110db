//! The operations of a forward and backward pass on the processor.

use crate::decoder::{Sequence, store_and_attend};
use crate::ops::attention::{attention, attention_backward};
use crate::ops::elementwise::{add, swiglu, swiglu_backward};
use crate::ops::matmul::{linear_backward_input, linear_backward_weight};
use crate::ops::norm::{head_norms, head_norms_backward, rms_norm, rms_norm_backward};
use crate::ops::rope::RotaryTable;
use crate::pass::{Gradients, Operations};
use crate::prefill::{Piece, store_and_attend_prompts};
use crate::products::{Products, Scratch};
use crate::table::Table;
use crate::{Config, PackedBatch, Weights};
use std::convert::Infallible;

type Done = Result<(), Infallible>;

/// Some rows of a model on the processor.
pub(crate) struct CpuOperations<'a> {
    pub(crate) config: &'a Config,
    pub(crate) table: &'a Table,
    pub(crate) products: Products<'a>,
    pub(crate) rotary: &'a RotaryTable,
    pub(crate) tokens: &'a [u32],
    pub(crate) positions: &'a [u32],
    pub(crate) attention: Attention<'a>,
    pub(crate) scratch: &'a mut Scratch,
    /// Where gradients are added to, in a backward pass.
    pub(crate) gradient: Option<&'a mut Weights>,
}

/// What rows attend to.
pub(crate) enum Attention<'a> {
    /// Each other.
    Batch(&'a PackedBatch),
    /// Each piece of a prompt to that prompt's cache.
    Prompts { pieces: &'a mut [Piece] },
    /// Each row, the next of a sequence, to that sequence's cache.
    Cache { sequences: &'a mut [Sequence], is_parallel: bool },
}

impl CpuOperations<'_> {
    fn rotate(&self, layer: usize, qkv: &mut [f32], backward: bool) {
        if self.config.has_rope(layer) {
            let rotated = self.config.num_attention_heads + self.config.num_key_value_heads;
            self.rotary.rotate(qkv, self.config.qkv_size(), rotated, self.positions, backward);
        }
    }

    fn gains(&self, gains: (usize, usize)) -> (&[f32], &[f32]) {
        (self.products.vector(gains.0), self.products.vector(gains.1))
    }

    /// Rows and columns of a matrix.
    fn shape(&self, matrix: usize) -> (usize, usize) {
        let shape = &self.table.tensors()[matrix].shape;
        (shape[0], shape[1])
    }

    /// The rows in use of a buffer that may have more.
    fn used<'b>(&self, buffer: &'b [f32], width: usize) -> &'b [f32] {
        &buffer[..self.tokens.len() * width]
    }

    fn used_mut<'b>(&self, buffer: &'b mut [f32], width: usize) -> &'b mut [f32] {
        &mut buffer[..self.tokens.len() * width]
    }

    fn add_to_gradient(&mut self, index: usize, numbers: &[f32]) {
        if let Some(gradient) = &mut self.gradient {
            add(numbers, gradient.tensor_mut(index));
        }
    }
}

impl Operations for CpuOperations<'_> {
    type Rows = Vec<f32>;
    type Scales = Vec<f32>;
    type Error = Infallible;

    fn config(&self) -> &Config {
        self.config
    }

    fn table(&self) -> &Table {
        self.table
    }

    fn rows(&self) -> usize {
        self.tokens.len()
    }

    fn allocate(&self, rows: usize, width: usize) -> Result<Vec<f32>, Infallible> {
        Ok(vec![0.0; rows * width])
    }

    fn allocate_scales(&self, rows: usize, width: usize) -> Result<Vec<f32>, Infallible> {
        self.allocate(rows, width)
    }

    fn embed(&mut self, out: &mut Vec<f32>) -> Done {
        let width = self.config.hidden_size;
        let out = self.used_mut(out, width);
        self.products.embed(self.table.embedding(), self.tokens, width, out);
        Ok(())
    }

    fn norm(&mut self, x: &Vec<f32>, gain: usize, out: &mut Vec<f32>, scale: &mut Vec<f32>) -> Done {
        let gain = self.products.vector(gain);
        let (x, out) = (self.used(x, gain.len()), self.used_mut(out, gain.len()));
        rms_norm(x, gain, self.config.rms_norm_eps, out, self.used_mut(scale, 1));
        Ok(())
    }

    fn linear(&mut self, x: &Vec<f32>, weight: usize, bias: Option<usize>, out: &mut Vec<f32>) -> Done {
        let (outputs, inputs) = self.shape(weight);
        let (x, out) = (self.used(x, inputs), self.used_mut(out, outputs));
        let bias = bias.map(|bias| self.products.vector(bias));
        self.products.multiply(weight, x, bias, self.tokens.len(), out, self.scratch);
        Ok(())
    }

    fn linear_add(&mut self, x: &Vec<f32>, weight: usize, residual: &Vec<f32>, out: &mut Vec<f32>) -> Done {
        self.linear(x, weight, None, out)?;
        let width = self.shape(weight).0;
        add(self.used(residual, width), self.used_mut(out, width));
        Ok(())
    }

    fn head_norms(
        &mut self,
        projected: &Vec<f32>,
        gains: (usize, usize),
        qkv: &mut Vec<f32>,
        scale: &mut Vec<f32>,
    ) -> Done {
        let width = self.config.qkv_size();
        let heads = self.config.num_attention_heads + self.config.num_key_value_heads;
        let (projected, qkv) = (self.used(projected, width), self.used_mut(qkv, width));
        head_norms(self.config, projected, self.gains(gains), qkv, self.used_mut(scale, heads));
        Ok(())
    }

    fn attend(&mut self, layer: usize, qkv: &mut Vec<f32>, out: &mut Vec<f32>, sums: &mut Vec<f32>) -> Done {
        let config = self.config;
        let qkv = self.used_mut(qkv, config.qkv_size());
        self.rotate(layer, qkv, false);
        let out = self.used_mut(out, config.query_size());
        let sums = self.used_mut(sums, config.num_attention_heads);
        match &mut self.attention {
            Attention::Batch(batch) => attention(config, batch, qkv, out, sums),
            Attention::Prompts { pieces } => store_and_attend_prompts(config, layer, pieces, qkv, out),
            Attention::Cache { sequences, is_parallel } => {
                store_and_attend(config, layer, sequences, qkv, out, *is_parallel);
            }
        }
        Ok(())
    }

    fn swiglu(&mut self, gate_up: &Vec<f32>, out: &mut Vec<f32>) -> Done {
        let width = self.config.intermediate_size;
        swiglu(self.used(gate_up, 2 * width), width, self.used_mut(out, width));
        Ok(())
    }
}

impl Gradients for CpuOperations<'_> {
    fn norm_backward(
        &mut self,
        gradient: &Vec<f32>,
        x: &Vec<f32>,
        gain: usize,
        scale: &Vec<f32>,
        replace: bool,
        x_gradient: &mut Vec<f32>,
    ) -> Done {
        let gains = self.products.vector(gain);
        let width = gains.len();
        let x_gradient = self.used_mut(x_gradient, width);
        if replace {
            x_gradient.fill(0.0);
        }
        let (gradient, x) = (self.used(gradient, width), self.used(x, width));
        let gain_gradient = rms_norm_backward(gradient, x, gains, self.used(scale, 1), x_gradient);
        self.add_to_gradient(gain, &gain_gradient);
        Ok(())
    }

    fn linear_backward_input(&mut self, gradient: &Vec<f32>, weight: usize, out: &mut Vec<f32>) -> Done {
        let (outputs, inputs) = self.shape(weight);
        let numbers = self.products.matrix(weight, outputs * inputs);
        let (gradient, out) = (self.used(gradient, outputs), self.used_mut(out, inputs));
        linear_backward_input(gradient, &numbers, self.tokens.len(), false, out);
        Ok(())
    }

    fn linear_backward_weight(
        &mut self,
        gradient: &Vec<f32>,
        x: &Vec<f32>,
        weight: usize,
        bias: Option<usize>,
    ) -> Done {
        let (outputs, inputs) = self.shape(weight);
        let (gradient, x, rows) = (self.used(gradient, outputs), self.used(x, inputs), self.tokens.len());
        let Some(target) = &mut self.gradient else { return Ok(()) };
        match bias.map(|bias| target.two_mut(weight, bias)) {
            Some([weight, bias]) => linear_backward_weight(gradient, x, rows, weight, Some(bias)),
            None => linear_backward_weight(gradient, x, rows, target.tensor_mut(weight), None),
        }
        Ok(())
    }

    fn swiglu_backward(&mut self, gate_up: &mut Vec<f32>, gradient: &mut Vec<f32>) -> Done {
        let width = self.config.intermediate_size;
        swiglu_backward(self.used_mut(gradient, width), width, self.used_mut(gate_up, 2 * width));
        Ok(())
    }

    fn attend_backward(
        &mut self,
        layer: usize,
        qkv: &Vec<f32>,
        out: &Vec<f32>,
        log_sum_exp: &Vec<f32>,
        out_gradient: &Vec<f32>,
        qkv_gradient: &mut Vec<f32>,
    ) -> Done {
        let Attention::Batch(batch) = &self.attention else { unreachable!("a cache is for decoding") };
        let (config, query) = (self.config, self.config.query_size());
        let sums = self.used(log_sum_exp, config.num_attention_heads);
        let qkv = self.used(qkv, config.qkv_size());
        let (out, out_gradient) = (self.used(out, query), self.used(out_gradient, query));
        let qkv_gradient = self.used_mut(qkv_gradient, config.qkv_size());
        attention_backward(config, batch, qkv, out, sums, out_gradient, qkv_gradient);
        self.rotate(layer, qkv_gradient, true);
        Ok(())
    }

    fn head_norms_backward(
        &mut self,
        projected: &Vec<f32>,
        gains: (usize, usize),
        scale: &Vec<f32>,
        gradient: &mut Vec<f32>,
    ) -> Done {
        let heads = self.config.num_attention_heads + self.config.num_key_value_heads;
        let width = self.config.qkv_size();
        let (projected, gradient) = (self.used(projected, width), self.used_mut(gradient, width));
        let scale = self.used(scale, heads);
        let (query, key) = head_norms_backward(self.config, projected, self.gains(gains), scale, gradient);
        self.add_to_gradient(gains.0, &query);
        self.add_to_gradient(gains.1, &key);
        Ok(())
    }

    fn embed_backward(&mut self, gradient: &Vec<f32>) -> Done {
        let (width, tokens) = (self.config.hidden_size, self.tokens);
        let gradient = self.used(gradient, width);
        let Some(target) = &mut self.gradient else { return Ok(()) };
        let target = target.tensor_mut(self.table.embedding());
        for (row, &token) in gradient.chunks_exact(width).zip(tokens) {
            let start = token as usize * width;
            target[start..start + width].iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        Ok(())
    }
}
