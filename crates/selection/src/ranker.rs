//! The combined selector: a logistic regression over every signal, learned from verdicts.
//!
//! What it gives is the probability that a candidate passes. A ranker is a small JSON file.

use crate::features::{NAMES, features};
use crate::{Pool, Selector};
use serde::{Deserialize, Serialize};
use smartcore::linalg::basic::arrays::Array;
use smartcore::linalg::basic::matrix::DenseMatrix;
use smartcore::linear::logistic_regression::{LogisticRegression, LogisticRegressionParameters};

/// Strength of the pull towards small weights.
const RIDGE: f64 = 1.0;

/// A learned ranker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ranker {
    /// What selectors may know of the tests it was trained with.
    pub level: u8,
    /// Inputs of our own making for each problem that it was trained with.
    pub own_inputs: usize,
    /// What each weight belongs to; must be [`NAMES`].
    pub features: Vec<String>,
    /// Mean of each feature in training.
    pub means: Vec<f64>,
    /// Deviation of each feature in training.
    pub deviations: Vec<f64>,
    /// Weight of each feature, in deviations from its mean.
    pub weights: Vec<f64>,
    /// Log-odds of a candidate whose features are all at their means.
    pub intercept: f64,
}

impl Ranker {
    /// Learns from pools with verdicts.
    ///
    /// # Errors
    /// Where all candidates pass, or none, so that nothing can be learned.
    pub fn train(pools: &[&Pool], level: u8, own_inputs: usize) -> Result<Self, String> {
        let rows: Vec<[f64; NAMES.len()]> = pools.iter().flat_map(|pool| features(pool)).collect();
        let labels: Vec<i32> = pools.iter().flat_map(|pool| &pool.passed).map(|&p| i32::from(p)).collect();
        if labels.iter().all(|&label| label == 1) || labels.iter().all(|&label| label == 0) {
            return Err("expected candidates that pass and candidates that fail, found only one kind".into());
        }
        let count = rows.len() as f64;
        let column = |at: usize| rows.iter().map(move |row| row[at]);
        let means: Vec<f64> = (0..NAMES.len()).map(|at| column(at).sum::<f64>() / count).collect();
        let deviation = |at: usize| {
            let variance = column(at).map(|value| (value - means[at]).powi(2)).sum::<f64>() / count;
            // A feature that never varies says nothing; whatever it is later, it counts 0.
            if variance > 1e-12 { variance.sqrt() } else { f64::INFINITY }
        };
        let deviations: Vec<f64> = (0..NAMES.len()).map(deviation).collect();
        let scaled: Vec<Vec<f64>> = rows.iter().map(|row| scale(row, &means, &deviations)).collect();
        let matrix = DenseMatrix::from_2d_vec(&scaled).map_err(|error| error.to_string())?;
        let settings = LogisticRegressionParameters::default().with_alpha(RIDGE);
        let fitted =
            LogisticRegression::fit(&matrix, &labels, settings).map_err(|error| error.to_string())?;
        let weights = (0..NAMES.len()).map(|at| *fitted.coefficients().get((0, at))).collect();
        // JSON has no infinity: 0 stands for a feature that never varied.
        let deviations = deviations.into_iter().map(|d| if d.is_finite() { d } else { 0.0 }).collect();
        Ok(Ranker {
            level,
            own_inputs,
            features: NAMES.map(str::to_owned).to_vec(),
            means,
            deviations,
            weights,
            intercept: *fitted.intercept().get((0, 0)),
        })
    }

    /// The probability that each candidate of a pool passes.
    pub fn probabilities(&self, pool: &Pool) -> Vec<f64> {
        let probability = |row: &[f64; NAMES.len()]| {
            let scaled = scale(row, &self.means, &self.deviations);
            let sum: f64 = scaled.iter().zip(&self.weights).map(|(value, weight)| value * weight).sum();
            1.0 / (1.0 + (-self.intercept - sum).exp())
        };
        features(pool).iter().map(probability).collect()
    }

    /// Reads a ranker's file.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let ranker: Ranker = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let lengths = [&ranker.means, &ranker.deviations, &ranker.weights].map(Vec::len);
        if ranker.features != NAMES || lengths != [NAMES.len(); 3] {
            return Err(format!("features: expected {}; train it again with this version", NAMES.join(", ")));
        }
        Ok(ranker)
    }
}

fn scale(row: &[f64], means: &[f64], deviations: &[f64]) -> Vec<f64> {
    let scaled = row.iter().zip(means).zip(deviations);
    scaled.map(|((value, mean), &d)| if d > 0.0 { (value - mean) / d } else { 0.0 }).collect()
}

/// Each pool's probabilities by a ranker that never saw its problem: problems are dealt to so many
/// parts, and each part is ranked by what was learned from the others.
///
/// # Errors
/// As [`Ranker::train`].
pub fn cross_validated(pools: &[Pool], parts: usize, level: u8) -> Result<Vec<Vec<f64>>, String> {
    let mut probabilities = vec![Vec::new(); pools.len()];
    for part in 0..parts {
        let others = pools.iter().enumerate().filter(|(at, _)| at % parts != part).map(|(_, pool)| pool);
        let ranker = Ranker::train(&others.collect::<Vec<_>>(), level, 0)?;
        for at in (part..pools.len()).step_by(parts) {
            probabilities[at] = ranker.probabilities(&pools[at]);
        }
    }
    Ok(probabilities)
}

/// What answering only where one is sure enough gives.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Coverage {
    /// Least probability of a pick that is answered with.
    pub confidence: f64,
    /// Share of the problems that are answered.
    pub coverage: f64,
    /// Share of these answers that pass.
    pub accuracy: f64,
}

/// The combined selector's pick of each pool that has one: its probability, and whether it passes.
pub fn picks(pools: &[Pool]) -> Vec<(f64, bool)> {
    let pick = |pool: &Pool| {
        let choice = *Selector::Combined.choices(pool)?.first()?;
        Some((pool.combined.as_ref()?[choice], pool.passed[choice]))
    };
    pools.iter().filter_map(pick).collect()
}

/// Coverage against accuracy: what abstaining below a confidence costs and gives. Confidences at
/// which nothing would be answered are left out.
pub fn coverage(pools: &[Pool]) -> Vec<Coverage> {
    let picks = picks(pools);
    let at = |percent: u32| {
        let confidence = f64::from(percent) / 100.0;
        let answered: Vec<bool> =
            picks.iter().filter(|(p, _)| *p >= confidence).map(|(_, passed)| *passed).collect();
        let right = answered.iter().filter(|&&passed| passed).count() as f64;
        (!answered.is_empty()).then(|| Coverage {
            confidence,
            coverage: answered.len() as f64 / picks.len() as f64,
            accuracy: right / answered.len() as f64,
        })
    };
    (0..10).filter_map(|tenth| at(tenth * 10)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Agreement;

    /// Pools in which what most agree on passes, four times in five.
    fn pools() -> Vec<Pool> {
        let pool = |n: usize| {
            let right = !(n / 5).is_multiple_of(5);
            let soft = vec![0.7, 0.7, 0.1, 0.7];
            Pool {
                problem: format!("p{n}"),
                passed: soft.iter().map(|&soft| (soft > 0.5) == right).collect(),
                codes: (0..4).map(|i| format!("def f(): return {i}")).collect(),
                agreement: Some(Agreement { runs: vec![1.0; 4], exact: soft.clone(), soft }),
                ..Pool::default()
            }
        };
        (0..100).map(pool).collect()
    }

    #[test]
    fn a_ranker_learns_what_tells_and_how_surely() {
        let pools = pools();
        for (pool, probabilities) in pools.iter().zip(cross_validated(&pools, 5, 1).expect("a ranker")) {
            assert!((probabilities[0] - 0.8).abs() < 0.1, "{} {probabilities:?}", pool.problem);
            assert!(probabilities[2] < 0.35, "{probabilities:?}");
        }
    }

    #[test]
    fn abstaining_answers_less_and_better() {
        let pool = |probability: f64, passed: bool| Pool {
            passed: vec![passed],
            combined: Some(vec![probability]),
            ..Pool::default()
        };
        let curve = coverage(&[pool(0.95, true), pool(0.55, true), pool(0.5, false), pool(0.15, false)]);
        let at = |confidence: f64| curve.iter().find(|point| (point.confidence - confidence).abs() < 1e-9);
        assert_eq!(at(0.0).map(|point| (point.coverage, point.accuracy)), Some((1.0, 0.5)));
        assert_eq!(at(0.5).map(|point| point.coverage), Some(0.75));
        assert_eq!(at(0.9).map(|point| (point.coverage, point.accuracy)), Some((0.25, 1.0)));
        assert!(coverage(&[]).is_empty());
    }

    #[test]
    fn a_rankers_file_is_checked() {
        let pools = pools();
        let ranker = Ranker::train(&pools.iter().collect::<Vec<_>>(), 1, 20).expect("a ranker");
        let text = serde_json::to_string(&ranker).expect("JSON");
        let again = Ranker::parse(&text).expect("a ranker");
        for (a, b) in again.probabilities(&pools[0]).iter().zip(ranker.probabilities(&pools[0])) {
            assert!((a - b).abs() < 1e-9, "{a} {b}");
        }
        assert!(
            Ranker::parse(&text.replace("soft_rank", "rank")).expect_err("an error").contains("features")
        );
        let one_kind: Vec<Pool> =
            pools.into_iter().map(|pool| Pool { passed: vec![true; 4], ..pool }).collect();
        assert!(Ranker::train(&one_kind.iter().collect::<Vec<_>>(), 1, 0).is_err());
    }
}
