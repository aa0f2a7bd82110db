//! Matrix products.
//!
//! The kernel is the `matrixmultiply` crate's; this module adds checked views and splits the
//! output's rows over the threads. Each output element is summed in the same order whatever the
//! split, so results do not depend on batch size or number of threads.

use rayon::prelude::*;

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

/// `out = beta * out + alpha * a * b` on one thread; `out` is `[a.rows, b.columns]` with rows
/// `out_stride` apart.
pub fn gemm(alpha: f32, a: View, b: View, beta: f32, out: &mut [f32], out_stride: usize) {
    assert_eq!(a.columns, b.rows, "inner sizes of a matrix product");
    check(out.len(), a.rows, b.columns, out_stride, 1);
    check(a.data.len(), a.rows, a.columns, a.row_stride, a.column_stride);
    check(b.data.len(), b.rows, b.columns, b.row_stride, b.column_stride);
    // SAFETY: `check` has made sure that the last element of each of the three matrices lies
    // inside its slice, and `out` is borrowed exclusively.
    unsafe {
        matrixmultiply::sgemm(
            a.rows,
            a.columns,
            b.columns,
            alpha,
            a.data.as_ptr(),
            a.row_stride as isize,
            a.column_stride as isize,
            b.data.as_ptr(),
            b.row_stride as isize,
            b.column_stride as isize,
            beta,
            out.as_mut_ptr(),
            out_stride as isize,
            1,
        );
    }
}

/// [`gemm`] into a matrix without gaps, its rows split over the threads.
pub fn parallel_gemm(alpha: f32, a: View, b: View, beta: f32, out: &mut [f32]) {
    let columns = b.columns;
    assert_eq!(out.len(), a.rows * columns, "size of a matrix product");
    let threads = rayon::current_num_threads();
    if threads == 1 || a.rows * a.columns * columns < 1 << 16 {
        return gemm(alpha, a, b, beta, out, columns);
    }
    // Multiples of 16 keep the kernel's tiles whole.
    let rows = a.rows.div_ceil(threads).next_multiple_of(16);
    out.par_chunks_mut(rows * columns).enumerate().for_each(|(chunk, out)| {
        let part = a.row_range(chunk * rows, out.len() / columns);
        gemm(alpha, part, b, beta, out, columns);
    });
}

/// `out[t] = weight · x[t] + bias` for `rows` rows: `x` is `[rows, inputs]`, `weight`
/// `[outputs, inputs]`, `out` `[rows, outputs]`.
pub fn linear(x: &[f32], weight: &[f32], bias: Option<&[f32]>, rows: usize, out: &mut [f32]) {
    let (inputs, outputs) = (x.len() / rows.max(1), out.len() / rows.max(1));
    let beta = match bias {
        Some(bias) => {
            out.par_chunks_mut(outputs).for_each(|row| row.copy_from_slice(bias));
            1.0
        }
        None => 0.0,
    };
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
