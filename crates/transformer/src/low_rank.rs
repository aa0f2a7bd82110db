//! Adapters beside a matrix that stays as it is: `x W' + scale (x A') B'`.
//!
//! A model that is not trained keeps its matrices in the bits of their file, and several readers share
//! them; what an adapter adds is two thin products in single precision. Adapters of one tensor's parts
//! (queries, keys, values) are packed together. Each number is summed in one order, without fused
//! multiplications: it has the same bits whatever the batch, the threads and the processor's instructions.

use crate::lora::{Adapter, Adapters};
use crate::table::Table;
use multiversion::multiversion;
use rayon::prelude::*;
use std::sync::Arc;

/// Numbers of a row that are summed side by side.
const LANES: usize = 8;
/// Ranks whose sums are made at once; an adapter of another rank is filled up with zeros.
const RANKS: usize = 8;
/// Outputs that are computed at once.
const WIDTH: usize = 16;
/// Outputs of a task where rows are few.
const TASK_OUTPUTS: usize = 128 * WIDTH;
/// Multiplications that make it worth while to wake other threads.
const TASK_PRODUCTS: usize = 1 << 16;

/// For each tensor of a model the adapters that are added to it.
pub(crate) type Added = Vec<Vec<Arc<LowRank>>>;

/// The adapters of one tensor's parts.
pub(crate) struct LowRank {
    inputs: usize,
    outputs: usize,
    /// `scale A` of each part, by [`RANKS`], by [`LANES`] inputs.
    down: Vec<Vec<[[f32; LANES]; RANKS]>>,
    parts: Vec<Part>,
}

/// What one part gets.
struct Part {
    first_output: usize,
    outputs: usize,
    /// First of its ranks, and how many.
    first_rank: usize,
    ranks: usize,
    /// `B`, by [`WIDTH`] outputs: `[ranks, WIDTH]`.
    up: Vec<[f32; WIDTH]>,
}

/// Adapters as products read them, by tensor, after those that are there already.
pub(crate) fn add(adapters: &Adapters, table: &Table, before: &[Vec<Arc<LowRank>>]) -> Added {
    let mut added = before.to_vec();
    added.resize_with(table.tensors().len(), Vec::new);
    for (tensor, of_tensor) in added.iter_mut().enumerate() {
        let parts: Vec<&Adapter> = adapters.all.iter().filter(|adapter| adapter.tensor == tensor).collect();
        if !parts.is_empty() {
            let outputs = table.tensors()[tensor].shape[0];
            of_tensor.push(Arc::new(LowRank::new(adapters, &parts, outputs)));
        }
    }
    added
}

impl LowRank {
    /// Packs the adapters of the parts of a tensor that has so many outputs.
    fn new(adapters: &Adapters, parts: &[&Adapter], outputs: usize) -> Self {
        let inputs = parts.first().map_or(0, |adapter| adapter.inputs);
        let mut packed = LowRank { inputs, outputs, down: Vec::new(), parts: Vec::new() };
        let rank = adapters.settings.rank;
        for adapter in parts {
            let first_rank = packed.ranks();
            let rows: Vec<&[f32]> = adapter.a.chunks_exact(inputs).collect();
            packed.down.extend(rows.chunks(RANKS).map(|rows| pack_down(rows, inputs, adapters.scale())));
            let ranks = packed.ranks() - first_rank;
            packed.parts.push(Part {
                first_output: adapter.range.start / inputs,
                outputs: adapter.outputs,
                first_rank,
                ranks,
                up: pack_up(&adapter.b, rank, ranks),
            });
        }
        packed
    }

    fn ranks(&self) -> usize {
        self.down.len() * RANKS
    }

    /// Adds to a product `out [rows, outputs]` of `x [rows, inputs]`; `between` is kept for the next.
    pub(crate) fn add_product(&self, x: &[f32], rows: usize, out: &mut [f32], between: &mut Vec<f32>) {
        between.resize(rows * self.ranks(), 0.0);
        let blocks = self.down.len();
        let reduce = |(at, sums): (usize, &mut [f32])| {
            let (row, block) = (at / blocks, at % blocks);
            dots(&x[row * self.inputs..(row + 1) * self.inputs], &self.down[block], sums);
        };
        if between.len() * self.inputs < TASK_PRODUCTS {
            between.chunks_exact_mut(RANKS).enumerate().for_each(reduce);
        } else {
            between.par_chunks_exact_mut(RANKS).enumerate().for_each(reduce);
        }
        let each_alone = rows >= rayon::current_num_threads();
        let expand = |(out, between): (&mut [f32], &[f32])| {
            self.parts.iter().for_each(|part| part.add(between, out, each_alone));
        };
        if each_alone {
            out.par_chunks_exact_mut(self.outputs)
                .zip(between.par_chunks_exact(self.ranks()))
                .for_each(expand);
        } else {
            out.chunks_exact_mut(self.outputs).zip(between.chunks_exact(self.ranks())).for_each(expand);
        }
    }

    /// Adds `scale B A` to the matrix in single precision.
    pub(crate) fn merge(&self, matrix: &mut [f32]) {
        let rows = matrix.par_chunks_exact_mut(self.inputs.max(1)).enumerate();
        rows.for_each(|(output, row)| {
            let part = self.parts.iter().find(|part| part.rows().contains(&output));
            let Some(part) = part else { return };
            for rank in 0..part.ranks {
                let at = part.first_rank + rank;
                let (down, b) = (&self.down[at / RANKS], part.number(output - part.first_output, rank));
                for (out, down) in row.chunks_mut(LANES).zip(down) {
                    out.iter_mut().zip(down[at % RANKS]).for_each(|(out, a)| *out += a * b);
                }
            }
        });
    }
}

impl Part {
    fn rows(&self) -> std::ops::Range<usize> {
        self.first_output..self.first_output + self.outputs
    }

    /// `B[output, rank]`
    fn number(&self, output: usize, rank: usize) -> f32 {
        self.up[output / WIDTH * self.ranks + rank][output % WIDTH]
    }

    /// Adds to one row of a product, on this thread or split over several.
    fn add(&self, between: &[f32], row: &mut [f32], alone: bool) {
        let (between, out) = (&between[self.first_rank..][..self.ranks], &mut row[self.rows()]);
        if alone || self.outputs * self.ranks < TASK_PRODUCTS {
            return expand(between, &self.up, out);
        }
        let ups = self.up.par_chunks(TASK_OUTPUTS / WIDTH * self.ranks);
        out.par_chunks_mut(TASK_OUTPUTS).zip(ups).for_each(|(out, up)| expand(between, up, out));
    }
}

/// Some rows of `A` times the scale; what is missing of them and of the last lanes is zero.
fn pack_down(rows: &[&[f32]], inputs: usize, scale: f32) -> Vec<[[f32; LANES]; RANKS]> {
    let mut packed = vec![[[0.0; LANES]; RANKS]; inputs.div_ceil(LANES)];
    for (rank, row) in rows.iter().enumerate() {
        for (packed, numbers) in packed.iter_mut().zip(row.chunks(LANES)) {
            packed[rank].iter_mut().zip(numbers).for_each(|(packed, number)| *packed = scale * number);
        }
    }
    packed
}

/// `B [outputs, rank]` by [`WIDTH`] outputs, of `ranks` with what is missing zero.
fn pack_up(b: &[f32], rank: usize, ranks: usize) -> Vec<[f32; WIDTH]> {
    let blocks = (b.len() / rank).div_ceil(WIDTH);
    let mut packed = vec![[0.0; WIDTH]; blocks * ranks];
    for (output, row) in b.chunks_exact(rank).enumerate() {
        for (rank, number) in row.iter().enumerate() {
            packed[output / WIDTH * ranks + rank][output % WIDTH] = *number;
        }
    }
    packed
}

/// The products of a row with [`RANKS`] others.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw", "x86_64+avx2"))]
fn dots(x: &[f32], down: &[[[f32; LANES]; RANKS]], out: &mut [f32]) {
    let mut sums = [[0.0f32; LANES]; RANKS];
    let (whole, rest) = x.as_chunks::<LANES>();
    let mut last = [0.0; LANES];
    last[..rest.len()].copy_from_slice(rest);
    for (x, down) in whole.iter().chain([&last]).zip(down) {
        for (sums, down) in sums.iter_mut().zip(down) {
            for lane in 0..LANES {
                sums[lane] += x[lane] * down[lane];
            }
        }
    }
    for (out, sums) in out.iter_mut().zip(&sums) {
        *out = sums.iter().sum();
    }
}

/// Adds to some outputs what the ranks give them.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw", "x86_64+avx2"))]
fn expand(between: &[f32], up: &[[f32; WIDTH]], out: &mut [f32]) {
    let (factors, _) = between.as_chunks::<RANKS>();
    let mut blocks = up.chunks_exact(between.len());
    let product = |up: &[[f32; WIDTH]]| {
        let mut sums = [0.0f32; WIDTH];
        for (up, factors) in up.as_chunks::<RANKS>().0.iter().zip(factors) {
            for rank in 0..RANKS {
                for lane in 0..WIDTH {
                    sums[lane] += factors[rank] * up[rank][lane];
                }
            }
        }
        sums
    };
    let (whole, rest) = out.as_chunks_mut::<WIDTH>();
    for (out, up) in whole.iter_mut().zip(&mut blocks) {
        let sums = product(up);
        for lane in 0..WIDTH {
            out[lane] += sums[lane];
        }
    }
    if let Some(up) = blocks.next() {
        rest.iter_mut().zip(product(up)).for_each(|(out, sum)| *out += sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use crate::lora::LoraSettings;

    /// Parts with and without adapters, a rank that fills no block, inputs and outputs that fill no lanes.
    #[test]
    fn what_is_added_is_the_product_with_the_merged_matrix() {
        let config = Config { hidden_size: 44, intermediate_size: 60, ..Config::tiny() };
        let settings = LoraSettings {
            rank: 11,
            alpha: 22.0,
            target_modules: ["k_proj", "v_proj", "down_proj"].map(str::to_owned).to_vec(),
        };
        let mut adapters = Adapters::zeros(&config, &settings).expect("adapters");
        for (at, value) in adapters.tensors_mut().into_iter().flatten().enumerate() {
            *value = ((at * 7919) % 1009) as f32 / 1009.0 - 0.5;
        }
        let table = Table::of(&config);
        let added = add(&adapters, &table, &[]);
        assert_eq!(added.iter().filter(|of| !of.is_empty()).count(), 4);
        for (tensor, of_tensor) in added.iter().enumerate().filter(|(_, of)| !of.is_empty()) {
            let (outputs, inputs) = (table.tensors()[tensor].shape[0], table.tensors()[tensor].shape[1]);
            let mut merged = vec![0.0; outputs * inputs];
            for adapter in adapters.all.iter().filter(|adapter| adapter.tensor == tensor) {
                adapters.add_to(adapter, &mut merged[adapter.range.clone()]);
            }
            let mut ours = vec![0.0; outputs * inputs];
            of_tensor[0].merge(&mut ours);
            let x: Vec<f32> = (0..9 * inputs).map(|at| (at as f32).cos()).collect();
            let (mut out, mut between) = (vec![1.0; 9 * outputs], Vec::new());
            of_tensor[0].add_product(&x, 9, &mut out, &mut between);
            for (row, out) in out.chunks_exact(outputs).enumerate() {
                let x = &x[row * inputs..(row + 1) * inputs];
                for (output, found) in out.iter().enumerate() {
                    let weights = &merged[output * inputs..(output + 1) * inputs];
                    let sum: f32 = 1.0 + x.iter().zip(weights).map(|(x, w)| x * w).sum::<f32>();
                    assert!((found - sum).abs() < 1e-3, "{tensor} {row} {output}: {found} {sum}");
                }
                let mut alone = vec![1.0; outputs];
                of_tensor[0].add_product(x, 1, &mut alone, &mut between);
                assert_eq!(alone, out, "a row does not depend on the others");
            }
            assert!(merged.iter().zip(&ours).all(|(merged, ours)| (merged - ours).abs() < 1e-4));
        }
    }
}
