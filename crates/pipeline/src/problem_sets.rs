//! The problems of a run.

use crate::recipe::Recipe;
use crate::{Error, Result};
use hub::Hub;
use problems::basics::World;
use problems::sets;
use records::{Problem, Split};

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
        let sets = ProblemSets {
            train: part(Split::Train, wanted.train),
            test: part(wanted.report_on, wanted.test),
        };
        if sets.test.is_empty() {
            let message = format!("{} has no {} problems", wanted.source, wanted.report_on.name());
            return Err(Error::Problems { field: "problems.source", message });
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
