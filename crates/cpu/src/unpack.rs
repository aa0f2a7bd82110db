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
    unpack_here(layout, records, out);
}

/// # Safety
/// Needs AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
pub unsafe fn unpack_avx2(layout: &Layout, records: &[Line], out: &mut Unpacked) {
    unpack_here(layout, records, out);
}

/// # Safety
/// Needs AVX-512 F, BW, DQ and VL.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub unsafe fn unpack_avx512(layout: &Layout, records: &[Line], out: &mut Unpacked) {
    unpack_here(layout, records, out);
}

#[inline(always)]
fn unpack_here(layout: &Layout, records: &[Line], out: &mut Unpacked) {
    match (layout.quant_lines, layout.factor_lines, layout.header_lines) {
        (8, 0, 1) => plain::<8, 1>(records, out),
        (8, 0, 2) => plain::<8, 2>(records, out),
        (10, 0, 1) => plain::<10, 1>(records, out),
        (10, 0, 2) => plain::<10, 2>(records, out),
        (16, 0, 1) => plain::<16, 1>(records, out),
        (8, 1, 2) => with_minima::<8>(records, out),
        (10, 1, 2) => with_minima::<10>(records, out),
        (12, 1, 1) => with_halves(records, out),
        other => unreachable!("no type has the layout {other:?}"),
    }
}

/// Types of 32 weights: a scale and perhaps a minimum in front of the numbers.
#[inline(always)]
fn plain<const QUANTS: usize, const HEADER: usize>(records: &[Line], out: &mut Unpacked) {
    let records = records.chunks_exact(HEADER + QUANTS);
    let outs = out.quants.iter_mut().zip(&mut out.scales).zip(&mut out.minima);
    for (record, ((quants, scales), minima)) in records.zip(outs) {
        widen(&record[0], &mut scales[0]);
        if HEADER == 2 {
            widen(&record[1], minima);
        }
        if let Some(lines) = record[HEADER..].first_chunk::<QUANTS>() {
            unpack_quants(lines, quants);
        }
    }
}

/// `Q4_K`, `Q5_K`.
#[inline(always)]
fn with_minima<const QUANTS: usize>(records: &[Line], out: &mut Unpacked) {
    let (header, blocks) = records.split_at(2);
    let (mut scale, mut minimum) = ([0.0; PANEL], [0.0; PANEL]);
    widen(&header[0], &mut scale);
    widen(&header[1], &mut minimum);
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
            unpack_quants(lines, quants);
        }
    }
}

/// `Q6_K`.
#[inline(always)]
fn with_halves(records: &[Line], out: &mut Unpacked) {
    let (header, blocks) = records.split_at(1);
    let mut scale = [0.0; PANEL];
    widen(&header[0], &mut scale);
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
            unpack_quants(lines, quants);
        }
    }
}

/// Numbers of 4, 5 or 6 bits as bytes; those of 8 bits stay where they are.
#[inline(always)]
fn unpack_quants<const QUANTS: usize>(lines: &[Line; QUANTS], out: &mut [Line; 16]) {
    if QUANTS == 16 {
        return;
    }
    let high = (QUANTS - 8) / 2;
    let mask = 0x1010_1010 * ((1 << high) - 1);
    for (step, low) in lines[..8].iter().enumerate() {
        for lane in 0..16 {
            let mut pair = [low.0[lane] & 0x0f0f_0f0f, low.0[lane] >> 4 & 0x0f0f_0f0f];
            if high > 0 {
                let steps = 4 / high;
                let bits = lines[8 + step / steps].0[lane] >> (2 * high * (step % steps));
                pair[0] |= bits << 4 & mask;
                pair[1] |= bits << (4 - high) & mask;
            }
            out[2 * step].0[lane] = pair[0];
            out[2 * step + 1].0[lane] = pair[1];
        }
    }
}

/// Half precision to single, for both outputs of every lane.
#[inline(always)]
fn widen(line: &Line, out: &mut [f32; PANEL]) {
    for (lane, pair) in line.0.iter().enumerate() {
        out[lane] = single(pair & 0xffff);
        out[lane + 16] = single(pair >> 16);
    }
}

/// Half precision to single without branches: the exponent is shifted by a product, which is exact
/// for subnormal numbers too; infinities and what is not a number get the largest exponent.
#[inline(always)]
pub fn single(half: u32) -> f32 {
    let magnitude = (half & 0x7fff) << 13;
    let scaled = (f32::from_bits(magnitude) * f32::from_bits(0x7780_0000)).to_bits();
    let bits = if magnitude >= 0x0f80_0000 { magnitude | 0x7f80_0000 } else { scaled };
    f32::from_bits(bits | (half & 0x8000) << 16)
}
