//! Panels unpacked for the kernels: bytes for numbers, single precision for scales and minima.
//!
//! Written once, in lanes of 32 bits that the compiler turns into vectors, and compiled for each
//! set of instructions that the kernels know.

use crate::panel::{Layout, Line, PANEL};

/// Blocks that are unpacked at once: a `K` type's, and as many of the others. What they become
/// fits the first-level cache beside the activations.
pub const DEPTH: usize = 8;

/// Unpacked blocks of a panel.
#[derive(Clone)]
#[repr(C, align(64))]
pub struct Unpacked {
    /// Numbers, as lines of 8 bits; unused for types that have 8 bits already.
    pub quants: [[Line; 16]; DEPTH],
    /// A scale for the first and one for the second half of a block; types without halves use the
    /// first.
    pub scales: [[[f32; PANEL]; 2]; DEPTH],
    /// What is added once for every block, times the sum of its activations.
    pub minima: [[f32; PANEL]; DEPTH],
}

impl Unpacked {
    pub const ZERO: Unpacked = Unpacked {
        quants: [[Line::ZERO; 16]; DEPTH],
        scales: [[[0.0; PANEL]; 2]; DEPTH],
        minima: [[0.0; PANEL]; DEPTH],
    };
}

/// Unpacks up to [`DEPTH`] blocks, whole records.
pub fn unpack(layout: &Layout, records: &[Line], out: &mut Unpacked) {
    unpack_here::<Portable>(layout, records, out);
}

/// # Safety
/// Needs AVX2 and F16C.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,f16c")]
pub unsafe fn unpack_avx2(layout: &Layout, records: &[Line], out: &mut Unpacked) {
    unpack_here::<Avx2>(layout, records, out);
}

/// # Safety
/// Needs AVX-512 F, BW, DQ and VL.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub unsafe fn unpack_avx512(layout: &Layout, records: &[Line], out: &mut Unpacked) {
    unpack_here::<Avx512>(layout, records, out);
}

#[inline(always)]
fn unpack_here<S: Set>(layout: &Layout, records: &[Line], out: &mut Unpacked) {
    match (layout.quant_lines, layout.factor_lines, layout.header_lines) {
        (8, 0, 1) => plain::<S, 8, 1>(records, out),
        (8, 0, 2) => plain::<S, 8, 2>(records, out),
        (10, 0, 1) => plain::<S, 10, 1>(records, out),
        (10, 0, 2) => plain::<S, 10, 2>(records, out),
        (16, 0, 1) => plain::<S, 16, 1>(records, out),
        (8, 1, 2) => with_minima::<S, 8>(records, out),
        (10, 1, 2) => with_minima::<S, 10>(records, out),
        (12, 1, 1) => with_halves::<S>(records, out),
        other => unreachable!("no type has the layout {other:?}"),
    }
}

/// Types of 32 weights: a scale and perhaps a minimum in front of the numbers.
#[inline(always)]
fn plain<S: Set, const QUANTS: usize, const HEADER: usize>(records: &[Line], out: &mut Unpacked) {
    let records = records.chunks_exact(HEADER + QUANTS);
    let outs = out.quants.iter_mut().zip(&mut out.scales).zip(&mut out.minima);
    for (record, ((quants, scales), minima)) in records.zip(outs) {
        // SAFETY: the set's instructions are there: the caller is compiled for them.
        unsafe { S::widen(&record[0], &mut scales[0]) };
        if HEADER == 2 {
            // SAFETY: likewise.
            unsafe { S::widen(&record[1], minima) };
        }
        if let Some(lines) = record[HEADER..].first_chunk::<QUANTS>() {
            // SAFETY: the set's instructions are there: the caller is compiled for them.
            unsafe { S::unpack_quants(lines, quants) };
        }
    }
}

/// `Q4_K`, `Q5_K`.
#[inline(always)]
fn with_minima<S: Set, const QUANTS: usize>(records: &[Line], out: &mut Unpacked) {
    let (header, blocks) = records.split_at(2);
    let (mut scale, mut minimum) = ([0.0; PANEL], [0.0; PANEL]);
    // SAFETY: the set's instructions are there: the caller is compiled for them.
    unsafe { S::widen(&header[0], &mut scale) };
    // SAFETY: likewise.
    unsafe { S::widen(&header[1], &mut minimum) };
    let outs = out.quants.iter_mut().zip(&mut out.scales).zip(&mut out.minima);
    for (block, ((quants, scales), minima)) in blocks.chunks_exact(QUANTS + 1).zip(outs) {
        for (lane, factors) in block[0].0.iter().enumerate() {
            let factor = |byte: u32| (factors >> (8 * byte) & 0xff) as i32 as f32;
            scales[0][lane] = scale[lane] * factor(0);
            scales[0][lane + 16] = scale[lane + 16] * factor(1);
            minima[lane] = -(minimum[lane] * factor(2));
            minima[lane + 16] = -(minimum[lane + 16] * factor(3));
        }
        if let Some(lines) = block[1..].first_chunk::<QUANTS>() {
            // SAFETY: the set's instructions are there: the caller is compiled for them.
            unsafe { S::unpack_quants(lines, quants) };
        }
    }
}

/// `Q6_K`.
#[inline(always)]
fn with_halves<S: Set>(records: &[Line], out: &mut Unpacked) {
    let (header, blocks) = records.split_at(1);
    let mut scale = [0.0; PANEL];
    // SAFETY: the set's instructions are there: the caller is compiled for them.
    unsafe { S::widen(&header[0], &mut scale) };
    let outs = out.quants.iter_mut().zip(&mut out.scales);
    for (block, (quants, [first, second])) in blocks.chunks_exact(13).zip(outs) {
        for (lane, factors) in block[0].0.iter().enumerate() {
            let factor = |byte: u32| ((factors << (24 - 8 * byte)) as i32 >> 24) as f32;
            first[lane] = scale[lane] * factor(0);
            first[lane + 16] = scale[lane + 16] * factor(1);
            second[lane] = scale[lane] * factor(2);
            second[lane + 16] = scale[lane + 16] * factor(3);
        }
        if let Some(lines) = block[1..].first_chunk::<12>() {
            // SAFETY: the set's instructions are there: the caller is compiled for them.
            unsafe { S::unpack_quants(lines, quants) };
        }
    }
}

/// Instructions to unpack numbers with: the compiler makes no vectors of this part.
trait Set {
    /// Numbers of 4, 5 or 6 bits as bytes; those of 8 bits stay where they are.
    ///
    /// # Safety
    /// The processor must have the instructions.
    unsafe fn unpack_quants<const QUANTS: usize>(lines: &[Line; QUANTS], out: &mut [Line; 16]);

    /// Half precision to single, for every output.
    ///
    /// # Safety
    /// The processor must have the instructions.
    unsafe fn widen(line: &Line, out: &mut [f32; PANEL]);
}

/// Bits above the fourth of a number that takes so many lines.
const fn high_bits(quants: usize) -> usize {
    if quants == 16 { 0 } else { (quants - 8) / 2 }
}

/// Where they are put in a byte.
const fn high_mask(quants: usize) -> u32 {
    0x1010_1010 * ((1 << high_bits(quants)) - 1)
}

/// Line of a step's upper bits, and the shift to its first ones.
const fn high_at(quants: usize, step: usize) -> (usize, u32) {
    let steps = 4 / high_bits(quants);
    (8 + step / steps, (2 * high_bits(quants) * (step % steps)) as u32)
}

struct Portable;

impl Set for Portable {
    unsafe fn widen(line: &Line, out: &mut [f32; PANEL]) {
        for (pair, out) in line.0.iter().zip(out.as_chunks_mut::<2>().0) {
            *out = [single(pair & 0xffff), single(pair >> 16)];
        }
    }

    unsafe fn unpack_quants<const QUANTS: usize>(lines: &[Line; QUANTS], out: &mut [Line; 16]) {
        if QUANTS == 16 {
            return;
        }
        for step in 0..8 {
            for lane in 0..16 {
                let low = lines[step].0[lane];
                let mut pair = [low & 0x0f0f_0f0f, low >> 4 & 0x0f0f_0f0f];
                if QUANTS > 8 {
                    let (line, shift) = high_at(QUANTS, step);
                    let bits = lines[line].0[lane] >> shift;
                    pair[0] |= bits << 4 & high_mask(QUANTS);
                    pair[1] |= bits << (4 - high_bits(QUANTS)) & high_mask(QUANTS);
                }
                out[2 * step].0[lane] = pair[0];
                out[2 * step + 1].0[lane] = pair[1];
            }
        }
    }
}

/// The same in vectors.
#[cfg(target_arch = "x86_64")]
macro_rules! vectors {
    ($set:ident, $features:literal, $vector:ident, $half:ident, $widen:ident, $store_singles:ident, $parts:literal, $load:ident, $store:ident, $splat:ident,
     $and:ident, $or:ident, $left:ident, $right:ident) => {
        struct $set;

        impl Set for $set {
            // Small scales are subnormal numbers: they cost this instruction nothing, but arithmetic
            // a hundred cycles and more.
            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn widen(line: &Line, out: &mut [f32; PANEL]) {
                use std::arch::x86_64::*;
                let (from, to) = ((&raw const *line).cast::<$half>(), out.as_mut_ptr());
                for part in 0..2 * $parts {
                    // SAFETY: a line has so many parts, and `out` as many vectors.
                    unsafe {
                        let half = from.wrapping_add(part).read_unaligned();
                        $store_singles(to.wrapping_add(part * PANEL / (2 * $parts)), $widen(half));
                    }
                }
            }

            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn unpack_quants<const QUANTS: usize>(lines: &[Line; QUANTS], out: &mut [Line; 16]) {
                use std::arch::x86_64::*;
                if QUANTS == 16 {
                    return;
                }
                let (low, high) = ($splat(0x0f0f_0f0f), $splat(high_mask(QUANTS) as i32));
                for step in 0..8 {
                    for part in 0..$parts {
                        let load = |line: usize| {
                            let from = (&raw const lines[line]).cast::<$vector>();
                            // SAFETY: a line has so many parts.
                            unsafe { $load(from.wrapping_add(part).cast()) }
                        };
                        let pair = load(step);
                        let mut pair = [$and(pair, low), $and($right(pair, $splat(4)), low)];
                        if QUANTS > 8 {
                            let (line, shift) = high_at(QUANTS, step);
                            let bits = $right(load(line), $splat(shift as i32));
                            let second = 4 - high_bits(QUANTS) as i32;
                            pair[0] = $or(pair[0], $and($left(bits, $splat(4)), high));
                            pair[1] = $or(pair[1], $and($left(bits, $splat(second)), high));
                        }
                        for (pair, out) in pair.into_iter().zip(&mut out[2 * step..]) {
                            let to = (&raw mut *out).cast::<$vector>();
                            // SAFETY: likewise.
                            unsafe { $store(to.wrapping_add(part).cast(), pair) };
                        }
                    }
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
vectors!(
    Avx2,
    "avx2,f16c",
    __m256i,
    __m128i,
    _mm256_cvtph_ps,
    _mm256_storeu_ps,
    2,
    _mm256_load_si256,
    _mm256_store_si256,
    _mm256_set1_epi32,
    _mm256_and_si256,
    _mm256_or_si256,
    _mm256_sllv_epi32,
    _mm256_srlv_epi32
);
#[cfg(target_arch = "x86_64")]
vectors!(
    Avx512,
    "avx512f",
    __m512i,
    __m256i,
    _mm512_cvtph_ps,
    _mm512_storeu_ps,
    1,
    _mm512_load_si512,
    _mm512_store_si512,
    _mm512_set1_epi32,
    _mm512_and_si512,
    _mm512_or_si512,
    _mm512_sllv_epi32,
    _mm512_srlv_epi32
);

/// Half precision to single without branches: the exponent is shifted by a product, which is exact
/// for subnormal numbers too; infinities and what is not a number get the largest exponent.
#[inline(always)]
pub fn single(half: u32) -> f32 {
    let magnitude = (half & 0x7fff) << 13;
    let scaled = (f32::from_bits(magnitude) * f32::from_bits(0x7780_0000)).to_bits();
    let bits = if magnitude >= 0x0f80_0000 { magnitude | 0x7f80_0000 } else { scaled };
    f32::from_bits(bits | (half & 0x8000) << 16)
}
