//! The closed set of operations that a transformer is made of, each with its backward pass.
//!
//! All work on row-major `f32` slices, in parallel over rows. A row's result never depends on the
//! other rows of the batch, nor on the number of threads.

pub mod attention;
pub mod elementwise;
mod kernel;
pub mod matmul;
pub mod norm;
pub mod rope;

/// Rows a parallel task should take at least, so that handing it over is worth while.
pub(crate) fn rows_per_task(rows: usize, width: usize) -> usize {
    let even = rows.div_ceil(4 * rayon::current_num_threads());
    even.max(16_384_usize.div_ceil(width.max(1))).max(1)
}
