//! Kernels in plain Rust, for any processor, and what the others are compared with.

use super::{FloatTile, Kernels, RunFloatTile, RunTile, Sums, Tile, by_rows, float, scheme};
use crate::activations::Factors;
use crate::block::BLOCK;
use crate::panel::{Line, PANEL};
use crate::unpack::{single, unpack};

pub static KERNELS: Kernels = Kernels {
    unpack,
    tiles: [
        by_rows!(tile, scheme::OFFSET; 1 2 3 4) as &[RunTile],
        by_rows!(tile, scheme::HALF_OFFSET; 1 2 3 4),
        by_rows!(tile, scheme::MINIMUM; 1 2 3 4),
    ],
    float_tiles: [
        by_rows!(float_tile, float::F32; 1 2 3 4) as &[RunFloatTile],
        by_rows!(float_tile, float::F16; 1 2 3 4),
        by_rows!(float_tile, float::BF16; 1 2 3 4),
    ],
};

/// # Safety
/// What [`RunTile`] asks for, for `ROWS` rows.
unsafe fn tile<const ROWS: usize, const SCHEME: u8>(tile: &Tile) {
    for block in 0..tile.blocks {
        // SAFETY: the caller's tile has so many blocks.
        let (quants, scales, minima) = unsafe {
            let quants = tile.quants.add(block * tile.quants_stride).cast::<[Line; 16]>();
            (&*quants, &*tile.scales.add(block), &*tile.minima.add(block))
        };
        for row in 0..ROWS {
            let at = block * tile.activations_stride + row;
            // SAFETY: the caller's tile has so many blocks and rows.
            let (activations, factors, sums) =
                unsafe { (&*tile.activations.add(at), &*tile.factors.add(at), &mut *tile.sums.add(row)) };
            add_block::<SCHEME>(quants, scales, minima, tile.offset_shift, activations, factors, sums);
        }
    }
}

fn add_block<const SCHEME: u8>(
    quants: &[Line; 16],
    scales: &[[f32; PANEL]; 2],
    minima: &[f32; PANEL],
    offset_shift: u32,
    activations: &[i8; BLOCK],
    factors: &Factors,
    sums: &mut Sums,
) {
    let halves = if SCHEME == scheme::HALF_OFFSET { 2 } else { 1 };
    let steps = 8 / halves;
    for (half, scales) in scales.iter().enumerate().take(halves) {
        let start = match SCHEME {
            scheme::OFFSET => factors.minus_sums[0] << offset_shift,
            scheme::HALF_OFFSET => factors.minus_sums[1 + half] << offset_shift,
            _ => 0,
        };
        let mut integers = [start; PANEL];
        for step in half * steps..(half + 1) * steps {
            let x = &activations[4 * step..4 * step + 4];
            for (column, sum) in integers.iter_mut().enumerate() {
                let quants = quants[2 * step + column / 16].0[column % 16].to_le_bytes();
                *sum += quants.iter().zip(x).map(|(q, x)| i32::from(*q) * i32::from(*x)).sum::<i32>();
            }
        }
        for ((sum, integer), scale) in sums.0.iter_mut().zip(integers).zip(scales) {
            *sum = (integer as f32).mul_add(scale * factors.scale, *sum);
        }
    }
    if SCHEME == scheme::MINIMUM {
        for (sum, minimum) in sums.0.iter_mut().zip(minima) {
            *sum = minimum.mul_add(factors.scaled_sum, *sum);
        }
    }
}

/// # Safety
/// What [`RunFloatTile`] asks for, for `ROWS` rows.
unsafe fn float_tile<const ROWS: usize, const KIND: u8>(tile: &FloatTile) {
    let lines = if KIND == float::F32 { 2 } else { 1 };
    let mut sums = [[0.0f32; PANEL]; ROWS];
    for input in 0..tile.depth {
        let mut weights = [0.0; PANEL];
        // SAFETY: the caller's tile has so many inputs.
        let lines = unsafe { std::slice::from_raw_parts(tile.weights.add(input * lines), lines) };
        widen::<KIND>(lines, &mut weights);
        for (row, sums) in sums.iter_mut().enumerate() {
            // SAFETY: the caller's tile has so many inputs and rows.
            let x = unsafe { *tile.activations.add(input * tile.activations_stride + row) };
            for (sum, weight) in sums.iter_mut().zip(&weights) {
                *sum = x.mul_add(*weight, *sum);
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        // SAFETY: the caller's tile has so many rows.
        let out = unsafe { &mut *tile.sums.add(row) };
        out.0.iter_mut().zip(sums).for_each(|(out, sum)| *out += sum);
    }
}

/// One input's weights in single precision.
fn widen<const KIND: u8>(lines: &[Line], out: &mut [f32; PANEL]) {
    for (column, out) in out.iter_mut().enumerate() {
        *out = match KIND {
            float::F32 => f32::from_bits(lines[column / 16].0[column % 16]),
            float::F16 => single(lines[0].0[column / 2] >> (16 * (column % 2)) & 0xffff),
            _ => f32::from_bits(lines[0].0[column % 16] >> (16 * (column / 16)) << 16),
        };
    }
}
