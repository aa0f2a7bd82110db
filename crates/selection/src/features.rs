//! Every signal about a candidate as numbers, for a ranker to weigh.
//!
//! Most are shares, and many compare a candidate with the others of its problem, because a choice
//! is made inside one problem. What is not known of a pool (a critic, a likelihood) is 0 for all.

use crate::{Agreement, Pool};

/// Names of the features, in their order.
pub const NAMES: [&str; 18] = [
    "runs",
    "exact",
    "exact_of_best",
    "soft",
    "soft_of_best",
    "soft_rank",
    "distinct_behaviours",
    "passes_visible",
    "passes_visible_alone",
    "share_passing_visible",
    "length",
    "length_squared",
    "returns",
    "prints",
    "duplicates",
    "likelihood_rank",
    "critic",
    "critic_rank",
];

/// The features of each candidate of a pool: `[candidate][feature]`.
pub fn features(pool: &Pool) -> Vec<[f64; NAMES.len()]> {
    let count = pool.codes.len();
    let none = Agreement { runs: vec![0.0; count], exact: vec![0.0; count], soft: vec![0.0; count] };
    let agreement = pool.agreement.as_ref().unwrap_or(&none);
    let visible: Vec<f64> = match &pool.passes_visible {
        Some(passes) => passes.iter().map(|&passes| number(passes)).collect(),
        None => vec![0.0; count],
    };
    let visible_share = visible.iter().sum::<f64>() / count.max(1) as f64;
    let lengths: Vec<f64> = pool.codes.iter().map(|code| (1.0 + code.trim().len() as f64).ln()).collect();
    let usual = median(&lengths);
    let likelihood_ranks = pool.mean_log_probability.as_deref().map_or(vec![0.0; count], ranks);
    let critic = pool.critic.clone().unwrap_or_else(|| vec![0.0; count]);
    let (soft_ranks, critic_ranks) = (ranks(&agreement.soft), ranks(&critic));
    let behaviours = distinct(&agreement.soft) / count.max(1) as f64;
    let row = |index: usize| {
        let code = &pool.codes[index];
        let same = pool.codes.iter().filter(|other| *other == code).count() as f64;
        let length = lengths[index] - usual;
        [
            agreement.runs[index],
            agreement.exact[index],
            of_best(&agreement.exact, index),
            agreement.soft[index],
            of_best(&agreement.soft, index),
            soft_ranks[index],
            behaviours,
            visible[index],
            visible[index] * (1.0 - visible_share),
            visible_share,
            length,
            length * length,
            number(code.contains("return ")),
            number(code.contains("print(")),
            same / count.max(1) as f64,
            likelihood_ranks[index],
            critic[index],
            critic_ranks[index],
        ]
    };
    (0..count).map(row).collect()
}

fn number(yes: bool) -> f64 {
    f64::from(u8::from(yes))
}

/// A value as a share of the largest.
fn of_best(values: &[f64], index: usize) -> f64 {
    let best = values.iter().copied().fold(0.0, f64::max);
    if best > 0.0 { values[index] / best } else { 0.0 }
}

/// For each value the share of the others that are smaller, ties counting half.
fn ranks(values: &[f64]) -> Vec<f64> {
    let others = values.len().saturating_sub(1).max(1) as f64;
    let rank = |&value: &f64| {
        let below = values.iter().filter(|&&other| other < value).count() as f64;
        let equal = values.iter().filter(|&&other| other == value).count() as f64 - 1.0;
        (below + equal / 2.0) / others
    };
    values.iter().map(rank).collect()
}

fn distinct(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.dedup();
    sorted.len() as f64
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}
