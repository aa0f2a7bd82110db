//! What programs do, compared with what the others do: consensus by behaviour.
//!
//! Programs that are right agree; those that are wrong are wrong in different ways (Shi et al.,
//! 2022, MBR-Exec). Nothing here knows an expected value, and which values are equal is the domain's
//! decision: it puts equal ones into one class.

use records::{Observation, ObservationKind};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// What each candidate of a problem gave on each input.
#[derive(Clone, Debug, Default)]
pub struct Behaviour {
    /// `[candidate][input]`
    pub observed: Vec<Vec<Observation>>,
    /// How many inputs, from the first, come from the problem; the others are variations.
    pub given: usize,
    /// The inputs, in the domain's notation.
    pub inputs: Vec<String>,
}

/// What the comparison says of each candidate of a problem.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Share of the given inputs on which it gives a value.
    pub runs: Vec<f64>,
    /// Share of the candidates that behave as it does on every given input.
    pub exact: Vec<f64>,
    /// Mean over all inputs of the share of candidates that give the same there.
    pub soft: Vec<f64>,
}

/// Which candidates of a problem give the same, input by input, on the inputs that count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswerClasses {
    /// How many inputs, from the first, come from the problem.
    pub given: usize,
    /// `[candidate][input]`: equal for equal values, 0 where it gave none.
    pub rows: Vec<Vec<u32>>,
}

impl AnswerClasses {
    /// For each of some candidates the mean, over all inputs, of the share of these candidates that give
    /// the same.
    pub fn agreement_among(&self, candidates: &[usize]) -> Vec<f64> {
        let mut agreement = vec![0.0; candidates.len()];
        let inputs = self.rows.first().map_or(0, Vec::len);
        for input in 0..inputs {
            let class = |&candidate: &usize| self.rows[candidate][input];
            let mut sizes: HashMap<u32, usize> = HashMap::new();
            candidates.iter().for_each(|candidate| *sizes.entry(class(candidate)).or_default() += 1);
            for (agreement, candidate) in agreement.iter_mut().zip(candidates) {
                let agreeing = if class(candidate) == 0 { 0 } else { sizes[&class(candidate)] };
                *agreement += agreeing as f64 / (candidates.len() * inputs) as f64;
            }
        }
        agreement
    }

    /// For each candidate the first one that gives the same on every given input.
    pub fn clusters(&self) -> Vec<usize> {
        let mut first: HashMap<&[u32], usize> = HashMap::new();
        let key = |row| self.rows.get::<usize>(row).map_or(&[][..], |row| &row[..self.given.min(row.len())]);
        (0..self.rows.len()).map(|at| *first.entry(key(at)).or_insert(at)).collect()
    }

    /// Only these candidates.
    pub fn of(&self, candidates: &[usize]) -> Self {
        let rows = candidates.iter().filter_map(|&at| self.rows.get(at).cloned()).collect();
        AnswerClasses { given: self.given, rows }
    }
}

impl Behaviour {
    /// Which candidates give the same.
    pub fn answer_classes(&self) -> AnswerClasses {
        let mut rows = vec![Vec::new(); self.observed.len()];
        for input in self.informative_inputs() {
            let mut numbers: HashMap<u128, u32> = HashMap::new();
            for (row, class) in rows.iter_mut().zip(self.classes(input)) {
                let next = numbers.len() as u32 + 1;
                row.push(class.map_or(0, |class| *numbers.entry(class).or_insert(next)));
            }
        }
        let inputs = self.observed.first().map_or(0, Vec::len);
        AnswerClasses { given: self.given.min(inputs), rows }
    }

    /// Compares the candidates, on the inputs that count.
    pub fn agreement(&self) -> Agreement {
        let count = self.observed.len();
        let inputs = self.observed.first().map_or(0, Vec::len);
        // `classes[input][candidate]`: none where it gave no value.
        let classes: Vec<Vec<Option<u128>>> = (0..inputs).map(|input| self.classes(input)).collect();
        let given = &classes[..self.given.min(inputs)];
        let runs: Vec<f64> = (0..count)
            .map(|candidate| share(given.iter().map(|classes| classes[candidate].is_some())))
            .collect();
        let mut groups: HashMap<Vec<Option<u128>>, usize> = HashMap::new();
        let key = |candidate: usize| given.iter().map(|classes| classes[candidate]).collect::<Vec<_>>();
        (0..count).for_each(|candidate| *groups.entry(key(candidate)).or_default() += 1);
        let exact = (0..count).map(|candidate| {
            let key = key(candidate);
            let answers = !key.is_empty() && key.iter().all(Option::is_some);
            if answers { groups[&key] as f64 / count as f64 } else { 0.0 }
        });
        let exact: Vec<f64> = exact.collect();
        let informative: Vec<&Vec<Option<u128>>> =
            self.informative_inputs().into_iter().map(|input| &classes[input]).collect();
        let mut soft = vec![0.0; count];
        for classes in &informative {
            let mut sizes: HashMap<u128, usize> = HashMap::new();
            classes.iter().flatten().for_each(|&class| *sizes.entry(class).or_default() += 1);
            for (soft, class) in soft.iter_mut().zip(classes.iter()) {
                let agreeing = class.map_or(0, |class| sizes[&class]);
                *soft += agreeing as f64 / (count * informative.len()) as f64;
            }
        }
        Agreement { runs, exact, soft }
    }

    /// For each candidate the first one that behaves as it does on every input that counts; giving
    /// nothing is a behaviour like another.
    pub fn groups(&self) -> Vec<usize> {
        let classes: Vec<Vec<Option<u128>>> =
            self.informative_inputs().into_iter().map(|input| self.classes(input)).collect();
        let mut first: HashMap<Vec<Option<u128>>, usize> = HashMap::new();
        let key = |candidate: usize| classes.iter().map(|classes| classes[candidate]).collect::<Vec<_>>();
        (0..self.observed.len()).map(|at| *first.entry(key(at)).or_insert(at)).collect()
    }

    /// The first input that counts on which two candidates do not give the same.
    pub fn difference(&self, one: usize, other: usize) -> Option<usize> {
        self.informative_inputs().into_iter().find(|&input| {
            let classes = self.classes(input);
            classes[one] != classes[other]
        })
    }

    /// The inputs that count: those given, and of the variations the ones on which at least half of
    /// the candidates that run give a value. Elsewhere the input, not the candidate, is at fault.
    pub(crate) fn informative_inputs(&self) -> Vec<usize> {
        let gives = |row: &Vec<Observation>, input: usize| row.get(input).is_some_and(is_value);
        let inputs = self.observed.first().map_or(0, Vec::len);
        let runs = |row: &&Vec<Observation>| (0..self.given).any(|input| gives(row, input));
        let runners = self.observed.iter().filter(runs).count().max(1);
        let takers = |input: usize| self.observed.iter().filter(|row| gives(row, input)).count();
        (0..inputs).filter(|&input| input < self.given || 2 * takers(input) >= runners).collect()
    }

    /// The class of the value that each candidate gave on an input.
    fn classes(&self, input: usize) -> Vec<Option<u128>> {
        let value = |row: &Vec<Observation>| Some(row.get(input).filter(|seen| is_value(seen))?.class);
        self.observed.iter().map(value).collect()
    }
}

pub(crate) fn is_value(seen: &Observation) -> bool {
    seen.kind == ObservationKind::Value
}

fn share(values: impl Iterator<Item = bool>) -> f64 {
    let (mut yes, mut all) = (0usize, 0usize);
    for value in values {
        yes += usize::from(value);
        all += 1;
    }
    if all == 0 { 0.0 } else { yes as f64 / all as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a domain would say of a number (equal ones are of one class), an error or nothing.
    fn observation(text: &str) -> Observation {
        match text {
            "!" => Observation {
                kind: ObservationKind::Raised,
                text: "ValueError".into(),
                ..Observation::default()
            },
            "?" => Observation::default(),
            number => {
                let value: f64 = number.parse().expect("a number");
                let class = u128::from(value.to_bits());
                Observation {
                    kind: ObservationKind::Value,
                    class,
                    text: number.into(),
                    ..Observation::default()
                }
            }
        }
    }

    fn behaviour(rows: &[&[&str]], given: usize) -> Behaviour {
        let row = |row: &&[&str]| row.iter().map(|text| observation(text)).collect();
        Behaviour { observed: rows.iter().map(row).collect(), given, ..Behaviour::default() }
    }

    #[test]
    fn those_that_agree_have_the_larger_share() {
        let agreement = behaviour(&[&["3", "1"], &["3.0", "1"], &["4", "1"], &["!", "?"]], 2).agreement();
        assert_eq!(agreement.runs, [1.0, 1.0, 1.0, 0.0]);
        assert_eq!(agreement.exact, [0.5, 0.5, 0.25, 0.0]);
        assert_eq!(agreement.soft, [0.625, 0.625, 0.5, 0.0]);
    }

    #[test]
    fn inputs_that_most_cannot_take_do_not_count() {
        // The second input is of our own making, and only the one that is alone takes it.
        let agreement = behaviour(&[&["3", "!"], &["3", "!"], &["4", "9"]], 1).agreement();
        assert_eq!(agreement.soft, [2.0 / 3.0, 2.0 / 3.0, 1.0 / 3.0]);
    }

    #[test]
    fn candidates_are_grouped_by_all_that_counts() {
        let behaviour = behaviour(&[&["3", "1"], &["3", "2"], &["3.0", "1"], &["!", "1"], &["?", "1"]], 2);
        assert_eq!(behaviour.groups(), [0, 1, 0, 3, 3]);
        assert_eq!(behaviour.difference(0, 1), Some(1));
        assert_eq!(behaviour.difference(0, 2), None);
        assert_eq!(behaviour.difference(0, 3), Some(0));
    }

    #[test]
    fn classes_decide_what_is_equal_and_only_values_have_one() {
        let mut behaviour = behaviour(&[&["1"], &["2"], &["!"], &["!"]], 1);
        behaviour.observed[1][0].class = behaviour.observed[0][0].class;
        let agreement = behaviour.agreement();
        assert_eq!(agreement.exact, [0.5, 0.5, 0.0, 0.0]);
        assert!(Behaviour::default().agreement().soft.is_empty());
    }
}
