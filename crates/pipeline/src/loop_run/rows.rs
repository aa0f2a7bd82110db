//! The rows of a report: what each way to answer solves of a set's problems.

use super::select::Choices;
use super::{Loop, PoolName};
use crate::{Error, Result};
use problems::prompt::PromptTests;
use report::html::Fact;
use report::statistics::{calibration, calibration_error, calibration_error_by_chance};
use report::table::Row;
use selection::{Pool, Selector};
use std::collections::HashMap;

/// One set of problems, as rows are named after it.
struct Set<'a> {
    /// What its rows' names begin with: nothing for the source's own.
    prefix: &'a str,
    /// What its rows stand under.
    name: &'a str,
    /// Which of the problems that are reported on are its.
    problems: std::ops::Range<usize>,
}

impl Set<'_> {
    fn row_name(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.to_owned() } else { format!("{}/{name}", self.prefix) }
    }

    /// The heading of rows about so many answers.
    fn group(&self, answers: &str) -> String {
        format!("{}: {answers}", self.name)
    }
}

impl PoolName {
    fn row_name(self, name: &str) -> String {
        match self {
            PoolName::Before => format!("base_{name}"),
            PoolName::After => name.to_owned(),
        }
    }
}

impl Loop<'_> {
    /// The rows of one of the sets that are reported on, and how far the confidence of its picks is right.
    pub(super) fn rows(&self, set: usize, before: &[Pool], after: &[Pool]) -> Result<(Vec<Row>, Vec<Fact>)> {
        let (name, problems) = &self.problems.reported[set];
        let set = Set { prefix: if set == 0 { "" } else { name }, name, problems: problems.clone() };
        let mut rows =
            vec![self.greedy(&set, "baseline", "before GRPO")?, self.greedy(&set, "grpo", "after GRPO")?];
        let mut facts = Vec::new();
        self.pool_rows(&set, PoolName::Before, &before[problems.clone()], &mut rows, &mut facts)?;
        self.pool_rows(&set, PoolName::After, &after[problems.clone()], &mut rows, &mut facts)?;
        let (baseline, others) = rows.split_at_mut(1);
        others.iter_mut().for_each(|row| row.compare(&baseline[0]));
        Ok((rows, facts))
    }

    fn greedy(&self, set: &Set, name: &str, label: &str) -> Result<Row> {
        let verdicts = self.verdicts(name)?;
        let passed: HashMap<&str, bool> =
            verdicts.iter().map(|verdict| (verdict.problem.as_str(), verdict.passed())).collect();
        let problems = self.problems.test[set.problems.clone()].iter();
        let solved = problems.map(|problem| passed.get(problem.id.as_str()) == Some(&true));
        let solved = solved.map(|solved| f64::from(u8::from(solved))).collect();
        let row = Row::new(&set.row_name(name), label, solved, 0, self.recipe.seed);
        Ok(row.under(&set.group("one greedy answer")))
    }

    /// What each selector makes of a pool.
    fn pool_rows(
        &self,
        set: &Set,
        pool: PoolName,
        pools: &[Pool],
        rows: &mut Vec<Row>,
        facts: &mut Vec<Fact>,
    ) -> Result<()> {
        let seed = self.recipe.seed;
        let group = set.group(&format!("one of {}, {}", self.recipe.pool.samples, pool.words()));
        let row_name = |name: &str| set.row_name(&pool.row_name(name));
        // They run nothing, but see what the prompt shows.
        let shown = match self.recipe.pool.tests {
            PromptTests::Visible => "of prompts with the visible test",
            PromptTests::All => "of prompts with all tests",
        };
        for (selector, label) in [
            (Selector::Random, "random pick"),
            (Selector::Likelihood, "likeliest, by the mean of its tokens"),
            (Selector::LikelihoodSum, "likeliest, by the sum"),
            (Selector::Critic, "critic's pick"),
        ] {
            let label = match selector {
                Selector::Random => label.to_owned(),
                _ => format!("{label}, {shown}"),
            };
            let row = Row::of_selector(selector, &row_name(selector.name()), &label, pools, seed);
            rows.extend(row.map(|row| row.under(&group)));
        }
        for &level in &self.recipe.selection.levels {
            let choices = self.read_choices(pool, level)?;
            let choices: HashMap<&str, &Choices> =
                choices.iter().map(|choices| (choices.problem.as_str(), choices)).collect();
            for (selector, what) in [
                (Selector::Consensus, "consensus"),
                (Selector::VisibleTest, "visible test and consensus"),
                (Selector::Combined, "combined pick"),
            ] {
                // At level 3 consensus knows what it knew at level 1.
                let is_repeated = selector == Selector::Consensus
                    && level == 3
                    && self.recipe.selection.levels.contains(&1);
                let Some(taken) = taken(selector, pools, &choices)?.filter(|_| !is_repeated) else {
                    continue;
                };
                let name = row_name(&format!("{}_{level}", selector.name()));
                let label = format!("{what}, level {level}");
                rows.push(Row::of_choices(&name, &label, (level, seed), pools, &taken).under(&group));
                if selector == Selector::Combined {
                    facts.extend(calibration_facts(&name, &format!("{label} ({group})"), pools, &choices));
                }
            }
        }
        let oracle =
            Row::of_selector(Selector::Oracle, &row_name("oracle"), "oracle: any of them", pools, seed);
        rows.extend(oracle.map(|row| row.under(&group)));
        Ok(())
    }
}

/// The places of the candidates that a selector takes of each pool; none where it lacks what it needs of
/// one.
fn taken(
    selector: Selector,
    pools: &[Pool],
    choices: &HashMap<&str, &Choices>,
) -> Result<Option<Vec<Vec<usize>>>> {
    let mut all = Vec::with_capacity(pools.len());
    for pool in pools {
        let of_pool = choices.get(pool.problem.as_str()).and_then(|c| c.selectors.get(selector.name()));
        let Some(indices) = of_pool else { return Ok(None) };
        let place = |index: &usize| pool.indices.iter().position(|other| other == index);
        let places: Option<Vec<usize>> = indices.iter().map(place).collect();
        let unknown = || Error::UnknownChoice { problem: pool.problem.clone() };
        all.push(places.ok_or_else(unknown)?);
    }
    Ok(Some(all))
}

/// How far the confidence of picks is from how often they pass, and how far it would be by chance.
fn calibration_facts(
    name: &str,
    label: &str,
    pools: &[Pool],
    choices: &HashMap<&str, &Choices>,
) -> Vec<Fact> {
    let picked = pools.iter().filter_map(|pool| {
        let (index, confidence) = choices.get(pool.problem.as_str())?.pick?;
        let at = pool.indices.iter().position(|other| *other == index)?;
        Some((confidence, pool.passed[at]))
    });
    let (scores, passed): (Vec<f64>, Vec<bool>) = picked.unzip();
    if scores.is_empty() {
        return Vec::new();
    }
    let error = 100.0 * calibration_error(&calibration(&scores, &passed));
    let by_chance = 100.0 * calibration_error_by_chance(&scores, 0);
    let fact = |part: &str, words: &str, value: f64| {
        Fact::new(&format!("{part}/{name}"), &format!("{words}, {label}"), value, "percent")
    };
    vec![
        fact("calibration_error", "calibration error", error),
        fact("calibration_error_by_chance", "calibration error by chance", by_chance),
    ]
}
