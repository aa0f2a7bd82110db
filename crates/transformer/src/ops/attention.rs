//! Causal grouped-query attention over a packed batch.
//!
//! Each segment sees its prefix whole and itself causally. Probabilities are not kept: the
//! backward pass computes them again from the saved log-sum-exp (Dao et al., 2022, section 3.1).
//! Trees run in parallel; their rows are disjoint.

use super::elementwise::{dot, exp, exponentiate};
use super::matmul::{View, gemm};
use crate::batch::{PackedBatch, Segment, split_rows};
use crate::config::Config;
use multiversion::multiversion;
use rayon::prelude::*;
use std::ops::Range;

/// Sizes that every function here needs.
#[derive(Clone, Copy)]
struct Shape {
    heads: usize,
    group: usize,
    head_dim: usize,
    query_size: usize,
    key_value_size: usize,
    qkv_size: usize,
    scale: f32,
}

impl Shape {
    fn of(config: &Config) -> Self {
        Shape {
            heads: config.num_attention_heads,
            group: config.num_attention_heads / config.num_key_value_heads,
            head_dim: config.head_dim,
            query_size: config.query_size(),
            key_value_size: config.key_value_size(),
            qkv_size: config.qkv_size(),
            scale: 1.0 / (config.head_dim as f32).sqrt(),
        }
    }

    fn query_column(&self, head: usize) -> usize {
        head * self.head_dim
    }

    fn key_column(&self, head: usize) -> usize {
        self.query_size + head / self.group * self.head_dim
    }

    fn value_column(&self, head: usize) -> usize {
        self.key_column(head) + self.key_value_size
    }

    /// One head's columns of some rows of a qkv buffer.
    fn view<'a>(&self, qkv: &'a [f32], rows: &Range<usize>, column: usize) -> View<'a> {
        let start = (rows.start * self.qkv_size + column).min(qkv.len());
        View::strided(&qkv[start..], rows.len(), self.head_dim, self.qkv_size)
    }
}

/// A segment with its rows counted from the start of its tree.
fn relative(segment: &Segment, tree_start: usize) -> Segment {
    let shift =
        |rows: &Range<usize>| rows.start.saturating_sub(tree_start)..rows.end.saturating_sub(tree_start);
    Segment { rows: shift(&segment.rows), prefix: shift(&segment.prefix) }
}

/// Splits a buffer of `width` numbers a row into one slice for each tree.
fn split_trees<'a>(batch: &PackedBatch, data: &'a mut [f32], width: usize) -> Vec<&'a mut [f32]> {
    split_rows(data, (0..batch.trees.len()).map(|tree| batch.tree_rows(tree).len()), width)
}

/// `out = softmax(q kᵀ / √d) v`. `qkv` is `[rows, qkv_size]` after rotation, `out`
/// `[rows, query_size]`; `log_sum_exp` `[rows, heads]` is kept for the backward pass.
pub fn attention(
    config: &Config,
    batch: &PackedBatch,
    qkv: &[f32],
    out: &mut [f32],
    log_sum_exp: &mut [f32],
) {
    let shape = Shape::of(config);
    let outs = split_trees(batch, out, shape.query_size);
    let sums = split_trees(batch, log_sum_exp, shape.heads);
    outs.into_par_iter().zip(sums).enumerate().for_each(|(tree, (out, sums))| {
        let rows = batch.tree_rows(tree);
        let qkv = &qkv[rows.start * shape.qkv_size..rows.end * shape.qkv_size];
        let mut scores = Vec::new();
        for segment in &batch.segments[batch.trees[tree].clone()] {
            let segment = relative(segment, rows.start);
            for head in 0..shape.heads {
                attend(&shape, &segment, head, qkv, &mut scores, out, sums);
            }
        }
    });
}

/// One head of one segment.
fn attend(
    shape: &Shape,
    segment: &Segment,
    head: usize,
    qkv: &[f32],
    scores: &mut Vec<f32>,
    out: &mut [f32],
    sums: &mut [f32],
) {
    let (rows, prefix) = (&segment.rows, &segment.prefix);
    let width = prefix.len() + rows.len();
    compute_scores(shape, segment, head, qkv, scores);
    let head_sums = &mut sums[rows.start * shape.heads + head..];
    softmax_causal(scores, width, prefix.len(), head_sums, shape.heads);
    let start = rows.start * shape.query_size + shape.query_column(head);
    let out = &mut out[start..];
    let own = View::strided(&scores[prefix.len()..], rows.len(), rows.len(), width);
    let value = shape.view(qkv, rows, shape.value_column(head));
    gemm(1.0, own, value, 0.0, out, shape.query_size);
    if !prefix.is_empty() {
        let before = View::strided(scores, rows.len(), prefix.len(), width);
        let value = shape.view(qkv, prefix, shape.value_column(head));
        gemm(1.0, before, value, 1.0, out, shape.query_size);
    }
}

/// Fills `scores` `[rows, prefix + rows]` with `q kᵀ / √d`; what lies in the future is not masked.
fn compute_scores(shape: &Shape, segment: &Segment, head: usize, qkv: &[f32], scores: &mut Vec<f32>) {
    let (rows, prefix) = (&segment.rows, &segment.prefix);
    let width = prefix.len() + rows.len();
    scores.resize(rows.len() * width, 0.0);
    let query = shape.view(qkv, rows, shape.query_column(head));
    let key = shape.view(qkv, rows, shape.key_column(head)).transposed();
    gemm(shape.scale, query, key, 0.0, &mut scores[prefix.len()..], width);
    if !prefix.is_empty() {
        let key = shape.view(qkv, prefix, shape.key_column(head)).transposed();
        gemm(shape.scale, query, key, 0.0, scores, width);
    }
}

/// Turns scores `[rows, width]` into weights: row `r` sees the first `prefix + r + 1` positions. The log-sum-exp
/// of each row goes into every `stride`th of `sums`.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw", "x86_64+avx2+fma"))]
pub fn softmax_causal(scores: &mut [f32], width: usize, prefix: usize, sums: &mut [f32], stride: usize) {
    for (row, scores) in scores.chunks_exact_mut(width).enumerate() {
        let (seen, future) = scores.split_at_mut(prefix + row + 1);
        let (max, sum) = exponentiate(seen);
        let inverse = 1.0 / sum;
        seen.iter_mut().for_each(|value| *value *= inverse);
        future.fill(0.0);
        sums[row * stride] = max + sum.ln();
    }
}

/// The gradient of [`attention`]'s `qkv`, written to `qkv_gradient` `[rows, qkv_size]`.
pub fn attention_backward(
    config: &Config,
    batch: &PackedBatch,
    qkv: &[f32],
    out: &[f32],
    log_sum_exp: &[f32],
    out_gradient: &[f32],
    qkv_gradient: &mut [f32],
) {
    let shape = Shape::of(config);
    let gradients = split_trees(batch, qkv_gradient, shape.qkv_size);
    gradients.into_par_iter().enumerate().for_each(|(tree, gradient)| {
        let rows = batch.tree_rows(tree);
        let of_tree = |data, width| -> &[f32] { part(data, &rows, width) };
        let saved = Saved {
            qkv: of_tree(qkv, shape.qkv_size),
            out: of_tree(out, shape.query_size),
            log_sum_exp: of_tree(log_sum_exp, shape.heads),
            out_gradient: of_tree(out_gradient, shape.query_size),
        };
        gradient.fill(0.0);
        let mut scratch = Scratch::default();
        for segment in &batch.segments[batch.trees[tree].clone()] {
            let segment = relative(segment, rows.start);
            for head in 0..shape.heads {
                attend_backward(&shape, &segment, head, &saved, &mut scratch, gradient);
            }
        }
    });
}

fn part<'a>(data: &'a [f32], rows: &Range<usize>, width: usize) -> &'a [f32] {
    &data[rows.start * width..rows.end * width]
}

/// What the forward pass left for one tree, and the gradient that came back.
struct Saved<'a> {
    qkv: &'a [f32],
    out: &'a [f32],
    log_sum_exp: &'a [f32],
    out_gradient: &'a [f32],
}

#[derive(Default)]
struct Scratch {
    probabilities: Vec<f32>,
    score_gradient: Vec<f32>,
}

fn attend_backward(
    shape: &Shape,
    segment: &Segment,
    head: usize,
    saved: &Saved,
    scratch: &mut Scratch,
    gradient: &mut [f32],
) {
    let (rows, prefix) = (&segment.rows, &segment.prefix);
    let width = prefix.len() + rows.len();
    let Scratch { probabilities, score_gradient } = scratch;
    compute_scores(shape, segment, head, saved.qkv, probabilities);
    let sums = &saved.log_sum_exp[rows.start * shape.heads + head..];
    probabilities_again(probabilities, width, prefix.len(), sums, shape.heads);

    let start = rows.start * shape.query_size + shape.query_column(head);
    let out = &saved.out[start..];
    let out_gradient_rows = &saved.out_gradient[start..];
    let out_gradient = View::strided(out_gradient_rows, rows.len(), shape.head_dim, shape.query_size);
    score_gradient.resize(rows.len() * width, 0.0);
    for (keys, column) in [(prefix, 0), (rows, prefix.len())] {
        if !keys.is_empty() {
            let value = shape.view(saved.qkv, keys, shape.value_column(head)).transposed();
            gemm(1.0, out_gradient, value, 0.0, &mut score_gradient[column..], width);
        }
    }
    softmax_backward(shape, probabilities, score_gradient, width, out, out_gradient_rows);

    let query = shape.view(saved.qkv, rows, shape.query_column(head));
    let mut first = true;
    for (keys, column) in [(prefix, 0), (rows, prefix.len())] {
        if keys.is_empty() {
            continue;
        }
        let weights = View::strided(&probabilities[column..], rows.len(), keys.len(), width);
        let scores = View::strided(&score_gradient[column..], rows.len(), keys.len(), width);
        let key = shape.view(saved.qkv, keys, shape.key_column(head));
        let at = |rows: &Range<usize>, column: usize| rows.start * shape.qkv_size + column;
        let query_at = at(rows, shape.query_column(head));
        let beta = if first { 0.0 } else { 1.0 };
        gemm(1.0, scores, key, beta, &mut gradient[query_at..], shape.qkv_size);
        let key_at = at(keys, shape.key_column(head));
        gemm(1.0, scores.transposed(), query, 1.0, &mut gradient[key_at..], shape.qkv_size);
        let value_at = at(keys, shape.value_column(head));
        gemm(1.0, weights.transposed(), out_gradient, 1.0, &mut gradient[value_at..], shape.qkv_size);
        first = false;
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw", "x86_64+avx2+fma"))]
fn probabilities_again(scores: &mut [f32], width: usize, prefix: usize, sums: &[f32], stride: usize) {
    for (row, scores) in scores.chunks_exact_mut(width).enumerate() {
        let (seen, future) = scores.split_at_mut(prefix + row + 1);
        let sum = sums[row * stride];
        seen.iter_mut().for_each(|value| *value = exp(*value - sum));
        future.fill(0.0);
    }
}

/// Turns the gradient of the probabilities into that of the unscaled scores, in place.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw", "x86_64+avx2+fma"))]
fn softmax_backward(
    shape: &Shape,
    probabilities: &[f32],
    gradient: &mut [f32],
    width: usize,
    out: &[f32],
    out_gradient: &[f32],
) {
    let rows = probabilities.chunks_exact(width).zip(gradient.chunks_exact_mut(width));
    for (row, (probabilities, gradient)) in rows.enumerate() {
        let at = row * shape.query_size..row * shape.query_size + shape.head_dim;
        let mean = dot(&out[at.clone()], &out_gradient[at]);
        for (gradient, probability) in gradient.iter_mut().zip(probabilities) {
            *gradient = probability * (*gradient - mean) * shape.scale;
        }
    }
}
