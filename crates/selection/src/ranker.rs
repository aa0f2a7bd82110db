//! The combined selector: a linear model over every signal, learned from verdicts.
//!
//! One set of weights learns two things at once: whether a candidate passes (logistic regression),
//! and which of two candidates of a problem passes where only one does (Burges et al., 2005,
//! RankNet, with a linear score). The first makes the score a probability, the second is what a
//! choice depends on. A last step sets right how sure the picks are, by picks on problems that the
//! weights did not learn from (Platt, 1999). A ranker is a small JSON file.

use crate::features::Features;
use crate::{Pool, Selector};
use serde::{Deserialize, Serialize};
use smartcore::linalg::basic::arrays::Array;
use smartcore::linalg::basic::matrix::DenseMatrix;
use smartcore::linear::logistic_regression::{LogisticRegression, LogisticRegressionParameters};

/// Strength of the pull towards small weights.
const RIDGE: f64 = 200.0;
/// Pairs of a problem that passes and fails to learn from.
const PAIRS: usize = 12;
/// Parts that problems are dealt to, where what is learned from some is tried on the others.
const PARTS: usize = 5;

/// A learned ranker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ranker {
    /// What selectors may know of the tests it was trained with.
    pub level: u8,
    /// Varied inputs for each problem that it was trained with.
    pub own_inputs: usize,
    /// What each weight belongs to; must be the names of [`Features`].
    pub features: Vec<String>,
    /// Mean of each feature in training.
    pub means: Vec<f64>,
    /// Unit of each feature: its deviation in training, larger where it is trusted less.
    pub deviations: Vec<f64>,
    /// Weight of each feature, for its distance from its mean in units.
    pub weights: Vec<f64>,
    /// Score of a candidate whose features are all at their means.
    pub intercept: f64,
    /// What turns a score into the log-odds of passing: a factor and a summand.
    pub calibration: (f64, f64),
}

/// One ranker for each level of knowledge; `models/rankers/README.md` has the commands that make
/// them.
const BUILT_IN: [&str; 4] = [
    include_str!("../../../models/rankers/level-0.json"),
    include_str!("../../../models/rankers/level-1.json"),
    include_str!("../../../models/rankers/level-2.json"),
    include_str!("../../../models/rankers/level-3.json"),
];

impl Ranker {
    /// The ranker that comes with the program for a level; where all tests are known it is that of
    /// level 3.
    ///
    /// # Panics
    /// If the files that this program was built with are not of its version: a test sees to that.
    pub fn built_in(level: u8) -> Self {
        let text = BUILT_IN[usize::from(level).min(BUILT_IN.len() - 1)];
        Ranker::parse(text).unwrap_or_else(|error| panic!("models/rankers/level-{level}.json: {error}"))
    }

    /// Learns from pools with verdicts.
    ///
    /// # Errors
    /// Where all candidates pass, or none, so that nothing can be learned.
    pub fn train(pools: &[&Pool], level: u8, own_inputs: usize) -> Result<Self, String> {
        let mut ranker = Self::uncalibrated(pools, level, own_inputs)?;
        let mut picks: Vec<(f64, bool)> = Vec::new();
        for part in 0..PARTS {
            let (held_out, others) = deal(pools, part);
            // Too few problems to hold some back: the scores stay as they are.
            let Ok(other) = Self::uncalibrated(&others, level, own_inputs) else { return Ok(ranker) };
            for pool in held_out {
                let scores = other.scores(pool);
                let best = (0..scores.len()).max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
                picks.extend(best.map(|best| (scores[best], pool.passed[best])));
            }
        }
        ranker.calibration = calibrated(&picks);
        Ok(ranker)
    }

    fn uncalibrated(pools: &[&Pool], level: u8, own_inputs: usize) -> Result<Self, String> {
        let tables: Vec<Vec<Vec<f64>>> = pools.iter().map(|pool| Features::of(pool).rows()).collect();
        let rows: Vec<&Vec<f64>> = tables.iter().flatten().collect();
        let passed = pools.iter().flat_map(|pool| &pool.passed);
        if passed.clone().all(|&passed| passed) || passed.clone().all(|&passed| !passed) {
            return Err("expected candidates that pass and candidates that fail, found only one kind".into());
        }
        let names = names();
        let count = rows.len() as f64;
        let column = |at: usize| rows.iter().map(move |row| row[at]);
        let means: Vec<f64> = (0..names.len()).map(|at| column(at).sum::<f64>() / count).collect();
        let trust = Features::of(&Pool::default()).trust;
        let deviation = |at: usize| {
            let variance = column(at).map(|value| (value - means[at]).powi(2)).sum::<f64>() / count;
            // A feature that never varies says nothing; whatever it is later, it counts 0. Measured
            // in larger units, a feature needs a larger weight, which the ridge grants less readily.
            if variance > 1e-12 { variance.sqrt() / trust[at] } else { 0.0 }
        };
        let deviations: Vec<f64> = (0..names.len()).map(deviation).collect();
        let mut equations = Equations::default();
        for (table, pool) in tables.iter().zip(pools) {
            let scaled: Vec<Vec<f64>> = table.iter().map(|row| scale(row, &means, &deviations)).collect();
            equations.add_problem(&scaled, &pool.passed);
        }
        let (weights, intercept) = equations.solve()?;
        Ok(Ranker {
            level,
            own_inputs,
            features: names,
            means,
            deviations,
            weights,
            intercept,
            calibration: (1.0, 0.0),
        })
    }

    /// The score of each candidate of a pool.
    fn scores(&self, pool: &Pool) -> Vec<f64> {
        let score = |row: &Vec<f64>| {
            let scaled = scale(row, &self.means, &self.deviations);
            self.intercept
                + scaled.iter().zip(&self.weights).map(|(value, weight)| value * weight).sum::<f64>()
        };
        Features::of(pool).rows().iter().map(score).collect()
    }

    /// The probability that each candidate of a pool passes.
    pub fn probabilities(&self, pool: &Pool) -> Vec<f64> {
        let (factor, summand) = self.calibration;
        self.scores(pool).iter().map(|score| 1.0 / (1.0 + (-factor * score - summand).exp())).collect()
    }

    /// Reads a ranker's file.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let ranker: Ranker = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let names = names();
        let lengths = [&ranker.means, &ranker.deviations, &ranker.weights].map(Vec::len);
        if ranker.features != names || lengths != [names.len(); 3] {
            return Err(format!("features: expected {}; train it again with this version", names.join(", ")));
        }
        Ok(ranker)
    }
}

/// What the weights are solved from: candidates, and differences of candidates of one problem.
#[derive(Default)]
struct Equations {
    rows: Vec<Vec<f64>>,
    labels: Vec<i32>,
}

impl Equations {
    fn add_problem(&mut self, scaled: &[Vec<f64>], passed: &[bool]) {
        for (row, &passed) in scaled.iter().zip(passed) {
            // The last column stands for the intercept, of which differences have none.
            let row = row.iter().copied().chain([1.0]);
            self.rows.push(row.collect());
            self.labels.push(i32::from(passed));
        }
        let which = |wanted: bool| (0..passed.len()).filter(move |&at| passed[at] == wanted);
        let (good, bad): (Vec<usize>, Vec<usize>) = (which(true).collect(), which(false).collect());
        if good.is_empty() || bad.is_empty() {
            return;
        }
        // Every problem gets as many pairs, spread evenly over those there are.
        let all = good.len() * bad.len();
        for pair in 0..PAIRS {
            let at = pair * all / PAIRS;
            let (better, worse) = (&scaled[good[at / bad.len()]], &scaled[bad[at % bad.len()]]);
            let difference = |sign: f64| -> Vec<f64> {
                better.iter().zip(worse).map(|(a, b)| sign * (a - b)).chain([0.0]).collect()
            };
            // Both ways round, so that no constant can learn from pairs.
            self.rows.push(difference(1.0));
            self.labels.push(1);
            self.rows.push(difference(-1.0));
            self.labels.push(0);
        }
    }

    /// Weights and intercept.
    fn solve(&self) -> Result<(Vec<f64>, f64), String> {
        let matrix = DenseMatrix::from_2d_vec(&self.rows).map_err(|error| error.to_string())?;
        let settings = LogisticRegressionParameters::default().with_alpha(RIDGE);
        let fitted =
            LogisticRegression::fit(&matrix, &self.labels, settings).map_err(|error| error.to_string())?;
        let width = self.rows.first().map_or(0, Vec::len);
        let mut weights: Vec<f64> = (0..width).map(|at| *fitted.coefficients().get((0, at))).collect();
        let intercept = weights.pop().unwrap_or(0.0) + *fitted.intercept().get((0, 0));
        Ok((weights, intercept))
    }
}

/// Names of the features.
fn names() -> Vec<String> {
    Features::of(&Pool::default()).names.into_iter().map(str::to_owned).collect()
}

/// The factor and the summand that make scores of picks log-odds (Newton's method on the
/// cross-entropy). The factor is pulled towards 1, which leaves scores as they are: few picks, or
/// picks that score alike, say little about it.
fn calibrated(picks: &[(f64, bool)]) -> (f64, f64) {
    const PULL: f64 = 2.0;
    let (mut factor, mut summand) = (1.0f64, 0.0f64);
    for _ in 0..50 {
        let (mut slope, mut level) = (PULL * (factor - 1.0), 1e-3 * summand);
        let (mut aa, mut ab, mut bb) = (PULL, 0.0, 1e-3);
        for &(score, passed) in picks {
            let p = 1.0 / (1.0 + (-factor * score - summand).exp());
            let (error, weight) = (p - f64::from(u8::from(passed)), p * (1.0 - p));
            slope += error * score;
            level += error;
            aa += weight * score * score;
            ab += weight * score;
            bb += weight;
        }
        let determinant = aa * bb - ab * ab;
        factor -= (bb * slope - ab * level) / determinant;
        summand -= (aa * level - ab * slope) / determinant;
    }
    // A negative factor would turn the order round.
    if factor > 0.0 && summand.is_finite() { (factor, summand) } else { (1.0, 0.0) }
}

fn scale(row: &[f64], means: &[f64], deviations: &[f64]) -> Vec<f64> {
    let scaled = row.iter().zip(means).zip(deviations);
    scaled.map(|((value, mean), &d)| if d > 0.0 { (value - mean) / d } else { 0.0 }).collect()
}

/// One part of the problems, and the others.
fn deal<'a>(pools: &[&'a Pool], part: usize) -> (Vec<&'a Pool>, Vec<&'a Pool>) {
    let (mut chosen, mut others) = (Vec::new(), Vec::new());
    for (at, pool) in pools.iter().enumerate() {
        if at % PARTS == part { chosen.push(*pool) } else { others.push(*pool) }
    }
    (chosen, others)
}

/// Each pool's probabilities by a ranker that never saw its problem: problems are dealt to five
/// parts, and each part is ranked by what was learned from the others.
///
/// # Errors
/// As [`Ranker::train`].
pub fn cross_validated(pools: &[Pool], level: u8) -> Result<Vec<Vec<f64>>, String> {
    let all: Vec<&Pool> = pools.iter().collect();
    let mut probabilities = vec![Vec::new(); pools.len()];
    for part in 0..PARTS {
        let ranker = Ranker::train(&deal(&all, part).1, level, 0)?;
        for at in (part..pools.len()).step_by(PARTS) {
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
        for (pool, probabilities) in pools.iter().zip(cross_validated(&pools, 1).expect("a ranker")) {
            assert!((probabilities[0] - 0.8).abs() < 0.1, "{} {probabilities:?}", pool.problem);
            assert!(probabilities[2] < probabilities[0] - 0.1, "{probabilities:?}");
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
    fn the_built_in_rankers_are_of_this_version_and_of_their_levels() {
        for level in 0..4 {
            assert_eq!(Ranker::built_in(level).level, level);
        }
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
