//! From logits to a token: temperature, top-k, top-p, and the token's log-probability.

use crate::ops::elementwise::exponentiate;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How tokens are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0 takes the likeliest token.
    pub temperature: f32,
    /// Smallest set of likeliest tokens with at least this probability; 1 keeps all.
    pub top_p: f32,
    /// At most this many likeliest tokens; 0 keeps all.
    pub top_k: usize,
}

impl Sampling {
    /// The likeliest token at every step.
    pub const GREEDY: Sampling = Sampling { temperature: 0.0, top_p: 1.0, top_k: 0 };
}

/// The random stream of one sample: it depends on nothing but its seed and index.
pub fn stream(seed: u64, index: u64) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(index);
    random
}

/// Draws a token from a row of logits (which is used up), and returns it with its log-probability
/// under the model: at temperature 1, with nothing cut off.
pub fn draw(logits: &mut [f32], sampling: &Sampling, random: &mut ChaCha8Rng) -> (u32, f32) {
    if sampling.temperature <= 0.0 {
        let token = likeliest(logits);
        let logit = logits[token];
        let (max, sum) = exponentiate(logits);
        return (token as u32, logit - max - sum.ln());
    }
    let original = logits.to_vec();
    let log_sum_exp = if sampling.temperature == 1.0 {
        None
    } else {
        let mut plain = original.clone();
        let (max, sum) = exponentiate(&mut plain);
        logits.iter_mut().for_each(|logit| *logit /= sampling.temperature);
        Some(max + sum.ln())
    };
    let (max, sum) = exponentiate(logits);
    let log_sum_exp = log_sum_exp.unwrap_or(max + sum.ln());
    let token = draw_from(logits, sum, sampling, random);
    (token as u32, original[token] - log_sum_exp)
}

fn likeliest(logits: &[f32]) -> usize {
    let better = |best: usize, (index, &value): (usize, &f32)| if value > logits[best] { index } else { best };
    logits.iter().enumerate().fold(0, better)
}

/// Draws from unnormalised probabilities with the given sum.
fn draw_from(weights: &[f32], sum: f32, sampling: &Sampling, random: &mut ChaCha8Rng) -> usize {
    let uniform: f32 = random.random();
    if sampling.top_p >= 1.0 && sampling.top_k == 0 {
        return walk(weights.iter().copied().enumerate(), uniform * sum);
    }
    // All tokens below (1 - top_p) / n together weigh less than 1 - top_p, so none of them is in
    // the nucleus: sorting the few others is enough.
    let floor = match sampling.top_k {
        0 => sum * (1.0 - sampling.top_p).max(0.0) / weights.len() as f32,
        _ => 0.0,
    };
    let kept = weights.iter().copied().enumerate().filter(|(_, weight)| *weight >= floor);
    let mut kept: Vec<(usize, f32)> = kept.collect();
    kept.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    if sampling.top_k > 0 {
        kept.truncate(sampling.top_k);
    }
    let mut mass = 0.0;
    let all: f32 = if sampling.top_k > 0 { kept.iter().map(|(_, weight)| weight).sum() } else { sum };
    let nucleus = kept.iter().position(|(_, weight)| {
        mass += weight;
        mass >= sampling.top_p * all
    });
    kept.truncate(nucleus.map_or(kept.len(), |last| last + 1));
    let total: f32 = kept.iter().map(|(_, weight)| weight).sum();
    walk(kept.into_iter(), uniform * total)
}

/// The token at which the running sum passes `goal`; the last one with weight if rounding leaves
/// some over.
fn walk(weights: impl Iterator<Item = (usize, f32)>, goal: f32) -> usize {
    let (mut sum, mut last) = (0.0, 0);
    for (token, weight) in weights {
        if weight > 0.0 {
            last = token;
        }
        sum += weight;
        if sum > goal {
            return token;
        }
    }
    last
}
