//! From hidden states to log-probabilities and losses.
//!
//! Logits are computed in blocks of rows and never exist as a whole: each block is turned into
//! log-probabilities, the caller says what each is worth, and the block's gradient is taken on
//! the spot.

use crate::Config;
use crate::model::Model;
use crate::ops::elementwise::exponentiate;
use crate::ops::matmul::{View, linear_backward_input, parallel_gemm};
use crate::products::{Products, Scratch};
use crate::table::Table;
use crate::weights::Weights;
use rayon::prelude::*;

/// Rows whose logits exist at the same time.
const BLOCK: usize = 512;

/// A row of the batch and the token that follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Row of the hidden states.
    pub row: usize,
    /// The next token.
    pub token: u32,
}

/// What the model says of one target.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Prediction {
    /// Natural logarithm of the target's probability.
    pub log_probability: f32,
    /// Entropy of the distribution, in nats.
    pub entropy: f32,
}

/// Logits of some rows, of a model in any form: `hidden` is `[rows, H]`, the result `[rows, vocab]`.
pub(crate) fn logits(
    (config, table, products): (&Config, &Table, Products),
    hidden: &[f32],
    scratch: &mut Scratch,
) -> Vec<f32> {
    let rows = hidden.len() / config.hidden_size;
    let mut logits = vec![0.0; rows * config.vocab_size];
    products.multiply(table.output(), hidden, None, rows, &mut logits, scratch);
    logits
}

/// What a model in any form says of each target; `hidden` is `[T, H]`.
pub(crate) fn predictions(
    model: (&Config, &Table, Products),
    hidden: &[f32],
    targets: &[Target],
    scratch: &mut Scratch,
) -> Vec<Prediction> {
    let mut predictions = Vec::with_capacity(targets.len());
    for block in targets.chunks(BLOCK) {
        let mut logits = logits(model, &gather(hidden, block, model.0.hidden_size), scratch);
        predictions.extend(predict_block(block, &mut logits, model.0.vocab_size));
    }
    predictions
}

impl Model {
    /// Logits of some rows: `hidden` is `[rows, H]`, the result `[rows, vocab]`.
    pub fn logits(&self, hidden: &[f32]) -> Vec<f32> {
        logits(self.parts(), hidden, &mut Scratch::default())
    }

    /// What the model says of each target; `hidden` is `[T, H]`.
    pub fn predictions(&self, hidden: &[f32], targets: &[Target]) -> Vec<Prediction> {
        predictions(self.parts(), hidden, targets, &mut Scratch::default())
    }

    /// The gradient of a loss over targets. `weigh(index, prediction)` returns the loss's
    /// derivative by the target's log-probability (for a mean cross-entropy, `-1 / targets`).
    ///
    /// Writes the gradient by the hidden states to `hidden_gradient` `[T, H]`, adds that of the
    /// output matrix to `gradient` unless it is none (frozen), and returns the predictions.
    pub fn loss_gradient(
        &self,
        hidden: &[f32],
        targets: &[Target],
        weigh: &mut dyn FnMut(usize, Prediction) -> f32,
        hidden_gradient: &mut Vec<f32>,
        mut gradient: Option<&mut Weights>,
    ) -> Vec<Prediction> {
        let (width, vocab) = (self.config.hidden_size, self.config.vocab_size);
        hidden_gradient.clear();
        hidden_gradient.resize(hidden.len(), 0.0);
        let mut predictions = Vec::with_capacity(targets.len());
        for block in targets.chunks(BLOCK) {
            let gathered = gather(hidden, block, width);
            let mut logits = self.logits(&gathered);
            let found = predict_block(block, &mut logits, vocab);
            let first = predictions.len();
            let weights: Vec<f32> =
                found.iter().enumerate().map(|(i, &prediction)| weigh(first + i, prediction)).collect();
            predictions.extend(found);
            let rows = logits.par_chunks_exact_mut(vocab).zip(block).zip(&weights);
            // The row holds probabilities: its gradient is weight * (one-hot - probabilities).
            rows.for_each(|((row, target), &weight)| {
                row.iter_mut().for_each(|value| *value *= -weight);
                row[target.token as usize] += weight;
            });
            let mut block_gradient = vec![0.0; gathered.len()];
            let output = self.weights.output_matrix();
            linear_backward_input(&logits, output, block.len(), false, &mut block_gradient);
            for (row, target) in block_gradient.chunks_exact(width).zip(block) {
                let start = target.row * width;
                for (sum, value) in hidden_gradient[start..start + width].iter_mut().zip(row) {
                    *sum += value;
                }
            }
            if let Some(gradient) = gradient.as_deref_mut() {
                let logits = View::new(&logits, block.len(), vocab).transposed();
                let gathered = View::new(&gathered, block.len(), width);
                let output = gradient.tensor_mut(self.weights.table().output());
                parallel_gemm(1.0, logits, gathered, 1.0, output);
            }
        }
        predictions
    }
}

fn gather(hidden: &[f32], targets: &[Target], width: usize) -> Vec<f32> {
    let rows = targets.iter().map(|target| &hidden[target.row * width..(target.row + 1) * width]);
    rows.flatten().copied().collect()
}

/// Turns logits into probabilities in place.
fn predict_block(targets: &[Target], logits: &mut [f32], vocabulary: usize) -> Vec<Prediction> {
    let rows = logits.par_chunks_exact_mut(vocabulary).zip(targets);
    rows.map(|(row, target)| predict_row(row, target.token)).collect()
}

fn predict_row(row: &mut [f32], token: u32) -> Prediction {
    let logit = row[token as usize];
    // Entropy = log-sum-exp - mean logit; the dot product needs the logits before they go.
    let logits = row.to_vec();
    let (max, sum) = exponentiate(row);
    let log_sum_exp = max + sum.ln();
    let inverse = 1.0 / sum;
    row.iter_mut().for_each(|value| *value *= inverse);
    let mean: f32 = crate::ops::elementwise::dot(&logits, row);
    Prediction { log_probability: logit - log_sum_exp, entropy: log_sum_exp - mean }
}
