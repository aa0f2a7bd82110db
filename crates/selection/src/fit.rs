//! The weights of a ranker for pools that have certain signals, and how they are learned.

use crate::features::Features;
use crate::logistic::{Examples, Pull, SLIGHT};
use crate::{Pool, Signal, chosen};
use serde::{Deserialize, Serialize};

/// Strength of the pull towards small weights.
const RIDGE: f64 = 200.0;
/// Candidates that a problem counts as, however many it has.
const CANDIDATES: f64 = 12.0;
/// Pairs of a problem that passes and fails to learn from.
const PAIRS: usize = 12;
/// Parts that problems are dealt to, where what is learned from some is tried on the others.
pub(crate) const PARTS: usize = 5;

/// Strength of the pull towards weights that were learned elsewhere: about what several hundred problems say.
const PRIOR: f64 = 2000.0;

/// Above this a number of a fit is taken for damaged.
const LARGEST: f64 = 1e6;

/// Weights for pools that have some signals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fit {
    /// What a pool must have.
    pub(crate) signals: Vec<Signal>,
    /// What each weight belongs to; must be the names of [`Features`] for these signals.
    pub(crate) features: Vec<String>,
    /// Mean of each feature in training.
    pub(crate) means: Vec<f64>,
    /// Unit of each feature: its deviation in training, larger where it is trusted less.
    pub(crate) deviations: Vec<f64>,
    /// Weight of each feature, for its distance from its mean in units.
    pub(crate) weights: Vec<f64>,
    /// Score of a candidate whose features are all at their means.
    intercept: f64,
    /// What turns a score into the log-odds of passing: a factor and a summand.
    pub(crate) calibration: (f64, f64),
}

impl Fit {
    /// Weights and calibration from pools that all have the signals; near those of another fit, if there is
    /// one, as far as these pools do not say otherwise.
    pub(crate) fn learn(pools: &[&Pool], signals: &[Signal], prior: Option<&Fit>) -> Result<Self, String> {
        let tables: Vec<Vec<Vec<f64>>> =
            pools.iter().map(|pool| Features::of(pool, signals).rows()).collect();
        let all: Vec<usize> = (0..pools.len()).collect();
        let mut fit = Fit::uncalibrated(pools, &tables, &all, signals, prior)?;
        let mut picks: Vec<(f64, bool)> = Vec::new();
        for part in 0..PARTS {
            let (held_out, others): (Vec<usize>, Vec<usize>) = all.iter().partition(|&at| at % PARTS == part);
            // Too few problems to hold some back: the scores stay as they are.
            let Ok(other) = Fit::uncalibrated(pools, &tables, &others, signals, prior) else {
                return Ok(fit);
            };
            picks.extend(held_out.into_iter().filter_map(|at| other.pick(pools[at])));
        }
        fit.calibration = calibrated(&picks);
        Ok(fit)
    }

    /// From some of the pools, whose features are these.
    fn uncalibrated(
        pools: &[&Pool],
        tables: &[Vec<Vec<f64>>],
        chosen: &[usize],
        signals: &[Signal],
        prior: Option<&Fit>,
    ) -> Result<Self, String> {
        let passed = || chosen.iter().flat_map(|&at| &pools[at].passed);
        if passed().all(|&passed| passed) || passed().all(|&passed| !passed) {
            return Err("expected candidates that pass and candidates that fail, found only one kind".into());
        }
        let names = names(signals);
        let trust = Features::of(&Pool::default(), signals).trust;
        let (mut means, spreads) = moments(chosen.iter().map(|&at| &tables[at]), names.len());
        // A feature that never varies says nothing; whatever it is later, it counts 0. Measured in larger
        // units, a feature needs a larger weight, which the ridge grants less readily.
        let unit = |(spread, trust): (&f64, f64)| if *spread > 1e-6 { spread / trust } else { 0.0 };
        let mut deviations: Vec<f64> = spreads.iter().zip(trust).map(unit).collect();
        let mut pull = vec![Pull { towards: 0.0, strength: RIDGE }; names.len()];
        // A weight that was learned elsewhere is for the units that it was learned in.
        for (at, known) in prior.into_iter().flat_map(|prior| prior.places(&names)) {
            (means[at], deviations[at]) = (known.mean, known.deviation);
            pull[at] = Pull { towards: known.weight, strength: RIDGE + PRIOR };
        }
        let intercept = prior.map_or(0.0, |prior| prior.intercept);
        pull.push(Pull { towards: intercept, strength: SLIGHT });
        let mut examples = Examples::default();
        for &at in chosen {
            let scaled: Vec<Vec<f64>> =
                tables[at].iter().map(|row| scale(row, &means, &deviations)).collect();
            add_problem(&mut examples, &scaled, &pools[at].passed);
        }
        let mut weights = examples.fit_near(&pull).ok_or("these candidates have no finite weights")?;
        let intercept = weights.pop().unwrap_or(0.0);
        let signals = signals.to_vec();
        Ok(Fit { signals, features: names, means, deviations, weights, intercept, calibration: (1.0, 0.0) })
    }

    /// The first field whose numbers no training gives.
    ///
    /// # Errors
    /// The field, and what was expected and found.
    pub(crate) fn check(&self) -> Result<(), String> {
        let (factor, summand) = self.calibration;
        let ranges: [(&str, &[f64], f64, f64); 6] = [
            ("means", &self.means, -LARGEST, LARGEST),
            ("deviations", &self.deviations, 0.0, LARGEST),
            ("weights", &self.weights, -LARGEST, LARGEST),
            ("intercept", &[self.intercept], -LARGEST, LARGEST),
            ("calibration", &[factor], 0.0, LARGEST),
            ("calibration", &[summand], -LARGEST, LARGEST),
        ];
        for (field, numbers, low, high) in ranges {
            if let Some(number) = numbers.iter().find(|number| !(low..=high).contains(*number)) {
                return Err(format!("{field}: expected numbers from {low} to {high}, found {number}"));
            }
        }
        Ok(())
    }

    /// What this fit knows of features, by their places among `names`; those that never varied are left out.
    fn places(&self, names: &[String]) -> Vec<(usize, Known)> {
        let known = |(at, name): (usize, &String)| {
            let own = self.features.iter().position(|feature| feature == name)?;
            let known =
                Known { mean: self.means[own], deviation: self.deviations[own], weight: self.weights[own] };
            (known.deviation > 0.0).then_some((at, known))
        };
        names.iter().enumerate().filter_map(known).collect()
    }

    /// The score of each candidate of a pool.
    pub(crate) fn scores(&self, pool: &Pool) -> Vec<f64> {
        let score = |row: &Vec<f64>| {
            let scaled = scale(row, &self.means, &self.deviations);
            self.intercept
                + scaled.iter().zip(&self.weights).map(|(value, weight)| value * weight).sum::<f64>()
        };
        Features::of(pool, &self.signals).rows().iter().map(score).collect()
    }

    /// The score of the candidate that would be taken, and whether it passes.
    pub(crate) fn pick(&self, pool: &Pool) -> Option<(f64, bool)> {
        let scores = self.scores(pool);
        let pick = *chosen(pool, &scores).first()?;
        Some((scores[pick], pool.passed[pick]))
    }
}

/// What a fit knows of one feature.
struct Known {
    mean: f64,
    deviation: f64,
    weight: f64,
}

/// Names of the features.
pub(crate) fn names(signals: &[Signal]) -> Vec<String> {
    Features::of(&Pool::default(), signals).names.into_iter().map(str::to_owned).collect()
}

/// Mean and deviation of each feature; every problem counts alike.
fn moments<'a>(
    tables: impl Iterator<Item = &'a Vec<Vec<f64>>> + Clone,
    width: usize,
) -> (Vec<f64>, Vec<f64>) {
    let mut total = 0.0;
    let (mut sums, mut squares) = (vec![0.0; width], vec![0.0; width]);
    for table in tables.filter(|table| !table.is_empty()) {
        total += 1.0;
        for row in table {
            let share = 1.0 / table.len() as f64;
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += share * value);
            squares.iter_mut().zip(row).for_each(|(sum, value)| *sum += share * value * value);
        }
    }
    let means: Vec<f64> = sums.iter().map(|sum| sum / total).collect();
    let spread = |(square, mean): (&f64, &f64)| (square / total - mean * mean).max(0.0).sqrt();
    let spreads = squares.iter().zip(&means).map(spread).collect();
    (means, spreads)
}

/// Adds a problem's candidates, and differences between those that pass and those that fail.
fn add_problem(examples: &mut Examples, scaled: &[Vec<f64>], passed: &[bool]) {
    let weight = CANDIDATES / scaled.len() as f64;
    // The last column stands for the intercept, of which differences have none. Candidates that look the
    // same in everything are one that counts as often.
    let mut alike: Vec<(&Vec<f64>, bool, f64)> = Vec::new();
    for (row, &passed) in scaled.iter().zip(passed) {
        match alike.iter_mut().find(|(other, label, _)| *label == passed && *other == row) {
            Some((_, _, times)) => *times += 1.0,
            None => alike.push((row, passed, 1.0)),
        }
    }
    for (row, passed, times) in alike {
        examples.add(row.iter().copied().chain([1.0]).collect(), passed, weight * times);
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
        let difference: Vec<f64> = better.iter().zip(worse).map(|(a, b)| a - b).chain([0.0]).collect();
        // Both ways round say the same where there is no intercept.
        examples.add(difference, true, 2.0);
    }
}

/// The factor and the summand that make scores of picks log-odds (Newton's method on the
/// cross-entropy). The factor is pulled towards 1, which leaves scores as they are: few picks, or
/// picks that score alike, say little about it.
pub(crate) fn calibrated(picks: &[(f64, bool)]) -> (f64, f64) {
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
