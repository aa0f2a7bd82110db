//! Keys and values of a sequence that is being decoded.
//!
//! They lie in blocks of [`BLOCK`] positions, as 16-bit fixed-point numbers with a scale for each
//! key and each value of a head. Decoding is bound by reading them, and this halves what is read;
//! the rounding error is at most 2^-16 of a vector's largest component, where half precision's
//! is up to 2^-11.

use crate::config::Config;
use crate::ops::elementwise::exponentiate;
use multiversion::multiversion;
use std::ops::Range;

/// Positions a block holds.
const BLOCK: usize = 32;
/// Components of a value that are summed at a time, so that the sums stay in registers.
const LANES: usize = BLOCK;

/// Keys and values of consecutive positions, for all layers.
#[derive(Clone, Default)]
pub struct KvCache {
    blocks: Vec<Block>,
}

/// For each layer: keys `[kv head][component][BLOCK]`, then values `[kv head][BLOCK][component]`; a head's
/// components fill whole lanes.
#[derive(Clone)]
struct Block {
    numbers: Vec<i16>,
    /// For each layer: of keys `[kv head][BLOCK]`, then of values, likewise.
    scales: Vec<f32>,
}

/// Sizes of a block's parts.
#[derive(Clone, Copy)]
pub struct CacheShape {
    layers: usize,
    heads: usize,
    key_value_heads: usize,
    head_dim: usize,
}

impl CacheShape {
    /// The sizes for a model.
    pub fn of(config: &Config) -> Self {
        CacheShape {
            layers: config.num_hidden_layers,
            heads: config.num_attention_heads,
            key_value_heads: config.num_key_value_heads,
            head_dim: config.head_dim,
        }
    }

    /// Numbers of a value in a block: whole lanes.
    fn value_width(&self) -> usize {
        self.head_dim.next_multiple_of(LANES)
    }

    fn keys(&self, layer: usize, head: usize) -> Range<usize> {
        let size = self.value_width() * BLOCK;
        let start = (2 * layer * self.key_value_heads + head) * size;
        start..start + size
    }

    fn values(&self, layer: usize, head: usize) -> Range<usize> {
        self.keys(layer, self.key_value_heads + head)
    }

    fn key_scales(&self, layer: usize, head: usize) -> Range<usize> {
        let start = (2 * layer * self.key_value_heads + head) * BLOCK;
        start..start + BLOCK
    }

    fn value_scales(&self, layer: usize, head: usize) -> Range<usize> {
        self.key_scales(layer, self.key_value_heads + head)
    }

    fn new_block(&self) -> Block {
        let vectors = self.layers * 2 * self.key_value_heads * BLOCK;
        Block { numbers: vec![0; vectors * self.value_width()], scales: vec![0.0; vectors] }
    }
}

impl KvCache {
    /// Stores one position's key and value (`[kv heads, head_dim]` each); positions come in order.
    pub fn store(&mut self, shape: &CacheShape, layer: usize, position: usize, key: &[f32], value: &[f32]) {
        if position / BLOCK == self.blocks.len() {
            self.blocks.push(shape.new_block());
        }
        store_in(&mut self.blocks[position / BLOCK], shape, layer, position % BLOCK, key, value);
    }

    /// A head's keys `[head_dim, positions]` and values `[positions, head_dim]` of the first positions, as
    /// many as there is room for.
    pub fn restore(
        &self,
        shape: &CacheShape,
        layer: usize,
        head: usize,
        keys: &mut [f32],
        values: &mut [f32],
    ) {
        let positions = keys.len() / shape.head_dim;
        let values = values.chunks_mut(BLOCK * shape.head_dim);
        for ((block, values), start) in self.blocks.iter().zip(values).zip((0..positions).step_by(BLOCK)) {
            restore_from(block, shape, (layer, head), &mut keys[start..], positions, values);
        }
    }
}

/// Fixed-point numbers of a block as they are: what is behind the last position stays away.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw", "x86_64+avx2+fma"))]
fn restore_from(
    block: &Block,
    shape: &CacheShape,
    (layer, head): (usize, usize),
    keys: &mut [f32],
    stride: usize,
    values: &mut [f32],
) {
    let count = values.len() / shape.head_dim;
    let scales = &block.scales[shape.key_scales(layer, head)];
    let (numbers, _) = block.numbers[shape.keys(layer, head)].as_chunks::<BLOCK>();
    for (component, numbers) in numbers.iter().take(shape.head_dim).enumerate() {
        let out = &mut keys[component * stride..][..count];
        for ((out, number), scale) in out.iter_mut().zip(numbers).zip(scales) {
            *out = f32::from(*number) * scale;
        }
    }
    let scales = &block.scales[shape.value_scales(layer, head)];
    let numbers = block.numbers[shape.values(layer, head)].chunks_exact(shape.value_width());
    for ((out, numbers), scale) in values.chunks_exact_mut(shape.head_dim).zip(numbers).zip(scales) {
        out.iter_mut().zip(numbers).for_each(|(out, number)| *out = f32::from(*number) * scale);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw", "x86_64+avx2+fma"))]
fn store_in(block: &mut Block, shape: &CacheShape, layer: usize, at: usize, key: &[f32], value: &[f32]) {
    let Block { numbers, scales } = block;
    let heads = key.chunks_exact(shape.head_dim).zip(value.chunks_exact(shape.head_dim));
    for (head, (key, value)) in heads.enumerate() {
        let (scale, inverse) = fixed_point_scale(key);
        scales[shape.key_scales(layer, head)][at] = scale;
        let out = numbers[shape.keys(layer, head)][at..].iter_mut().step_by(BLOCK);
        out.zip(key).for_each(|(out, &number)| *out = fixed_point(number * inverse));
        let (scale, inverse) = fixed_point_scale(value);
        scales[shape.value_scales(layer, head)][at] = scale;
        let out = &mut numbers[shape.values(layer, head)][at * shape.value_width()..];
        out.iter_mut().zip(value).for_each(|(out, &number)| *out = fixed_point(number * inverse));
    }
}

/// What a vector's numbers are counted in, and how many of it make 1; a vector of zeros is counted
/// in nothing.
#[inline(always)]
fn fixed_point_scale(vector: &[f32]) -> (f32, f32) {
    let largest = vector
        .iter()
        .fold(0.0f32, |largest, number| if number.abs() > largest { number.abs() } else { largest });
    let limit = f32::from(i16::MAX);
    if largest > 0.0 { (largest / limit, limit / largest) } else { (0.0, 0.0) }
}

/// Rounds, a half away from zero; what is too large stays at the limit.
#[inline(always)]
fn fixed_point(scaled: f32) -> i16 {
    (scaled + 0.5f32.copysign(scaled)) as i16
}

/// Attention of one position over the first positions of several caches, one after the other:
/// `query` and `out` are `[heads, head_dim]`, `scores` is scratch.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw", "x86_64+avx2+fma"))]
pub fn attend(
    shape: &CacheShape,
    layer: usize,
    parts: &[(&KvCache, usize)],
    query: &[f32],
    scores: &mut Vec<f32>,
    out: &mut [f32],
) {
    let group = shape.heads / shape.key_value_heads;
    // Whole blocks are computed; what lies behind a part's end gets no weight.
    let width: usize = parts.iter().map(|(_, length)| length.next_multiple_of(BLOCK)).sum();
    scores.resize(shape.heads * width, 0.0);
    let factor = 1.0 / (shape.head_dim as f32).sqrt();
    let mut ahead = blocks(parts).skip(1);
    for (block, start, length) in blocks(parts) {
        let next = ahead.next();
        for (head, query) in query.chunks_exact(shape.head_dim).enumerate() {
            let scales = &block.scales[shape.key_scales(layer, head / group)];
            let keys = &block.numbers[shape.keys(layer, head / group)];
            if let Some((next, ..)) = next {
                prefetch(&next.numbers[shape.keys(layer, head / group)]);
            }
            let mut sums = products(keys, query);
            sums.iter_mut().zip(scales).for_each(|(sum, scale)| *sum *= scale * factor);
            sums[length..].fill(f32::NEG_INFINITY);
            scores[head * width + start..][..BLOCK].copy_from_slice(&sums);
        }
    }
    for (scores, out) in scores.chunks_exact_mut(width).zip(out.chunks_exact_mut(shape.head_dim)) {
        let (_, sum) = exponentiate(scores);
        let inverse = 1.0 / sum;
        scores.iter_mut().for_each(|weight| *weight *= inverse);
        out.fill(0.0);
    }
    let mut ahead = blocks(parts).skip(1);
    for (block, start, length) in blocks(parts) {
        let next = ahead.next();
        for (head, out) in out.chunks_exact_mut(shape.head_dim).enumerate() {
            let mut weights = [0.0; BLOCK];
            let scales = &block.scales[shape.value_scales(layer, head / group)];
            let scores = &scores[head * width + start..][..length];
            for ((weight, score), scale) in weights.iter_mut().zip(scores).zip(scales) {
                *weight = score * scale;
            }
            let values = &block.numbers[shape.values(layer, head / group)];
            if let Some((next, ..)) = next {
                prefetch(&next.numbers[shape.values(layer, head / group)]);
            }
            add_values(values, &weights[..length.next_multiple_of(2)], out);
        }
    }
}

/// Every block of the parts with its first column of the scores and the positions in it that count.
fn blocks<'a>(parts: &'a [(&'a KvCache, usize)]) -> impl Iterator<Item = (&'a Block, usize, usize)> {
    let mut start = 0;
    let of_part = |&(cache, length): &(&'a KvCache, usize)| {
        let starts = (0..length).step_by(BLOCK);
        cache.blocks.iter().zip(starts).map(move |(block, at)| (block, BLOCK.min(length - at)))
    };
    parts.iter().flat_map(of_part).map(move |(block, length)| {
        start += BLOCK;
        (block, start - BLOCK, length)
    })
}

/// Asks the processor to fetch what is read next; another block lies elsewhere in memory, which it
/// cannot guess.
#[inline(always)]
fn prefetch(numbers: &[i16]) {
    #[cfg(target_arch = "x86_64")]
    for line in numbers.chunks(32) {
        // SAFETY: a hint, which reads nothing; every x86-64 processor has it.
        unsafe {
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(line.as_ptr().cast())
        };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = numbers;
}

/// `Σ query[c] · keys[c][position]` for each position of a block.
#[inline(always)]
fn products(keys: &[i16], query: &[f32]) -> [f32; BLOCK] {
    let mut sums = [0.0f32; BLOCK];
    let (keys, _) = keys.as_chunks::<BLOCK>();
    // Rotary positions turn pairs, so a head has an even number of components.
    for (keys, query) in keys.as_chunks::<2>().0.iter().zip(query.as_chunks::<2>().0) {
        add_pair(&mut sums, keys, query);
    }
    sums
}

/// `out += Σ weights[position] · values[position]`; `weights` has an even length.
#[inline(always)]
fn add_values(values: &[i16], weights: &[f32], out: &mut [f32]) {
    let (values, _) = values.as_chunks::<LANES>();
    let parts = out.len().div_ceil(LANES);
    for (part, out) in out.chunks_mut(LANES).enumerate() {
        let mut sums = [0.0f32; LANES];
        for (values, weights) in values.chunks_exact(2 * parts).zip(weights.as_chunks::<2>().0) {
            add_pair(&mut sums, &[values[part], values[parts + part]], weights);
        }
        out.iter_mut().zip(&sums).for_each(|(out, sum)| *out += sum);
    }
}

/// `sums += factors[0] · numbers[0] + factors[1] · numbers[1]`: two at a time, so that the sums
/// wait for half as many additions.
#[inline(always)]
fn add_pair(sums: &mut [f32; BLOCK], numbers: &[[i16; BLOCK]; 2], factors: &[f32; 2]) {
    for i in 0..BLOCK {
        let (first, second) = (f32::from(numbers[0][i]), f32::from(numbers[1][i]));
        sums[i] = factors[0].mul_add(first, factors[1].mul_add(second, sums[i]));
    }
}
