//! Kernels with AVX2, with and without AVX-VNNI: 16 outputs by up to 4 rows at a time.
//!
//! Without VNNI, `vpmaddubsw` sums pairs of products of an unsigned and a signed number in 16 bits,
//! with saturation. Numbers of up to 6 bits stay below it (63 * 127 * 2 = 16,002). Those of 8 bits
//! are taken as signed, and their sign moves to the activation: 128 * 127 * 2 = 32,512.

use super::{FloatTile, Kernels, RunFloatTile, RunTile, Tile, by_rows, float, scheme};
use crate::panel::Line;
use crate::unpack::unpack_avx2;
use std::arch::x86_64::{
    __m128i, __m256, __m256i, _mm_load_si128, _mm256_abs_epi8, _mm256_add_epi32, _mm256_add_ps,
    _mm256_and_si256, _mm256_castsi256_ps, _mm256_cvtepi32_ps, _mm256_cvtph_ps, _mm256_dpbusd_avx_epi32,
    _mm256_fmadd_ps, _mm256_load_ps, _mm256_load_si256, _mm256_madd_epi16, _mm256_maddubs_epi16,
    _mm256_mul_ps, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_ps,
    _mm256_sign_epi8, _mm256_slli_epi32, _mm256_store_ps, _mm256_xor_si256,
};

pub static KERNELS: Kernels = Kernels {
    unpack: unpack_avx2,
    tiles: [
        by_rows!(tile_avx2, scheme::OFFSET; 1 2 3 4) as &[RunTile],
        by_rows!(tile_avx2, scheme::HALF_OFFSET; 1 2 3 4),
        by_rows!(tile_avx2, scheme::MINIMUM; 1 2 3 4),
    ],
    float_tiles: FLOAT_TILES,
};

pub static VNNI_KERNELS: Kernels = Kernels {
    unpack: unpack_avx2,
    tiles: [
        by_rows!(tile_vnni, scheme::OFFSET; 1 2 3 4) as &[RunTile],
        by_rows!(tile_vnni, scheme::HALF_OFFSET; 1 2 3 4),
        by_rows!(tile_vnni, scheme::MINIMUM; 1 2 3 4),
    ],
    float_tiles: FLOAT_TILES,
};

const FLOAT_TILES: [&[RunFloatTile]; 3] = [
    by_rows!(float_tile, float::F32; 1 2 3 4 5 6) as &[RunFloatTile],
    by_rows!(float_tile, float::F16; 1 2 3 4 5 6),
    by_rows!(float_tile, float::BF16; 1 2 3 4 5 6),
];

/// Unsigned weights by signed activations, in 32 bits.
#[inline]
#[target_feature(enable = "avx2,avxvnni")]
fn dot_vnni(sum: __m256i, weights: __m256i, x: __m256i) -> __m256i {
    _mm256_dpbusd_avx_epi32(sum, weights, x)
}

/// Likewise for weights of up to 6 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn dot_unsigned(sum: __m256i, weights: __m256i, x: __m256i) -> __m256i {
    let pairs = _mm256_maddubs_epi16(weights, x);
    _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
}

/// Likewise for weights with an offset of 128, which is taken away first.
#[inline]
#[target_feature(enable = "avx2")]
fn dot_signed(sum: __m256i, weights: __m256i, x: __m256i) -> __m256i {
    let weights = _mm256_xor_si256(weights, _mm256_set1_epi8(-128));
    dot_unsigned(sum, _mm256_abs_epi8(weights), _mm256_sign_epi8(x, weights))
}

/// A kernel of integers with one of the functions above.
macro_rules! tile {
    ($name:ident, $features:literal, $dot:ident, offset: $offset:literal) => {
        /// # Safety
        /// Needs the instructions named, and what [`RunTile`] asks for, for `ROWS` rows.
        #[target_feature(enable = $features)]
        unsafe fn $name<const ROWS: usize, const SCHEME: u8>(tile: &Tile) {
            for side in 0..2 {
                for block in 0..tile.blocks {
                    let at = block * tile.activations_stride;
                    // SAFETY: the caller's tile has so many blocks and rows; a block has 16 lines.
                    unsafe {
                        let quants = tile.quants.add(block * tile.quants_stride + side);
                        let activations = tile.activations.add(at).cast::<i8>();
                        let halves = if SCHEME == scheme::HALF_OFFSET { 2 } else { 1 };
                        for half in 0..halves {
                            let mut integers = start::<ROWS, SCHEME, $offset>(tile, at, half);
                            let steps = 8 / halves;
                            for step in half * steps..(half + 1) * steps {
                                let line = quants.add(2 * step).cast::<__m256i>();
                                let (left, right) = (_mm256_load_si256(line), _mm256_load_si256(line.add(1)));
                                for (row, integers) in integers.iter_mut().enumerate() {
                                    let x = activations.add(row * 32 + step * 4).cast::<i32>();
                                    let x = _mm256_set1_epi32(x.read_unaligned());
                                    integers[0] = $dot(integers[0], left, x);
                                    integers[1] = $dot(integers[1], right, x);
                                }
                            }
                            add_scaled::<ROWS>(tile, block, side, half, &integers);
                        }
                        if SCHEME == scheme::MINIMUM {
                            add_minima::<ROWS>(tile, block, side);
                        }
                    }
                }
            }
        }
    };
}

tile!(tile_vnni, "avx2,fma,avxvnni", dot_vnni, offset: true);
tile!(tile_unsigned, "avx2,fma", dot_unsigned, offset: true);
tile!(tile_signed, "avx2,fma", dot_signed, offset: false);

/// # Safety
/// Needs AVX2 and FMA, and what [`RunTile`] asks for, for `ROWS` rows.
#[target_feature(enable = "avx2,fma")]
unsafe fn tile_avx2<const ROWS: usize, const SCHEME: u8>(tile: &Tile) {
    // SAFETY: what this function's caller promises.
    unsafe {
        if SCHEME == scheme::OFFSET && tile.offset_shift == 7 {
            tile_signed::<ROWS, SCHEME>(tile);
        } else {
            tile_unsigned::<ROWS, SCHEME>(tile);
        }
    }
}

/// What integers start from: minus the offset times the sum of the activations.
///
/// # Safety
/// Needs AVX2, and `ROWS` rows from `at` on.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn start<const ROWS: usize, const SCHEME: u8, const OFFSET: bool>(
    tile: &Tile,
    at: usize,
    half: usize,
) -> [[__m256i; 2]; ROWS] {
    let mut integers = [[_mm256_set1_epi32(0); 2]; ROWS];
    if SCHEME != scheme::MINIMUM && OFFSET {
        let index = if SCHEME == scheme::HALF_OFFSET { 1 + half } else { 0 };
        for (row, integers) in integers.iter_mut().enumerate() {
            // SAFETY: row < ROWS.
            let sum = unsafe { (*tile.factors.add(at + row)).minus_sums[index] };
            *integers = [_mm256_set1_epi32(sum << tile.offset_shift); 2];
        }
    }
    integers
}

/// Adds a block's integers to the sums of 16 outputs, which stay in the first-level cache.
///
/// # Safety
/// Needs AVX2 and FMA, and such a block and rows in the tile.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn add_scaled<const ROWS: usize>(
    tile: &Tile,
    block: usize,
    side: usize,
    half: usize,
    integers: &[[__m256i; 2]; ROWS],
) {
    // SAFETY: the caller's tile has the block and the rows; all is aligned to 64 bytes.
    unsafe {
        let scales = (*tile.scales.add(block))[half].as_ptr().add(16 * side);
        let scales = [_mm256_load_ps(scales), _mm256_load_ps(scales.add(8))];
        for (row, integers) in integers.iter().enumerate() {
            let factor = _mm256_set1_ps((*tile.factors.add(block * tile.activations_stride + row)).scale);
            let sums = tile.sums.add(row).cast::<f32>().add(16 * side);
            for (index, (integer, scale)) in integers.iter().zip(&scales).enumerate() {
                let (sum, product) = (sums.add(8 * index), _mm256_mul_ps(*scale, factor));
                let total = _mm256_fmadd_ps(_mm256_cvtepi32_ps(*integer), product, _mm256_load_ps(sum));
                _mm256_store_ps(sum, total);
            }
        }
    }
}

/// # Safety
/// Needs AVX2 and FMA, and such a block and rows in the tile.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn add_minima<const ROWS: usize>(tile: &Tile, block: usize, side: usize) {
    // SAFETY: the caller's tile has the block and the rows; all is aligned to 64 bytes.
    unsafe {
        let minima = tile.minima.add(block).cast::<f32>().add(16 * side);
        let minima = [_mm256_load_ps(minima), _mm256_load_ps(minima.add(8))];
        for row in 0..ROWS {
            let factors = tile.factors.add(block * tile.activations_stride + row);
            let factor = _mm256_set1_ps((*factors).scaled_sum);
            let sums = tile.sums.add(row).cast::<f32>().add(16 * side);
            for (index, minimum) in minima.iter().enumerate() {
                let sum = sums.add(8 * index);
                _mm256_store_ps(sum, _mm256_fmadd_ps(*minimum, factor, _mm256_load_ps(sum)));
            }
        }
    }
}

/// # Safety
/// Needs AVX2, FMA and F16C, and what [`RunFloatTile`] asks for, for `ROWS` rows.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn float_tile<const ROWS: usize, const KIND: u8>(tile: &FloatTile) {
    for side in 0..2 {
        let mut sums = [[_mm256_setzero_ps(); 2]; ROWS];
        let (mut weights, mut activations) = (tile.weights, tile.activations);
        for _ in 0..tile.depth {
            // SAFETY: the caller's tile has so many inputs and rows; both pointers move by one input.
            unsafe {
                let [left, right] = widen::<KIND>(weights, side);
                for (row, sums) in sums.iter_mut().enumerate() {
                    let x = _mm256_set1_ps(*activations.add(row));
                    sums[0] = _mm256_fmadd_ps(x, left, sums[0]);
                    sums[1] = _mm256_fmadd_ps(x, right, sums[1]);
                }
                weights = weights.add(if KIND == float::F32 { 2 } else { 1 });
                activations = activations.add(tile.activations_stride);
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            // SAFETY: row < ROWS; `Sums` is aligned to 64 bytes.
            unsafe {
                let out = tile.sums.add(row).cast::<f32>().add(16 * side);
                _mm256_store_ps(out, _mm256_add_ps(_mm256_load_ps(out), sums[0]));
                _mm256_store_ps(out.add(8), _mm256_add_ps(_mm256_load_ps(out.add(8)), sums[1]));
            }
        }
    }
}

/// One input's weights for 16 outputs, in single precision.
///
/// # Safety
/// Needs AVX2 and F16C, and one line there, two for single precision.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn widen<const KIND: u8>(lines: *const Line, side: usize) -> [__m256; 2] {
    // SAFETY: the caller's lines, which are aligned to 64 bytes.
    unsafe {
        match KIND {
            float::F32 => {
                let line = lines.add(side).cast::<f32>();
                [_mm256_load_ps(line), _mm256_load_ps(line.add(8))]
            }
            float::F16 => {
                let halves = lines.cast::<__m128i>().add(2 * side);
                let halves = [_mm_load_si128(halves), _mm_load_si128(halves.add(1))];
                [_mm256_cvtph_ps(halves[0]), _mm256_cvtph_ps(halves[1])]
            }
            _ => {
                let pairs = lines.cast::<__m256i>();
                let pairs = [_mm256_load_si256(pairs), _mm256_load_si256(pairs.add(1))];
                let upper = _mm256_set1_epi32(0xffff_0000_u32 as i32);
                let mut out = [_mm256_setzero_ps(); 2];
                for (out, pairs) in out.iter_mut().zip(pairs) {
                    *out = _mm256_castsi256_ps(match side {
                        0 => _mm256_slli_epi32::<16>(pairs),
                        _ => _mm256_and_si256(pairs, upper),
                    });
                }
                out
            }
        }
    }
}
