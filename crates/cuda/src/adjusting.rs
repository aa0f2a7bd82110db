//! What the GPU keeps of sequences whose logits are changed before their tokens are drawn: a row each, of
//! counts of tokens, of changed logits, and of biases.

use crate::Error;
use crate::gpu::Gpu;
use crate::linear::logits_stride;
use crate::memory::{Buffer, View};
use crate::ops::{Ops, launch};
use cudarc::driver::DeviceRepr;
use std::sync::Arc;
use transformer::adjustments::Adjustments;

/// Threads of a block that counts tokens.
const THREADS: usize = 256;

/// `Bias` of `sampling.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bias {
    token: i32,
    value: f32,
}

// SAFETY: an integer and a number, laid out as the kernel's structure.
unsafe impl DeviceRepr for Bias {}

/// Rows, of which some are free.
pub struct AdjustedRows {
    counts: Buffer<u32>,  // [rows, vocabulary]
    logits: Buffer<f32>,  // [rows, stride]
    biases: Buffer<Bias>, // [rows, MOST_BIASES]
    vocabulary: usize,
    rows: usize,
    free: Vec<u32>,
}

/// A sequence's row, and what is in it.
pub struct AdjustedRow {
    /// Which it is.
    pub row: u32,
    /// How its logits are changed.
    pub rules: Arc<Adjustments>,
    /// Its prompt.
    pub prompt: Vec<u32>,
}

impl AdjustedRows {
    /// So many free rows.
    pub fn new(gpu: &Gpu, vocabulary: usize, rows: usize) -> Result<Self, Error> {
        const WHAT: &str = "penalties and biases";
        Ok(AdjustedRows {
            counts: gpu.allocate(rows * vocabulary, WHAT)?,
            logits: gpu.allocate(rows * logits_stride(vocabulary), WHAT)?,
            biases: gpu.allocate(rows * Adjustments::MOST_BIASES, WHAT)?,
            vocabulary,
            rows,
            free: (0..rows as u32).rev().collect(),
        })
    }

    /// All rows.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Rows that nobody has.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// Takes a free row.
    pub fn take(&mut self) -> Option<u32> {
        self.free.pop()
    }

    /// Gives a row back. A step that is still on its way may write it; whoever has it next fills it later,
    /// since all work is done in order.
    pub fn give_back(&mut self, row: u32) {
        self.free.push(row);
    }

    /// Writes a row anew, of a sequence with these tokens so far.
    pub fn fill(&self, ops: &Ops, sequence: &AdjustedRow, answer: &[u32]) -> Result<(), Error> {
        let (row, most) = (sequence.row as usize, Adjustments::MOST_BIASES);
        assert!(row < self.rows, "row {row} of {}", self.rows);
        let known = |token: &u32| (*token as usize) < self.vocabulary;
        let bias = sequence.rules.bias.iter().filter(|(token, _)| known(token)).take(most);
        let mut biases: Vec<Bias> = bias.map(|&(token, value)| Bias { token: token as i32, value }).collect();
        // The kernel goes by the number of those that were asked for.
        biases.resize(sequence.rules.bias.len().min(most), Bias::default());
        ops.gpu.write(self.biases.view().after(row * most), &biases)?;
        let counts = self.counts.part(row * self.vocabulary..(row + 1) * self.vocabulary);
        ops.gpu.clear(counts)?;
        let tokens: Vec<i32> = sequence.prompt.iter().chain(answer).map(|&token| token as i32).collect();
        let there = ops.gpu.upload(&tokens, "tokens to count")?;
        launch!(
            ops,
            "count_tokens",
            (tokens.len().div_ceil(THREADS).max(1), 1),
            THREADS,
            counts,
            there.view(),
            sequence.prompt.len() as i32,
            tokens.len() as i32
        )
    }

    pub(crate) fn counts(&self) -> View<'_, u32> {
        self.counts.view()
    }

    pub(crate) fn logits(&self) -> View<'_, f32> {
        self.logits.view()
    }

    pub(crate) fn biases(&self) -> View<'_, Bias> {
        self.biases.view()
    }
}
