//! Tests that a model wrote, and how far to believe them.
//!
//! A model's tests are often wrong, as its programs are; but a right test and a right program agree,
//! and wrong ones disagree in many ways (Chen et al., 2022, CodeT). A test counts by how well it
//! sorts the candidates as the other tests do: one that only few, otherwise poor, candidates pass
//! says nothing (leave-one-out AUC, as in ACES).

use std::collections::HashMap;

/// The weight of each test in 0..1; `passes` is `[candidate][test]`.
pub fn weights(passes: &[Vec<bool>]) -> Vec<f64> {
    let tests = passes.first().map_or(0, Vec::len);
    let passed: Vec<f64> = passes.iter().map(|row| row.iter().filter(|&&p| p).count() as f64).collect();
    let weight = |test: usize| {
        // How many others each candidate passes.
        let others = |candidate: usize| passed[candidate] - f64::from(u8::from(passes[candidate][test]));
        let (mut above, mut pairs) = (0.0f64, 0.0f64);
        for good in (0..passes.len()).filter(|&candidate| passes[candidate][test]) {
            for bad in (0..passes.len()).filter(|&candidate| !passes[candidate][test]) {
                pairs += 1.0;
                above += match others(good).total_cmp(&others(bad)) {
                    std::cmp::Ordering::Greater => 1.0,
                    std::cmp::Ordering::Equal => 0.5,
                    std::cmp::Ordering::Less => 0.0,
                };
            }
        }
        // What all pass, or none, tells no two of them apart.
        if pairs == 0.0 { 0.0 } else { (2.0 * above / pairs - 1.0).max(0.0) }
    };
    (0..tests).map(weight).collect()
}

/// Dual execution agreement: the weight of the tests that a candidate passes, times the square root
/// of the number of candidates that pass the same ones (CodeT's equation 1).
pub fn agreement(passes: &[Vec<bool>], weights: &[f64]) -> Vec<f64> {
    let mut alike: HashMap<&Vec<bool>, usize> = HashMap::new();
    passes.iter().for_each(|row| *alike.entry(row).or_default() += 1);
    let score = |row: &Vec<bool>| {
        let weight: f64 = row.iter().zip(weights).filter(|(passes, _)| **passes).map(|(_, w)| w).sum();
        weight * (alike[row] as f64).sqrt()
    };
    passes.iter().map(score).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_that_agree_outweigh_one_that_does_not() {
        // Three candidates pass tests 0 and 1, two pass test 2 only, one none.
        let right = vec![true, true, false];
        let wrong = vec![false, false, true];
        let passes = [right.clone(), right.clone(), right, wrong.clone(), wrong, vec![false; 3]];
        let weights = weights(&passes);
        assert!(weights[0] > 0.3 && weights[0] == weights[1], "{weights:?}");
        assert_eq!(weights[2], 0.0);
        let scores = agreement(&passes, &weights);
        assert!(scores[0] > scores[3] && scores[0] == scores[2], "{scores:?}");
        assert_eq!(scores[5], 0.0);
    }

    #[test]
    fn a_test_that_all_pass_weighs_nothing() {
        assert_eq!(weights(&[vec![true], vec![true]]), [0.0]);
        assert!(weights(&[]).is_empty());
        assert!(agreement(&[], &[]).is_empty());
    }
}
