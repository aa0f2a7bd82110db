//! The innermost loop of a matrix product: a small tile of the output, kept in registers.
//!
//! `a` is a panel of `rows` by `depth` numbers, depth by depth; `b` one of `depth` by `columns`,
//! likewise; the tile receives their product. Which tile is used is decided once, by what the
//! processor has. Every element is summed in the order of the depth, whatever tile it falls into,
//! so a result never depends on the size of the batch.

use std::sync::LazyLock;

/// Largest tile of all kernels, in numbers.
pub const MAX_TILE: usize = 14 * 32;

/// Kernels for tiles of one width and every height up to a largest.
#[derive(Clone, Copy)]
pub struct Kernel {
    /// Columns of a tile.
    pub columns: usize,
    /// For tiles of 1, 2, 3 … rows.
    by_rows: &'static [Run],
}

/// # Safety
/// The processor must have the instructions that the function is compiled for.
type Run = unsafe fn(depth: usize, a: &[f32], b: &[f32], tile: &mut [f32]);

static BEST: LazyLock<Kernel> = LazyLock::new(|| {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            return x86::AVX512;
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return x86::AVX2;
        }
    }
    PORTABLE
});

const PORTABLE: Kernel = Kernel {
    columns: 8,
    by_rows: &[tile_portable::<1>, tile_portable::<2>, tile_portable::<3>, tile_portable::<4>],
};

impl Kernel {
    /// The best one for this processor.
    pub fn best() -> Self {
        *BEST
    }

    /// Rows of the highest tile.
    pub fn max_rows(&self) -> usize {
        self.by_rows.len()
    }

    /// `tile = a · b` for a tile of so many rows, written row by row.
    pub fn run(&self, rows: usize, depth: usize, a: &[f32], b: &[f32], tile: &mut [f32; MAX_TILE]) {
        assert!(a.len() >= depth * rows && b.len() >= depth * self.columns);
        // SAFETY: `BEST` holds functions only where their instructions were detected; the lengths
        // that they rely on have just been checked.
        unsafe { (self.by_rows[rows - 1])(depth, a, b, tile) }
    }
}

fn tile_portable<const ROWS: usize>(depth: usize, a: &[f32], b: &[f32], tile: &mut [f32]) {
    let mut sums = [[0.0f32; 8]; ROWS];
    for (a, b) in a.chunks_exact(ROWS).zip(b.chunks_exact(8)).take(depth) {
        for (sums, a) in sums.iter_mut().zip(a) {
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum += a * b;
            }
        }
    }
    for (out, sums) in tile.chunks_exact_mut(8).zip(&sums) {
        out.copy_from_slice(sums);
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Kernel;
    use std::arch::x86_64::{
        _mm256_broadcast_ss, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_setzero_ps, _mm256_storeu_ps,
        _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
    };

    pub const AVX512: Kernel = Kernel {
        columns: 32,
        by_rows: &[
            tile_avx512::<1>,
            tile_avx512::<2>,
            tile_avx512::<3>,
            tile_avx512::<4>,
            tile_avx512::<5>,
            tile_avx512::<6>,
            tile_avx512::<7>,
            tile_avx512::<8>,
            tile_avx512::<9>,
            tile_avx512::<10>,
            tile_avx512::<11>,
            tile_avx512::<12>,
            tile_avx512::<13>,
            tile_avx512::<14>,
        ],
    };

    pub const AVX2: Kernel = Kernel {
        columns: 16,
        by_rows: &[
            tile_avx2::<1>,
            tile_avx2::<2>,
            tile_avx2::<3>,
            tile_avx2::<4>,
            tile_avx2::<5>,
            tile_avx2::<6>,
        ],
    };

    /// # Safety
    /// Needs AVX-512F, `a.len() >= ROWS * depth`, `b.len() >= 32 * depth`, `tile.len() >= ROWS * 32`.
    #[target_feature(enable = "avx512f")]
    unsafe fn tile_avx512<const ROWS: usize>(depth: usize, a: &[f32], b: &[f32], tile: &mut [f32]) {
        let (mut a, mut b) = (a.as_ptr(), b.as_ptr());
        let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
        for _ in 0..depth {
            // SAFETY: the caller's lengths; both pointers move by one depth a turn.
            unsafe {
                let (left, right) = (_mm512_loadu_ps(b), _mm512_loadu_ps(b.add(16)));
                for (row, sums) in sums.iter_mut().enumerate() {
                    let value = _mm512_set1_ps(*a.add(row));
                    sums[0] = _mm512_fmadd_ps(value, left, sums[0]);
                    sums[1] = _mm512_fmadd_ps(value, right, sums[1]);
                }
                a = a.add(ROWS);
                b = b.add(32);
            }
        }
        let out = tile.as_mut_ptr();
        for (row, sums) in sums.iter().enumerate() {
            // SAFETY: row < ROWS, so the last number written is ROWS * 32 - 1.
            unsafe {
                _mm512_storeu_ps(out.add(row * 32), sums[0]);
                _mm512_storeu_ps(out.add(row * 32 + 16), sums[1]);
            }
        }
    }

    /// # Safety
    /// Needs AVX2 and FMA, `a.len() >= ROWS * depth`, `b.len() >= 16 * depth`, `tile.len() >= ROWS * 16`.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn tile_avx2<const ROWS: usize>(depth: usize, a: &[f32], b: &[f32], tile: &mut [f32]) {
        let (mut a, mut b) = (a.as_ptr(), b.as_ptr());
        let mut sums = [[_mm256_setzero_ps(); 2]; ROWS];
        for _ in 0..depth {
            // SAFETY: the caller's lengths; both pointers move by one depth a turn.
            unsafe {
                let (left, right) = (_mm256_loadu_ps(b), _mm256_loadu_ps(b.add(8)));
                for (row, sums) in sums.iter_mut().enumerate() {
                    let value = _mm256_broadcast_ss(&*a.add(row));
                    sums[0] = _mm256_fmadd_ps(value, left, sums[0]);
                    sums[1] = _mm256_fmadd_ps(value, right, sums[1]);
                }
                a = a.add(ROWS);
                b = b.add(16);
            }
        }
        let out = tile.as_mut_ptr();
        for (row, sums) in sums.iter().enumerate() {
            // SAFETY: row < ROWS, so the last number written is ROWS * 16 - 1.
            unsafe {
                _mm256_storeu_ps(out.add(row * 16), sums[0]);
                _mm256_storeu_ps(out.add(row * 16 + 8), sums[1]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every kernel that this processor can run gives the exact product.
    #[test]
    fn kernels_are_right() {
        let depth = 37;
        let numbers =
            |count: usize| -> Vec<f32> { (0..count).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect() };
        let mut kernels = vec![*BEST, PORTABLE];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            kernels.push(x86::AVX2);
        }
        for kernel in kernels {
            for rows in 1..=kernel.max_rows() {
                let (a, b) = (numbers(depth * rows), numbers(depth * kernel.columns));
                let mut tile = [f32::NAN; MAX_TILE];
                kernel.run(rows, depth, &a, &b, &mut tile);
                for (at, &found) in tile[..rows * kernel.columns].iter().enumerate() {
                    let (row, column) = (at / kernel.columns, at % kernel.columns);
                    let product =
                        |k: usize| f64::from(a[k * rows + row]) * f64::from(b[k * kernel.columns + column]);
                    let exact: f64 = (0..depth).map(product).sum();
                    assert!((exact - f64::from(found)).abs() < 1e-4, "{row} {column}: {exact} {found}");
                }
            }
        }
    }
}
