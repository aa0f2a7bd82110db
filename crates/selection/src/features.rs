//! Every signal about a candidate as numbers, for a ranker to weigh.
//!
//! Most are shares, and many compare a candidate with the others of its problem, because a choice
//! is made inside one problem. What is not known of a pool (a critic, a likelihood) is 0 for all.

use crate::{Agreement, AnswerProfile, Pool, StaticFeatures, number};

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
    /// The features of a pool. The names are the same for every pool.
    pub fn of(pool: &Pool) -> Self {
        let mut features = Features::default();
        features.agreement(pool);
        features.answers(pool);
        features.visible(pool);
        features.models(pool);
        features.program(pool);
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
    }

    /// What models say of it.
    fn models(&mut self, pool: &Pool) {
        let none = vec![0.0; pool.codes.len()];
        self.add("likelihood_rank", pool.mean_log_probability.as_deref().map_or(none.clone(), ranks));
        self.add("reviewer_rank", pool.reviewer.as_deref().map_or(none.clone(), ranks));
        self.add("generated_tests_rank", pool.generated_tests.as_deref().map_or(none.clone(), ranks));
        self.add("critic_rank", pool.critic.as_deref().map_or(none.clone(), ranks));
        self.add("critic", pool.critic.clone().unwrap_or(none));
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
        let names = Features::of(&Pool::default()).names;
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
        let features = Features::of(&pool);
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
}
