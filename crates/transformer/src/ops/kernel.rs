//! The innermost loop of a matrix product: a small tile of the output, kept in registers.
//!
//! `a` is a panel of `rows` by `depth` numbers, depth by depth; `b` one of `depth` by `columns`,
//! likewise; the tile receives their product. Which tile is used is decided once, by what the
//! processor has. Every element is summed in the order of the depth, whatever tile it falls into,
//! so a result never depends on the size of the batch.

use std::sync::LazyLock;

/// Largest tile of all kernels, in numbers.
pub const MAX_TILE: usize = 14 * 32;

/// A kernel for tiles of one size.
#[derive(Clone, Copy)]
pub struct Kernel {
    /// Rows of the tile.
    pub rows: usize,
    /// Columns of the tile.
    pub columns: usize,
    run: Run,
}

/// # Safety
/// The processor must have the instructions that the function is compiled for.
type Run = unsafe fn(depth: usize, a: &[f32], b: &[f32], tile: &mut [f32]);

static BEST: LazyLock<Kernel> = LazyLock::new(|| {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            return Kernel { rows: 14, columns: 32, run: x86::tile_avx512 };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return Kernel { rows: 6, columns: 16, run: x86::tile_avx2 };
        }
    }
    Kernel { rows: 4, columns: 8, run: tile_portable }
});

impl Kernel {
    /// The best one for this processor.
    pub fn best() -> Self {
        *BEST
    }

    /// `tile = a · b`, the tile row by row.
    pub fn run(&self, depth: usize, a: &[f32], b: &[f32], tile: &mut [f32; MAX_TILE]) {
        assert!(a.len() >= depth * self.rows && b.len() >= depth * self.columns);
        // SAFETY: `BEST` holds a function only where its instructions were detected; the lengths
        // that it relies on have just been checked.
        unsafe { (self.run)(depth, a, b, tile) }
    }
}

fn tile_portable(depth: usize, a: &[f32], b: &[f32], tile: &mut [f32]) {
    let mut sums = [[0.0f32; 8]; 4];
    for (a, b) in a.chunks_exact(4).zip(b.chunks_exact(8)).take(depth) {
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
    use std::arch::x86_64::{
        _mm256_broadcast_ss, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_setzero_ps, _mm256_storeu_ps,
        _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
    };

    /// # Safety
    /// Needs AVX-512F, `a.len() >= 14 * depth`, `b.len() >= 32 * depth`, `tile.len() >= 14 * 32`.
    #[target_feature(enable = "avx512f")]
    pub unsafe fn tile_avx512(depth: usize, a: &[f32], b: &[f32], tile: &mut [f32]) {
        let (mut a, mut b) = (a.as_ptr(), b.as_ptr());
        let mut sums = [[_mm512_setzero_ps(); 2]; 14];
        for _ in 0..depth {
            // SAFETY: the caller's lengths; both pointers move by one depth a turn.
            unsafe {
                let (left, right) = (_mm512_loadu_ps(b), _mm512_loadu_ps(b.add(16)));
                for (row, sums) in sums.iter_mut().enumerate() {
                    let value = _mm512_set1_ps(*a.add(row));
                    sums[0] = _mm512_fmadd_ps(value, left, sums[0]);
                    sums[1] = _mm512_fmadd_ps(value, right, sums[1]);
                }
                a = a.add(14);
                b = b.add(32);
            }
        }
        let out = tile.as_mut_ptr();
        for (row, sums) in sums.iter().enumerate() {
            // SAFETY: row < 14, so the last number written is 14 * 32 - 1.
            unsafe {
                _mm512_storeu_ps(out.add(row * 32), sums[0]);
                _mm512_storeu_ps(out.add(row * 32 + 16), sums[1]);
            }
        }
    }

    /// # Safety
    /// Needs AVX2 and FMA, `a.len() >= 6 * depth`, `b.len() >= 16 * depth`, `tile.len() >= 6 * 16`.
    #[target_feature(enable = "avx2,fma")]
    pub unsafe fn tile_avx2(depth: usize, a: &[f32], b: &[f32], tile: &mut [f32]) {
        let (mut a, mut b) = (a.as_ptr(), b.as_ptr());
        let mut sums = [[_mm256_setzero_ps(); 2]; 6];
        for _ in 0..depth {
            // SAFETY: the caller's lengths; both pointers move by one depth a turn.
            unsafe {
                let (left, right) = (_mm256_loadu_ps(b), _mm256_loadu_ps(b.add(8)));
                for (row, sums) in sums.iter_mut().enumerate() {
                    let value = _mm256_broadcast_ss(&*a.add(row));
                    sums[0] = _mm256_fmadd_ps(value, left, sums[0]);
                    sums[1] = _mm256_fmadd_ps(value, right, sums[1]);
                }
                a = a.add(6);
                b = b.add(16);
            }
        }
        let out = tile.as_mut_ptr();
        for (row, sums) in sums.iter().enumerate() {
            // SAFETY: row < 6, so the last number written is 6 * 16 - 1.
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

    /// Every kernel that this processor can run gives the portable product.
    #[test]
    fn kernels_agree() {
        let depth = 37;
        let numbers =
            |count: usize| -> Vec<f32> { (0..count).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect() };
        let mut kernels = vec![*BEST, Kernel { rows: 4, columns: 8, run: tile_portable }];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            kernels.push(Kernel { rows: 6, columns: 16, run: x86::tile_avx2 });
        }
        for kernel in kernels {
            let (a, b) = (numbers(depth * kernel.rows), numbers(depth * kernel.columns));
            let mut tile = [f32::NAN; MAX_TILE];
            kernel.run(depth, &a, &b, &mut tile);
            for row in 0..kernel.rows {
                for column in 0..kernel.columns {
                    let product = |k: usize| {
                        f64::from(a[k * kernel.rows + row]) * f64::from(b[k * kernel.columns + column])
                    };
                    let exact: f64 = (0..depth).map(product).sum();
                    let found = f64::from(tile[row * kernel.columns + column]);
                    assert!((exact - found).abs() < 1e-4, "{row} {column}: {exact} {found}");
                }
            }
        }
    }
}
