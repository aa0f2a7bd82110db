//! The other side of a product: rows of activations, as the kernels read them.
//!
//! Rows are kept in chunks of [`CHUNK`], and within a chunk block after block, so that a tile of
//! any rows of a chunk finds them side by side.

use crate::block::BLOCK;
use crate::kernel::Instructions;
use multiversion::multiversion;
use rayon::prelude::*;

/// Rows of a chunk: what multiplies a panel while it is unpacked. A multiple of the heights of the
/// highest tiles; a chunk of 9,000 inputs fits a second-level cache of half a megabyte.
pub(crate) const CHUNK: usize = 56;

/// Numbers that one task rounds: fewer are not worth handing over.
const TASK_NUMBERS: usize = 16 << 10;

/// Adding it moves the fraction of a small number out of a single-precision one, rounded half to
/// even: 1.5 * 2^23.
const ROUNDER: f32 = 12_582_912.0;
/// Below it 127 divided by the number overflows.
const TINY: f32 = 1e-36;

/// What belongs to a block of 32 activations of one row.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub(crate) struct Factors {
    /// An activation is `scale * q`.
    pub scale: f32,
    /// `scale` times the sum of the numbers.
    pub scaled_sum: f32,
    /// Minus the sum of the numbers: of all, of the first 16, of the other 16.
    pub minus_sums: [i32; 3],
}

/// Rows of activations `[rows, inputs]`, ready for products with any number of matrices.
#[derive(Clone, Debug, Default)]
pub struct Activations {
    rows: usize,
    inputs: usize,
    pub(crate) data: Data,
}

#[derive(Clone, Debug)]
pub(crate) enum Data {
    /// Chunks of `[inputs, rows]`.
    Float(Vec<f32>),
    /// Chunks of `[blocks, rows]`.
    Quantized { quants: Vec<[i8; BLOCK]>, factors: Vec<Factors> },
}

impl Default for Data {
    fn default() -> Self {
        Data::Float(Vec::new())
    }
}

impl Activations {
    /// Rounds rows to 8 bits, in blocks of 32 inputs: `q = round(x * 127 / max|x|)`, half to even.
    /// A row that is not a multiple of 32 inputs long ends with zeros. Blocks whose largest
    /// magnitude is less than 1e-36 become zero; one that holds an infinity or what is not a number
    /// makes its row's products such. More than one chunk of rows is split over rayon's threads.
    ///
    /// # Panics
    /// If `x` is not `[rows, inputs]`.
    pub fn quantize(x: &[f32], rows: usize, inputs: usize) -> Self {
        let mut activations = Activations::default();
        activations.set_quantized(x, rows, inputs);
        activations
    }

    /// [`Activations::quantize`] into memory that may be there already.
    ///
    /// # Panics
    /// If `x` is not `[rows, inputs]`.
    pub fn set_quantized(&mut self, x: &[f32], rows: usize, inputs: usize) {
        self.set_shape(x, rows, inputs);
        let (mut quants, mut factors) = match std::mem::take(&mut self.data) {
            Data::Quantized { quants, factors } => (quants, factors),
            Data::Float(_) => (Vec::new(), Vec::new()),
        };
        let blocks = inputs.div_ceil(BLOCK);
        quants.resize(rows * blocks, [0; BLOCK]);
        factors.resize(rows * blocks, Factors::default());
        if x.len() < 2 * TASK_NUMBERS {
            let chunks = x.chunks(CHUNK * inputs.max(1)).zip(quants.chunks_mut((CHUNK * blocks).max(1)));
            for ((x, quants), factors) in chunks.zip(factors.chunks_mut((CHUNK * blocks).max(1))) {
                quantize_chunk(x, inputs, 0, quants, factors);
            }
        } else {
            let parts = parts(x, inputs, &mut quants, &mut factors);
            parts.into_par_iter().for_each(|part| {
                quantize_chunk(part.x, inputs, part.first, part.quants, part.factors);
            });
        }
        self.data = Data::Quantized { quants, factors };
    }

    /// Rows as they are, for matrices of floating point.
    ///
    /// # Panics
    /// If `x` is not `[rows, inputs]`.
    pub fn float(x: &[f32], rows: usize, inputs: usize) -> Self {
        let mut activations = Activations::default();
        activations.set_float(x, rows, inputs);
        activations
    }

    /// [`Activations::float`] into memory that may be there already.
    ///
    /// # Panics
    /// If `x` is not `[rows, inputs]`.
    pub fn set_float(&mut self, x: &[f32], rows: usize, inputs: usize) {
        self.set_shape(x, rows, inputs);
        let mut data = match std::mem::take(&mut self.data) {
            Data::Float(data) => data,
            Data::Quantized { .. } => Vec::new(),
        };
        data.resize(rows * inputs, 0.0);
        let size = (CHUNK * inputs).max(1);
        let chunk = |(x, out): (&[f32], &mut [f32])| {
            let rows = x.len() / inputs.max(1);
            for (row, x) in x.chunks_exact(inputs.max(1)).enumerate() {
                out[row..].iter_mut().step_by(rows).zip(x).for_each(|(out, x)| *out = *x);
            }
        };
        if rows > CHUNK {
            x.par_chunks(size).zip(data.par_chunks_mut(size)).for_each(chunk);
        } else {
            chunk((x, &mut data));
        }
        self.data = Data::Float(data);
    }

    fn set_shape(&mut self, x: &[f32], rows: usize, inputs: usize) {
        assert_eq!(Some(x.len()), rows.checked_mul(inputs), "{rows} rows of {inputs} activations");
        (self.rows, self.inputs) = (rows, inputs);
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Numbers of a row.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Whether rows are kept in 8 bits.
    pub fn is_quantized(&self) -> bool {
        matches!(self.data, Data::Quantized { .. })
    }

    /// The numbers that products are made with, `[rows, inputs]`: what rounding left of them.
    pub fn values(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.rows * self.inputs];
        for (row, out) in out.chunks_exact_mut(self.inputs.max(1)).enumerate() {
            let first = row / CHUNK * CHUNK;
            let rows = CHUNK.min(self.rows - first);
            match &self.data {
                Data::Float(data) => {
                    let chunk = &data[first * self.inputs + row - first..];
                    out.iter_mut().zip(chunk.iter().step_by(rows)).for_each(|(out, x)| *out = *x);
                }
                Data::Quantized { quants, factors } => {
                    let start = first * self.inputs.div_ceil(BLOCK) + row - first;
                    let blocks = quants[start..].iter().zip(&factors[start..]).step_by(rows);
                    for (out, (quants, factors)) in out.chunks_mut(BLOCK).zip(blocks) {
                        let values = quants.iter().map(|q| factors.scale * f32::from(*q));
                        out.iter_mut().zip(values).for_each(|(out, value)| *out = value);
                    }
                }
            }
        }
        out
    }
}

/// What one task rounds: some blocks of all rows of a chunk.
struct Part<'a> {
    /// The chunk's rows, whole.
    x: &'a [f32],
    /// The first of the blocks.
    first: usize,
    quants: &'a mut [[i8; BLOCK]],
    factors: &'a mut [Factors],
}

/// Parts of about [`TASK_NUMBERS`]: chunks alone are too few for many threads. Blocks of a chunk lie one
/// after the other, so that some of them are a stretch of it.
fn parts<'a>(
    x: &'a [f32],
    inputs: usize,
    quants: &'a mut [[i8; BLOCK]],
    factors: &'a mut [Factors],
) -> Vec<Part<'a>> {
    let size = CHUNK * inputs.div_ceil(BLOCK);
    let chunks = x.chunks(CHUNK * inputs).zip(quants.chunks_mut(size)).zip(factors.chunks_mut(size));
    let parts = chunks.flat_map(|((x, quants), factors)| {
        let rows = x.len() / inputs;
        let blocks = (TASK_NUMBERS / (rows * BLOCK)).max(1);
        let stretches = quants.chunks_mut(blocks * rows).zip(factors.chunks_mut(blocks * rows));
        stretches.enumerate().map(move |(part, (quants, factors))| Part {
            x,
            first: part * blocks,
            quants,
            factors,
        })
    });
    parts.collect()
}

/// Rounds some blocks of the rows of one chunk: as many as there is room for, from the `first` on.
fn quantize_chunk(
    x: &[f32],
    inputs: usize,
    first: usize,
    quants: &mut [[i8; BLOCK]],
    factors: &mut [Factors],
) {
    #[cfg(target_arch = "x86_64")]
    if Instructions::Avx512.is_available() {
        // SAFETY: the instructions were detected.
        return unsafe { quantize_chunk_avx512(x, inputs, first, quants, factors) };
    }
    quantize_chunk_vectors(x, inputs, first, quants, factors);
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn quantize_chunk_vectors(
    x: &[f32],
    inputs: usize,
    first: usize,
    quants: &mut [[i8; BLOCK]],
    factors: &mut [Factors],
) {
    each_block(x, inputs, first, quants, factors, quantize_block);
}

/// # Safety
/// Needs AVX-512 F.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn quantize_chunk_avx512(
    x: &[f32],
    inputs: usize,
    first: usize,
    quants: &mut [[i8; BLOCK]],
    factors: &mut [Factors],
) {
    each_block(x, inputs, first, quants, factors, |x, quants| quantize_block_avx512(x, quants));
}

#[inline(always)]
fn each_block(
    x: &[f32],
    inputs: usize,
    first: usize,
    quants: &mut [[i8; BLOCK]],
    factors: &mut [Factors],
    quantize: impl Fn(&[f32; BLOCK], &mut [i8; BLOCK]) -> Factors,
) {
    let rows = x.len() / inputs.max(1);
    let end = first + quants.len() / rows.max(1);
    for (row, x) in x.chunks_exact(inputs.max(1)).enumerate() {
        let (blocks, rest) = x[first * BLOCK..(end * BLOCK).min(inputs)].as_chunks::<BLOCK>();
        let mut at = row;
        for block in blocks {
            factors[at] = quantize(block, &mut quants[at]);
            at += rows;
        }
        if !rest.is_empty() {
            let mut block = [0.0; BLOCK];
            block[..rest.len()].copy_from_slice(rest);
            factors[at] = quantize(&block, &mut quants[at]);
        }
    }
}

/// The scale of a block with such a largest magnitude, and what to multiply its numbers with.
#[inline(always)]
fn scale_of(largest: f32) -> (f32, f32) {
    match largest {
        _ if !largest.is_finite() => (f32::NAN, 0.0),
        TINY.. => (largest / 127.0, 127.0 / largest),
        _ => (0.0, 0.0),
    }
}

impl Factors {
    #[inline(always)]
    fn new(scale: f32, [first, second]: [i32; 2]) -> Self {
        // Of what is no number the sums can be anything; the scale, which is none either, tells.
        let sum = first.wrapping_add(second);
        let minus_sums = [sum, first, second].map(i32::wrapping_neg);
        Factors { scale, scaled_sum: scale * sum as f32, minus_sums }
    }
}

/// [`quantize_block`], six times as fast as what the compiler makes of it.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f")]
fn quantize_block_avx512(x: &[f32; BLOCK], quants: &mut [i8; BLOCK]) -> Factors {
    use std::arch::x86_64::{
        _mm_storeu_si128, _mm512_and_si512, _mm512_castps_si512, _mm512_cvtepi32_epi8, _mm512_cvtps_epi32,
        _mm512_loadu_ps, _mm512_max_epu32, _mm512_mul_ps, _mm512_reduce_add_epi32, _mm512_reduce_max_epu32,
        _mm512_set1_epi32, _mm512_set1_ps,
    };
    // SAFETY: two halves of 16 numbers.
    let [first, second] =
        unsafe { [_mm512_loadu_ps(x.as_ptr()), _mm512_loadu_ps(x.as_ptr().wrapping_add(16))] };
    let magnitude = _mm512_set1_epi32(0x7fff_ffff);
    let largest = _mm512_max_epu32(
        _mm512_and_si512(_mm512_castps_si512(first), magnitude),
        _mm512_and_si512(_mm512_castps_si512(second), magnitude),
    );
    let (scale, inverse) = scale_of(f32::from_bits(_mm512_reduce_max_epu32(largest)));
    let inverse = _mm512_set1_ps(inverse);
    // Rounds half to even, as all arithmetic does.
    let first = _mm512_cvtps_epi32(_mm512_mul_ps(first, inverse));
    let second = _mm512_cvtps_epi32(_mm512_mul_ps(second, inverse));
    let to = quants.as_mut_ptr();
    // SAFETY: two halves of 16 numbers.
    unsafe {
        _mm_storeu_si128(to.cast(), _mm512_cvtepi32_epi8(first));
        _mm_storeu_si128(to.wrapping_add(16).cast(), _mm512_cvtepi32_epi8(second));
    }
    Factors::new(scale, [_mm512_reduce_add_epi32(first), _mm512_reduce_add_epi32(second)])
}

#[inline(always)]
fn quantize_block(x: &[f32; BLOCK], quants: &mut [i8; BLOCK]) -> Factors {
    // Magnitudes are ordered as their bits are, and what is not a number is above infinity.
    let largest = x.iter().fold(0, |largest: u32, x| largest.max(x.to_bits() & 0x7fff_ffff));
    let largest = f32::from_bits(largest);
    let (scale, inverse) = scale_of(largest);
    let mut sums = [0i32; 2];
    for (half, sum) in sums.iter_mut().enumerate() {
        for index in half * 16..half * 16 + 16 {
            let bits = (x[index] * inverse + ROUNDER).to_bits();
            let quant = bits.wrapping_sub(ROUNDER.to_bits()) as i8;
            quants[index] = quant;
            *sum += i32::from(quant);
        }
    }
    Factors::new(scale, sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Many rows are split into parts, in which each is what it is alone; the last chunk and the last
    /// block are shorter than the others.
    #[test]
    fn a_row_is_rounded_alike_alone_and_among_many() {
        for (rows, inputs) in [(2 * CHUNK + 9, 1000), (3, 20_000), (CHUNK, 600)] {
            let x: Vec<f32> = (0..rows * inputs).map(|at| (at as f32 * 0.37).sin() * 3.0).collect();
            assert!(x.len() >= 2 * TASK_NUMBERS);
            let together = Activations::quantize(&x, rows, inputs).values();
            for (x, found) in x.chunks_exact(inputs).zip(together.chunks_exact(inputs)) {
                let alone = x
                    .iter()
                    .copied()
                    .chain(std::iter::repeat_n(0.0, inputs.next_multiple_of(BLOCK) - inputs));
                let alone = alone.collect::<Vec<f32>>();
                let blocks = alone.as_chunks::<BLOCK>().0.iter().flat_map(|block| {
                    let mut quants = [0; BLOCK];
                    let factors = quantize_block(block, &mut quants);
                    quants.map(|quant| factors.scale * f32::from(quant))
                });
                assert!(blocks.zip(found).all(|(expected, &found)| expected == found));
            }
        }
    }

    /// Both ways to round a block give the same bits, at halves and at the ends too.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn instructions_round_alike() {
        if !Instructions::Avx512.is_available() {
            return;
        }
        for seed in 0..2000u32 {
            let x: [f32; BLOCK] = std::array::from_fn(|index| {
                let bits = (seed * 32 + index as u32).wrapping_mul(2_654_435_761) >> 8;
                match seed % 3 {
                    // Halves, where the largest is 127.
                    0 if index > 0 => (bits % 509) as f32 / 2.0 - 127.0,
                    0 => 127.0,
                    1 => (bits as f32 - 8e6) * 1e-5,
                    _ => (bits as f32 - 8e6) * 1e-42,
                }
            });
            let (mut one, mut other) = ([0; BLOCK], [0; BLOCK]);
            let expected = quantize_block(&x, &mut one);
            // SAFETY: the instructions were detected.
            let found = unsafe { quantize_block_avx512(&x, &mut other) };
            assert_eq!((found, other), (expected, one), "{x:?}");
        }
    }
}
