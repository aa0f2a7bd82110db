//! What candidates gave on inputs, kept by what decides it: the program with its problem, the input,
//! and the verifier's version and limits. What was seen once is not run again.

use records::jsonl::{Appender, Error};
use records::{Observation, ObservationKind};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::path::Path;

/// Observations and visible verdicts of earlier runs, and of this one.
#[derive(Default)]
pub struct Observations {
    /// By program, then by input.
    seen: HashMap<String, HashMap<u64, Seen>>,
    /// Whether a program passes the tests that a prompt shows, by the key of that question.
    visible: HashMap<String, bool>,
    /// Inputs of a list on which a problem's programs run out of time, by problem and list.
    slow: HashMap<(String, u64), Vec<u64>>,
    file: Option<Appender>,
}

/// What was seen on one input, and in which lists of inputs.
struct Seen {
    observation: Observation,
    lists: Vec<u64>,
    /// Whether it was seen since the file was opened.
    is_new: bool,
}

impl Seen {
    fn is_silent(&self) -> bool {
        self.observation.kind == ObservationKind::Nothing
    }
}

/// One line of the file.
#[derive(Serialize, Deserialize)]
struct Line {
    /// The key of the program with its problem, without inputs, or of the question whether it passes
    /// the visible tests.
    program: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    passes: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    slow: Option<Vec<u64>>,
    #[serde(default)]
    list: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    seen: Vec<(u64, Short)>,
}

/// An observation in few bytes: there are hundreds of thousands of them.
#[derive(Serialize, Deserialize)]
struct Short(ObservationKind, String, String, String, usize, bool);

impl From<&Observation> for Short {
    fn from(seen: &Observation) -> Self {
        let class = format!("{:x}", seen.class);
        Short(seen.kind, class, seen.text.clone(), seen.sort.clone(), seen.length, seen.echoes)
    }
}

impl Short {
    fn observation(self) -> Observation {
        let Short(kind, class, text, sort, length, echoes) = self;
        let class = u128::from_str_radix(&class, 16).unwrap_or_default();
        Observation { kind, class, text, sort, length, echoes }
    }
}

impl Observations {
    /// Those in a file, which is made if there is none; new ones are added to it.
    ///
    /// # Errors
    /// Where the file cannot be read or written, is written by another command, or holds something else.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let (file, lines) = Appender::resume::<Line>(path)?;
        let mut all = Observations { file: Some(file), ..Observations::default() };
        lines.into_iter().for_each(|line| all.remember(line, false));
        Ok(all)
    }

    fn remember(&mut self, line: Line, is_new: bool) {
        let Line { program, passes, slow, list, seen } = line;
        if let Some(slow) = slow {
            self.slow.insert((program, list), slow);
            return;
        }
        if let Some(passes) = passes {
            self.visible.insert(program, passes);
            return;
        }
        let known = self.seen.entry(program).or_default();
        for (input, seen) in seen {
            let seen = Seen { observation: seen.observation(), lists: vec![list], is_new };
            match known.get_mut(&input) {
                // Each list on which nothing came counts by itself.
                Some(old) if old.is_silent() && seen.is_silent() => old.lists.push(list),
                _ => drop(known.insert(input, seen)),
            }
        }
    }

    fn add(&mut self, line: Line) -> Result<(), Error> {
        if let Some(file) = &mut self.file {
            file.append(&line)?;
        }
        self.remember(line, true);
        Ok(())
    }

    /// What a program gave on each of some inputs; nothing where that is not known. Where it gave
    /// nothing it may have run out of time on the inputs before: that holds for the same list only.
    pub(crate) fn of(&self, program: &str, inputs: &[String]) -> Vec<Option<&Observation>> {
        let Some(known) = self.seen.get(program) else { return vec![None; inputs.len()] };
        let list = hash_of(inputs);
        let of_input = |input: &String| {
            let seen = known.get(&hash(input))?;
            let holds = !seen.is_silent() || seen.lists.contains(&list);
            holds.then_some(&seen.observation)
        };
        inputs.iter().map(of_input).collect()
    }

    /// On how many of some inputs it was known when the file was opened what a program gives.
    pub(crate) fn count_earlier(&self, program: &str, inputs: &[String]) -> usize {
        let Some(known) = self.seen.get(program) else { return 0 };
        inputs.iter().filter(|input| known.get(&hash(input)).is_some_and(|seen| !seen.is_new)).count()
    }

    /// Keeps what a program gave on some inputs of a list.
    pub(crate) fn keep(
        &mut self,
        program: &str,
        list: &[String],
        inputs: &[String],
        seen: &[Observation],
    ) -> Result<(), Error> {
        let seen = inputs.iter().zip(seen).map(|(input, seen)| (hash(input), Short::from(seen)));
        let (program, list) = (program.to_owned(), hash_of(list));
        self.add(Line { program, passes: None, slow: None, list, seen: seen.collect() })
    }

    /// A list without the inputs that are known to take a problem's programs too long; none where that is
    /// not known.
    pub(crate) fn without_slow(&self, problem: &str, list: &[String]) -> Option<Vec<String>> {
        let slow = self.slow.get(&(problem.to_owned(), hash_of(list)))?;
        Some(list.iter().filter(|input| !slow.contains(&hash(input))).cloned().collect())
    }

    /// Keeps which inputs of a list take a problem's programs too long: those that are not left.
    pub(crate) fn keep_slow(&mut self, problem: &str, list: &[String], left: &[String]) -> Result<(), Error> {
        let slow = list.iter().filter(|input| !left.contains(input)).map(|input| hash(input)).collect();
        let (program, list) = (problem.to_owned(), hash_of(list));
        self.add(Line { program, passes: None, slow: Some(slow), list, seen: Vec::new() })
    }

    /// Whether a program passes the visible tests, by the key of that question.
    pub(crate) fn passes(&self, key: &str) -> Option<bool> {
        self.visible.get(key).copied()
    }

    /// Keeps whether a program passes the visible tests.
    pub(crate) fn keep_passes(&mut self, key: &str, passes: bool) -> Result<(), Error> {
        self.add(Line {
            program: key.to_owned(),
            passes: Some(passes),
            slow: None,
            list: 0,
            seen: Vec::new(),
        })
    }

    /// Hands what was added to the system.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        self.file.as_mut().map_or(Ok(()), Appender::flush)
    }
}

fn hash(text: &str) -> u64 {
    hash_of(std::slice::from_ref(&text))
}

/// The same on every machine and in every build.
fn hash_of<T: AsRef<str>>(texts: &[T]) -> u64 {
    let mut hasher = Sha256::new();
    for text in texts {
        hasher.update((text.as_ref().len() as u64).to_le_bytes());
        hasher.update(text.as_ref());
    }
    let digest = hasher.finalize();
    digest[..8].iter().fold(0, |hash, &byte| hash << 8 | u64::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(class: u128) -> Observation {
        Observation { kind: ObservationKind::Value, class, text: class.to_string(), ..Observation::default() }
    }

    #[test]
    fn what_was_seen_is_known_again_and_silence_for_the_same_list_only() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("observations.jsonl");
        let list = ["f(1)", "f(2)", "f(3)"].map(str::to_owned);
        let seen = [value(1), value(u128::MAX), Observation::default()];
        let mut observations = Observations::open(&path).expect("a new file");
        observations.keep("p", &list, &list, &seen).expect("kept");
        observations.keep_passes("q", true).expect("kept");
        observations.keep_slow("problem", &list, &list[..2]).expect("kept");
        drop(observations);
        let again = Observations::open(&path).expect("the file");
        let known = |inputs: &[String]| -> Vec<Option<Observation>> {
            again.of("p", inputs).into_iter().map(Option::<&Observation>::cloned).collect()
        };
        assert_eq!(known(&list), seen.clone().map(Some));
        let other = ["f(3)", "f(2)", "f(4)"].map(str::to_owned);
        assert_eq!(known(&other), [None, Some(value(u128::MAX)), None]);
        // The same silence in another list says nothing of the first.
        let mut both = Observations::default();
        both.keep("p", &list, &list, &seen).expect("kept");
        both.keep("p", &other, &other[..1], &seen[2..]).expect("kept");
        assert!(both.of("p", &list).iter().all(Option::is_some) && both.of("p", &other)[0].is_some());
        assert!(again.of("other", &list).iter().all(Option::is_none));
        assert_eq!(again.without_slow("problem", &list).as_deref(), Some(&list[..2]));
        assert_eq!(again.without_slow("problem", &list[..2]), None);
        assert_eq!((again.passes("q"), again.passes("p")), (Some(true), None));
    }
}
