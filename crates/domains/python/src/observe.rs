//! What programs give on inputs, where nothing is known of what they should give.

use crate::Check;
use crate::judge::{Answers, Judge};
use crate::marshal::Calls;
use crate::wire::{Message, decode};
use pydata::{Budget, Value, parse_call};
use records::{Observation, ObservationKind};
use std::io;
use verify::Watch;

/// Longest text of a value that an observation keeps, in characters.
const SHOWN: usize = 2_000;

/// CPU time for all calls of a program, as a share of what it has for its tests: what it gives is a hint
/// and no verdict, and the few that never end take most of the time that observing takes.
const SHARE: f64 = 0.5;

/// Makes calls of a program, in one process.
pub(crate) fn observe(
    judge: &mut Judge,
    check: &Check,
    solution: &str,
    inputs: &[String],
    watch: &Watch,
) -> io::Result<Vec<Observation>> {
    let cpu = (judge.shared.settings.cpu_seconds * SHARE).ceil();
    let job = judge.candidate_job(check, solution, cpu).with_calls("calls", &Calls::of(inputs));
    let mut observed = Vec::with_capacity(inputs.len());
    judge.run_candidate(job, cpu, Answers::Together, watch, |next, clock, limit| {
        while observed.len() < inputs.len()
            && let Ok(message) = next(limit, clock)
        {
            observed.push(observation(&inputs[observed.len()], &message));
        }
        (Vec::new(), None)
    })?;
    observed.resize(inputs.len(), Observation::default());
    Ok(observed)
}

fn observation(input: &str, message: &Message) -> Observation {
    match message.tag {
        b'V' => decode(&message.payload).and_then(|value| of_value(input, &value)).unwrap_or_default(),
        b'E' => {
            let text = message.text();
            let text = text.split(':').next().unwrap_or_default().to_owned();
            Observation { kind: ObservationKind::Raised, text, ..Observation::default() }
        }
        _ => Observation::default(),
    }
}

/// None where telling the value from others takes too much work.
fn of_value(input: &str, value: &Value) -> Option<Observation> {
    let mut budget = Budget::default();
    let class = value.canonical_class(&mut budget).ok()?;
    let arguments = parse_call(input).map(|call| call.args).unwrap_or_default();
    let echoes = arguments
        .iter()
        .any(|argument| argument.canonical_class(&mut budget).is_ok_and(|of_argument| of_argument == class));
    let mut text = value.to_string();
    let length = text.len();
    if let Some((end, _)) = text.char_indices().nth(SHOWN) {
        text.truncate(end);
        text.push('…');
    }
    let sort = value.type_name().to_owned();
    Some(Observation { kind: ObservationKind::Value, class, text, sort, length, echoes })
}
