//! The model's matrix products: a linear layer, its gradients, logits.

use crate::Error;
use crate::gpu::Gpu;
use crate::matmul::{Output, Product};
use crate::memory::View;

impl Gpu {
    /// `out [rows, outputs] = x [rows, inputs] weight' + bias + residual`; `weight` is `[outputs, inputs]`.
    pub(crate) fn linear(
        &self,
        x: View<u16>,
        weight: View<u16>,
        bias: Option<View<u16>>,
        residual: Option<View<u16>>,
        (rows, inputs, outputs): (usize, usize, usize),
        out: View<u16>,
    ) -> Result<(), Error> {
        self.matmul().run(&Product {
            rows,
            columns: outputs,
            depth: inputs,
            left: (x, false),
            left_stride: inputs,
            right: (weight, true),
            right_stride: inputs,
            bias,
            residual,
            scale: 1.0,
            out: Output::Bf16(out),
            out_stride: outputs,
        })
    }

    /// `logits [rows, stride] = x [rows, width] output'`, in f32; `output` is `[vocabulary, width]`.
    pub(crate) fn logits(
        &self,
        x: View<u16>,
        output: View<u16>,
        (rows, width, vocabulary, stride): (usize, usize, usize, usize),
        logits: View<f32>,
    ) -> Result<(), Error> {
        self.matmul().run(&Product {
            rows,
            columns: vocabulary,
            depth: width,
            left: (x, false),
            left_stride: width,
            right: (output, true),
            right_stride: width,
            bias: None,
            residual: None,
            scale: 1.0,
            out: Output::F32(logits),
            out_stride: stride,
        })
    }

    /// The gradient of [`linear`](Self::linear)'s input: `out [rows, inputs] = gradient [rows, stride]
    /// weight`.
    pub(crate) fn linear_backward_input(
        &self,
        gradient: View<u16>,
        stride: usize,
        weight: View<u16>,
        (rows, inputs, outputs): (usize, usize, usize),
        out: View<u16>,
    ) -> Result<(), Error> {
        self.matmul().run(&Product {
            rows,
            columns: inputs,
            depth: outputs,
            left: (gradient, false),
            left_stride: stride,
            right: (weight, false),
            right_stride: inputs,
            bias: None,
            residual: None,
            scale: 1.0,
            out: Output::Bf16(out),
            out_stride: inputs,
        })
    }

    /// Adds the gradient of [`linear`](Self::linear)'s weight: `out [outputs, inputs] += gradient' x`, in
    /// f32.
    pub(crate) fn linear_backward_weight(
        &self,
        gradient: View<u16>,
        stride: usize,
        x: View<u16>,
        (rows, inputs, outputs): (usize, usize, usize),
        out: View<f32>,
    ) -> Result<(), Error> {
        self.matmul().run(&Product {
            rows: outputs,
            columns: inputs,
            depth: rows,
            left: (gradient, true),
            left_stride: stride,
            right: (x, false),
            right_stride: inputs,
            bias: None,
            residual: None,
            scale: 1.0,
            out: Output::AddF32(out),
            out_stride: inputs,
        })
    }
}

/// Numbers of a row of logits: whole vectors of 16 bytes.
pub fn logits_stride(vocabulary: usize) -> usize {
    vocabulary.next_multiple_of(8)
}

/// Rows whose logits exist at the same time: at most about a gigabyte.
pub fn logits_block(vocabulary: usize) -> usize {
    ((1 << 28) / logits_stride(vocabulary)).clamp(128, 4096) / 128 * 128
}
