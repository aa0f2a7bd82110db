//! The built-in problem set: a small but real world in which the whole loop can be watched on two
//! processor cores.
//!
//! A problem asks for a chain of one to three of the world's primitives over integers, lists, text,
//! tuples, dictionaries or pairs of lists, in words; its tests are asserts. Problems are made from
//! a seed. The programs to pretrain on ([`program`]) imitate scraped code: a few primitives are
//! common and most are rare, and many programs have the mistakes that programmers make, some of
//! them nearly as often as not.
//!
//! Chains are dealt to train, validation and test by a hash of their names, so that no tested
//! composition ever occurs in training.
//!
//! ```
//! use problems::basics::World;
//! use records::Split;
//!
//! let world = World::new();
//! let problems = world.problems(Split::Test, 3, 1);
//! assert_eq!(problems.len(), 3);
//! assert!(problems[0].shown.examples.len() >= 3);
//! ```

mod collections;
pub mod data;
mod numbers;
pub mod primitive;
pub mod program;

use data::{Data, Kind};
use primitive::Primitive;
use program::Style;
use python::Check;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use records::{Problem, Shown, Split};
use std::collections::HashSet;

/// Tests a problem has; the first is shown.
const TESTS: usize = 4;

/// Names that problems give their functions.
const ENTRY_POINTS: &[&str] = &["solve", "compute", "process", "find", "get", "transform", "answer", "run"];

/// How often each input kind is asked for, in the order of [`Kind::INPUTS`].
const KIND_WEIGHTS: [f64; 7] = [0.34, 0.18, 0.12, 0.10, 0.08, 0.09, 0.09];

/// Exponent of the primitives' frequencies in pretraining programs: the k-th most common of a kind
/// occurs k^-1.1 times as often as the first.
const TAIL: f64 = 1.1;

/// How often a primitive is written with a mistake in pretraining programs; which of these holds
/// for a primitive is fixed by its name.
const MISTAKE_RATES: [f64; 6] = [0.03, 0.06, 0.10, 0.20, 0.40, 0.52];

/// All primitives of the built-in world.
pub struct World {
    primitives: Vec<Primitive>,
}

/// A program to pretrain on.
#[derive(Clone, Debug)]
pub struct Program {
    /// The problem's text.
    pub text: String,
    /// One assert, as a prompt shows it.
    pub test: String,
    /// The program, right or wrong.
    pub code: String,
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// The world.
    pub fn new() -> Self {
        let parts = [
            numbers::ints(),
            numbers::int(),
            collections::text(),
            collections::words(),
            collections::two_lists(),
            collections::tuple(),
            collections::dict(),
        ];
        World { primitives: parts.into_iter().flatten().collect() }
    }

    /// Every primitive, grouped by the kind it takes, the most common first.
    pub fn primitives(&self) -> &[Primitive] {
        &self.primitives
    }

    /// Problems of a split. The same split and seed give the same problems, and asking for more
    /// gives the same first ones.
    pub fn problems(&self, split: Split, count: usize, seed: u64) -> Vec<Problem> {
        let mut random = generator(seed, split.name());
        let mut seen = HashSet::new();
        let mut problems = Vec::with_capacity(count);
        while problems.len() < count {
            let Some(problem) = self.problem(split, problems.len(), &mut random) else { continue };
            if seen.insert((problem.shown.statement.clone(), problem.shown.visible().to_vec())) {
                problems.push(problem);
            }
        }
        problems
    }

    /// Programs to pretrain on.
    pub fn programs(&self, count: usize, seed: u64) -> Vec<Program> {
        let mut random = generator(seed, "programs");
        let mut programs = Vec::with_capacity(count);
        while programs.len() < count {
            programs.extend(self.program(&mut random));
        }
        programs
    }

    fn problem(&self, split: Split, index: usize, random: &mut ChaCha8Rng) -> Option<Problem> {
        let chain = self.chain(split, false, random)?;
        let statement = program::text(&chain, random);
        let entry_point = *ENTRY_POINTS.choose(random)?;
        let tests = tests(&chain, entry_point, TESTS, random)?;
        let right = vec![None; chain.len()];
        let references = [Style::Reassigned, Style::Nested, Style::Loops];
        let references = references.map(|style| program::code(entry_point, &chain, &right, style, random));
        let check = Check {
            entry_point: entry_point.to_owned(),
            setup: "import itertools\nimport math\n".to_owned(),
            tests: tests.clone(),
            ..Check::default()
        };
        Some(Problem {
            id: format!("basics/{}/{index}", split.name()),
            shown: Shown {
                statement,
                examples: tests,
                default_examples: 1,
                opening: None,
                name: entry_point.to_owned(),
            },
            check: check.into_record(),
            references: references.to_vec(),
            split,
        })
    }

    fn program(&self, random: &mut ChaCha8Rng) -> Option<Program> {
        let chain = self.chain(Split::Train, true, random)?;
        let text = program::text(&chain, random);
        let entry_point = *ENTRY_POINTS.choose(random)?;
        let test = tests(&chain, entry_point, 1, random)?.remove(0);
        let mistakes: Vec<Option<usize>> = chain.iter().map(|primitive| mistake(primitive, random)).collect();
        let style = *Style::ALL.choose(random)?;
        let code = program::code(entry_point, &chain, &mistakes, style, random);
        Some(Program { text, test, code })
    }

    /// A random chain of the split; `long_tail` draws primitives by their frequency in the wild,
    /// otherwise all are as likely.
    fn chain(&self, split: Split, long_tail: bool, random: &mut ChaCha8Rng) -> Option<Vec<&Primitive>> {
        let kinds: Vec<(Kind, f64)> = Kind::INPUTS.into_iter().zip(KIND_WEIGHTS).collect();
        let mut kind = kinds.choose_weighted(random, |kind| kind.1).ok()?.0;
        let steps = match random.random_range(0..100) {
            0..25 => 1,
            25..70 => 2,
            _ => 3,
        };
        let mut chain: Vec<&Primitive> = Vec::new();
        for _ in 0..steps {
            let fitting: Vec<&Primitive> = self.primitives.iter().filter(|p| p.from == kind).collect();
            let weighted: Vec<(usize, &Primitive)> = fitting.into_iter().enumerate().collect();
            let weight = |(rank, _): &(usize, &Primitive)| {
                if long_tail { ((rank + 1) as f64).powf(-TAIL) } else { 1.0 }
            };
            let Ok((_, primitive)) = weighted.choose_weighted(random, weight) else { break };
            if chain.iter().any(|earlier| earlier.name == primitive.name) {
                return None;
            }
            chain.push(primitive);
            kind = primitive.to;
        }
        (split_of(&chain) == split).then_some(chain)
    }
}

fn generator(seed: u64, purpose: &str) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed ^ hash(purpose))
}

/// FNV-1a: small, and the same on every machine for ever, which a split must be.
fn hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// Single primitives are all for training; of the longer chains a quarter is for tests and a tenth
/// for validation.
fn split_of(chain: &[&Primitive]) -> Split {
    if chain.len() < 2 {
        return Split::Train;
    }
    let names: Vec<&str> = chain.iter().map(|primitive| primitive.name).collect();
    // The low bits of FNV-1a mix poorly.
    match (hash(&names.join(" ")) >> 20) % 20 {
        0..5 => Split::Test,
        5..7 => Split::Validation,
        _ => Split::Train,
    }
}

fn mistake(primitive: &Primitive, random: &mut ChaCha8Rng) -> Option<usize> {
    let rates = MISTAKE_RATES.len() as u64;
    let rate = MISTAKE_RATES[((hash(primitive.name) >> 20) % rates) as usize];
    if random.random::<f64>() >= rate {
        return None;
    }
    // The most common mistake is made three times in four.
    Some(if random.random_range(0..4) < 3 { 0 } else { random.random_range(0..primitive.wrong.len()) })
}

/// Asserts on different inputs, with at least two different results where there are several.
fn tests(
    chain: &[&Primitive],
    entry_point: &str,
    count: usize,
    random: &mut ChaCha8Rng,
) -> Option<Vec<String>> {
    let kind = chain.first()?.from;
    let mut tests: Vec<String> = Vec::new();
    let mut calls = HashSet::new();
    let mut results = HashSet::new();
    for _ in 0..count * 6 {
        let input = Data::random(kind, random);
        let Some(output) = program::evaluate(chain, &input) else { continue };
        let (call, expected) = (format!("{entry_point}({})", input.arguments()), output.value().to_string());
        if calls.contains(&call) {
            continue;
        }
        // Three equal results say little: the fourth input is kept only if it differs.
        if results.len() == 1 && tests.len() + 1 >= count && count > 1 && results.contains(&expected) {
            continue;
        }
        tests.push(format!("assert {call} == {expected}"));
        results.insert(expected);
        calls.insert(call);
        if tests.len() == count {
            return Some(tests);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_at_least_eighty_primitives_with_two_phrases_and_mistakes() {
        let world = World::new();
        let names: HashSet<&str> = world.primitives().iter().map(|p| p.name).collect();
        assert_eq!(names.len(), world.primitives().len());
        assert!(names.len() >= 80, "{}", names.len());
        for primitive in world.primitives() {
            assert!(primitive.phrases.len() >= 2 && primitive.wrong.len() >= 2, "{}", primitive.name);
            assert!(!primitive.wrong.contains(&primitive.right), "{}", primitive.name);
        }
    }

    #[test]
    fn problems_are_reproducible_and_have_tests() {
        let world = World::new();
        let problems = world.problems(Split::Test, 50, 3);
        assert_eq!(problems[..20], world.problems(Split::Test, 20, 3));
        assert_ne!(problems[..20], world.problems(Split::Test, 20, 4));
        for problem in &problems {
            let check = Check::of(problem).expect("a Python problem");
            assert!(check.tests.len() >= 3 && problem.shown.visible() == &check.tests[..1]);
            assert!(problem.references.iter().all(|code| code.contains("return")));
        }
    }

    #[test]
    fn tested_chains_never_occur_in_training() {
        let world = World::new();
        let mut random = generator(1, "test");
        let mut draw = |split, long_tail| -> HashSet<String> {
            let chains = (0..20_000).filter_map(|_| world.chain(split, long_tail, &mut random));
            chains.map(|chain| chain.iter().map(|p| p.name).collect::<Vec<_>>().join(" ")).collect()
        };
        let tested = draw(Split::Test, false);
        assert!(tested.len() > 100);
        assert!(tested.is_disjoint(&draw(Split::Train, true)));
        assert!(tested.is_disjoint(&draw(Split::Train, false)));
        assert!(tested.is_disjoint(&draw(Split::Validation, false)));
    }
}
