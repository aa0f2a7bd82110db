//! From logits to a token: temperature, top-k, top-p, and the token's log-probability.

use crate::ops::elementwise::{exponentiate, sum_of_exponentials};
use multiversion::multiversion;
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
    /// Only tokens with at least this part of the likeliest one's probability, at this temperature (Nguyen
    /// et al., 2024); 0 keeps all. What it leaves out is no part of what `top_p` is a share of.
    pub min_p: f32,
}

impl Sampling {
    /// The model's own distribution: nothing is cut off.
    pub const PLAIN: Sampling = Sampling { temperature: 1.0, top_p: 1.0, top_k: 0, min_p: 0.0 };
    /// The likeliest token at every step.
    pub const GREEDY: Sampling = Sampling { temperature: 0.0, ..Sampling::PLAIN };
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
        let (max, sum) = sum_of_exponentials(&original);
        logits.iter_mut().for_each(|logit| *logit /= sampling.temperature);
        Some(max + sum.ln())
    };
    let (max, sum) = exponentiate(logits);
    let log_sum_exp = log_sum_exp.unwrap_or(max + sum.ln());
    let token = draw_from(logits, sum, sampling, random);
    (token as u32, original[token] - log_sum_exp)
}

fn likeliest(logits: &[f32]) -> usize {
    let better =
        |best: usize, (index, &value): (usize, &f32)| if value > logits[best] { index } else { best };
    logits.iter().enumerate().fold(0, better)
}

/// Draws from unnormalised probabilities with the given sum.
fn draw_from(weights: &[f32], sum: f32, sampling: &Sampling, random: &mut ChaCha8Rng) -> usize {
    let uniform: f32 = random.random();
    if sampling.top_p >= 1.0 && sampling.top_k == 0 && sampling.min_p <= 0.0 {
        return walk(weights, 0.0, uniform * sum);
    }
    // The likeliest token weighs 1.
    let mut floor = sampling.min_p.clamp(0.0, 1.0);
    if sampling.top_k > 0 && sampling.top_k < weights.len() {
        let at_least = |floor: f32| weights.iter().filter(|&&weight| weight >= floor).count();
        floor = largest_floor(|floor| at_least(floor) >= sampling.top_k).max(floor);
    }
    let mut mass = if floor > 0.0 { mass_from(weights, floor) } else { sum };
    if sampling.top_p < 1.0 {
        let goal = sampling.top_p * mass;
        let likely = likely(weights, (1.0 - sampling.top_p) * mass);
        let searched = likely.as_deref().unwrap_or(weights);
        floor = largest_floor(|floor| mass_from(searched, floor) >= goal).max(floor);
        mass = mass_from(weights, floor);
    }
    walk(weights, floor, uniform * mass)
}

/// Tokens from which the nucleus of a large vocabulary is searched among fewer.
const LARGE: usize = 1 << 14;

/// The weights that a nucleus may be made of, if `rest` of the mass may be left out: those that are so
/// small that all of them together have less cannot matter. None where it is not worth the while.
fn likely(weights: &[f32], rest: f32) -> Option<Vec<f32>> {
    if weights.len() < LARGE {
        return None;
    }
    // Half of it, which is more than rounding can be off.
    let least = 0.5 * rest / weights.len() as f32;
    Some(weights.iter().copied().filter(|&weight| weight >= least).collect())
}

/// The largest weight at which a property of "all tokens with at least this weight" still holds;
/// it must hold for 0. Found by halving over the bits of a float, which for floats that are not
/// negative order as their values do: no sorting, and equal weights are kept or dropped together.
fn largest_floor(holds: impl Fn(f32) -> bool) -> f32 {
    // Weights are exponentials of logits less the maximum, so 1 is the largest.
    let (mut low, mut high) = (0u32, 1.0f32.to_bits() + 1);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if holds(f32::from_bits(middle)) {
            low = middle;
        } else {
            high = middle;
        }
    }
    f32::from_bits(low)
}

/// The weight of all tokens with at least `floor`.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw", "x86_64+avx2+fma"))]
fn mass_from(weights: &[f32], floor: f32) -> f32 {
    let mut lanes = [0.0f32; 16];
    let (chunks, rest) = weights.as_chunks::<16>();
    for chunk in chunks {
        for (lane, &weight) in lanes.iter_mut().zip(chunk) {
            *lane += if weight >= floor { weight } else { 0.0 };
        }
    }
    let rest: f32 = rest.iter().filter(|&&weight| weight >= floor).sum();
    lanes.iter().sum::<f32>() + rest
}

/// The first token at which the running sum of weights of at least `floor` passes `goal`; the last
/// of them if rounding leaves some over.
fn walk(weights: &[f32], floor: f32, goal: f32) -> usize {
    let (mut sum, mut last) = (0.0, 0);
    for (token, &weight) in weights.iter().enumerate() {
        if weight >= floor && weight > 0.0 {
            last = token;
            sum += weight;
            if sum > goal {
                break;
            }
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frequencies(sampling: Sampling) -> Vec<f64> {
        let logits = [2.0f32, 1.0, 0.0, -1.0, 1.0];
        let mut counts = [0usize; 5];
        for index in 0..20_000 {
            let (token, log_probability) = draw(&mut logits.clone(), &sampling, &mut stream(3, index));
            counts[token as usize] += 1;
            let total: f32 = logits.iter().map(|logit| logit.exp()).sum();
            assert!((log_probability - (logits[token as usize] - total.ln())).abs() < 1e-5);
        }
        counts.iter().map(|&count| count as f64 / 20_000.0).collect()
    }

    fn expect(sampling: Sampling, weights: [f64; 5]) {
        let total: f64 = weights.iter().sum();
        for (found, weight) in frequencies(sampling).into_iter().zip(weights) {
            assert!((found - weight / total).abs() < 0.012, "{found} {}", weight / total);
        }
    }

    #[test]
    fn a_nucleus_of_a_large_vocabulary_is_that_of_all_its_tokens() {
        let mut random = stream(1, 2);
        for spread in [1.0, 8.0, 30.0] {
            let mut weights: Vec<f32> = (0..2 * LARGE).map(|_| spread * random.random::<f32>()).collect();
            let (_, sum) = exponentiate(&mut weights);
            for top_p in [0.1, 0.9, 0.999] {
                let goal = top_p * sum;
                let among = |weights: &[f32]| largest_floor(|floor| mass_from(weights, floor) >= goal);
                let few = likely(&weights, (1.0 - top_p) * sum).expect("a large vocabulary");
                let (all, few) = (among(&weights), among(&few));
                // Sums of other lengths round differently, by less than one token's weight.
                assert!((mass_from(&weights, all) - mass_from(&weights, few)).abs() <= 1e-5 * sum);
            }
        }
    }

    #[test]
    fn the_likeliest_token_is_never_cut_off() {
        for index in 0..100 {
            let mut random = stream(7, index);
            let mut logits: Vec<f32> = (0..50).map(|_| random.random::<f32>() * 40.0).collect();
            logits[33] = 41.3;
            let sampling = Sampling { temperature: 0.7, min_p: 1.0, ..Sampling::PLAIN };
            assert_eq!(draw(&mut logits, &sampling, &mut stream(3, index)).0, 33);
        }
    }

    #[test]
    fn tokens_come_as_often_as_they_should() {
        let e = |x: f64| x.exp();
        let plain = Sampling::PLAIN;
        expect(plain, [e(2.0), e(1.0), 1.0, e(-1.0), e(1.0)]);
        expect(Sampling { temperature: 2.0, ..plain }, [e(1.0), e(0.5), 1.0, e(-0.5), e(0.5)]);
        // The likeliest holds 0.52, the two that tie 0.2 each: 0.6 needs both.
        expect(Sampling { top_p: 0.6, ..plain }, [e(2.0), e(1.0), 0.0, 0.0, e(1.0)]);
        expect(Sampling { top_p: 0.3, ..plain }, [1.0, 0.0, 0.0, 0.0, 0.0]);
        expect(Sampling { top_k: 1, ..plain }, [1.0, 0.0, 0.0, 0.0, 0.0]);
        expect(Sampling { top_k: 4, ..plain }, [e(2.0), e(1.0), 1.0, 0.0, e(1.0)]);
        // Shares of the likeliest: 1, 0.37, 0.14, 0.05, 0.37; at temperature 2 their roots.
        expect(Sampling { min_p: 0.1, ..plain }, [e(2.0), e(1.0), 1.0, 0.0, e(1.0)]);
        expect(Sampling { min_p: 0.3, ..plain }, [e(2.0), e(1.0), 0.0, 0.0, e(1.0)]);
        expect(Sampling { min_p: 1.0, ..plain }, [1.0, 0.0, 0.0, 0.0, 0.0]);
        let warm = Sampling { temperature: 2.0, min_p: 0.3, ..plain };
        expect(warm, [e(1.0), e(0.5), 1.0, 0.0, e(0.5)]);
        // The likeliest holds 0.58 of what min_p leaves, and 0.52 of all.
        expect(Sampling { min_p: 0.3, top_p: 0.56, ..plain }, [1.0, 0.0, 0.0, 0.0, 0.0]);
        expect(Sampling { min_p: 0.01, top_p: 0.56, ..plain }, [e(2.0), e(1.0), 0.0, 0.0, e(1.0)]);
        expect(Sampling { min_p: 0.1, top_k: 1, ..plain }, [1.0, 0.0, 0.0, 0.0, 0.0]);
        expect(Sampling::GREEDY, [1.0, 0.0, 0.0, 0.0, 0.0]);
    }
}
