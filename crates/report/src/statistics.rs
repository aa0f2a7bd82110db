//! Estimators, each with its source.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Resamples of a bootstrap.
const RESAMPLES: usize = 2000;

/// The chance that at least one of `k` candidates drawn from `n`, of which `passing` pass, passes
/// (the unbiased estimator of Chen et al., 2021, section 2.1). `k` over `n` counts as `n`.
pub fn pass_at_k(n: usize, passing: usize, k: usize) -> f64 {
    let k = k.min(n);
    if k == 0 {
        return 0.0;
    }
    if n - passing < k {
        return 1.0;
    }
    let none: f64 = (n - passing + 1..=n).map(|i| 1.0 - k as f64 / i as f64).product();
    1.0 - none
}

/// The mean.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The sample standard deviation; 0 for fewer than two values.
pub fn deviation(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let mean = mean(values);
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (values.len() - 1) as f64).sqrt()
}

/// 95 % interval of the mean over problems (percentile bootstrap, Efron, 1979).
pub fn bootstrap_interval(values: &[f64], seed: u64) -> (f64, f64) {
    if values.is_empty() {
        return (0.0, 0.0);
    }
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut resample = || {
        let sum: f64 = (0..values.len()).map(|_| values[random.random_range(0..values.len())]).sum();
        sum / values.len() as f64
    };
    let mut means: Vec<f64> = (0..RESAMPLES).map(|_| resample()).collect();
    means.sort_by(f64::total_cmp);
    (means[RESAMPLES / 40], means[RESAMPLES - 1 - RESAMPLES / 40])
}

/// 95 % interval of the mean difference of two selectors on the same problems: resampled in
/// pairs, which takes the problems' own difficulty out.
pub fn paired_interval(a: &[f64], b: &[f64], seed: u64) -> (f64, f64) {
    let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    bootstrap_interval(&differences, seed)
}

/// The chance that a passing candidate scores above a failing one, ties counting half (area under
/// the ROC curve, by ranks: Mann and Whitney, 1947). None without both kinds.
pub fn area_under_curve(scores: &[f64], passed: &[bool]) -> Option<f64> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    let (mut rank_sum, mut at) = (0.0, 0);
    while at < order.len() {
        let tied = order[at..].iter().take_while(|&&i| scores[i] == scores[order[at]]).count();
        let rank = at as f64 + (tied + 1) as f64 / 2.0;
        rank_sum += rank * order[at..at + tied].iter().filter(|&&i| passed[i]).count() as f64;
        at += tied;
    }
    let passing = passed.iter().filter(|&&passed| passed).count() as f64;
    let failing = passed.len() as f64 - passing;
    (passing > 0.0 && failing > 0.0)
        .then(|| (rank_sum - passing * (passing + 1.0) / 2.0) / (passing * failing))
}

/// One bin of a calibration plot.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct CalibrationBin {
    /// Mean predicted probability.
    pub predicted: f64,
    /// Share that passed.
    pub observed: f64,
    /// Candidates in it.
    pub count: usize,
}

/// Ten bins of equal width; empty ones are left out.
pub fn calibration(scores: &[f64], passed: &[bool]) -> Vec<CalibrationBin> {
    let mut bins = [(0.0, 0.0, 0usize); 10];
    for (&score, &passed) in scores.iter().zip(passed) {
        let bin = &mut bins[((score * 10.0) as usize).min(9)];
        bin.0 += score;
        bin.1 += f64::from(u8::from(passed));
        bin.2 += 1;
    }
    let filled = bins.into_iter().filter(|bin| bin.2 > 0);
    filled
        .map(|(predicted, observed, count)| CalibrationBin {
            predicted: predicted / count as f64,
            observed: observed / count as f64,
            count,
        })
        .collect()
}

/// Mean distance of predicted and observed over the bins, by their size (expected calibration
/// error, Guo et al., 2017).
pub fn calibration_error(bins: &[CalibrationBin]) -> f64 {
    let total: usize = bins.iter().map(|bin| bin.count).sum();
    let weighted = bins.iter().map(|bin| (bin.predicted - bin.observed).abs() * bin.count as f64);
    weighted.sum::<f64>() / total.max(1) as f64
}

/// The calibration error that these probabilities would have on average if they were exactly right:
/// with few problems chance alone makes some, which no one can calibrate away.
pub fn calibration_error_by_chance(scores: &[f64], seed: u64) -> f64 {
    const DRAWS: usize = 200;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut error = || {
        let passed: Vec<bool> = scores.iter().map(|&score| random.random::<f64>() < score).collect();
        calibration_error(&calibration(scores, &passed))
    };
    (0..DRAWS).map(|_| error()).sum::<f64>() / DRAWS as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pass_at_k_is_the_share_of_subsets() {
        // Of the 10 pairs out of 5 candidates, 3 hold none of the 2 that pass.
        assert!((pass_at_k(5, 2, 2) - 0.7).abs() < 1e-12);
        assert_eq!(pass_at_k(5, 0, 5), 0.0);
        assert_eq!(pass_at_k(5, 1, 50), 1.0);
        assert_eq!(pass_at_k(0, 0, 1), 0.0);
    }

    #[test]
    fn chance_makes_less_calibration_error_the_more_there_is() {
        let error = |count: usize| calibration_error_by_chance(&vec![0.5; count], 1);
        assert!(error(25) > 2.0 * error(400), "{} {}", error(25), error(400));
        // The mean distance of a binomial share from one half: sqrt(2 / (pi n)) / 2.
        assert!((error(400) - 0.02).abs() < 0.003, "{}", error(400));
        assert_eq!(calibration_error_by_chance(&[1.0, 0.0], 1), 0.0);
    }

    #[test]
    fn area_under_curve_counts_pairs() {
        let scores = [0.1, 0.4, 0.35, 0.8, 0.4];
        let passed = [false, false, true, true, true];
        let mut pairs = Vec::new();
        for i in (0..5).filter(|&i| passed[i]) {
            for j in (0..5).filter(|&j| !passed[j]) {
                pairs.push(if scores[i] > scores[j] {
                    1.0
                } else if scores[i] == scores[j] {
                    0.5
                } else {
                    0.0
                });
            }
        }
        assert!((area_under_curve(&scores, &passed).expect("both kinds") - mean(&pairs)).abs() < 1e-12);
        assert_eq!(area_under_curve(&scores, &[true; 5]), None);
    }

    #[test]
    fn intervals_cover_and_pairs_are_narrower() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let a: Vec<f64> = (0..300).map(|_| f64::from(u8::from(random.random::<f64>() < 0.6))).collect();
        let b: Vec<f64> = a.iter().map(|&a| if random.random::<f64>() < 0.05 { 1.0 } else { a }).collect();
        let (low, high) = bootstrap_interval(&a, 0);
        assert!(low < mean(&a) && mean(&a) < high && high - low > 0.08 && high - low < 0.14);
        let (paired_low, paired_high) = paired_interval(&b, &a, 0);
        assert!(paired_low >= 0.0 && paired_high - paired_low < (high - low) / 2.0);
    }

    #[test]
    fn a_calibrated_score_has_no_error() {
        let scores = [0.25; 4];
        let bins = calibration(&scores, &[true, false, false, false]);
        assert!(calibration_error(&bins) < 1e-12);
        assert!((calibration_error(&calibration(&[1.0, 1.0], &[true, false])) - 0.5).abs() < 1e-12);
    }
}
