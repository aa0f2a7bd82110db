//! The comparison of EvalPlus's outputs against EvalPlus itself: `plus_verdicts.py` wrote its verdicts
//! on random outputs.

use python::Plus;
use python::plus::{Comparison, Oracle};
use serde::Deserialize;

/// One part of a made-up problem.
#[derive(Deserialize)]
struct Part {
    oracle: Option<Oracle>,
    tolerance: f64,
    calls: Vec<String>,
    candidates: Vec<String>,
    references: Vec<String>,
    accepted: Vec<bool>,
}

#[test]
fn every_output_is_judged_as_evalplus_judges_it() {
    let mut accepted = 0;
    for (line, text) in include_str!("plus_verdicts.jsonl").lines().enumerate() {
        let part: Part = serde_json::from_str(text).expect("a part");
        let plus = Plus { oracle: part.oracle, tolerance: part.tolerance, ..Plus::default() };
        let mut comparison = Comparison::new(&plus);
        assert_eq!(part.accepted.len(), part.calls.len());
        for (at, call) in part.calls.iter().enumerate() {
            let [candidate, reference] = [&part.candidates[at], &part.references[at]]
                .map(|text| pydata::parse_literal(text).unwrap_or_else(|error| panic!("{text}: {error}")));
            let verdict = comparison.accepts(call, &candidate, &reference);
            assert_eq!(
                verdict,
                part.accepted[at],
                "line {}, {call}: {candidate} for {reference}, oracle {:?}",
                line + 1,
                part.oracle
            );
            accepted += usize::from(verdict);
        }
    }
    assert!(accepted > 500, "a table of nothing but wrong outputs shows little: {accepted} accepted");
}
