//! The combined selector: a linear model over every signal, learned from verdicts.
//!
//! One set of weights learns two things at once: whether a candidate passes (logistic regression),
//! and which of two candidates of a problem passes where only one does (Burges et al., 2005,
//! RankNet, with a linear score). The first makes the score a probability, the second is what a
//! choice depends on. A last step sets right how sure the picks are, by picks on problems that the
//! weights did not learn from (Platt, 1999). A ranker is a small JSON file.
//!
//! What models say of candidates (a critic, likelihoods) is not always there. A ranker has weights for
//! each set of such [`Signal`]s that it may meet, and ranks a pool by those for what the pool has: no
//! number ever stands for what is missing.

use crate::fit::{Fit, PARTS, calibrated, names};
use crate::model_name::is_model;
use crate::{Pool, Selector, Signal};
use serde::{Deserialize, Serialize};

/// Problems below which a signal that not all have is not learned from.
const LEAST_POOLS: usize = 40;

/// The highest level of knowledge that a ranker has; above it is the oracle's.
pub const HIGHEST_LEVEL: u8 = 3;
/// Most varied inputs for each problem; a file that names more is damaged.
const MOST_INPUTS: usize = 10_000;

/// A learned ranker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ranker {
    /// What selectors may know of the tests it was trained with.
    pub level: u8,
    /// Varied inputs for each problem that it was trained with.
    pub own_inputs: usize,
    /// Generators whose candidates its probabilities were set right by. Those of another generator keep
    /// their order, not their meaning.
    pub calibrated_for: Vec<String>,
    /// Weights for each set of signals that a pool may have, most signals first; the last needs none.
    fits: Vec<Fit>,
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

    /// Learns from pools with verdicts. It may later rank pools that lack some of the signals that these
    /// have; what it learns of a signal it learns from the pools that have it.
    ///
    /// # Errors
    /// Where all candidates pass, or none, so that nothing can be learned.
    pub fn train(pools: &[&Pool], level: u8, own_inputs: usize) -> Result<Self, String> {
        Self::with_signals(pools, level, own_inputs, &signal_sets(&frequent(pools)), None)
    }

    /// As [`train`](Self::train), but the weights stay near this ranker's as far as the pools do not say
    /// otherwise: for few pools of one generator. What they have and this ranker never met is learned from
    /// them alone.
    ///
    /// # Errors
    /// As [`train`](Self::train).
    pub fn adapted(&self, pools: &[&Pool], own_inputs: usize) -> Result<Self, String> {
        let sets = signal_sets(&frequent(pools));
        Self::with_signals(pools, self.level, own_inputs, &sets, Some(self))
    }

    fn with_signals(
        pools: &[&Pool],
        level: u8,
        own_inputs: usize,
        sets: &[Vec<Signal>],
        prior: Option<&Ranker>,
    ) -> Result<Self, String> {
        let learn = |signals: &Vec<Signal>| {
            let has_all = |pool: &&&Pool| signals.iter().all(|signal| signal.is_in(pool));
            let prior = prior.and_then(|prior| {
                prior.fits.iter().find(|fit| fit.signals.iter().all(|signal| signals.contains(signal)))
            });
            Fit::learn(&pools.iter().filter(has_all).copied().collect::<Vec<_>>(), signals, prior)
        };
        let (last, others) = sets.split_last().ok_or("expected a set of signals")?;
        // No pools may have two signals at once; without the last one nothing can be ranked.
        let mut fits: Vec<Fit> = others.iter().filter_map(|signals| learn(signals).ok()).collect();
        fits.push(learn(last)?);
        Ok(Ranker { level, own_inputs, calibrated_for: Vec::new(), fits })
    }

    /// Sets right how sure it is, by picks among other candidates, which are these generators'. What it
    /// prefers stays as it is.
    ///
    /// # Errors
    /// Where all picks pass, or none: that says nothing of how sure to be.
    pub fn calibrate(&mut self, pools: &[&Pool], generators: &[String]) -> Result<(), String> {
        let signals = signals_of_all(pools);
        // Weights for signals that these candidates lack cannot be set right by them.
        self.fits.retain(|fit| fit.signals.iter().all(|signal| signals.contains(signal)));
        for fit in &mut self.fits {
            let picks: Vec<(f64, bool)> = pools.iter().filter_map(|pool| fit.pick(pool)).collect();
            if picks.iter().all(|pick| pick.1) || picks.iter().all(|pick| !pick.1) {
                return Err("expected picks that pass and picks that fail, found only one kind".into());
            }
            fit.calibration = calibrated(&picks);
        }
        self.calibrated_for = generators.to_vec();
        Ok(())
    }

    /// Whether its probabilities mean what they say for candidates of this generator, by any of its names
    /// ([`is_model`](crate::is_model)).
    pub fn is_calibrated_for(&self, generator: &str) -> bool {
        self.calibrated_for.iter().any(|known| is_model(known, generator))
    }

    /// Whether it has weights for what some model says of candidates.
    pub fn uses(&self, signal: Signal) -> bool {
        self.fits.iter().any(|fit| fit.signals.contains(&signal))
    }

    /// The signals that it ranks a pool by: the most of those it knows that the pool has.
    pub fn signals_for(&self, pool: &Pool) -> &[Signal] {
        self.fit_for(pool).map_or(&[], |fit| &fit.signals)
    }

    fn fit_for(&self, pool: &Pool) -> Option<&Fit> {
        self.fits.iter().find(|fit| fit.signals.iter().all(|signal| signal.is_in(pool)))
    }

    /// The probability that each candidate of a pool passes.
    pub fn probabilities(&self, pool: &Pool) -> Vec<f64> {
        // The last one needs no signals, so there is one for every pool.
        let Some(fit) = self.fit_for(pool) else { return vec![0.0; pool.codes.len()] };
        let (factor, summand) = fit.calibration;
        fit.scores(pool).iter().map(|score| 1.0 / (1.0 + (-factor * score - summand).exp())).collect()
    }

    /// Reads a ranker's file.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let again = "train it again with this version";
        let ranker: Ranker = serde_json::from_str(text).map_err(|error| format!("{error}; {again}"))?;
        for fit in &ranker.fits {
            let names = names(&fit.signals);
            let lengths = [&fit.means, &fit.deviations, &fit.weights].map(Vec::len);
            if fit.features != names || lengths != [names.len(); 3] {
                return Err(format!("fits.features: expected {}; {again}", names.join(", ")));
            }
        }
        ranker.fits.iter().try_for_each(Fit::check).map_err(|field| format!("fits.{field}; {again}"))?;
        if ranker.level > HIGHEST_LEVEL || ranker.own_inputs > MOST_INPUTS {
            return Err(format!(
                "expected level 0 to {HIGHEST_LEVEL} and own_inputs up to {MOST_INPUTS}, found {} and {}",
                ranker.level, ranker.own_inputs
            ));
        }
        if ranker.fits.last().is_none_or(|fit| !fit.signals.is_empty()) {
            return Err(format!("fits: expected a last one without signals; {again}"));
        }
        Ok(ranker)
    }
}

/// The signals that enough of some pools have to learn from.
fn frequent(pools: &[&Pool]) -> Vec<Signal> {
    let is_frequent = |signal: &Signal| {
        let count = pools.iter().filter(|pool| signal.is_in(pool)).count();
        count >= LEAST_POOLS || count == pools.len()
    };
    Signal::ALL.into_iter().filter(is_frequent).collect()
}

/// The signals that all of some pools have.
fn signals_of_all(pools: &[&Pool]) -> Vec<Signal> {
    let everywhere = |signal: &Signal| pools.iter().all(|pool| signal.is_in(pool));
    Signal::ALL.into_iter().filter(everywhere).collect()
}

/// The sets of signals that weights are learned for: all of them, each alone, and none.
fn signal_sets(signals: &[Signal]) -> Vec<Vec<Signal>> {
    let mut sets = vec![signals.to_vec()];
    sets.extend(signals.iter().map(|&signal| vec![signal]));
    sets.push(Vec::new());
    sets.dedup();
    sets
}

/// Each pool's probabilities by a ranker that never saw its problem: problems are dealt to five
/// parts, and each part is ranked by what was learned from the others, near a prior ranker if there is one.
///
/// # Errors
/// As [`Ranker::train`].
pub fn cross_validated(pools: &[Pool], level: u8, prior: Option<&Ranker>) -> Result<Vec<Vec<f64>>, String> {
    let all: Vec<&Pool> = pools.iter().collect();
    let mut sets = vec![signals_of_all(&all), Vec::new()];
    sets.dedup();
    let mut probabilities = vec![Vec::new(); pools.len()];
    for part in 0..PARTS {
        let others = all.iter().enumerate().filter(|(at, _)| at % PARTS != part);
        let others: Vec<&Pool> = others.map(|(_, pool)| *pool).collect();
        let ranker = Ranker::with_signals(&others, level, 0, &sets, prior)?;
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
        for (pool, probabilities) in pools.iter().zip(cross_validated(&pools, 1, None).expect("a ranker")) {
            assert!((probabilities[0] - 0.8).abs() < 0.1, "{} {probabilities:?}", pool.problem);
            assert!(probabilities[2] < probabilities[0] - 0.1, "{probabilities:?}");
        }
    }

    #[test]
    fn few_pools_move_a_ranker_little_and_teach_it_a_signal_that_it_never_met() {
        let many = pools();
        let prior = Ranker::train(&many.iter().collect::<Vec<_>>(), 1, 20).expect("a ranker");
        // A critic knows what agreement does not.
        let known = |pool: &Pool| {
            let critic = pool.passed.iter().map(|&passed| if passed { 0.9 } else { 0.1 });
            Pool { critic: Some(critic.collect()), ..pool.clone() }
        };
        let few: Vec<Pool> = many[..50].iter().map(known).collect();
        let adapted = prior.adapted(&few.iter().collect::<Vec<_>>(), 20).expect("a ranker");
        assert_eq!(adapted.signals_for(&few[0]), &[Signal::Critic][..]);
        for (pool, with) in many.iter().zip(&few) {
            let (before, after) = (prior.probabilities(pool), adapted.probabilities(pool));
            let near = before.iter().zip(&after).all(|(a, b)| (a - b).abs() < 0.05);
            assert!(near, "{before:?} {after:?}");
            let found = adapted.probabilities(with);
            let best = (0..4).max_by(|&a, &b| found[a].total_cmp(&found[b])).expect("four");
            assert!(with.passed[best], "{found:?} {:?}", with.passed);
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
        for (field, value, what) in [
            ("intercept", 1e300, "intercept"),
            ("calibration", -1e9, "calibration"),
            ("own_inputs", 1e12, "own_inputs"),
        ] {
            let mut damaged: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            match field {
                "own_inputs" => damaged[field] = (value as u64).into(),
                "calibration" => damaged["fits"][0][field][0] = value.into(),
                _ => damaged["fits"][0][field] = value.into(),
            }
            let error = Ranker::parse(&damaged.to_string()).expect_err("an error");
            assert!(error.contains(what), "{error}");
        }
        let one_kind: Vec<Pool> =
            pools.into_iter().map(|pool| Pool { passed: vec![true; 4], ..pool }).collect();
        assert!(Ranker::train(&one_kind.iter().collect::<Vec<_>>(), 1, 0).is_err());
    }

    #[test]
    fn a_pool_is_ranked_by_what_it_has_and_by_nothing_else() {
        // The critic knows what agreement does not; half of the pools have one.
        let mut pools = pools();
        for (at, pool) in pools.iter_mut().enumerate() {
            let known = pool.passed.iter().map(|&passed| if passed { 0.9 } else { 0.1 });
            pool.critic = (at % 2 == 0).then(|| known.collect());
        }
        let ranker = Ranker::train(&pools.iter().collect::<Vec<_>>(), 1, 20).expect("a ranker");
        let with = &pools[0];
        let without = Pool { critic: None, ..with.clone() };
        assert!(!with.passed[0] && with.passed[2]);
        assert_eq!(
            (ranker.signals_for(with), ranker.signals_for(&without)),
            (&[Signal::Critic][..], &[][..])
        );
        assert!(ranker.probabilities(with)[2] > ranker.probabilities(with)[0]);
        assert!(ranker.probabilities(&without)[2] < ranker.probabilities(&without)[0]);
        // A signal that it never met changes nothing.
        let reviewed = Pool { reviewer: Some(vec![-9.0, 0.0, 0.0, 0.0]), ..without.clone() };
        assert_eq!(ranker.probabilities(&reviewed), ranker.probabilities(&without));
    }

    #[test]
    fn calibration_changes_how_sure_it_is_and_not_what_it_prefers() {
        let pools = pools();
        let all: Vec<&Pool> = pools.iter().collect();
        let ranker = Ranker::train(&all, 1, 20).expect("a ranker");
        // Another generator, for whose candidates agreement says less.
        let other: Vec<Pool> = pools
            .iter()
            .enumerate()
            .map(|(at, pool)| {
                let passed = if at % 2 == 0 { vec![false; 4] } else { pool.passed.clone() };
                Pool { passed, ..pool.clone() }
            })
            .collect();
        let mut calibrated = ranker.clone();
        calibrated.calibrate(&other.iter().collect::<Vec<_>>(), &["other".to_owned()]).expect("calibrated");
        assert!(calibrated.is_calibrated_for("other") && !ranker.is_calibrated_for("other"));
        assert!(
            ["Other-Q4_K_M", "owner/other", "other.gguf"]
                .iter()
                .all(|name| calibrated.is_calibrated_for(name))
        );
        assert!(
            ["other-instruct", "another", "other2", ""]
                .iter()
                .all(|name| !calibrated.is_calibrated_for(name))
        );
        let share = other.iter().filter(|pool| pool.passed[0]).count() as f64 / other.len() as f64;
        let (before, after) = (ranker.probabilities(&pools[0]), calibrated.probabilities(&pools[0]));
        assert!((after[0] - share).abs() < 0.08 && before[0] > share + 0.2, "{share} {before:?} {after:?}");
        assert!(after[0] > after[2]);
        let failing: Vec<Pool> =
            other.iter().map(|pool| Pool { passed: vec![false; 4], ..pool.clone() }).collect();
        assert!(ranker.clone().calibrate(&failing.iter().collect::<Vec<_>>(), &[]).is_err());
    }
}
