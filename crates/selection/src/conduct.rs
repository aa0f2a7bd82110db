//! What a candidate's answers look like, apart from who agrees with them.
//!
//! People ask for functions that tell their inputs apart, give one type of value and not `None`. A
//! candidate that answers everything alike, or hands its argument back, has most often missed the
//! point, whoever agrees with it. Nothing here knows an expected value.

use crate::{Behaviour, number};
use executor::Observed;
use pydata::{Value, parse_call};
use std::collections::{BTreeSet, HashMap, HashSet};

/// How one candidate answers. Shares are in 0..1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conduct {
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
    /// Share of the answers that equal an argument of the call.
    pub echoes: f64,
    /// Share of the answers on given inputs that are fractions of many digits.
    pub many_digits: f64,
    /// Number of types among its answers.
    pub types: f64,
    /// Logarithm of the first answer's length as text.
    pub answer_length: f64,
    /// Share of the inputs of our own making that it answers.
    pub answers_own: f64,
    /// Share of the given inputs on which it raises an exception.
    pub raises: f64,
    /// Share of the given inputs on which it gives nothing comparable.
    pub gives_nothing: f64,
    /// Share of the candidates whose first answer has its type.
    pub type_share: f64,
    /// The first answer's type, as Python calls it; empty where there is none.
    pub first_type: &'static str,
    /// The first answer, if it is a truth value.
    pub first_truth: Option<bool>,
}

impl Behaviour {
    /// The conduct of each candidate.
    pub fn conduct(&self) -> Vec<Conduct> {
        let inputs = self.observed.first().map_or(0, Vec::len);
        let telling = self.telling();
        let arguments: Vec<Vec<Value>> = (0..inputs)
            .map(|input| {
                let call = self.calls.get(input).and_then(|call| parse_call(call).ok());
                call.map(|call| call.args).unwrap_or_default()
            })
            .collect();
        let mut of_type: HashMap<&str, usize> = HashMap::new();
        let mut conducts: Vec<Conduct> = Vec::with_capacity(self.observed.len());
        for row in &self.observed {
            let conduct = self.conduct_of(row, &telling, &arguments);
            if !conduct.first_type.is_empty() {
                *of_type.entry(conduct.first_type).or_default() += 1;
            }
            conducts.push(conduct);
        }
        let count = self.observed.len() as f64;
        for conduct in &mut conducts {
            conduct.type_share = of_type.get(conduct.first_type).map_or(0.0, |&n| n as f64 / count);
        }
        conducts
    }

    fn conduct_of(&self, row: &[Observed], telling: &[usize], arguments: &[Vec<Value>]) -> Conduct {
        let given = &row[..self.given.min(row.len())];
        let answers: Vec<(usize, &Value)> =
            telling.iter().filter_map(|&input| Some((input, value(&row[input])?))).collect();
        let texts: Vec<(usize, String)> =
            answers.iter().map(|(input, value)| (*input, value.to_string())).collect();
        let on_given: Vec<&str> =
            texts.iter().filter(|(input, _)| *input < self.given).map(|(_, text)| text.as_str()).collect();
        let different: HashSet<&str> = texts.iter().map(|(_, text)| text.as_str()).collect();
        let different_given: HashSet<&str> = on_given.iter().copied().collect();
        let own = telling.iter().filter(|&&input| input >= self.given);
        let first = given.first().and_then(value);
        let digits = |value: &Value| matches!(value, Value::Float(v) if format!("{v}").len() > 8);
        let echoes = |(input, value): &&(usize, &Value)| {
            arguments[*input].iter().any(|argument| argument.python_eq(value))
        };
        Conduct {
            varied_given: part(different_given.len(), on_given.len()),
            varied: part(different.len(), texts.len()),
            constant: number(given.len() > 1 && different_given.len() == 1),
            none: part(answers.iter().filter(|(_, v)| matches!(v, Value::None)).count(), answers.len()),
            trivial: part(on_given.iter().filter(|text| is_trivial(text)).count(), on_given.len()),
            echoes: part(answers.iter().filter(echoes).count(), answers.len()),
            many_digits: part(given.iter().filter_map(value).filter(|v| digits(v)).count(), given.len()),
            types: answers.iter().map(|(_, value)| value.type_name()).collect::<BTreeSet<_>>().len() as f64,
            answer_length: first.map_or(0.0, |value| (1.0 + value.to_string().len() as f64).ln()),
            answers_own: part(own.clone().filter(|&&at| value(&row[at]).is_some()).count(), own.count()),
            raises: part(given.iter().filter(|o| matches!(o, Observed::Raised(_))).count(), given.len()),
            gives_nothing: part(given.iter().filter(|o| matches!(o, Observed::Nothing)).count(), given.len()),
            type_share: 0.0,
            first_type: first.map_or("", Value::type_name),
            first_truth: match first {
                Some(Value::Bool(truth)) => Some(*truth),
                _ => None,
            },
        }
    }
}

fn value(observed: &Observed) -> Option<&Value> {
    match observed {
        Observed::Value(value) => Some(value),
        _ => None,
    }
}

fn is_trivial(text: &str) -> bool {
    ["[]", "()", "{}", "''", "set()", "0", "-1", "0.0"].contains(&text)
}

fn part(some: usize, of: usize) -> f64 {
    if of == 0 { 0.0 } else { some as f64 / of as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conduct_tells_the_constant_the_silent_and_the_echo_apart() {
        let value = |text: &str| Observed::Value(pydata::parse_literal(text).expect("a literal"));
        let behaviour = Behaviour {
            observed: vec![
                vec![value("False"), value("True"), value("False")],
                vec![value("False"), value("False"), value("False")],
                vec![value("None"), value("None"), value("None")],
                vec![value("1"), value("2"), Observed::Raised("ValueError".into())],
            ],
            given: 2,
            calls: vec!["f(1)".into(), "f(2)".into(), "f(3)".into()],
        };
        let conduct = behaviour.conduct();
        let of = |field: fn(&Conduct) -> f64| conduct.iter().map(field).collect::<Vec<f64>>();
        assert_eq!(of(|c| c.constant), [0.0, 1.0, 1.0, 0.0]);
        assert_eq!(of(|c| c.varied_given), [1.0, 0.5, 0.5, 1.0]);
        assert_eq!(of(|c| c.none), [0.0, 0.0, 1.0, 0.0]);
        // In Python True equals 1, but these echo on no input but the second.
        assert_eq!(of(|c| c.echoes), [0.0, 0.0, 0.0, 1.0]);
        assert_eq!(of(|c| c.answers_own), [1.0, 1.0, 1.0, 0.0]);
        assert_eq!(of(|c| c.type_share), [0.5, 0.5, 0.25, 0.25]);
        assert_eq!(conduct[0].first_truth, Some(false));
        assert!(Behaviour::default().conduct().is_empty());
    }
}
