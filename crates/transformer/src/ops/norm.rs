//! Root-mean-square normalisation (Zhang and Sennrich, 2019).

use super::elementwise::dot;
use super::rows_per_task;
use multiversion::multiversion;
use rayon::prelude::*;

/// `out = x / rms(x) * weight` row by row; `scale` keeps `1 / rms(x)` for the backward pass.
/// `x` and `out` are `[rows, width]`, `scale` is `[rows]`.
pub fn rms_norm(x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32], scale: &mut [f32]) {
    let width = weight.len();
    let rows = rows_per_task(scale.len(), width);
    let outputs = out.par_chunks_mut(rows * width).zip(scale.par_chunks_mut(rows));
    outputs
        .zip(x.par_chunks(rows * width))
        .for_each(|((out, scale), x)| rms_norm_rows(x, weight, epsilon, out, scale));
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw", "x86_64+avx2+fma"))]
fn rms_norm_rows(x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32], scale: &mut [f32]) {
    let width = weight.len();
    let rows = x.chunks_exact(width).zip(out.chunks_exact_mut(width)).zip(scale);
    for ((x, out), scale) in rows {
        *scale = 1.0 / (dot(x, x) / width as f32 + epsilon).sqrt();
        for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
            *out = x * *scale * weight;
        }
    }
}

/// Adds the gradient of the norm's input to `x_gradient`, and returns the weight's gradient.
pub fn rms_norm_backward(
    out_gradient: &[f32],
    x: &[f32],
    weight: &[f32],
    scale: &[f32],
    x_gradient: &mut [f32],
) -> Vec<f32> {
    let width = weight.len();
    // A fixed task size: the order of the weight gradient's sum must not depend on the threads.
    let rows = 256;
    let tasks = x_gradient.par_chunks_mut(rows * width).zip(scale.par_chunks(rows));
    let tasks = tasks.zip(out_gradient.par_chunks(rows * width)).zip(x.par_chunks(rows * width));
    let partial: Vec<Vec<f32>> = tasks
        .map(|(((x_gradient, scale), out_gradient), x)| {
            let mut weight_gradient = vec![0.0; width];
            backward_rows(out_gradient, x, weight, scale, x_gradient, &mut weight_gradient);
            weight_gradient
        })
        .collect();
    let mut total = vec![0.0; width];
    for part in partial {
        for (total, part) in total.iter_mut().zip(part) {
            *total += part;
        }
    }
    total
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw", "x86_64+avx2+fma"))]
fn backward_rows(
    out_gradient: &[f32],
    x: &[f32],
    weight: &[f32],
    scale: &[f32],
    x_gradient: &mut [f32],
    weight_gradient: &mut [f32],
) {
    let width = weight.len();
    let rows = out_gradient.chunks_exact(width).zip(x.chunks_exact(width)).zip(scale);
    let mut weighted = vec![0.0; width];
    for (((gradient, x), &scale), x_gradient) in rows.zip(x_gradient.chunks_exact_mut(width)) {
        for (((weighted, sum), &g), (&w, &x)) in
            weighted.iter_mut().zip(&mut *weight_gradient).zip(gradient).zip(weight.iter().zip(x))
        {
            *weighted = g * w;
            *sum += g * x * scale;
        }
        let pull = dot(&weighted, x) * scale * scale * scale / width as f32;
        for ((x_gradient, weighted), x) in x_gradient.iter_mut().zip(&weighted).zip(x) {
            *x_gradient += weighted * scale - x * pull;
        }
    }
}
