//! A model's tensors in the form that products on the processor read.

use crate::low_rank::LowRank;
use crate::ops::matmul::{Packed, linear, linear_packed};
use crate::ops::rows_per_task;
use crate::weights::Weights;
use cpu::{Activations, Matrix};
use rayon::prelude::*;
use std::borrow::Cow;
use std::sync::Arc;

/// All tensors of a model, in the order of its table.
#[derive(Clone, Copy)]
pub(crate) enum Products<'a> {
    /// Single precision, row by row: what is trained.
    Plain(&'a Weights),
    /// The same with matrices packed once, for many products of few rows on one thread each.
    Packed(&'a Weights, &'a [Option<Packed>]),
    /// As a file keeps them, and what adapters add to each.
    Blocks(&'a [BlockTensor], &'a [Vec<Arc<LowRank>>]),
}

/// One tensor of a model that is not trained.
pub(crate) enum BlockTensor {
    /// Gains and biases.
    Vector(Vec<f32>),
    /// Parts of a matrix, one below the other: those of one type together.
    Matrix(Vec<Matrix>),
}

impl BlockTensor {
    /// Its numbers, row by row.
    pub(crate) fn numbers(&self, out: &mut [f32]) {
        match self {
            BlockTensor::Vector(numbers) => out.copy_from_slice(numbers),
            BlockTensor::Matrix(parts) => {
                let rows = parts.iter().flat_map(|part| (0..part.outputs()).map(move |row| (part, row)));
                let width = parts.first().map_or(1, Matrix::inputs);
                for ((part, row), out) in rows.zip(out.chunks_exact_mut(width)) {
                    fits(part.row(row, out));
                }
            }
        }
    }
}

/// Activations in both forms that matrices take, kept from product to product.
#[derive(Default)]
pub(crate) struct Scratch {
    rounded: Option<Activations>,
    float: Option<Activations>,
    /// What stands between an adapter's two products.
    between: Vec<f32>,
}

impl Scratch {
    fn take(&mut self, x: &[f32], rows: usize, inputs: usize, rounded: bool) -> &Activations {
        match rounded {
            true => {
                let kept = self.rounded.get_or_insert_with(|| Activations::quantize(&[], 0, inputs));
                kept.set_quantized(x, rows, inputs);
                kept
            }
            false => {
                let kept = self.float.get_or_insert_with(|| Activations::float(&[], 0, inputs));
                kept.set_float(x, rows, inputs);
                kept
            }
        }
    }
}

/// Shapes are those of the table: they were checked when the matrices were made.
fn fits(done: Result<(), cpu::Error>) {
    if let Err(error) = done {
        unreachable!("{error}");
    }
}

impl<'a> Products<'a> {
    /// A vector.
    ///
    /// # Panics
    /// If that index is a matrix's.
    pub(crate) fn vector(&self, index: usize) -> &'a [f32] {
        match self {
            Products::Plain(weights) | Products::Packed(weights, _) => weights.tensor(index),
            Products::Blocks(tensors, _) => match &tensors[index] {
                BlockTensor::Vector(numbers) => numbers,
                BlockTensor::Matrix(_) => panic!("tensor {index} is a matrix"),
            },
        }
    }

    /// A matrix `[outputs, inputs]` in single precision.
    pub(crate) fn matrix(&self, index: usize, len: usize) -> Cow<'a, [f32]> {
        match self {
            Products::Plain(weights) | Products::Packed(weights, _) => Cow::Borrowed(weights.tensor(index)),
            Products::Blocks(tensors, added) => {
                let mut numbers = vec![0.0; len];
                tensors[index].numbers(&mut numbers);
                added[index].iter().for_each(|low_rank| low_rank.merge(&mut numbers));
                Cow::Owned(numbers)
            }
        }
    }

    /// `out[t] = matrix[tokens[t]]`
    ///
    /// # Panics
    /// If a token is not below the number of rows.
    pub(crate) fn embed(&self, index: usize, tokens: &[u32], width: usize, out: &mut [f32]) {
        let embed_row = |row: &mut [f32], token: usize| match self {
            Products::Plain(weights) | Products::Packed(weights, _) => {
                row.copy_from_slice(&weights.tensor(index)[token * width..(token + 1) * width]);
            }
            Products::Blocks(tensors, _) => {
                let BlockTensor::Matrix(parts) = &tensors[index] else { return };
                // An embedding is one part of a file.
                assert!(token < parts[0].outputs(), "token {token} is not in the vocabulary");
                fits(parts[0].row(token, row));
            }
        };
        let rows = rows_per_task(tokens.len(), width);
        out.par_chunks_mut(rows * width).zip(tokens.par_chunks(rows)).for_each(|(out, tokens)| {
            let rows = out.chunks_exact_mut(width).zip(tokens);
            rows.for_each(|(row, &token)| embed_row(row, token as usize));
        });
    }

    /// `out [rows, outputs] = x [rows, inputs] matrix' + bias`
    pub(crate) fn multiply(
        &self,
        index: usize,
        x: &[f32],
        bias: Option<&[f32]>,
        rows: usize,
        out: &mut [f32],
        scratch: &mut Scratch,
    ) {
        match self {
            Products::Plain(weights) => linear(x, weights.tensor(index), bias, rows, out),
            Products::Packed(_, packed) => {
                let Some(packed) = &packed[index] else { unreachable!("every matrix is packed") };
                linear_packed(x, packed, bias, out);
            }
            Products::Blocks(tensors, added) => {
                let BlockTensor::Matrix(parts) = &tensors[index] else {
                    unreachable!("products are asked of matrices")
                };
                let outputs: usize = parts.iter().map(Matrix::outputs).sum();
                let mut first = 0;
                for part in parts {
                    let x = scratch.take(x, rows, part.inputs(), part.takes_quantized());
                    fits(part.multiply_columns(x, out, outputs, first));
                    first += part.outputs();
                }
                if let Some(bias) = bias {
                    let rows = rows_per_task(rows, outputs);
                    out.par_chunks_mut(rows * outputs).for_each(|rows| {
                        for row in rows.chunks_exact_mut(outputs) {
                            row.iter_mut().zip(bias).for_each(|(out, bias)| *out += bias);
                        }
                    });
                }
                for low_rank in &added[index] {
                    low_rank.add_product(x, rows, out, &mut scratch.between);
                }
            }
        }
    }
}
