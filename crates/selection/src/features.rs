//! Every signal about a candidate as numbers, for a ranker to weigh.
//!
//! Most are shares, and many compare a candidate with the others of its problem, because a choice
//! is made inside one problem. What a model says is there only where it is asked for: no number
//! stands for a critic that there is not.

use crate::{Agreement, AnswerProfile, Pool, StaticFeatures, number};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};

/// What a model says of candidates, which is there for some pools and not for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// The generator's log-probabilities.
    Likelihood,
    /// A critic's probabilities.
    Critic,
    /// A reviewer's log-probabilities.
    Reviewer,
    /// Agreement with tests that a model wrote.
    GeneratedTests,
}

impl Signal {
    /// Every signal.
    pub const ALL: [Signal; 4] =
        [Signal::Likelihood, Signal::Critic, Signal::Reviewer, Signal::GeneratedTests];

    /// Whether a pool has it for each of its candidates.
    pub fn is_in(self, pool: &Pool) -> bool {
        match self {
            Signal::Likelihood => pool.log_likelihood.is_some() && pool.mean_log_probability.is_some(),
            Signal::Critic => pool.critic.is_some(),
            Signal::Reviewer => pool.reviewer.is_some(),
            Signal::GeneratedTests => pool.generated_tests.is_some(),
        }
    }
}

/// Named columns of numbers, one value for each candidate of a pool.
#[derive(Clone, Debug, Default)]
pub struct Features {
    /// Names of the columns.
    pub names: Vec<&'static str>,
    /// `[feature][candidate]`
    pub columns: Vec<Vec<f64>>,
    /// How far each feature's weight may go, beside others' 1: what candidates do is believed more
    /// readily than what their text looks like, which changes from model to model.
    pub trust: Vec<f64>,
}

/// Trust in what a program's text looks like.
const TRUST_IN_TEXT: f64 = 0.15;

impl Features {
    /// The features of a pool, with what these models say of it. The names depend on the signals alone.
    pub fn of(pool: &Pool, signals: &[Signal]) -> Self {
        let mut features = Features::default();
        features.agreement(pool);
        features.answers(pool);
        features.visible(pool);
        features.program(pool);
        signals.iter().for_each(|&signal| features.model(pool, signal));
        features
    }

    /// The row of each candidate: `[candidate][feature]`.
    pub fn rows(&self) -> Vec<Vec<f64>> {
        let count = self.columns.first().map_or(0, Vec::len);
        (0..count).map(|candidate| self.columns.iter().map(|column| column[candidate]).collect()).collect()
    }

    fn add(&mut self, name: &'static str, column: Vec<f64>) {
        self.names.push(name);
        self.columns.push(column);
        self.trust.push(1.0);
    }

    fn add_of_text(&mut self, name: &'static str, column: Vec<f64>) {
        self.add(name, column);
        self.trust.pop();
        self.trust.push(TRUST_IN_TEXT);
    }

    /// Who agrees with it.
    fn agreement(&mut self, pool: &Pool) {
        let count = pool.codes.len();
        let none = Agreement { runs: vec![0.0; count], exact: vec![0.0; count], soft: vec![0.0; count] };
        let Agreement { runs, exact, soft } = pool.agreement.as_ref().unwrap_or(&none);
        let largest = exact.iter().copied().fold(0.0, f64::max);
        self.add("runs", runs.clone());
        self.add("exact", exact.clone());
        self.add("exact_of_best", of_best(exact));
        self.add("exact_rank", ranks(exact));
        self.add("soft", soft.clone());
        self.add("soft_of_best", of_best(soft));
        self.add("soft_rank", ranks(soft));
        self.add("distinct_behaviours", vec![distinct(soft) / count.max(1) as f64; count]);
        self.add("largest_group", vec![largest; count]);
        let distinct: HashSet<&String> = pool.codes.iter().collect();
        self.add("distinct_programs", vec![distinct.len() as f64 / count.max(1) as f64; count]);
        self.add("pool_agreement", vec![mean(soft); count]);
    }

    /// What its answers look like.
    fn answers(&mut self, pool: &Pool) {
        let silent = vec![AnswerProfile::default(); pool.codes.len()];
        let profiles = pool.answer_profiles.as_ref().unwrap_or(&silent);
        let of = |field: &dyn Fn(&AnswerProfile) -> f64| profiles.iter().map(field).collect::<Vec<f64>>();
        self.add("varied_given", of(&|p| p.varied_given));
        self.add("varied_given_of_best", of_best(&of(&|p| p.varied_given)));
        self.add("varied", of(&|p| p.varied));
        self.add("varied_of_best", of_best(&of(&|p| p.varied)));
        self.add("constant", of(&|p| p.constant));
        self.add("none", of(&|p| p.none));
        self.add("trivial", of(&|p| p.trivial));
        self.add("echoes", of(&|p| p.echoes));
        self.add("many_digits", of(&|p| p.many_digits));
        self.add("types", of(&|p| p.types));
        self.add("answer_length", of(&|p| p.answer_length));
        self.add("answers_own", of(&|p| p.answers_own));
        self.add("raises", of(&|p| p.raises));
        self.add("gives_nothing", of(&|p| p.gives_nothing));
        self.add("type_share", of(&|p| p.type_share));
        self.add("first_true", of(&|p| number(p.first_truth == Some(true))));
        self.add("first_false", of(&|p| number(p.first_truth == Some(false))));
        let text = pool.statement.to_lowercase();
        for (name, cues, types) in ASKED {
            let asked = text.split(|c: char| !c.is_alphanumeric()).any(|word| cues.contains(&word));
            let fits = |profile: &AnswerProfile| match types.contains(&profile.first_type.as_str()) {
                _ if !asked || profile.first_type.is_empty() => 0.0,
                true => 1.0,
                false => -1.0,
            };
            self.add(name, of(&fits));
        }
    }

    /// Whether it passes what a prompt shows.
    fn visible(&mut self, pool: &Pool) {
        let count = pool.codes.len();
        let visible: Vec<f64> = match &pool.passes_visible {
            Some(passes) => passes.iter().map(|&passes| number(passes)).collect(),
            None => vec![0.0; count],
        };
        let share = visible.iter().sum::<f64>() / count.max(1) as f64;
        self.add("passes_visible_alone", visible.iter().map(|passes| passes * (1.0 - share)).collect());
        self.add("share_passing_visible", vec![share; count]);
        self.add("passes_visible", visible);
        let among = pool.agreement_among_passing().unwrap_or_else(|| vec![0.0; count]);
        self.add("soft_among_passing_of_best", of_best(&among));
        self.add("soft_among_passing", among);
    }

    /// What one model says of it, beside what it says of the pool and of those that answer alike.
    fn model(&mut self, pool: &Pool, signal: Signal) {
        let none = || vec![0.0; pool.codes.len()];
        let known = |values: &Option<Vec<f64>>| values.clone().unwrap_or_else(none);
        match signal {
            Signal::Likelihood => {
                let (sum, mean) = (known(&pool.log_likelihood), known(&pool.mean_log_probability));
                self.add("likelihood_rank", ranks(&mean));
                let sum = in_cluster(pool, &centred(&sum, LIKELIHOOD_REACH));
                let names = ["likelihood_sum", "likelihood_sum_cluster_mean", "likelihood_sum_cluster_most"];
                self.add_each(names, sum);
                let mean = in_cluster(pool, &centred(&mean, LIKELIHOOD_REACH));
                let names =
                    ["likelihood_mean", "likelihood_mean_cluster_mean", "likelihood_mean_cluster_most"];
                self.add_each(names, mean);
            }
            Signal::Critic => {
                let critic = known(&pool.critic);
                self.add("critic_rank", ranks(&critic));
                let names = ["critic_centred", "critic_cluster_mean", "critic_cluster_most"];
                self.add_each(names, in_cluster(pool, &centred(&critic, 1.0)));
                self.add("critic", critic);
            }
            Signal::Reviewer => self.add("reviewer_rank", ranks(&known(&pool.reviewer))),
            Signal::GeneratedTests => {
                self.add("generated_tests_rank", ranks(&known(&pool.generated_tests)));
            }
        }
    }

    fn add_each<const N: usize>(&mut self, names: [&'static str; N], columns: [Vec<f64>; N]) {
        names.into_iter().zip(columns).for_each(|(name, column)| self.add(name, column));
    }

    /// What its text shows.
    fn program(&mut self, pool: &Pool) {
        let count = pool.codes.len();
        let lengths: Vec<f64> = pool.codes.iter().map(|code| (1.0 + code.trim().len() as f64).ln()).collect();
        let usual = median(&lengths);
        let same = |code: &String| pool.codes.iter().filter(|other| *other == code).count() as f64;
        self.add_of_text("length", lengths.iter().map(|length| length - usual).collect());
        self.add_of_text("length_squared", lengths.iter().map(|length| (length - usual).powi(2)).collect());
        self.add_of_text("duplicates", pool.codes.iter().map(|code| same(code) / count as f64).collect());
        let unknown = vec![StaticFeatures::new(); count];
        let known = pool.static_features.as_ref().unwrap_or(&unknown);
        for name in STATIC_FEATURES {
            let value = |features: &StaticFeatures| {
                features.iter().find(|(other, _)| *other == name).map_or(0.0, |(_, value)| *value)
            };
            self.add_of_text(name, known.iter().map(value).collect());
        }
    }
}

/// The static features that rankers weigh; those that a domain does not have are 0.
const STATIC_FEATURES: [&str; 14] = [
    "unused_parameters",
    "returns_nothing",
    "endless_recursion",
    "functions",
    "loops",
    "branches",
    "imports",
    "prints",
    "inputs",
    "calls",
    "constants",
    "list_of_set",
    "docstring",
    "unclosed",
];

/// Words of a text, and the types of value that they ask for.
const ASKED: [(&str, &[&str], &[&str]); 4] = [
    ("asked_truth", &["check", "whether"], &["bool"]),
    (
        "asked_number",
        &[
            "count",
            "number",
            "sum",
            "length",
            "index",
            "area",
            "volume",
            "maximum",
            "minimum",
            "largest",
            "smallest",
            "nth",
            "difference",
            "product",
            "perimeter",
            "average",
            "position",
        ],
        &["int", "float"],
    ),
    (
        "asked_collection",
        &["elements", "sort", "filter", "extract", "tuples", "lists", "remove", "pairs"],
        &["list", "tuple", "set", "dict"],
    ),
    ("asked_text", &["string", "replace", "characters"], &["str"]),
];

/// Log-probabilities farther from the pool's mean than this say no more.
const LIKELIHOOD_REACH: f64 = 30.0;

/// Values as distances from their mean, which is what a choice within a pool can go by.
fn centred(values: &[f64], reach: f64) -> Vec<f64> {
    let finite: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    let middle = mean(&finite);
    values.iter().map(|value| (value - middle).clamp(-reach, reach)).collect()
}

/// Values, and the mean and the most of those that answer alike on the given inputs.
fn in_cluster(pool: &Pool, values: &[f64]) -> [Vec<f64>; 3] {
    let alone = || (0..values.len()).collect();
    let clusters: Vec<usize> = pool.answers.as_ref().map_or_else(alone, |answers| answers.clusters());
    let mut members: HashMap<usize, Vec<f64>> = HashMap::new();
    for (&cluster, &value) in clusters.iter().zip(values) {
        members.entry(cluster).or_default().push(value);
    }
    let most = |values: &[f64]| values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let of_cluster = |of: &dyn Fn(&[f64]) -> f64| clusters.iter().map(|at| of(&members[at])).collect();
    [values.to_vec(), of_cluster(&mean), of_cluster(&most)]
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Values as shares of the largest.
fn of_best(values: &[f64]) -> Vec<f64> {
    let best = values.iter().copied().fold(0.0, f64::max);
    values.iter().map(|value| if best > 0.0 { value / best } else { 0.0 }).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pool_has_the_same_features() {
        let names = Features::of(&Pool::default(), &[]).names;
        let distinct: std::collections::HashSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
        let profile =
            |first_type: &str| AnswerProfile { first_type: first_type.into(), ..AnswerProfile::default() };
        let pool = Pool {
            statement: "Check whether a number is odd.".into(),
            codes: vec!["def f(): return True".into(), "def f(): print(1)".into()],
            static_features: Some(vec![vec![("loops", 2.0)], vec![("returns_nothing", 1.0), ("other", 3.0)]]),
            answer_profiles: Some(vec![profile("bool"), profile("NoneType")]),
            ..Pool::default()
        };
        let features = Features::of(&pool, &[]);
        assert_eq!(features.names, names);
        let column = |name: &str| {
            &features.columns[features.names.iter().position(|other| *other == name).expect("a feature")]
        };
        assert_eq!(column("asked_truth"), &[1.0, -1.0]);
        assert_eq!(column("asked_text"), &[0.0, 0.0]);
        assert_eq!(column("returns_nothing"), &[0.0, 1.0]);
        assert_eq!(column("loops"), &[2.0, 0.0]);
        assert_eq!(features.rows().len(), 2);
    }

    #[test]
    fn what_a_model_says_is_there_where_it_is_asked_for_and_within_its_cluster() {
        let rows = vec![vec![1, 1], vec![1, 2], vec![2, 2], vec![0, 0]];
        let pool = Pool {
            codes: vec![String::new(); 4],
            answers: Some(crate::AnswerClasses { given: 1, rows }),
            critic: Some(vec![0.9, 0.1, 0.5, 0.5]),
            ..Pool::default()
        };
        let signals: Vec<Signal> = Signal::ALL.into_iter().filter(|signal| signal.is_in(&pool)).collect();
        assert_eq!(signals, [Signal::Critic]);
        let features = Features::of(&pool, &signals);
        let column = |name: &str| {
            let at = features.names.iter().position(|other| *other == name).expect("a feature");
            features.columns[at].iter().map(|value| (value * 100.0).round() / 100.0).collect::<Vec<_>>()
        };
        assert_eq!(column("critic_centred"), [0.4, -0.4, 0.0, 0.0]);
        assert_eq!(column("critic_cluster_mean"), [0.0, 0.0, 0.0, 0.0]);
        assert_eq!(column("critic_cluster_most"), [0.4, 0.4, 0.0, 0.0]);
        assert!(!features.names.contains(&"likelihood_rank"));
        assert!(!Features::of(&pool, &[]).names.contains(&"critic"));
    }
}
