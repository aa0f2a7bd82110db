//! Which of several guesses at a problem's inputs candidates take.
//!
//! Where a problem tells no inputs, its domain makes several guesses, each a few inputs; the
//! candidates run on all of them, and the guess that most of them can take is what further inputs
//! are varied from.

use crate::answer_profile::written;
use crate::behaviour::is_value;
use records::Observation;
use verify::Guess;

/// The guess that candidates take best, by what each gave on every guess's inputs, one guess after the
/// other; those of its inputs that at least half of the candidates that run at all take.
pub fn best(guesses: &[Guess], observed: &[Vec<Observation>]) -> Vec<String> {
    let gives = |row: &Vec<Observation>, at: usize| {
        row.get(at).is_some_and(|seen| is_value(seen) && seen.sort != "NoneType")
    };
    let taken = |at: usize| observed.iter().filter(|row| gives(row, at)).count();
    // A guess counts by how many take it, and by whether they answer differently on its inputs: what
    // gives the same whatever it is asked has not understood it.
    let varied = |first: usize, count: usize| {
        let varies = |row: &&Vec<Observation>| {
            let value = |at: usize| row.get(first + at).filter(|seen| is_value(seen)).map(written);
            (1..count).any(|at| value(at) != value(0))
        };
        observed.iter().filter(varies).count()
    };
    let (mut first, mut most, mut chosen) = (0, 0, None);
    for guess in guesses {
        let count = guess.inputs.len();
        let takers: Vec<usize> = (first..first + count).map(taken).collect();
        most = takers.iter().copied().fold(most, usize::max);
        let worth = 2 * takers.iter().sum::<usize>() + count * varied(first, count);
        first += count;
        // Earlier guesses win ties.
        if chosen.as_ref().is_none_or(|(best, _, _)| worth > *best) {
            chosen = Some((worth, guess, takers));
        }
    }
    let Some((_, guess, takers)) = chosen else { return Vec::new() };
    let usable = guess.inputs.iter().zip(takers).filter(|(_, takers)| *takers > 0 && 2 * takers >= most);
    usable.map(|(input, _)| input.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use records::ObservationKind;

    #[test]
    fn the_guess_that_most_can_take_is_chosen() {
        let guess = |name: &str| Guess { inputs: (0..3).map(|at| format!("f({name}{at})")).collect() };
        let guesses = ["number", "list", "text", "tuple"].map(guess);
        let value = |at: usize| Observation {
            kind: ObservationKind::Value,
            class: at as u128,
            text: at.to_string(),
            sort: "int".into(),
            length: 1,
            echoes: false,
        };
        let raised = Observation { kind: ObservationKind::Raised, ..Observation::default() };
        // Three candidates that take texts only, and one that takes everything.
        let row = |picky: bool| -> Vec<Observation> {
            (0..12).map(|at| if at / 3 == 2 || !picky { value(at) } else { raised.clone() }).collect()
        };
        assert_eq!(best(&guesses, &[row(true), row(true), row(false), row(true)]), guesses[2].inputs);
        // The first of equals.
        assert_eq!(best(&guesses, &[row(false)]), guesses[0].inputs);
        assert!(best(&[], &[]).is_empty());
        assert!(best(&guesses, &[vec![Observation::default(); 12]]).is_empty());
        let none = |at: usize| Observation { sort: "NoneType".into(), ..value(at) };
        assert!(best(&guesses, &[(0..12).map(none).collect()]).is_empty());
    }
}
