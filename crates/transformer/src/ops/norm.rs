//! Root-mean-square normalisation (Zhang and Sennrich, 2019), of whole rows and of heads.

use super::elementwise::dot;
use super::rows_per_task;
use crate::Config;
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

/// Sizes of a row of queries, keys and values.
#[derive(Clone, Copy)]
struct Heads {
    width: usize,
    head_dim: usize,
    query: usize,
    /// Query and key heads together.
    normed: usize,
}

impl Heads {
    fn of(config: &Config) -> Self {
        Heads {
            width: config.qkv_size(),
            head_dim: config.head_dim,
            query: config.num_attention_heads,
            normed: config.num_attention_heads + config.num_key_value_heads,
        }
    }

    fn gain<'a>(&self, head: usize, gains: (&'a [f32], &'a [f32])) -> &'a [f32] {
        if head < self.query { gains.0 } else { gains.1 }
    }
}

/// Normalises every query and key head of `projected [rows, qkv_size]` by itself; values stay as they
/// are. `gains` are those of queries and keys, `[head_dim]` each; `scale [rows, query heads + key heads]`
/// keeps `1 / rms` for the backward pass.
pub fn head_norms(
    config: &Config,
    projected: &[f32],
    gains: (&[f32], &[f32]),
    out: &mut [f32],
    scale: &mut [f32],
) {
    let (heads, epsilon) = (Heads::of(config), config.rms_norm_eps);
    let rows = rows_per_task(projected.len() / heads.width, heads.width);
    let tasks = out.par_chunks_mut(rows * heads.width).zip(scale.par_chunks_mut(rows * heads.normed));
    tasks.zip(projected.par_chunks(rows * heads.width)).for_each(|((out, scale), x)| {
        let rows = out.chunks_exact_mut(heads.width).zip(scale.chunks_exact_mut(heads.normed));
        for ((out, scale), x) in rows.zip(x.chunks_exact(heads.width)) {
            for (head, scale) in scale.chunks_exact_mut(1).enumerate() {
                let at = head * heads.head_dim..(head + 1) * heads.head_dim;
                rms_norm_rows(&x[at.clone()], heads.gain(head, gains), epsilon, &mut out[at], scale);
            }
            let values = heads.normed * heads.head_dim;
            out[values..].copy_from_slice(&x[values..]);
        }
    });
}

/// Turns the gradient of [`head_norms`]' output into that of its input, in place, and returns the gains'
/// gradients: of queries, of keys.
pub fn head_norms_backward(
    config: &Config,
    projected: &[f32],
    gains: (&[f32], &[f32]),
    scale: &[f32],
    gradient: &mut [f32],
) -> (Vec<f32>, Vec<f32>) {
    let heads = Heads::of(config);
    let zeros = || (vec![0.0; heads.head_dim], vec![0.0; heads.head_dim]);
    // A fixed task size: the order of the sum must not depend on the threads.
    let rows = 256;
    let tasks = gradient.par_chunks_mut(rows * heads.width).zip(scale.par_chunks(rows * heads.normed));
    let tasks = tasks.zip(projected.par_chunks(rows * heads.width));
    let parts: Vec<(Vec<f32>, Vec<f32>)> = tasks
        .map(|((gradient, scale), x)| {
            let (mut query, mut key) = zeros();
            let mut x_gradient = vec![0.0; heads.head_dim];
            let rows = gradient.chunks_exact_mut(heads.width).zip(scale.chunks_exact(heads.normed));
            for ((gradient, scale), x) in rows.zip(x.chunks_exact(heads.width)) {
                for (head, scale) in scale.chunks_exact(1).enumerate() {
                    let at = head * heads.head_dim..(head + 1) * heads.head_dim;
                    let sum = if head < heads.query { &mut query } else { &mut key };
                    x_gradient.fill(0.0);
                    let gradient = &mut gradient[at.clone()];
                    backward_rows(gradient, &x[at], heads.gain(head, gains), scale, &mut x_gradient, sum);
                    gradient.copy_from_slice(&x_gradient);
                }
            }
            (query, key)
        })
        .collect();
    let mut total = zeros();
    for (query, key) in parts {
        total.0.iter_mut().zip(query).for_each(|(total, part)| *total += part);
        total.1.iter_mut().zip(key).for_each(|(total, part)| *total += part);
    }
    total
}
