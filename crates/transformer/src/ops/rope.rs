//! Rotary positions (Su et al., 2021), in the half-split layout of Hugging Face's models:
//! component `i` of a head turns with component `i + head_dim / 2`.

use super::rows_per_task;
use rayon::prelude::*;

/// Cosines and sines for each position: `[positions, head_dim / 2]`.
#[derive(Clone, Debug, Default)]
pub struct RotaryTable {
    half: usize,
    cosines: Vec<f32>,
    sines: Vec<f32>,
}

impl RotaryTable {
    /// A table for positions `0..positions`; `frequencies` has one for each pair of components, in
    /// radians a position.
    pub fn new(frequencies: &[f32], positions: usize) -> Self {
        let half = frequencies.len();
        // In f32 like the reference: at position 30,000 the rounding of the angle is visible.
        let angles = (0..positions).flat_map(|p| frequencies.iter().map(move |f| p as f32 * f));
        let angles: Vec<f32> = angles.collect();
        RotaryTable {
            half,
            cosines: angles.iter().map(|a| a.cos()).collect(),
            sines: angles.iter().map(|a| a.sin()).collect(),
        }
    }

    /// Number of positions in the table.
    pub fn positions(&self) -> usize {
        self.cosines.len() / self.half.max(1)
    }

    /// Cosine and sine side by side: `[positions, head_dim / 2, 2]`.
    pub fn pairs(&self) -> Vec<f32> {
        self.cosines.iter().zip(&self.sines).flat_map(|(&cosine, &sine)| [cosine, sine]).collect()
    }

    /// Turns the first `heads` heads of each row, in place; `backward` turns the other way, which
    /// is the gradient. `x` is `[rows, row_width]`.
    pub fn rotate(&self, x: &mut [f32], row_width: usize, heads: usize, positions: &[u32], backward: bool) {
        let rows = rows_per_task(positions.len(), row_width);
        let tasks = x.par_chunks_mut(rows * row_width).zip(positions.par_chunks(rows));
        tasks.for_each(|(x, positions)| {
            for (row, &position) in x.chunks_exact_mut(row_width).zip(positions) {
                self.rotate_row(&mut row[..heads * 2 * self.half], position, backward);
            }
        });
    }

    fn rotate_row(&self, row: &mut [f32], position: u32, backward: bool) {
        let start = position as usize * self.half;
        let cosines = &self.cosines[start..start + self.half];
        let sines = &self.sines[start..start + self.half];
        let direction = if backward { -1.0 } else { 1.0 };
        for head in row.chunks_exact_mut(2 * self.half) {
            let (first, second) = head.split_at_mut(self.half);
            for (((a, b), cosine), sine) in first.iter_mut().zip(second).zip(cosines).zip(sines) {
                let sine = sine * direction;
                (*a, *b) = (*a * cosine - *b * sine, *b * cosine + *a * sine);
            }
        }
    }
}
