//! What programs do, compared with what the others do: consensus by behaviour.
//!
//! Programs that are right agree; those that are wrong are wrong in different ways (Shi et al.,
//! 2022, MBR-Exec). Nothing here knows an expected value.

use executor::Observed;
use pydata::Value;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// What each candidate of a problem gave on each input.
#[derive(Clone, Debug, Default)]
pub struct Behaviour {
    /// `[candidate][input]`
    pub observed: Vec<Vec<Observed>>,
    /// How many inputs, from the first, come from the problem; the others are of our own making.
    pub given: usize,
    /// The inputs, as Python's text.
    pub calls: Vec<String>,
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

impl Behaviour {
    /// Compares the candidates, on the inputs that count.
    pub fn agreement(&self) -> Agreement {
        let count = self.observed.len();
        let inputs = self.observed.first().map_or(0, Vec::len);
        // `classes[input][candidate]`: candidates of the same class gave the same; none gave no value.
        let classes: Vec<Vec<Option<usize>>> = (0..inputs).map(|input| self.classes(input)).collect();
        let given = &classes[..self.given.min(inputs)];
        let runs: Vec<f64> = (0..count)
            .map(|candidate| share(given.iter().map(|classes| classes[candidate].is_some())))
            .collect();
        let mut groups: HashMap<Vec<Option<usize>>, usize> = HashMap::new();
        let key = |candidate: usize| given.iter().map(|classes| classes[candidate]).collect::<Vec<_>>();
        (0..count).for_each(|candidate| *groups.entry(key(candidate)).or_default() += 1);
        let exact = (0..count).map(|candidate| {
            let key = key(candidate);
            let answers = !key.is_empty() && key.iter().all(Option::is_some);
            if answers { groups[&key] as f64 / count as f64 } else { 0.0 }
        });
        let exact: Vec<f64> = exact.collect();
        let telling: Vec<&Vec<Option<usize>>> =
            self.telling().into_iter().map(|input| &classes[input]).collect();
        let mut soft = vec![0.0; count];
        for classes in &telling {
            let mut sizes: HashMap<usize, usize> = HashMap::new();
            classes.iter().flatten().for_each(|&class| *sizes.entry(class).or_default() += 1);
            for (soft, class) in soft.iter_mut().zip(classes.iter()) {
                let agreeing = class.map_or(0, |class| sizes[&class]);
                *soft += agreeing as f64 / (count * telling.len()) as f64;
            }
        }
        Agreement { runs, exact, soft }
    }

    /// For each candidate the first one that behaves as it does on every input that counts; giving
    /// nothing is a behaviour like another.
    pub fn groups(&self) -> Vec<usize> {
        let classes: Vec<Vec<Option<usize>>> =
            self.telling().into_iter().map(|input| self.classes(input)).collect();
        let mut first: HashMap<Vec<Option<usize>>, usize> = HashMap::new();
        let key = |candidate: usize| classes.iter().map(|classes| classes[candidate]).collect::<Vec<_>>();
        (0..self.observed.len()).map(|at| *first.entry(key(at)).or_insert(at)).collect()
    }

    /// The first input that counts on which two candidates do not give the same.
    pub fn difference(&self, one: usize, other: usize) -> Option<usize> {
        self.telling().into_iter().find(|&input| {
            let classes = self.classes(input);
            classes[one] != classes[other]
        })
    }

    /// The inputs that count: those given, and of those of our own making the ones on which at least
    /// half of the candidates that run give a value. Elsewhere the input, not the candidate, is at
    /// fault.
    pub(crate) fn telling(&self) -> Vec<usize> {
        let gives = |candidate: &Vec<Observed>, input: usize| {
            matches!(candidate.get(input), Some(Observed::Value(_)))
        };
        let inputs = self.observed.first().map_or(0, Vec::len);
        let runs = |candidate: &&Vec<Observed>| (0..self.given).any(|input| gives(candidate, input));
        let runners = self.observed.iter().filter(runs).count().max(1);
        let takers = |input: usize| self.observed.iter().filter(|row| gives(row, input)).count();
        (0..inputs).filter(|&input| input < self.given || 2 * takers(input) >= runners).collect()
    }

    /// For each candidate the first one that gave an equal value on an input.
    fn classes(&self, input: usize) -> Vec<Option<usize>> {
        let mut by_hash: HashMap<u64, Vec<usize>> = HashMap::new();
        let value = |candidate: usize| match self.observed[candidate].get(input) {
            Some(Observed::Value(value)) => Some(value),
            _ => None,
        };
        let class = |candidate: usize| {
            let own = value(candidate)?;
            let firsts = by_hash.entry(own.python_hash()).or_default();
            let equal = |&&first: &&usize| value(first).is_some_and(|first| same(first, own));
            Some(firsts.iter().find(equal).copied().unwrap_or_else(|| {
                firsts.push(candidate);
                candidate
            }))
        };
        (0..self.observed.len()).map(class).collect()
    }
}

/// Python's equality, but for what is not a number: that is the same as itself here.
fn same(a: &Value, b: &Value) -> bool {
    a.python_eq(b) || a.to_string() == b.to_string()
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

    fn value(text: &str) -> Observed {
        match text {
            "!" => Observed::Raised("ValueError".into()),
            "?" => Observed::Nothing,
            text => Observed::Value(pydata::parse_literal(text).expect("a literal")),
        }
    }

    fn behaviour(rows: &[&[&str]], given: usize) -> Behaviour {
        let row = |row: &&[&str]| row.iter().map(|text| value(text)).collect();
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
    fn what_is_not_a_number_agrees_with_itself() {
        let agreement = behaviour(&[&["float('nan')"], &["float('nan')"], &["1"]], 1).agreement();
        assert_eq!(agreement.exact, [2.0 / 3.0, 2.0 / 3.0, 1.0 / 3.0]);
        assert!(Behaviour::default().agreement().soft.is_empty());
    }
}
