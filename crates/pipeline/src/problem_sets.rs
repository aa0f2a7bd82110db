//! The problems of a run.

use crate::recipe::Recipe;
use crate::{Error, Result};
use hub::Hub;
use problems::basics::World;
use problems::kept_out::KeptOut;
use problems::sets;
use records::{Problem, Split};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::path::Path;

/// The problems of a run.
pub struct ProblemSets {
    /// To learn from.
    pub train: Vec<Problem>,
    /// The share of the training problems that the critic is measured on and rankers learn from; the critic
    /// does not learn from them.
    pub held_out: Vec<Problem>,
    /// For rankers to learn from, where the recipe asks for candidates of validation problems.
    pub validation: Vec<Problem>,
    /// To report on: the source's, then those of the further sets.
    pub test: Vec<Problem>,
    /// Each set's name, and which of `test` are its; the source's is first.
    pub reported: Vec<(String, Range<usize>)>,
    /// Further sets to learn from that add nothing.
    pub unused: Vec<String>,
    /// Digests of each set as it was read, by the recipe's field and its name, and of the run's parts.
    pub(crate) digests: BTreeMap<String, String>,
}

impl ProblemSets {
    /// The problems that a recipe asks for.
    ///
    /// # Errors
    /// Where the set cannot be had, or holds none to report on.
    pub fn of(recipe: &Recipe, hub: &Hub) -> Result<Self> {
        let wanted = &recipe.problems;
        if wanted.source == "basics" {
            if wanted.test == 0 {
                return Err(Error::Problems {
                    field: "problems.test",
                    message: "expected the number of test problems to make".to_owned(),
                });
            }
            let further = [("also_train", &wanted.also_train), ("also_report", &wanted.also_report)];
            if let Some((name, _)) = further.iter().find(|(_, sources)| !sources.is_empty()) {
                let message =
                    format!("expected none beside the built-in set; give {name} to a set of real problems");
                return Err(Error::Problems { field: "problems.source", message });
            }
            return Self::built_in(recipe).digested();
        }
        let mut digests = BTreeMap::new();
        let mut load = |field: &str, source: &String| {
            let problems = sets::load_from(source, hub)?;
            digests.insert(format!("{field} {source}"), digest(&problems)?);
            Ok::<_, Error>(problems)
        };
        let all = load("problems.source", &wanted.source)?;
        let mut further = Vec::new();
        let reports_on_test = wanted.report_on == Split::Test;
        for source in wanted.also_report.iter().filter(|_| reports_on_test) {
            let found: Vec<Problem> = of_split(load("problems.also_report", source)?, Split::Test).collect();
            if found.is_empty() {
                let message = format!("{source} has no test problems");
                return Err(Error::Problems { field: "problems.also_report", message });
            }
            further.push((source, found));
        }
        let mut also_train = Vec::new();
        for source in &wanted.also_train {
            also_train.push(load("problems.also_train", source)?);
        }
        let mut joined = Self::join(recipe, all, also_train, further)?;
        joined.digests = digests;
        joined.digested()
    }

    /// With digests of its parts: with the same sets, another version may divide them otherwise.
    fn digested(mut self) -> Result<Self> {
        let parts = [
            ("training", &self.train),
            ("held-out", &self.held_out),
            ("validation", &self.validation),
            ("reported", &self.test),
        ];
        for (name, problems) in parts {
            self.digests.insert(format!("the choice of {name} problems"), digest(problems)?);
        }
        Ok(self)
    }

    /// Problems of the built-in world.
    fn built_in(recipe: &Recipe) -> Self {
        let (wanted, world) = (&recipe.problems, World::new());
        let test = world.problems(wanted.report_on, wanted.test, wanted.seed);
        let learns = recipe.selection.validation_samples > 0 && wanted.report_on == Split::Test;
        let (train, held_out) = apart(world.problems(Split::Train, wanted.train, wanted.seed), recipe);
        ProblemSets {
            train,
            held_out,
            validation: if learns {
                world.problems(Split::Validation, wanted.test, wanted.seed)
            } else {
                Vec::new()
            },
            reported: vec![(wanted.source.clone(), 0..test.len())],
            test,
            unused: Vec::new(),
            digests: BTreeMap::new(),
        }
    }

    /// The source's problems, with those of further sets that may be learned from or are reported on.
    fn join(
        recipe: &Recipe,
        all: Vec<Problem>,
        also_train: Vec<Vec<Problem>>,
        further: Vec<(&String, Vec<Problem>)>,
    ) -> Result<Self> {
        let wanted = &recipe.problems;
        let limit = |limit: usize| if limit == 0 { usize::MAX } else { limit };
        let reported_further = || further.iter().flat_map(|(_, problems)| problems);
        let learns = recipe.selection.validation_samples > 0 && wanted.report_on == Split::Test;
        // Nothing like what is reported on is learned from; what GRPO and the critic learn from is not like what
        // settings or steps are chosen by either.
        let reported =
            KeptOut::of(all.iter().filter(|p| p.split == wanted.report_on).chain(reported_further()));
        let not_learned =
            KeptOut::of(all.iter().filter(|p| p.split != Split::Train).chain(reported_further()));
        let may = |problem: &Problem, kept: &KeptOut| {
            kept.like(&problem.shown.name, &problem.shown.statement).is_none()
        };
        let own = |split: Split| of_split(all.iter().cloned(), split);
        let mut train: Vec<Problem> = own(Split::Train)
            .filter(|problem| may(problem, &not_learned))
            .take(limit(wanted.train))
            .collect();
        let mut validation: Vec<Problem> =
            own(Split::Validation).filter(|problem| learns && may(problem, &reported)).collect();
        let mut ids: HashSet<String> = all.iter().map(|problem| problem.id.clone()).collect();
        let mut unused = Vec::new();
        for (at, more) in also_train.into_iter().enumerate() {
            let before = train.len() + validation.len();
            let (more, rest): (Vec<_>, Vec<_>) = more.into_iter().partition(|p| p.split == Split::Train);
            extend(&mut train, more.into_iter().filter(|problem| may(problem, &not_learned)), &mut ids);
            let more = of_split(rest, Split::Validation).filter(|p| learns && may(p, &reported));
            extend(&mut validation, more, &mut ids);
            if train.len() + validation.len() == before {
                unused.extend(wanted.also_train.get(at).cloned());
            }
        }
        let mut test: Vec<Problem> = of_split(all, wanted.report_on).take(limit(wanted.test)).collect();
        if test.is_empty() {
            let message = format!("{} has no {} problems", wanted.source, wanted.report_on.name());
            return Err(Error::Problems { field: "problems.source", message });
        }
        let mut reported = vec![(plain_name(&wanted.source), 0..test.len())];
        let mut ids: HashSet<String> = test.iter().map(|problem| problem.id.clone()).collect();
        for (source, problems) in further {
            if let Some(twice) = problems.iter().find(|problem| !ids.insert(problem.id.clone())) {
                let message = format!("{source} has {}, which is reported on already", twice.id);
                return Err(Error::Problems { field: "problems.also_report", message });
            }
            let first = test.len();
            test.extend(problems);
            let name = plain_name(source);
            let is_taken = reported.iter().any(|(other, _)| *other == name);
            reported.push((if is_taken { source.clone() } else { name }, first..test.len()));
        }
        let (train, held_out) = apart(train, recipe);
        Ok(ProblemSets { train, held_out, validation, test, reported, unused, digests: BTreeMap::new() })
    }

    /// Every problem of the run.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Problem> {
        self.train.iter().chain(&self.held_out).chain(&self.validation).chain(&self.test)
    }

    /// What GRPO learns from.
    pub fn for_grpo(&self, recipe: &Recipe) -> Vec<Problem> {
        let also = self.held_out.iter().filter(|_| !recipe.selection.kept_from_grpo);
        self.train.iter().chain(also).cloned().collect()
    }

    /// What a step of GRPO is chosen by: problems that nothing is reported on, and that GRPO does not learn from.
    pub(crate) fn to_choose_by(&self, recipe: &Recipe) -> Vec<Problem> {
        let held_out = self.held_out.iter().filter(|_| recipe.selection.kept_from_grpo);
        self.validation.iter().chain(held_out).cloned().collect()
    }

    /// Refuses a recipe that learns from training problems where there are none, or chooses by problems that it
    /// does not have.
    ///
    /// # Errors
    /// Names what would learn from them, and what to do.
    pub(crate) fn check_training(&self, recipe: &Recipe) -> Result<()> {
        let chooses = recipe.grpo.steps > 0 && recipe.grpo.choose_every > 0;
        if chooses && self.to_choose_by(recipe).is_empty() {
            let message = format!(
                "a step is chosen every {} steps, and no problem is kept from learning to choose by; set \
                 critic.validation above 0, or selection.validation_samples where the set has validation problems",
                recipe.grpo.choose_every
            );
            return Err(Error::Problems { field: "grpo.choose_every", message });
        }
        let learners = [("grpo.steps", recipe.grpo.steps), ("critic.problems", recipe.critic.problems)];
        let mut learners = learners.into_iter().filter(|(_, count)| *count > 0);
        let Some((name, count)) = learners.next().filter(|_| self.train.is_empty()) else { return Ok(()) };
        if let Some(problem) = self.held_out.first() {
            let message = format!(
                "expected a share that leaves training problems to learn from, found {}: {} and the others are \
                 all held out; lower it",
                recipe.critic.validation, problem.id
            );
            return Err(Error::Problems { field: "critic.validation", message });
        }
        let source = &recipe.problems.source;
        if source == "basics" {
            let message = format!(
                "expected the number of training problems to make, found 0, and {name} = {count} learns from \
                 them; set it"
            );
            return Err(Error::Problems { field: "problems.train", message });
        }
        let message = format!(
            "{source} has no training problems, and {name} = {count} learns from them; give a set whose \
             problems are split, or set `\"split\": \"train\"` in some of this one's"
        );
        Err(Error::Problems { field: "problems.source", message })
    }
}

/// Adds the problems that have an id which is not there yet.
fn extend(problems: &mut Vec<Problem>, more: impl IntoIterator<Item = Problem>, ids: &mut HashSet<String>) {
    problems.extend(more.into_iter().filter(|problem| ids.insert(problem.id.clone())));
}

/// Training problems to learn from, and those held out.
fn apart(train: Vec<Problem>, recipe: &Recipe) -> (Vec<Problem>, Vec<Problem>) {
    let share = recipe.critic.validation;
    train.into_iter().partition(|problem| !is_held_out(&problem.id, share, recipe.seed))
}

/// Whether a problem is held out, as its name and the seed say: whoever splits problems, and whatever others
/// there are, it is always on the same side.
pub(crate) fn is_held_out(id: &str, share: f64, seed: u64) -> bool {
    let mut digest = Sha256::new();
    digest.update(seed.to_le_bytes());
    digest.update(id);
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest.finalize()[..8]);
    u64::from_le_bytes(bytes) as f64 / (u64::MAX as f64) < share
}

/// Names problems by all that is said of them.
fn digest(problems: &[Problem]) -> Result<String> {
    let mut digest = Sha256::new();
    for problem in problems {
        digest.update(serde_json::to_string(problem)?);
        digest.update("\n");
    }
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The problems of a split.
fn of_split(problems: impl IntoIterator<Item = Problem>, split: Split) -> impl Iterator<Item = Problem> {
    problems.into_iter().filter(move |problem| problem.split == split)
}

/// A set's name in a report: without the folders and the endings of a file.
fn plain_name(source: &str) -> String {
    let path = Path::new(source);
    if !path.is_file() {
        return source.to_owned();
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.split('.').next().unwrap_or(source).to_owned()
}

/// The problems of a set; the built-in one gives 1,000 of each split.
///
/// # Errors
/// Where there is no such set, or a record of it is malformed.
pub fn problem_set(source: &str, hub: &Hub) -> Result<Vec<Problem>> {
    if source != "basics" {
        return Ok(sets::load_from(source, hub)?);
    }
    let world = World::new();
    let splits = [Split::Train, Split::Validation, Split::Test];
    Ok(splits.into_iter().flat_map(|split| world.problems(split, 1000, 1)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(id: &str, name: &str, text: &str, split: Split) -> Problem {
        let shown = records::Shown { statement: text.into(), name: name.into(), ..Default::default() };
        Problem { id: id.into(), shown, split, ..Problem::default() }
    }

    #[test]
    fn nothing_to_report_on_or_to_choose_by_is_learned_from() {
        let text = "Write a function to count the distinct characters of a string.";
        let own = vec![
            problem("Mbpp/11", "remove_occ", text, Split::Test),
            problem("Mbpp/511", "smallest", "Find the smallest.", Split::Validation),
            problem("Mbpp/601", "chain", "Find the chain.", Split::Train),
            problem("Mbpp/602", "near", "Count distinct characters of two strings.", Split::Train),
            problem("Mbpp/603", "Smallest", "Another.", Split::Train),
        ];
        let train = |id: &str, name: &str, text: &str| problem(id, name, text, Split::Train);
        let more = vec![
            train("x/1", "remove_occ", "The name of a test problem."),
            train("x/2", "other", "write a function: count the DISTINCT characters of one string"),
            train("x/3", "smallest", "The name of a validation problem."),
            train("Mbpp/601", "new", "A problem that the set has."),
            train("x/3", "close", "The name of a further set's problem."),
            train("x/4", "chain", "Find the chain."),
            train("x/4", "again", "An id twice."),
        ];
        let source = "humaneval".to_owned();
        let further =
            vec![(&source, vec![problem("HumanEval/0", "close", "Are any two near?", Split::Test)])];
        let sets = ProblemSets::join(&learns_from_all(), own, vec![more], further).expect("problems");
        let ids: Vec<&str> = sets.train.iter().map(|problem| problem.id.as_str()).collect();
        assert_eq!(ids, ["Mbpp/601", "x/4"]);
        assert!(sets.unused.is_empty());
    }

    #[test]
    fn a_set_that_adds_nothing_is_named() {
        let own = || {
            vec![
                problem("Mbpp/11", "f", "Find it.", Split::Test),
                problem("Mbpp/601", "chain", "Find the chain.", Split::Train),
            ]
        };
        let mut recipe = learns_from_all();
        recipe.problems.also_train = vec!["same.jsonl".into(), "more.jsonl".into()];
        let more = vec![own(), vec![problem("x/1", "other", "Something else.", Split::Train)]];
        let sets = ProblemSets::join(&recipe, own(), more, Vec::new()).expect("problems");
        assert_eq!(sets.unused, ["same.jsonl"]);
    }

    fn learns_from_all() -> Recipe {
        let mut recipe = Recipe::default();
        recipe.critic.validation = 0.0;
        recipe
    }

    #[test]
    fn a_problem_is_held_out_whatever_others_there_are() {
        let all = |count: usize| -> Vec<Problem> {
            (0..count).map(|n| problem(&format!("p/{n}"), &format!("f{n}"), "x", Split::Train)).collect()
        };
        let mut recipe = Recipe::default();
        recipe.critic.validation = 0.25;
        let ids = |problems: &[Problem]| problems.iter().map(|p| p.id.clone()).collect::<Vec<_>>();
        let (train, held_out) = apart(all(400), &recipe);
        assert!((70..130).contains(&held_out.len()), "{} of 400", held_out.len());
        assert_eq!(train.len() + held_out.len(), 400);
        let fewer = ids(&apart(all(100), &recipe).1);
        assert_eq!(ids(&held_out)[..fewer.len()], fewer[..]);
        recipe.seed = 1;
        assert_ne!(ids(&apart(all(400), &recipe).1), ids(&held_out), "another seed holds out others");

        let sets = |train, held_out| ProblemSets {
            train,
            held_out,
            validation: Vec::new(),
            test: Vec::new(),
            reported: Vec::new(),
            unused: Vec::new(),
            digests: BTreeMap::new(),
        };
        let own = sets(train.clone(), held_out.clone());
        assert_eq!(ids(&own.for_grpo(&recipe)), ids(&train));
        recipe.selection.kept_from_grpo = false;
        assert_eq!(own.for_grpo(&recipe).len(), 400);
        let error = sets(Vec::new(), held_out).check_training(&recipe).expect_err("nothing is left");
        assert!(error.to_string().contains("critic.validation"), "{error}");
    }

    #[test]
    fn rankers_may_learn_from_validation_problems_that_are_like_no_test_problem() {
        let own = || {
            vec![
                problem("Mbpp/11", "remove_occ", "Write a function to remove it.", Split::Test),
                problem("Mbpp/511", "smallest", "Find the smallest.", Split::Validation),
                problem("Mbpp/601", "chain", "Find the chain.", Split::Train),
                problem("Mbpp/604", "close", "Of the source itself.", Split::Train),
            ]
        };
        let more = || {
            vec![
                problem("Mbpp/511", "smallest", "Find the smallest.", Split::Validation),
                problem("Mbpp/512", "largest", "Find the largest.", Split::Validation),
                problem("Mbpp/513", "remove_occ", "Again.", Split::Validation),
                problem("Mbpp/602", "loop", "Find the loop.", Split::Train),
                problem("Mbpp/603", "close", "Find what is close.", Split::Train),
                problem("Mbpp/12", "other", "Another.", Split::Test),
            ]
        };
        let directory = tempfile::tempdir().expect("a directory");
        let source = "humaneval".to_owned();
        let further = || vec![(&source, vec![problem("HumanEval/0", "close", "Are they?", Split::Test)])];
        let mut recipe = learns_from_all();
        recipe.selection.validation_samples = 1;
        let sets = ProblemSets::join(&recipe, own(), vec![more()], further()).expect("problems");
        let ids = |problems: &[Problem]| problems.iter().map(|p| p.id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(&sets.train), ["Mbpp/601", "Mbpp/602"]);
        assert_eq!(ids(&sets.validation), ["Mbpp/511", "Mbpp/512"]);
        assert_eq!(ids(&sets.test), ["Mbpp/11", "HumanEval/0"]);
        assert_eq!(sets.reported, [("basics".to_owned(), 0..1), (source.clone(), 1..2)]);
        recipe.problems.report_on = Split::Validation;
        let sets = ProblemSets::join(&recipe, own(), vec![more()], Vec::new()).expect("problems");
        assert_eq!((ids(&sets.validation), ids(&sets.test)), (vec![], vec!["Mbpp/511".to_owned()]));
        let paths = ["a/x.jsonl", "b/x.jsonl"].map(|name| directory.path().join(name));
        for path in &paths {
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, "").expect("written");
        }
        let sources = paths.map(|path| path.display().to_string());
        let named = vec![
            (&sources[0], vec![problem("A/1", "a", "a", Split::Test)]),
            (&sources[1], vec![problem("B/1", "b", "b", Split::Test)]),
        ];
        let sets = ProblemSets::join(&Recipe::default(), own(), Vec::new(), named).expect("problems");
        let names: Vec<&str> = sets.reported.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["basics", "x", &sources[1]], "two files of one name");
        let twice = vec![(&source, own())];
        let error = ProblemSets::join(&Recipe::default(), own(), Vec::new(), twice).err().expect("twice");
        assert!(error.to_string().contains("Mbpp/11"), "{error}");
    }
}
