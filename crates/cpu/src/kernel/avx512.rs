//! Kernels with AVX-512 and VNNI. `vpdpbusd` multiplies four unsigned numbers (weights) with four
//! signed ones (activations) and adds the exact products to 32 bits.

use super::{FloatTile, Kernels, RunFloatTile, RunTile, Sums, Tile, by_rows, float, scheme};
use crate::panel::Line;
use crate::unpack::unpack_avx512;
use std::arch::x86_64::{
    __m256i, __m512, __m512i, _mm256_load_si256, _mm512_add_ps, _mm512_and_si512, _mm512_castsi512_ps,
    _mm512_cvtepi32_ps, _mm512_cvtph_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_load_ps,
    _mm512_load_si512, _mm512_mul_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_slli_epi32, _mm512_sllv_epi32, _mm512_store_ps,
};

pub static KERNELS: Kernels = Kernels {
    unpack: unpack_avx512,
    tiles: [
        by_rows!(tile, scheme::OFFSET; 1 2 3 4 5 6 7) as &[RunTile],
        by_rows!(tile, scheme::HALF_OFFSET; 1 2 3 4 5 6),
        by_rows!(tile, scheme::MINIMUM; 1 2 3 4 5 6 7),
    ],
    float_tiles: [
        by_rows!(float_tile, float::F32; 1 2 3 4 5 6 7 8 9 10 11 12 13 14) as &[RunFloatTile],
        by_rows!(float_tile, float::F16; 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        by_rows!(float_tile, float::BF16; 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
    ],
};

/// # Safety
/// Needs AVX-512 F, BW and VNNI, and what [`RunTile`] asks for, for `ROWS` rows.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn tile<const ROWS: usize, const SCHEME: u8>(tile: &Tile) {
    // SAFETY: the caller's tile has so many rows.
    let mut sums = unsafe { load_sums::<ROWS>(tile.sums) };
    let shift = _mm512_set1_epi32(tile.offset_shift as i32);
    for block in 0..tile.blocks {
        let at = block * tile.activations_stride;
        // SAFETY: the caller's tile has so many blocks and rows, and each half of a block 4 steps.
        unsafe {
            let quants = tile.quants.add(block * tile.quants_stride);
            let activations = tile.activations.add(at).cast::<i8>();
            let factors = tile.factors.add(at);
            let scales = tile.scales.add(block);
            let halves = if SCHEME == scheme::HALF_OFFSET { 2 } else { 1 };
            for half in 0..halves {
                let mut integers = [[_mm512_set1_epi32(0); 2]; ROWS];
                if SCHEME != scheme::MINIMUM {
                    let index = if SCHEME == scheme::HALF_OFFSET { 1 + half } else { 0 };
                    for (row, integers) in integers.iter_mut().enumerate() {
                        let sum = _mm512_set1_epi32((*factors.add(row)).minus_sums[index]);
                        *integers = [_mm512_sllv_epi32(sum, shift); 2];
                    }
                }
                let steps = 8 / halves;
                for step in half * steps..(half + 1) * steps {
                    let left = _mm512_load_si512(quants.add(2 * step).cast());
                    let right = _mm512_load_si512(quants.add(2 * step + 1).cast());
                    for (row, integers) in integers.iter_mut().enumerate() {
                        let x = activations.add(row * 32 + step * 4).cast::<i32>().read_unaligned();
                        let x = _mm512_set1_epi32(x);
                        integers[0] = _mm512_dpbusd_epi32(integers[0], left, x);
                        integers[1] = _mm512_dpbusd_epi32(integers[1], right, x);
                    }
                }
                let scales = (*scales)[half].as_ptr();
                let scales = [_mm512_load_ps(scales), _mm512_load_ps(scales.add(16))];
                for (row, (sums, integers)) in sums.iter_mut().zip(&integers).enumerate() {
                    let factor = _mm512_set1_ps((*factors.add(row)).scale);
                    for ((sum, integer), scale) in sums.iter_mut().zip(integers).zip(&scales) {
                        let product = _mm512_mul_ps(*scale, factor);
                        *sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(*integer), product, *sum);
                    }
                }
            }
            if SCHEME == scheme::MINIMUM {
                let minima = tile.minima.add(block).cast::<f32>();
                let minima = [_mm512_load_ps(minima), _mm512_load_ps(minima.add(16))];
                for (row, sums) in sums.iter_mut().enumerate() {
                    let factor = _mm512_set1_ps((*factors.add(row)).scaled_sum);
                    for (sum, minimum) in sums.iter_mut().zip(&minima) {
                        *sum = _mm512_fmadd_ps(*minimum, factor, *sum);
                    }
                }
            }
        }
    }
    // SAFETY: the caller's tile has so many rows.
    unsafe { store_sums(&sums, tile.sums) };
}

/// # Safety
/// Needs AVX-512F and `ROWS` sums there.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load_sums<const ROWS: usize>(from: *const Sums) -> [[__m512; 2]; ROWS] {
    let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
    for (row, sums) in sums.iter_mut().enumerate() {
        // SAFETY: row < ROWS; `Sums` is aligned to 64 bytes.
        unsafe {
            let from = from.add(row).cast::<f32>();
            *sums = [_mm512_load_ps(from), _mm512_load_ps(from.add(16))];
        }
    }
    sums
}

/// # Safety
/// Needs AVX-512F and `ROWS` sums there.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn store_sums<const ROWS: usize>(sums: &[[__m512; 2]; ROWS], to: *mut Sums) {
    for (row, sums) in sums.iter().enumerate() {
        // SAFETY: row < ROWS; `Sums` is aligned to 64 bytes.
        unsafe {
            let to = to.add(row).cast::<f32>();
            _mm512_store_ps(to, sums[0]);
            _mm512_store_ps(to.add(16), sums[1]);
        }
    }
}

/// # Safety
/// Needs AVX-512F, and what [`RunFloatTile`] asks for, for `ROWS` rows.
#[target_feature(enable = "avx512f")]
unsafe fn float_tile<const ROWS: usize, const KIND: u8>(tile: &FloatTile) {
    let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
    let (mut weights, mut activations) = (tile.weights, tile.activations);
    for _ in 0..tile.depth {
        // SAFETY: the caller's tile has so many inputs and rows; both pointers move by one input.
        unsafe {
            let [left, right] = widen::<KIND>(weights);
            for (row, sums) in sums.iter_mut().enumerate() {
                let x = _mm512_set1_ps(*activations.add(row));
                sums[0] = _mm512_fmadd_ps(x, left, sums[0]);
                sums[1] = _mm512_fmadd_ps(x, right, sums[1]);
            }
            weights = weights.add(if KIND == float::F32 { 2 } else { 1 });
            activations = activations.add(tile.activations_stride);
        }
    }
    // SAFETY: the caller's tile has so many rows.
    unsafe {
        let mut totals = load_sums::<ROWS>(tile.sums);
        for (totals, sums) in totals.iter_mut().zip(&sums) {
            *totals = [_mm512_add_ps(totals[0], sums[0]), _mm512_add_ps(totals[1], sums[1])];
        }
        store_sums(&totals, tile.sums);
    }
}

/// One input's weights in single precision.
///
/// # Safety
/// Needs AVX-512F and one line there, two for single precision.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn widen<const KIND: u8>(lines: *const Line) -> [__m512; 2] {
    // SAFETY: the caller's lines, which are aligned to 64 bytes.
    unsafe {
        match KIND {
            float::F32 => [_mm512_load_ps(lines.cast()), _mm512_load_ps(lines.add(1).cast())],
            float::F16 => {
                let halves = lines.cast::<__m256i>();
                let halves = [_mm256_load_si256(halves), _mm256_load_si256(halves.add(1))];
                [_mm512_cvtph_ps(halves[0]), _mm512_cvtph_ps(halves[1])]
            }
            _ => {
                let pairs: __m512i = _mm512_load_si512(lines.cast());
                let upper = _mm512_set1_epi32(0xffff_0000_u32 as i32);
                let pairs = [_mm512_slli_epi32::<16>(pairs), _mm512_and_si512(pairs, upper)];
                [_mm512_castsi512_ps(pairs[0]), _mm512_castsi512_ps(pairs[1])]
            }
        }
    }
}
