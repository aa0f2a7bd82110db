//! What must not be learned from: problems like those that are reported on.
//!
//! A problem is like another where both have the same name but for case and punctuation, or nearly the same
//! words. Compared are the sets of words that say what is asked, without those that every text has: of MBPP's
//! training problems a share of three quarters in common finds the 13 that ask for the very same as one of its
//! test problems, and the 35 that ask for it of other numbers, in the other direction or by another means
//! (`the sum of fourth power of first n odd natural numbers` for `the sum of fourth power of n natural
//! numbers`); below it stand texts of one form that ask for other things (`the perimeter of a regular polygon`
//! for its area). No text of HumanEval, nor of 425 functions of TheAlgorithms, is so near to one of MBPP's.

use records::Problem;
use sha2::{Digest, Sha256};
use std::collections::{BTreeSet, HashSet};
use std::sync::LazyLock;

/// Share of the words of two texts that they have in common where one is too like the other.
const NEAR: f64 = 0.75;

/// Digests of the names and words of MBPP's test split and of HumanEval: a line a problem, its name and then
/// its words. Written anew by this module's tests.
const PUBLISHED: &str = include_str!("kept_out/published.txt");

/// Words that say nothing of what is asked.
const COMMON: [&str; 22] = [
    "a",
    "an",
    "and",
    "are",
    "by",
    "does",
    "find",
    "following",
    "for",
    "from",
    "function",
    "given",
    "in",
    "is",
    "of",
    "python",
    "that",
    "the",
    "to",
    "using",
    "which",
    "write",
];

/// Problems that nothing may be learned from that is like them.
#[derive(Debug, Default)]
pub struct KeptOut {
    names: HashSet<u64>,
    texts: HashSet<Words>,
}

/// Digests of the words of a text.
type Words = BTreeSet<u32>;

/// In what a problem is like one that is kept out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Like {
    /// They have the same name.
    Name,
    /// They have nearly the same words.
    Text,
}

impl KeptOut {
    /// Of these problems.
    pub fn of<'a>(problems: impl IntoIterator<Item = &'a Problem>) -> Self {
        let mut kept = KeptOut::default();
        for problem in problems {
            kept.insert(name_of(&problem.shown.name), words_of(&problem.shown.statement));
        }
        kept
    }

    /// Of the problems that others report on: MBPP's test split and HumanEval.
    pub fn published() -> &'static Self {
        static KEPT: LazyLock<KeptOut> = LazyLock::new(|| {
            let number = |digest: &str| u64::from_str_radix(digest, 16).unwrap_or_default();
            let mut kept = KeptOut::default();
            for line in PUBLISHED.lines() {
                let mut digests = line.split(' ');
                let name = digests.next().map(number);
                kept.insert(name, digests.map(|digest| number(digest) as u32).collect());
            }
            kept
        });
        &KEPT
    }

    fn insert(&mut self, name: Option<u64>, words: Words) {
        self.names.extend(name);
        if !words.is_empty() {
            self.texts.insert(words);
        }
    }

    /// In what a problem of this name and text is like one that is kept out.
    pub fn like(&self, name: &str, text: &str) -> Option<Like> {
        if name_of(name).is_some_and(|name| self.names.contains(&name)) {
            return Some(Like::Name);
        }
        let words = words_of(text);
        self.texts.iter().any(|other| are_near(&words, other)).then_some(Like::Text)
    }
}

fn are_near(one: &Words, other: &Words) -> bool {
    let (fewer, more) = (one.len().min(other.len()), one.len().max(other.len()));
    // As many as that cannot be in common.
    if fewer == 0 || (fewer as f64) < NEAR * more as f64 {
        return false;
    }
    let common = one.intersection(other).count();
    common as f64 >= NEAR * (one.len() + other.len() - common) as f64
}

/// A name by its letters and digits alone; none where it has none.
fn name_of(name: &str) -> Option<u64> {
    let plain: String = name.to_lowercase().chars().filter(|letter| letter.is_alphanumeric()).collect();
    (!plain.is_empty()).then(|| digest(&plain, 6))
}

/// The words that say what a text asks for, plurals as singulars.
fn words_of(text: &str) -> Words {
    let asked = asked(text).to_lowercase();
    let words = asked.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty());
    let singular = |word: &str| match word.strip_suffix('s') {
        Some(one) if one.len() > 2 && !one.ends_with('s') => digest(one, 3) as u32,
        _ => digest(word, 3) as u32,
    };
    words.filter(|word| !COMMON.contains(word)).map(singular).collect()
}

/// What a text asks for: of the beginning of a program its last docstring, without what is quoted as code,
/// and without examples.
fn asked(text: &str) -> String {
    let quotes = ["\"\"\"", "'''"].into_iter().find(|quotes| text.contains(quotes));
    let text = quotes.and_then(|quotes| text.rsplit(quotes).nth(1)).unwrap_or(text);
    let text = text.split(">>>").next().unwrap_or_default();
    text.split('`').step_by(2).collect::<Vec<_>>().join(" ")
}

fn digest(text: &str, bytes: usize) -> u64 {
    Sha256::digest(text)[..bytes].iter().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sets::read_file;
    use records::{Shown, Split};
    use std::path::Path;

    fn problem(name: &str, text: &str) -> Problem {
        let shown = Shown { statement: text.into(), name: name.into(), ..Shown::default() };
        Problem { shown, ..Problem::default() }
    }

    #[test]
    fn a_problem_is_like_another_by_name_or_by_nearly_its_words() {
        let kept = KeptOut::of(&[
            problem(
                "remove_occ",
                "Write a python function to find the sum of fourth power of n natural numbers.",
            ),
            problem(
                "f",
                "def g(x):\n    \"\"\"Other.\"\"\"\n\ndef f(x):\n    \"\"\" Count distinct characters. >>> f('a')\n    1\n    \"\"\"\n",
            ),
            problem("", ""),
        ]);
        let text = |text: &str| kept.like("other", text);
        assert_eq!(kept.like("removeOcc", "Something else."), Some(Like::Name));
        let odd = "Write a python function to find the sum of fourth power of first n odd natural numbers.";
        assert_eq!(text(odd), Some(Like::Text), "two words more");
        assert_eq!(text("FIND the sum of the fourth powers, of n natural number"), Some(Like::Text));
        assert_eq!(
            text("Write a function `h(x)` that does the following.\n\nCount distinct character"),
            Some(Like::Text)
        );
        assert_eq!(text("Find the sum of the divisors of n."), None);
        assert_eq!(text("Other."), None, "another function's words");
        assert_eq!((text(""), kept.like("", "Nothing of it.")), (None, None));
    }

    /// The file is what the sets say: `NCOMP_WRITE_KEPT_OUT=1` writes it anew.
    #[test]
    fn the_published_sets_are_kept_out() {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
        let files = ["mbpp/mbpp.jsonl", "mbpp/sanitized-mbpp.json", "humaneval/HumanEval.jsonl.gz"];
        if !data.join(files[0]).exists() {
            eprintln!("skipped: no ../shared/data");
            return;
        }
        let all = files.iter().flat_map(|file| read_file(&data.join(file)).expect("problems"));
        let lines = all.filter(|problem| problem.split == Split::Test).map(|problem| {
            let name = format!("{:012x}", name_of(&problem.shown.name).expect("a name"));
            let words = words_of(&problem.shown.statement).into_iter().map(|word| format!("{word:06x}"));
            [name].into_iter().chain(words).collect::<Vec<_>>().join(" ")
        });
        let lines: BTreeSet<String> = lines.collect();
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        if std::env::var_os("NCOMP_WRITE_KEPT_OUT").is_some() {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/kept_out/published.txt");
            std::fs::write(path, &text).expect("written");
        }
        assert!(text == PUBLISHED, "src/kept_out/published.txt is not what the sets say");
        let kept = KeptOut::published();
        let near = read_file(&data.join(files[0])).expect("problems").into_iter().filter(|problem| {
            problem.split == Split::Train && kept.like("", &problem.shown.statement).is_some()
        });
        let near = near.count();
        assert!((40..60).contains(&near), "{near} of MBPP's training problems are like a test problem");
    }
}
