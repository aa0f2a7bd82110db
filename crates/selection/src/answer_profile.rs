//! What a candidate's answers look like, apart from who agrees with them.
//!
//! People ask for functions that tell their inputs apart, give one type of value and not `None`. A
//! candidate that answers everything alike, or hands its argument back, has most often missed the
//! point, whoever agrees with it. Nothing here knows an expected value.

use crate::behaviour::{Behaviour, is_value};
use crate::number;
use records::{Observation, ObservationKind};
use std::collections::{HashMap, HashSet};

/// How one candidate answers. Shares are in 0..1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AnswerProfile {
    /// Different answers on the given inputs, as a share of the answers there.
    pub varied_given: f64,
    /// Different answers on all inputs, as a share of the answers there.
    pub varied: f64,
    /// Whether it gives the same on every given input, where there are several.
    pub constant: f64,
    /// Share of the answers that are `None`.
    pub none: f64,
    /// Share of the answers on given inputs that are empty, 0 or -1.
    pub trivial: f64,
    /// Share of the answers that equal a part of their input.
    pub echoes: f64,
    /// Share of the answers on given inputs that are fractions of many digits.
    pub many_digits: f64,
    /// Number of types among its answers.
    pub types: f64,
    /// Logarithm of the first answer's length as text.
    pub answer_length: f64,
    /// Share of the varied inputs that it answers.
    pub answers_own: f64,
    /// Share of the given inputs on which it raises an error.
    pub raises: f64,
    /// Share of the given inputs on which it gives nothing comparable.
    pub gives_nothing: f64,
    /// Share of the candidates whose first answer has its type.
    pub type_share: f64,
    /// The first answer's type, as its domain calls it; empty where there is none.
    pub first_type: String,
    /// The first answer, if it is a truth value.
    pub first_truth: Option<bool>,
}

impl Behaviour {
    /// The profile of each candidate's answers.
    pub fn answer_profiles(&self) -> Vec<AnswerProfile> {
        let informative = self.informative_inputs();
        let mut profiles: Vec<AnswerProfile> =
            self.observed.iter().map(|row| self.profile_of(row, &informative)).collect();
        let mut of_type: HashMap<String, usize> = HashMap::new();
        for profile in profiles.iter().filter(|profile| !profile.first_type.is_empty()) {
            *of_type.entry(profile.first_type.clone()).or_default() += 1;
        }
        let count = self.observed.len() as f64;
        for profile in &mut profiles {
            profile.type_share = of_type.get(&profile.first_type).map_or(0.0, |&n| n as f64 / count);
        }
        profiles
    }

    fn profile_of(&self, row: &[Observation], informative: &[usize]) -> AnswerProfile {
        let given = &row[..self.given.min(row.len())];
        let answer = |input: &usize| row.get(*input).filter(|seen| is_value(seen));
        let answers: Vec<&Observation> = informative.iter().filter_map(answer).collect();
        let on_given: Vec<&Observation> = given.iter().filter(|seen| is_value(seen)).collect();
        let different = |answers: &[&Observation]| {
            answers.iter().map(|answer| written(answer)).collect::<HashSet<_>>().len()
        };
        let count = |answers: &[&Observation], is: &dyn Fn(&Observation) -> bool| {
            part(answers.iter().filter(|answer| is(answer)).count(), answers.len())
        };
        let of_given =
            |kind: ObservationKind| part(given.iter().filter(|seen| seen.kind == kind).count(), given.len());
        let own = || informative.iter().filter(|&&input| input >= self.given);
        let first = given.first().filter(|seen| is_value(seen));
        AnswerProfile {
            varied_given: part(different(&on_given), on_given.len()),
            varied: part(different(&answers), answers.len()),
            constant: number(given.len() > 1 && different(&on_given) == 1),
            none: count(&answers, &|answer| answer.sort == "NoneType"),
            trivial: count(&on_given, &|answer| is_trivial(&answer.text)),
            echoes: count(&answers, &|answer| answer.echoes),
            many_digits: part(on_given.iter().filter(|answer| has_many_digits(answer)).count(), given.len()),
            types: answers.iter().map(|answer| &answer.sort).collect::<HashSet<_>>().len() as f64,
            answer_length: first.map_or(0.0, |answer| (1.0 + answer.length as f64).ln()),
            answers_own: part(own().filter_map(answer).count(), own().count()),
            raises: of_given(ObservationKind::Raised),
            gives_nothing: of_given(ObservationKind::Nothing),
            type_share: 0.0,
            first_type: first.map(|answer| answer.sort.clone()).unwrap_or_default(),
            first_truth: first.filter(|answer| answer.sort == "bool").map(|answer| answer.text == "True"),
        }
    }
}

/// Equal for answers that are written alike; 1 and 1.0 are equal but not written alike. The text may
/// be shortened, which length and class make up for.
pub(crate) fn written(answer: &Observation) -> (&str, usize, u128) {
    (&answer.text, answer.length, answer.class)
}

fn is_trivial(text: &str) -> bool {
    ["[]", "()", "{}", "''", "set()", "0", "-1", "0.0"].contains(&text)
}

/// Whether a floating-point answer has more than 8 characters when it is written out in full.
fn has_many_digits(answer: &Observation) -> bool {
    // The text of a float is short enough never to be shortened, and Rust reads Python's `repr`.
    let value = (answer.sort == "float").then(|| answer.text.parse::<f64>().ok()).flatten();
    value.is_some_and(|value| format!("{value}").len() > 8)
}

fn part(some: usize, of: usize) -> f64 {
    if of == 0 { 0.0 } else { some as f64 / of as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(sort: &str, text: &str) -> Observation {
        Observation {
            kind: ObservationKind::Value,
            // Here, values are equal if they are written alike.
            class: text
                .bytes()
                .fold(1, |class: u128, byte| class.wrapping_mul(257).wrapping_add(byte.into())),
            text: text.into(),
            sort: sort.into(),
            length: text.len(),
            echoes: false,
        }
    }

    #[test]
    fn profiles_tell_the_constant_the_silent_and_the_echo_apart() {
        let raised = Observation {
            kind: ObservationKind::Raised,
            text: "ValueError".into(),
            ..Observation::default()
        };
        let echo = |text: &str| Observation { echoes: true, ..value("int", text) };
        let behaviour = Behaviour {
            observed: vec![
                vec![value("bool", "False"), value("bool", "True"), value("bool", "False")],
                vec![value("bool", "False"); 3],
                vec![value("NoneType", "None"); 3],
                vec![echo("1"), echo("2"), raised],
            ],
            given: 2,
            inputs: vec!["f(1)".into(), "f(2)".into(), "f(3)".into()],
        };
        let profiles = behaviour.answer_profiles();
        let of = |field: fn(&AnswerProfile) -> f64| profiles.iter().map(field).collect::<Vec<f64>>();
        assert_eq!(of(|p| p.constant), [0.0, 1.0, 1.0, 0.0]);
        assert_eq!(of(|p| p.varied_given), [1.0, 0.5, 0.5, 1.0]);
        assert_eq!(of(|p| p.none), [0.0, 0.0, 1.0, 0.0]);
        assert_eq!(of(|p| p.echoes), [0.0, 0.0, 0.0, 1.0]);
        assert_eq!(of(|p| p.answers_own), [1.0, 1.0, 1.0, 0.0]);
        assert_eq!(of(|p| p.type_share), [0.5, 0.5, 0.25, 0.25]);
        assert_eq!((profiles[0].first_truth, profiles[3].first_truth), (Some(false), None));
        assert_eq!((profiles[3].first_type.as_str(), profiles[0].types), ("int", 1.0));
        assert!(Behaviour::default().answer_profiles().is_empty());
    }

    #[test]
    fn lengths_and_digits_are_those_of_the_whole_text() {
        let shortened = Observation { text: "[1, 1, …".into(), length: 300, ..value("list", "") };
        let longer = Observation { length: 303, ..shortened.clone() };
        let row = |answers: &[Observation]| Behaviour {
            observed: vec![answers.to_vec()],
            given: answers.len(),
            ..Behaviour::default()
        };
        let profile = |answers: &[Observation]| row(answers).answer_profiles().remove(0);
        let lists = profile(&[shortened, longer]);
        assert_eq!((lists.varied, lists.answer_length), (1.0, 301f64.ln()));
        // As written in full: 1e+16 has 17 digits, 12345678.0 eight.
        let floats =
            ["0.3333333333333333", "1e+16", "12345678.0", "2.5", "nan"].map(|text| value("float", text));
        assert_eq!(profile(&floats).many_digits, 0.4);
        assert_eq!(profile(&[value("str", "'0.3333333333'")]).many_digits, 0.0);
    }
}
