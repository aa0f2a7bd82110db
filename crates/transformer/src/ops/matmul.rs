//! Matrix products.
//!
//! As in BLIS (Van Zee and van de Geijn, 2015): the right matrix is packed into panels of columns,
//! the left one panel of rows at a time, and a [kernel](super::kernel) multiplies panels. Weights
//! that stay the same over many products are packed once ([`Packed`]). Each output element is
//! summed in the same order whatever the split over threads and whatever the other rows are, so
//! results depend neither on the batch nor on the number of threads.
//!
//! Written here, rather than taken from a library, for these two properties: packed weights make
//! the small products of decoding fast, and a sample must not depend on its batch. `bench/`
//! compares.

use super::kernel::{Kernel, MAX_TILE};
use multiversion::multiversion;
use rayon::prelude::*;
use std::cell::RefCell;

/// Depth of a panel: a panel of columns fits the first-level cache.
const DEPTH: usize = 256;
/// Panels of rows that are packed at once: they fit the second-level cache.
const PANELS: usize = 8;

thread_local! {
    /// Panels of the left matrix, and of the right one where it is not packed already.
    static SCRATCH: RefCell<(Vec<f32>, Packed)> = const { RefCell::new((Vec::new(), Packed::EMPTY)) };
}
/// A strided matrix inside a slice.
#[derive(Clone, Copy)]
pub struct View<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> View<'a> {
    /// A row-major matrix `[rows, columns]` whose rows lie `row_stride` apart.
    pub fn strided(data: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        check(data.len(), rows, columns, row_stride, 1);
        View { data, rows, columns, row_stride, column_stride: 1 }
    }

    /// A row-major matrix `[rows, columns]` without gaps.
    pub fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::strided(data, rows, columns, columns)
    }

    /// The same numbers as `[columns, rows]`.
    pub fn transposed(self) -> Self {
        View {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    fn row_range(self, first: usize, rows: usize) -> Self {
        let start = (first * self.row_stride).min(self.data.len());
        View { data: &self.data[start..], rows, ..self }
    }
}

fn check(length: usize, rows: usize, columns: usize, row_stride: usize, column_stride: usize) {
    if rows > 0 && columns > 0 {
        let last = (rows - 1) * row_stride + (columns - 1) * column_stride;
        assert!(last < length, "matrix of {rows} x {columns} outside of its {length} numbers");
    }
}

/// A right matrix in panels of columns, ready for products.
#[derive(Clone, Default)]
pub struct Packed {
    data: Vec<f32>,
    rows: usize,
    columns: usize,
}

impl Packed {
    const EMPTY: Packed = Packed { data: Vec::new(), rows: 0, columns: 0 };

    /// Packs a weight `[outputs, inputs]` for products with rows of inputs.
    pub fn weight(weight: &[f32], outputs: usize, inputs: usize) -> Self {
        let mut packed = Packed::EMPTY;
        packed.pack(View::new(weight, outputs, inputs).transposed());
        packed
    }

    /// Panel after panel of columns, each as deep as the matrix; missing columns are zero.
    fn pack(&mut self, b: View) {
        let width = Kernel::best().columns;
        (self.rows, self.columns) = (b.rows, b.columns);
        self.data.resize(b.columns.div_ceil(width) * width * b.rows, 0.0);
        for (panel, out) in self.data.chunks_exact_mut((width * b.rows).max(1)).enumerate() {
            let first = panel * width;
            let columns = width.min(b.columns - first);
            if columns < width {
                out.fill(0.0);
            }
            let start = first * b.column_stride;
            if b.column_stride == 1 {
                for (row, out) in out.chunks_exact_mut(width).enumerate() {
                    let from = row * b.row_stride + start;
                    out[..columns].copy_from_slice(&b.data[from..from + columns]);
                }
            } else {
                for column in 0..columns {
                    let from = &b.data[start + column * b.column_stride..];
                    let values = from.iter().step_by(b.row_stride);
                    for (out, value) in out[column..].iter_mut().step_by(width).zip(values) {
                        *out = *value;
                    }
                }
            }
        }
    }

    /// Part of a panel of columns: `depth` rows from `first` on.
    fn panel(&self, panel: usize, first: usize, depth: usize) -> &[f32] {
        let width = Kernel::best().columns;
        let start = (panel * self.rows + first) * width;
        &self.data[start..start + depth * width]
    }
}

type PackRows = fn(View, usize, usize, usize, usize, &mut Vec<f32>);

/// [`pack_rows`] for panels of 1, 2, 3 … rows, as high as any kernel's.
const PACK_ROWS: [PackRows; 14] = [
    pack_rows::<1>,
    pack_rows::<2>,
    pack_rows::<3>,
    pack_rows::<4>,
    pack_rows::<5>,
    pack_rows::<6>,
    pack_rows::<7>,
    pack_rows::<8>,
    pack_rows::<9>,
    pack_rows::<10>,
    pack_rows::<11>,
    pack_rows::<12>,
    pack_rows::<13>,
    pack_rows::<14>,
];

/// Packs rows `first..first + rows` of `a` in panels of `HEIGHT`, from column `start` on, each
/// panel depth by depth; missing rows are zero.
fn pack_rows<const HEIGHT: usize>(
    a: View,
    first: usize,
    rows: usize,
    start: usize,
    depth: usize,
    out: &mut Vec<f32>,
) {
    out.resize(rows.div_ceil(HEIGHT) * HEIGHT * depth, 0.0);
    for (panel, out) in out.chunks_exact_mut(HEIGHT * depth).enumerate() {
        let above = panel * HEIGHT;
        let height = HEIGHT.min(rows - above);
        let origin = (first + above) * a.row_stride + start * a.column_stride;
        if height < HEIGHT {
            out.fill(0.0);
        }
        let (out, _) = out.as_chunks_mut::<HEIGHT>();
        if a.row_stride == 1 && height == HEIGHT {
            for (k, out) in out.iter_mut().enumerate() {
                let from = origin + k * a.column_stride;
                out.copy_from_slice(&a.data[from..from + HEIGHT]);
            }
        } else if a.column_stride == 1 {
            for row in 0..height {
                let from = origin + row * a.row_stride;
                for (out, value) in out.iter_mut().zip(&a.data[from..from + depth]) {
                    out[row] = *value;
                }
            }
        } else {
            for (k, out) in out.iter_mut().enumerate() {
                for (row, out) in out[..height].iter_mut().enumerate() {
                    *out = a.data[origin + row * a.row_stride + k * a.column_stride];
                }
            }
        }
    }
}

/// A matrix to write: rows `stride` apart.
struct Out<'a> {
    data: &'a mut [f32],
    stride: usize,
}

/// `out = beta * out + alpha * a * b` on one thread; `out` is `[a.rows, b.columns]` with rows
/// `out_stride` apart.
pub fn gemm(alpha: f32, a: View, b: View, beta: f32, out: &mut [f32], out_stride: usize) {
    assert_eq!(a.columns, b.rows, "inner sizes of a matrix product");
    SCRATCH.with_borrow_mut(|(panel, packed)| {
        packed.pack(b);
        let out = Out { data: out, stride: out_stride };
        multiply(alpha, a, packed, beta, out, panel);
    });
}

fn multiply(alpha: f32, a: View, b: &Packed, beta: f32, out: Out, panels: &mut Vec<f32>) {
    let kernel = Kernel::best();
    let mut tile = [0.0; MAX_TILE];
    if a.columns == 0 {
        (0..a.rows).for_each(|row| scale(&mut out.data[row * out.stride..][..b.columns], beta));
    }
    for start in (0..a.columns).step_by(DEPTH) {
        let depth = DEPTH.min(a.columns - start);
        let beta = if start == 0 { beta } else { 1.0 };
        for block in (0..a.rows).step_by(kernel.max_rows() * PANELS) {
            let block_rows = (kernel.max_rows() * PANELS).min(a.rows - block);
            // Panels of about the same height waste less than high ones and a rest.
            let height = block_rows.div_ceil(block_rows.div_ceil(kernel.max_rows()));
            PACK_ROWS[height - 1](a, block, block_rows, start, depth, panels);
            // A panel of columns stays in the first-level cache while the rows pass by.
            for (index, column) in (0..b.columns).step_by(kernel.columns).enumerate() {
                let right = b.panel(index, start, depth);
                let columns = kernel.columns.min(b.columns - column);
                for (panel, left) in panels.chunks_exact(height * depth).enumerate() {
                    kernel.run(height, depth, left, right, &mut tile);
                    let above = panel * height;
                    let rows = height.min(block_rows - above);
                    let at = (block + above) * out.stride + column;
                    let to = Out { data: &mut out.data[at..], stride: out.stride };
                    store_tile(&tile[..rows * kernel.columns], kernel.columns, columns, alpha, beta, to);
                }
            }
        }
    }
}

fn scale(out: &mut [f32], factor: f32) {
    out.iter_mut().for_each(|value| *value = if factor == 0.0 { 0.0 } else { *value * factor });
}

/// `out = beta * out + alpha * tile` for the first columns of a tile; with `beta` 0, what `out` held
/// does not matter.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw", "x86_64+avx2+fma"))]
fn store_tile(tile: &[f32], width: usize, columns: usize, alpha: f32, beta: f32, out: Out) {
    for (row, values) in tile.chunks_exact(width).enumerate() {
        let out = &mut out.data[row * out.stride..][..columns];
        if beta == 0.0 {
            out.iter_mut().zip(values).for_each(|(out, value)| *out = alpha * value);
        } else {
            out.iter_mut().zip(values).for_each(|(out, value)| *out = beta * *out + alpha * value);
        }
    }
}

/// [`gemm`] into a matrix without gaps, its rows split over the threads.
pub fn parallel_gemm(alpha: f32, a: View, b: View, beta: f32, out: &mut [f32]) {
    assert_eq!(a.columns, b.rows, "inner sizes of a matrix product");
    if a.rows * a.columns * b.columns < 1 << 15 {
        return gemm(alpha, a, b, beta, out, b.columns);
    }
    let mut packed = SCRATCH.with_borrow_mut(|(_, packed)| std::mem::take(packed));
    packed.pack(b);
    parallel_gemm_packed(alpha, a, &packed, beta, out);
    SCRATCH.with_borrow_mut(|(_, scratch)| *scratch = packed);
}

/// [`parallel_gemm`] with a right matrix that is packed already.
fn parallel_gemm_packed(alpha: f32, a: View, b: &Packed, beta: f32, out: &mut [f32]) {
    assert_eq!((a.columns, out.len()), (b.rows, a.rows * b.columns), "sizes of a matrix product");
    let (columns, height) = (b.columns, Kernel::best().max_rows());
    // Two parts a thread even out what threads lose to others, where parts are not too thin.
    let threads = rayon::current_num_threads();
    let parts = if a.rows > 256 * threads { 2 * threads } else { threads };
    let rows = a.rows.div_ceil(parts).next_multiple_of(height);
    out.par_chunks_mut((rows * columns).max(1)).enumerate().for_each(|(chunk, out)| {
        let part = a.row_range(chunk * rows, out.len() / columns);
        SCRATCH.with_borrow_mut(|(panel, _)| {
            multiply(alpha, part, b, beta, Out { data: out, stride: columns }, panel);
        });
    });
}

/// [`linear`] with a packed weight, on one thread.
pub fn linear_packed(x: &[f32], weight: &Packed, bias: Option<&[f32]>, out: &mut [f32]) {
    let (rows, columns) = (out.len() / weight.columns.max(1), weight.columns);
    let beta = set_bias(bias, out);
    SCRATCH.with_borrow_mut(|(panels, _)| {
        let out = Out { data: out, stride: columns };
        multiply(1.0, View::new(x, rows, weight.rows), weight, beta, out, panels);
    });
}

/// Fills each row with the bias, and returns the factor to add a product with.
fn set_bias(bias: Option<&[f32]>, out: &mut [f32]) -> f32 {
    let Some(bias) = bias else { return 0.0 };
    out.par_chunks_exact_mut(bias.len()).for_each(|row| row.copy_from_slice(bias));
    1.0
}

/// `out[t] = weight · x[t] + bias` for `rows` rows: `x` is `[rows, inputs]`, `weight`
/// `[outputs, inputs]`, `out` `[rows, outputs]`.
pub fn linear(x: &[f32], weight: &[f32], bias: Option<&[f32]>, rows: usize, out: &mut [f32]) {
    let (inputs, outputs) = (x.len() / rows.max(1), out.len() / rows.max(1));
    let beta = set_bias(bias, out);
    let weight = View::new(weight, outputs, inputs).transposed();
    parallel_gemm(1.0, View::new(x, rows, inputs), weight, beta, out);
}

/// `x_gradient = out_gradient · weight` (or adds to it, with `accumulate`).
pub fn linear_backward_input(
    out_gradient: &[f32],
    weight: &[f32],
    rows: usize,
    accumulate: bool,
    x_gradient: &mut [f32],
) {
    let (inputs, outputs) = (x_gradient.len() / rows.max(1), out_gradient.len() / rows.max(1));
    let beta = if accumulate { 1.0 } else { 0.0 };
    let a = View::new(out_gradient, rows, outputs);
    parallel_gemm(1.0, a, View::new(weight, outputs, inputs), beta, x_gradient);
}

/// `weight_gradient += out_gradientᵀ · x`, and the bias gradient likewise.
pub fn linear_backward_weight(
    out_gradient: &[f32],
    x: &[f32],
    rows: usize,
    weight_gradient: &mut [f32],
    bias_gradient: Option<&mut [f32]>,
) {
    let (inputs, outputs) = (x.len() / rows.max(1), out_gradient.len() / rows.max(1));
    let a = View::new(out_gradient, rows, outputs).transposed();
    parallel_gemm(1.0, a, View::new(x, rows, inputs), 1.0, weight_gradient);
    if let Some(bias_gradient) = bias_gradient {
        for row in out_gradient.chunks_exact(outputs) {
            for (sum, value) in bias_gradient.iter_mut().zip(row) {
                *sum += value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 500.0 - 1.0).collect()
    }

    /// All layouts and awkward sizes against a sum in double precision.
    #[test]
    fn products_are_right() {
        for (m, k, n) in [(1, 1, 1), (3, 5, 7), (14, 256, 32), (15, 257, 33), (100, 600, 70), (64, 3, 200)] {
            let (a, b, c) = (numbers(m * k, 1), numbers(k * n, 2), numbers(m * n, 3));
            let layouts = [(false, false), (false, true), (true, false), (true, true)];
            for (a_transposed, b_transposed) in layouts {
                let view = |data, rows, columns, transposed: bool| match transposed {
                    true => View::new(data, columns, rows).transposed(),
                    false => View::new(data, rows, columns),
                };
                let at = |data: &[f32], rows: usize, columns: usize, transposed: bool, r: usize, c: usize| {
                    f64::from(if transposed { data[c * rows + r] } else { data[r * columns + c] })
                };
                let mut out = c.clone();
                parallel_gemm(0.5, view(&a, m, k, a_transposed), view(&b, k, n, b_transposed), 2.0, &mut out);
                for row in 0..m {
                    for column in 0..n {
                        let product =
                            |i| at(&a, m, k, a_transposed, row, i) * at(&b, k, n, b_transposed, i, column);
                        let exact =
                            0.5 * (0..k).map(product).sum::<f64>() + 2.0 * f64::from(c[row * n + column]);
                        assert!((exact - f64::from(out[row * n + column])).abs() < 1e-3, "{m} {k} {n}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_row_does_not_depend_on_the_others() {
        let (x, weight) = (numbers(50 * 300, 1), numbers(90 * 300, 2));
        let mut all = vec![0.0; 50 * 90];
        linear(&x, &weight, None, 50, &mut all);
        for row in [0, 13, 14, 49] {
            let mut alone = vec![0.0; 90];
            linear(&x[row * 300..(row + 1) * 300], &weight, None, 1, &mut alone);
            assert_eq!(alone, all[row * 90..(row + 1) * 90]);
            let packed = Packed::weight(&weight, 90, 300);
            linear_packed(&x[row * 300..(row + 1) * 300], &packed, None, &mut alone);
            assert_eq!(alone, all[row * 90..(row + 1) * 90]);
        }
    }
}
