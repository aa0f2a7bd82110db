//! The problems of a run.

use crate::recipe::Recipe;
use crate::{Error, Result};
use hub::Hub;
use problems::basics::World;
use problems::sets;
use records::{Problem, Split};
use std::collections::HashSet;

/// The problems of a run.
pub struct ProblemSets {
    /// To learn from.
    pub train: Vec<Problem>,
    /// To report on.
    pub test: Vec<Problem>,
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
            let world = World::new();
            return Ok(ProblemSets {
                train: world.problems(Split::Train, wanted.train, wanted.seed),
                test: world.problems(wanted.report_on, wanted.test, wanted.seed),
            });
        }
        let all = sets::load_from(&wanted.source, hub)?;
        let part = |split: Split, limit: usize| -> Vec<Problem> {
            let some = all.iter().filter(|problem| problem.split == split);
            some.take(if limit == 0 { usize::MAX } else { limit }).cloned().collect()
        };
        let mut sets = ProblemSets {
            train: part(Split::Train, wanted.train),
            test: part(wanted.report_on, wanted.test),
        };
        if sets.test.is_empty() {
            let message = format!("{} has no {} problems", wanted.source, wanted.report_on.name());
            return Err(Error::Problems { field: "problems.source", message });
        }
        let mut kept = KeptOut::new(&all);
        for source in &wanted.also_train {
            let more = sets::load_from(source, hub)?.into_iter();
            sets.train
                .extend(more.filter(|problem| problem.split == Split::Train && kept.may_learn(problem)));
        }
        Ok(sets)
    }

    /// Refuses a recipe that learns from training problems where there are none.
    ///
    /// # Errors
    /// Names what would learn from them, and what to do.
    pub(crate) fn check_training(&self, recipe: &Recipe) -> Result<()> {
        let learners = [("grpo.steps", recipe.grpo.steps), ("critic.problems", recipe.critic.problems)];
        let mut learners = learners.into_iter().filter(|(_, count)| *count > 0);
        let Some((name, count)) = learners.next().filter(|_| self.train.is_empty()) else { return Ok(()) };
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

/// What further training problems must not be: those of the set itself, whose training problems are taken as
/// it has them, and those whose name or text is that of a problem to report on or to choose by.
struct KeptOut {
    ids: HashSet<String>,
    names: HashSet<String>,
    texts: HashSet<Vec<String>>,
}

impl KeptOut {
    fn new(problems: &[Problem]) -> Self {
        let apart = || problems.iter().filter(|problem| problem.split != Split::Train);
        let names = apart().map(|problem| problem.shown.name.clone()).filter(|name| !name.is_empty());
        KeptOut {
            ids: problems.iter().map(|problem| problem.id.clone()).collect(),
            names: names.collect(),
            texts: apart().map(|problem| words(&problem.shown.statement)).collect(),
        }
    }

    /// Whether it may be learned from; the next of the same id may not.
    fn may_learn(&mut self, problem: &Problem) -> bool {
        let is_apart =
            self.names.contains(&problem.shown.name) || self.texts.contains(&words(&problem.shown.statement));
        !is_apart && self.ids.insert(problem.id.clone())
    }
}

/// The words of a text, without case and punctuation.
fn words(text: &str) -> Vec<String> {
    let words = text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
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
        let own = [
            problem("Mbpp/11", "remove_occ", "Write a function to remove it.", Split::Test),
            problem("Mbpp/511", "smallest", "Find the smallest.", Split::Validation),
            problem("Mbpp/601", "chain", "Find the chain.", Split::Train),
        ];
        let mut kept = KeptOut::new(&own);
        let mut may =
            |id: &str, name: &str, text: &str| kept.may_learn(&problem(id, name, text, Split::Train));
        assert!(!may("x/1", "remove_occ", "another text"), "the name of a test problem");
        assert!(!may("x/2", "other", "write a function, to REMOVE it"), "the text of a test problem");
        assert!(!may("x/3", "smallest", "x"), "the name of a validation problem");
        assert!(!may("Mbpp/601", "new", "new"), "a problem that the set has");
        assert!(may("x/4", "chain", "Find the chain."), "another problem like a training problem");
        assert!(!may("x/4", "again", "again"), "an id twice");
    }
}
