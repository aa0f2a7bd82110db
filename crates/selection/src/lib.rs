//! One answer out of n.
//!
//! A [`Selector`] looks at the candidates of one problem and says which it would take; candidates
//! that it cannot tell apart share its choice, so that no result depends on file order or luck.
//!
//! ```
//! use selection::{Pool, Selector};
//!
//! let pool = Pool {
//!     problem: "p".into(),
//!     passed: vec![false, true],
//!     critic: Some(vec![0.2, 0.9]),
//!     ..Pool::default()
//! };
//! assert_eq!(Selector::Critic.choices(&pool), Some(vec![1]));
//! assert_eq!(Selector::Random.accuracy(&pool), Some(0.5));
//! ```

pub mod answer_profile;
pub mod behaviour;
pub mod features;
mod fit;
pub mod generated_tests;
pub mod guess;
mod logistic;
mod model_name;
pub mod ranker;

pub use answer_profile::AnswerProfile;
pub use behaviour::{Agreement, AnswerClasses, Behaviour};
pub use features::Signal;
pub use model_name::{LEARNED, is_model};
pub use ranker::Ranker;

use records::{Candidate, Outcome, Problem, Score, Verdict};
use std::collections::HashMap;

/// What a program's text tells, as named numbers.
pub type StaticFeatures = Vec<(&'static str, f64)>;

/// The candidates of one problem, as selectors see them.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    /// The problem's id.
    pub problem: String,
    /// The index of each candidate.
    pub indices: Vec<usize>,
    /// Whether each candidate passed; only the oracle may look.
    pub passed: Vec<bool>,
    /// What the problem asks for, in words.
    pub statement: String,
    /// The program of each.
    pub codes: Vec<String>,
    /// What each program's text tells, as its domain sees it
    /// ([`verify::Domain::static_features`]), in the candidates' order; filled in by the caller.
    pub static_features: Option<Vec<StaticFeatures>>,
    /// Sum of token log-probabilities of each, where the generator gave them.
    pub log_likelihood: Option<Vec<f64>>,
    /// Mean of token log-probabilities of each, where the generator gave them.
    pub mean_log_probability: Option<Vec<f64>>,
    /// The critic's probability for each, where there is a critic.
    pub critic: Option<Vec<f64>>,
    /// How the candidates behave among each other, where they were run for that.
    pub agreement: Option<Agreement>,
    /// Which of them give the same, input by input, where they were run.
    pub answers: Option<AnswerClasses>,
    /// How each answers, where they were run.
    pub answer_profiles: Option<Vec<AnswerProfile>>,
    /// What the inputs they were run on tell of the problem: the level of what depends on them.
    pub agreement_level: u8,
    /// Mean log-probability of a token of the problem's text, given each program, where a model was
    /// asked.
    pub reviewer: Option<Vec<f64>>,
    /// How each agrees with tests that a model wrote, where there are such.
    pub generated_tests: Option<Vec<f64>>,
    /// A ranker's probability for each, where there is a ranker.
    pub combined: Option<Vec<f64>>,
    /// Whether each passes the tests that a prompt shows, where that was tried.
    pub passes_visible: Option<Vec<bool>>,
}

impl Pool {
    /// Only these candidates, with all that is known of them; what was counted among all stays so.
    pub fn of(&self, candidates: &[usize]) -> Pool {
        fn some<T: Clone>(values: &[T], at: &[usize]) -> Vec<T> {
            at.iter().filter_map(|&at| values.get(at).cloned()).collect()
        }
        let numbers = |values: &Option<Vec<f64>>| values.as_ref().map(|values| some(values, candidates));
        Pool {
            problem: self.problem.clone(),
            indices: some(&self.indices, candidates),
            statement: self.statement.clone(),
            static_features: self.static_features.as_ref().map(|features| some(features, candidates)),
            passed: some(&self.passed, candidates),
            codes: some(&self.codes, candidates),
            log_likelihood: numbers(&self.log_likelihood),
            mean_log_probability: numbers(&self.mean_log_probability),
            critic: numbers(&self.critic),
            agreement: self.agreement.as_ref().map(|agreement| Agreement {
                runs: some(&agreement.runs, candidates),
                exact: some(&agreement.exact, candidates),
                soft: some(&agreement.soft, candidates),
            }),
            answers: self.answers.as_ref().map(|answers| answers.of(candidates)),
            answer_profiles: self.answer_profiles.as_ref().map(|profiles| some(profiles, candidates)),
            agreement_level: self.agreement_level,
            reviewer: numbers(&self.reviewer),
            generated_tests: numbers(&self.generated_tests),
            combined: numbers(&self.combined),
            passes_visible: self.passes_visible.as_ref().map(|passes| some(passes, candidates)),
        }
    }
}

impl Pool {
    /// The candidates that pass the visible tests.
    fn passing(&self) -> Vec<usize> {
        let passes = self.passes_visible.iter().flatten().enumerate();
        passes.filter(|(_, passes)| **passes).map(|(at, _)| at).collect()
    }

    /// For each candidate that passes the visible tests, how far it agrees with the others that do: who
    /// fails them has no say in what is right. 0 for the others; none where the candidates were not run.
    fn agreement_among_passing(&self) -> Option<Vec<f64>> {
        let passing = self.passing();
        let mut agreement = vec![0.0; self.codes.len()];
        let among = self.answers.as_ref()?.agreement_among(&passing);
        passing.iter().zip(among).for_each(|(&at, share)| agreement[at] = share);
        Some(agreement)
    }
}

/// A way to choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Selector {
    /// Any, with equal chance: what a single sample gives on average.
    Random,
    /// The highest mean log-probability of a token (Chen et al., 2021, section 3.3).
    Likelihood,
    /// The highest log-probability of the whole.
    LikelihoodSum,
    /// The shortest program.
    Shortest,
    /// The critic's highest probability.
    Critic,
    /// The program that makes the problem's text likeliest (Zhang et al., 2022, Coder-Reviewer):
    /// the reviewer's log-probability of a token and the generator's, added, where both are there.
    Reviewer,
    /// The highest agreement with tests that a model wrote (Chen et al., 2022, CodeT).
    GeneratedTests,
    /// One that gives a value on the given inputs (executability; Zhang et al., 2022,
    /// Coder-Reviewer, section 2.3).
    Runs,
    /// The largest group that behaves alike on the given inputs (Shi et al., 2022, MBR-Exec); among
    /// equals the one that agrees most on varied inputs, then the critic's.
    Consensus,
    /// The highest agreement, input by input (soft MBR-Exec), varied inputs included.
    ConsensusSoft,
    /// One that passes the visible tests; among these the one that agrees most with the others of them.
    VisibleTest,
    /// A learned ranker's highest probability ([`Ranker`]). Where some pass the visible tests, only
    /// these count: among them the one that agrees most with the others of them, then the ranker's.
    Combined,
    /// One that passes, if there is any: the upper bound, which needs all tests.
    Oracle,
}

impl Selector {
    /// Every selector.
    pub const ALL: [Selector; 13] = [
        Selector::Random,
        Selector::Shortest,
        Selector::Likelihood,
        Selector::LikelihoodSum,
        Selector::Critic,
        Selector::Reviewer,
        Selector::GeneratedTests,
        Selector::Runs,
        Selector::Consensus,
        Selector::ConsensusSoft,
        Selector::VisibleTest,
        Selector::Combined,
        Selector::Oracle,
    ];

    /// The name used on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Selector::Random => "random",
            Selector::Likelihood => "likelihood",
            Selector::LikelihoodSum => "likelihood_sum",
            Selector::Shortest => "shortest",
            Selector::Critic => "critic",
            Selector::Reviewer => "reviewer",
            Selector::GeneratedTests => "generated_tests",
            Selector::Runs => "runs",
            Selector::Consensus => "consensus",
            Selector::ConsensusSoft => "consensus_soft",
            Selector::VisibleTest => "visible_test",
            Selector::Combined => "combined",
            Selector::Oracle => "oracle",
        }
    }

    /// The selector of a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|selector| selector.name() == name)
    }

    /// What it needs to know of a problem: 0 the text only, 1 a visible test's call, 2 the calls of
    /// all tests, 3 a visible test with its value, 4 all tests.
    pub fn level(self, pool: &Pool) -> u8 {
        match self {
            Selector::Runs | Selector::Consensus | Selector::ConsensusSoft => pool.agreement_level,
            Selector::VisibleTest => 3,
            Selector::Combined if pool.passes_visible.is_some() => 3,
            Selector::Combined => pool.agreement_level,
            Selector::Oracle => 4,
            _ => 0,
        }
    }

    /// The candidates it would take, all equally; none if it lacks what it needs.
    pub fn choices(self, pool: &Pool) -> Option<Vec<usize>> {
        let all = 0..pool.passed.len();
        if all.is_empty() {
            return None;
        }
        match self {
            Selector::Random => Some(all.collect()),
            Selector::Likelihood => pool.mean_log_probability.as_deref().map(highest),
            Selector::LikelihoodSum => pool.log_likelihood.as_deref().map(highest),
            Selector::Critic => pool.critic.as_deref().map(highest),
            Selector::Reviewer => pool.reviewer.as_ref().map(|reviewer| {
                let coder = pool.mean_log_probability.clone().unwrap_or_else(|| vec![0.0; reviewer.len()]);
                highest(
                    &reviewer.iter().zip(coder).map(|(reviewer, coder)| reviewer + coder).collect::<Vec<_>>(),
                )
            }),
            Selector::GeneratedTests => pool.generated_tests.as_deref().map(highest),
            Selector::Shortest => {
                Some(highest(&pool.codes.iter().map(|code| -(code.trim().len() as f64)).collect::<Vec<_>>()))
            }
            Selector::Combined => pool.combined.as_deref().map(|combined| chosen(pool, combined)),
            Selector::Runs => pool.agreement.as_ref().map(|agreement| highest(&agreement.runs)),
            Selector::Consensus => {
                let agreement = pool.agreement.as_ref()?;
                Some(narrowed(
                    all.collect(),
                    &[Some(&agreement.exact), Some(&agreement.soft), pool.critic.as_ref()],
                ))
            }
            Selector::ConsensusSoft => {
                let agreement = pool.agreement.as_ref()?;
                Some(narrowed(
                    all.collect(),
                    &[Some(&agreement.soft), Some(&agreement.exact), pool.critic.as_ref()],
                ))
            }
            Selector::VisibleTest => {
                pool.passes_visible.as_ref()?;
                let passing = pool.passing();
                let left = if passing.is_empty() { all.collect() } else { passing };
                let (exact, soft) = pool.agreement.as_ref().map(|a| (&a.exact, &a.soft)).unzip();
                let among = pool.agreement_among_passing();
                Some(narrowed(left, &[among.as_ref(), soft, exact, pool.critic.as_ref()]))
            }
            Selector::Oracle => {
                let passing: Vec<usize> = all.clone().filter(|&index| pool.passed[index]).collect();
                Some(if passing.is_empty() { all.collect() } else { passing })
            }
        }
    }

    /// The one it would take: where it cannot tell some apart, the other signals decide, and only
    /// where these cannot either the first of them.
    pub fn pick(self, pool: &Pool) -> Option<usize> {
        let (exact, soft) = pool.agreement.as_ref().map(|a| (&a.exact, &a.soft)).unzip();
        let others = [
            pool.combined.as_ref(),
            soft,
            exact,
            pool.critic.as_ref(),
            pool.reviewer.as_ref(),
            pool.mean_log_probability.as_ref(),
        ];
        narrowed(self.choices(pool)?, &others).first().copied()
    }

    /// The chance that its choice passes.
    pub fn accuracy(self, pool: &Pool) -> Option<f64> {
        let choices = self.choices(pool)?;
        let passing = choices.iter().filter(|&&index| pool.passed[index]).count();
        Some(passing as f64 / choices.len() as f64)
    }
}

/// The candidates that are taken by a ranker's scores. A visible test decides before they do: among
/// those that pass it, agreement counts first, and the scores choose among those that agree about as much.
pub(crate) fn chosen(pool: &Pool, scores: &[f64]) -> Vec<usize> {
    let passing = pool.passing();
    if passing.is_empty() {
        return highest(scores);
    }
    let most_agreeing = match pool.agreement_among_passing() {
        Some(agreement) => {
            let most = passing.iter().map(|&at| agreement[at]).fold(0.0, f64::max);
            passing.into_iter().filter(|&at| agreement[at] >= most - NEARLY).collect()
        }
        None => passing,
    };
    narrowed(most_agreeing, &[Some(&scores.to_vec())])
}

/// Agreement that is less than the most by this is as good: a few candidates that differ on a few inputs
/// of our own making say less than a ranker.
const NEARLY: f64 = 0.1;

/// 1 for yes, 0 for no.
pub(crate) fn number(yes: bool) -> f64 {
    f64::from(u8::from(yes))
}

/// The indices of the highest value.
fn highest(values: &[f64]) -> Vec<usize> {
    let best = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (0..values.len()).filter(|&index| values[index] >= best).collect()
}

/// Those of the candidates that have the highest value of the first signal, of these those with the
/// highest of the next, and so on; signals that are not there are passed over.
fn narrowed(candidates: Vec<usize>, signals: &[Option<&Vec<f64>>]) -> Vec<usize> {
    let narrow = |left: Vec<usize>, signal: &&Vec<f64>| {
        let best = left.iter().map(|&index| signal[index]).fold(f64::NEG_INFINITY, f64::max);
        // Sums of shares are compared up to rounding.
        left.into_iter().filter(|&index| signal[index] >= best - 1e-9).collect()
    };
    signals.iter().flatten().fold(candidates, narrow)
}

/// Gathers candidates, verdicts and scores into one pool a problem, in the order in which the
/// problems first occur. A candidate without a verdict, or with one that says nothing of it
/// ([`Outcome::Infrastructure`]), counts as not passed: it never leaves the denominator.
pub fn pools(
    problems: &[Problem],
    candidates: &[Candidate],
    verdicts: &[Verdict],
    scores: &[Score],
) -> Vec<Pool> {
    let problems: HashMap<&str, &Problem> =
        problems.iter().map(|problem| (problem.id.as_str(), problem)).collect();
    let verdicts: HashMap<(&str, usize), Outcome> =
        verdicts.iter().map(|verdict| ((verdict.problem.as_str(), verdict.index), verdict.outcome)).collect();
    let scores: HashMap<(&str, usize), f64> =
        scores.iter().map(|score| ((score.problem.as_str(), score.index), score.critic)).collect();
    let mut order: Vec<&str> = Vec::new();
    let mut by_problem: HashMap<&str, Vec<&Candidate>> = HashMap::new();
    for candidate in candidates {
        let group = by_problem.entry(&candidate.problem).or_insert_with(|| {
            order.push(&candidate.problem);
            Vec::new()
        });
        group.push(candidate);
    }
    let pool = |problem: &str| {
        let mut group = by_problem.remove(problem).unwrap_or_default();
        group.sort_by_key(|candidate| candidate.index);
        let key = |candidate: &Candidate| (problem.to_owned(), candidate.index);
        let passed = group.iter().map(|candidate| {
            let (problem, index) = key(candidate);
            verdicts.get(&(problem.as_str(), index)) == Some(&Outcome::Passed)
        });
        let critic = group.iter().map(|candidate| {
            let (problem, index) = key(candidate);
            scores.get(&(problem.as_str(), index)).copied()
        });
        let known = problems.get(problem);
        Pool {
            problem: problem.to_owned(),
            statement: known.map(|problem| problem.shown.statement.clone()).unwrap_or_default(),
            indices: group.iter().map(|candidate| candidate.index).collect(),
            passed: passed.collect(),
            codes: group.iter().map(|candidate| candidate.code.clone()).collect(),
            log_likelihood: group.iter().map(|candidate| candidate.log_likelihood()).collect(),
            mean_log_probability: group.iter().map(|candidate| candidate.mean_log_probability()).collect(),
            critic: critic.collect(),
            ..Pool::default()
        }
    };
    order.into_iter().map(pool).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(problem: &str, index: usize, log_probabilities: &[f32]) -> Candidate {
        Candidate {
            problem: problem.into(),
            index,
            log_probabilities: log_probabilities.to_vec(),
            ..Candidate::default()
        }
    }

    #[test]
    fn ties_share_the_choice() {
        let pool = Pool {
            passed: vec![true, false, true, false],
            critic: Some(vec![0.9, 0.9, 0.1, 0.2]),
            ..Pool::default()
        };
        assert_eq!(Selector::Critic.accuracy(&pool), Some(0.5));
        assert_eq!(Selector::Random.accuracy(&pool), Some(0.5));
        assert_eq!(Selector::Oracle.accuracy(&pool), Some(1.0));
        assert_eq!(Selector::Likelihood.accuracy(&pool), None);
    }

    #[test]
    fn the_next_signal_breaks_ties() {
        let agreement =
            Agreement { runs: vec![1.0; 4], exact: vec![0.5, 0.5, 0.5, 0.5], soft: vec![0.4, 0.4, 0.2, 0.4] };
        let pool = Pool {
            passed: vec![false; 4],
            critic: Some(vec![0.1, 0.9, 1.0, 0.9]),
            agreement: Some(agreement),
            passes_visible: Some(vec![true, false, true, false]),
            agreement_level: 1,
            ..Pool::default()
        };
        assert_eq!(Selector::Consensus.choices(&pool), Some(vec![1, 3]));
        assert_eq!(Selector::VisibleTest.choices(&pool), Some(vec![0]));
        assert_eq!((Selector::Consensus.level(&pool), Selector::VisibleTest.level(&pool)), (1, 3));
        assert_eq!(Selector::Runs.choices(&Pool { agreement: None, ..pool }), None);
    }

    #[test]
    fn a_part_of_a_pool_knows_what_the_whole_knew() {
        let agreement =
            Agreement { runs: vec![1.0; 3], exact: vec![0.6, 0.3, 0.1], soft: vec![0.5, 0.4, 0.1] };
        let pool = Pool {
            passed: vec![false, true, true],
            codes: vec!["a".into(), "b".into(), "c".into()],
            agreement: Some(agreement),
            combined: Some(vec![0.9, 0.2, 0.3]),
            ..Pool::default()
        };
        let part = pool.of(&[1, 2]);
        assert_eq!((Selector::Consensus.pick(&part), Selector::Combined.pick(&part)), (Some(0), Some(1)));
        assert_eq!((part.codes, part.critic), (vec!["b".to_owned(), "c".into()], None));
    }

    #[test]
    fn a_missing_verdict_stays_in_the_denominator() {
        let candidates =
            [candidate("a", 1, &[-1.0]), candidate("a", 0, &[-0.5, -3.0]), candidate("b", 0, &[])];
        let pools = pools(&[], &candidates, &[], &[]);
        assert_eq!(pools.len(), 2);
        assert_eq!(Selector::Random.accuracy(&pools[0]), Some(0.0));
        assert_eq!(Selector::Likelihood.choices(&pools[0]), Some(vec![1]));
        assert_eq!(pools[1].log_likelihood, None);
        assert_eq!(pools[0].critic, None);
    }

    #[test]
    fn a_visible_test_decides_before_the_ranker_and_only_who_passes_it_has_a_say() {
        // Candidates 0 to 3 fail the visible test and agree with 4; 5 to 7 pass it and agree.
        let row = |class: u32| vec![1, class, class];
        let pool = Pool {
            passed: vec![false; 8],
            codes: vec![String::new(); 8],
            combined: Some(vec![0.9, 0.9, 0.9, 0.9, 0.8, 0.2, 0.4, 0.3]),
            passes_visible: Some(vec![false, false, false, false, true, true, true, true]),
            answers: Some(AnswerClasses {
                given: 1,
                rows: [1, 1, 1, 1, 1, 2, 2, 2].into_iter().map(row).collect(),
            }),
            agreement_level: 1,
            ..Pool::default()
        };
        assert_eq!(Selector::Combined.choices(&pool), Some(vec![6]));
        assert_eq!(Selector::VisibleTest.choices(&pool), Some(vec![5, 6, 7]));
        let none = Pool { passes_visible: Some(vec![false; 8]), ..pool.clone() };
        assert_eq!(Selector::Combined.choices(&none), Some(vec![0, 1, 2, 3]));
        assert_eq!(Selector::Combined.choices(&Pool { answers: None, ..pool }), Some(vec![4]));
    }
}
