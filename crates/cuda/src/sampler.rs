//! Drawing tokens on the GPU.

use crate::Error;
use crate::adjusting::AdjustedRows;
use crate::memory::View;
use crate::ops::{Ops, launch};
use cudarc::driver::DeviceRepr;
use transformer::adjustments::Adjustments;
use transformer::sampling::Sampling;

/// `Drawing` of `sampling.cu`: how a slot's tokens are drawn.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Drawing {
    temperature: f32,
    top_p: f32,
    min_p: f32,
    top_k: i32,
    seed: [u32; 2],
    stream: [u32; 2],
    /// One more than its row of [`AdjustedRows`](crate::adjusting::AdjustedRows); 0 if it has none.
    adjusted: i32,
    biases: i32,
    repetition: f32,
    frequency: f32,
    presence: f32,
}

// SAFETY: thirteen words of plain numbers, laid out as the kernel's structure.
unsafe impl DeviceRepr for Drawing {}

impl Drawing {
    /// A sample's settings, with the seed and index of its random stream.
    pub fn new(sampling: &Sampling, (seed, stream): (u64, u64)) -> Self {
        let halves = |word: u64| [word as u32, (word >> 32) as u32];
        Drawing {
            temperature: sampling.temperature,
            top_p: sampling.top_p,
            min_p: sampling.min_p,
            top_k: i32::try_from(sampling.top_k).unwrap_or(0),
            seed: halves(seed),
            stream: halves(stream),
            ..Drawing::default()
        }
    }

    /// The same from logits that are changed before, with what is kept for that in a row.
    pub fn adjusted(self, row: u32, adjustments: &Adjustments) -> Self {
        Drawing {
            adjusted: row as i32 + 1,
            biases: adjustments.bias.len().min(Adjustments::MOST_BIASES) as i32,
            repetition: adjustments.repetition,
            frequency: adjustments.frequency,
            presence: adjustments.presence,
            ..self
        }
    }
}

/// Logits and where what is drawn from them goes.
pub struct Draw<'a> {
    /// `[rows, stride]`
    pub logits: View<'a, f32>,
    /// Which row of logits each draw reads; the same number if none.
    pub rows: Option<View<'a, i32>>,
    /// How each slot draws.
    pub drawings: View<'a, Drawing>,
    /// Token of each slot, replaced.
    pub tokens: View<'a, i32>,
    /// Length of each slot, which grows by `advance`.
    pub lengths: View<'a, i32>,
    /// What was drawn.
    pub drawn: View<'a, i32>,
    /// Its log-probability under the model.
    pub log_probabilities: View<'a, f32>,
    /// Which slot each draw is for; the same number if none.
    pub slots: Option<View<'a, i32>>,
    /// 1 in a step; 0 where a slot's first token is drawn.
    pub advance: bool,
    /// For draws from logits that are changed before.
    pub adjusted: Option<&'a AdjustedRows>,
}

impl Ops {
    /// Draws `count` tokens.
    pub fn draw(&self, draw: &Draw, count: usize, vocabulary: usize, stride: usize) -> Result<(), Error> {
        // Rows and slots that are named are the caller's to vouch for.
        let logits = if draw.rows.is_none() { count * stride } else { 0 };
        let slots = if draw.slots.is_none() { count } else { 0 };
        assert!(logits <= draw.logits.len() && slots <= draw.drawings.len());
        assert!(slots <= draw.tokens.len() && slots <= draw.lengths.len());
        launch!(
            self,
            "draw",
            (count, 1),
            1024,
            draw.logits,
            draw.rows.map(|rows| rows.first(count)),
            draw.drawings,
            draw.tokens,
            draw.lengths,
            draw.drawn.first(count),
            draw.log_probabilities.first(count),
            vocabulary as i32,
            stride as i32,
            i32::from(draw.advance),
            draw.slots.map(|slots| slots.first(count)),
            draw.adjusted.map(AdjustedRows::counts),
            draw.adjusted.map(AdjustedRows::logits),
            draw.adjusted.map(AdjustedRows::biases)
        )
    }
}
