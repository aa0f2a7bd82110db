//! SwiGLU, softmax and the exponential they need.
//!
//! Compiled several times for the instruction sets that processors have; the best is taken at run
//! time.

use super::rows_per_task;
use multiversion::multiversion;
use rayon::prelude::*;

/// `e^x` with a relative error under 2e-7, in a form that compilers vectorise.
///
/// Range reduction by powers of two and a polynomial of degree 6 (Cephes' `expf`, S. Moshier).
/// Below -87 the result is 0-like small, above 88 it saturates.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.3, 88.3);
    // Adding and taking away 1.5 · 2^23 rounds to the nearest integer.
    const ROUND: f32 = 12_582_912.0;
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * 0.693_359_4) - n * -2.121_944_4e-4;
    let mut p = 1.987_569_2e-4;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 5e-1;
    let value = p * r * r + r + 1.0;
    let power = (shifted.to_bits() << 23).wrapping_add(0x3f80_0000);
    value * f32::from_bits(power)
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `out = silu(gate) * up`; a row of `gate_up` holds the gate's half, then the up half.
pub fn swiglu(gate_up: &[f32], width: usize, out: &mut [f32]) {
    let rows = rows_per_task(out.len() / width, width);
    let tasks = out.par_chunks_mut(rows * width).zip(gate_up.par_chunks(rows * 2 * width));
    tasks.for_each(|(out, gate_up)| swiglu_rows(gate_up, width, out));
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw", "x86_64+avx2+fma"))]
fn swiglu_rows(gate_up: &[f32], width: usize, out: &mut [f32]) {
    for (out, gate_up) in out.chunks_exact_mut(width).zip(gate_up.chunks_exact(2 * width)) {
        let (gate, up) = gate_up.split_at(width);
        for ((out, &gate), &up) in out.iter_mut().zip(gate).zip(up) {
            *out = gate * sigmoid(gate) * up;
        }
    }
}

/// Replaces `gate_up` by its gradient, and the gradient of [`swiglu`]'s output by that output.
pub fn swiglu_backward(gradient: &mut [f32], width: usize, gate_up: &mut [f32]) {
    let rows = rows_per_task(gradient.len() / width, width);
    let tasks = gate_up.par_chunks_mut(rows * 2 * width).zip(gradient.par_chunks_mut(rows * width));
    tasks.for_each(|(gate_up, gradient)| swiglu_backward_rows(gradient, width, gate_up));
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw", "x86_64+avx2+fma"))]
fn swiglu_backward_rows(gradient: &mut [f32], width: usize, gate_up: &mut [f32]) {
    for (gate_up, gradient) in gate_up.chunks_exact_mut(2 * width).zip(gradient.chunks_exact_mut(width)) {
        let (gate, up) = gate_up.split_at_mut(width);
        for ((gate, up), gradient) in gate.iter_mut().zip(up).zip(gradient) {
            let s = sigmoid(*gate);
            let silu = *gate * s;
            let gate_gradient = *gradient * *up * (s + silu * (1.0 - s));
            let activated = silu * *up;
            *up = *gradient * silu;
            *gate = gate_gradient;
            *gradient = activated;
        }
    }
}

/// Replaces a row of logits by `exp(logit - max)` and returns the maximum and the sum.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw", "x86_64+avx2+fma"))]
pub fn exponentiate(row: &mut [f32]) -> (f32, f32) {
    let max = maximum(row);
    let mut lanes = [0.0f32; 16];
    let mut chunks = row.chunks_exact_mut(16);
    for chunk in &mut chunks {
        for (value, lane) in chunk.iter_mut().zip(&mut lanes) {
            *value = exp(*value - max);
            *lane += *value;
        }
    }
    let mut sum = lanes.iter().sum::<f32>();
    for value in chunks.into_remainder() {
        *value = exp(*value - max);
        sum += *value;
    }
    (max, sum)
}

/// What [`exponentiate`] returns, without replacing anything.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw", "x86_64+avx2+fma"))]
pub fn sum_of_exponentials(row: &[f32]) -> (f32, f32) {
    let max = maximum(row);
    let mut lanes = [0.0f32; 16];
    let (chunks, rest) = row.as_chunks::<16>();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += exp(*value - max);
        }
    }
    let mut sum = lanes.iter().sum::<f32>();
    for value in rest {
        sum += exp(*value - max);
    }
    (max, sum)
}

#[inline(always)]
fn maximum(row: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 16];
    let chunks = row.chunks_exact(16);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane = if value > *lane { value } else { *lane };
        }
    }
    lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |a, &b| a.max(b))
}

/// `sum(a[i] * b[i])`, in sixteen lanes.
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 16];
    let (a_chunks, b_chunks) = (a.chunks_exact(16), b.chunks_exact(16));
    let rest = a_chunks.remainder().iter().zip(b_chunks.remainder());
    let rest: f32 = rest.map(|(a, b)| a * b).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    lanes.iter().sum::<f32>() + rest
}

/// `out += a`
pub fn add(a: &[f32], out: &mut [f32]) {
    let size = rows_per_task(out.len(), 1);
    out.par_chunks_mut(size).zip(a.par_chunks(size)).for_each(|(out, a)| {
        for (out, a) in out.iter_mut().zip(a) {
            *out += a;
        }
    });
}
