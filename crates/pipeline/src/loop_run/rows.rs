//! The rows of a report: what each way to answer solves of a set's problems.

use super::select::Choices;
use super::{Loop, PoolName};
use crate::{Error, Result};
use report::html::Fact;
use report::statistics::{calibration, calibration_error, calibration_error_by_chance};
use report::table::Row;
use selection::{Pool, Selector};
use std::collections::HashMap;

/// One set of problems, as rows are named after it.
struct Set<'a> {
    /// What its rows' names and labels begin with: nothing for the source's own.
    name: &'a str,
    /// Which of the problems that are reported on are its.
    problems: std::ops::Range<usize>,
}

impl Set<'_> {
    fn row_name(&self, name: &str) -> String {
        if self.name.is_empty() { name.to_owned() } else { format!("{}/{name}", self.name) }
    }

    fn label(&self, label: &str) -> String {
        if self.name.is_empty() { label.to_owned() } else { format!("{}: {}", self.name, plain(label)) }
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
        let set = Set { name: if set == 0 { "" } else { name }, problems: problems.clone() };
        let mut rows = vec![self.greedy(&set, "baseline", "baseline (greedy)")?];
        let mut facts = Vec::new();
        self.pool_rows(&set, PoolName::Before, &before[problems.clone()], &mut rows, &mut facts)?;
        rows.push(self.greedy(&set, "grpo", "+ GRPO (greedy)")?);
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
        Ok(Row::new(&set.row_name(name), &set.label(label), solved, 0, self.recipe.seed))
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
        let (n, words, seed) = (self.recipe.pool.samples, pool.words(), self.recipe.seed);
        let mut of_selector = |selector: Selector, label: String| {
            let name = set.row_name(&pool.row_name(selector.name()));
            rows.extend(Row::of_selector(selector, &name, &set.label(&label), pools, seed));
        };
        of_selector(Selector::Random, format!("  random pick of {n}, {words}"));
        of_selector(Selector::Likelihood, format!("  likeliest of {n}"));
        of_selector(Selector::LikelihoodSum, format!("  likeliest of {n}, sum"));
        of_selector(Selector::Critic, format!("+ critic's pick of {n}, {words}"));
        for &level in &self.recipe.selection.levels {
            let choices = self.read_choices(pool, level)?;
            let choices: HashMap<&str, &Choices> =
                choices.iter().map(|choices| (choices.problem.as_str(), choices)).collect();
            for (selector, what) in [
                (Selector::Consensus, "consensus"),
                (Selector::VisibleTest, "visible test, then consensus"),
                (Selector::Combined, "combined pick"),
            ] {
                let Some(taken) = taken(selector, pools, &choices)? else { continue };
                let name = set.row_name(&pool.row_name(&format!("{}_{level}", selector.name())));
                let plus = if selector == Selector::Combined { "+ " } else { "  " };
                let label = set.label(&format!("{plus}{what}, level {level}, {words}"));
                rows.push(Row::of_choices(&name, &label, (level, seed), pools, &taken));
                if selector == Selector::Combined {
                    facts.extend(calibration_facts(&name, &label, pools, &choices));
                }
            }
        }
        let name = set.row_name(&pool.row_name("oracle"));
        let label = set.label(&format!("  oracle of {n}, {words}"));
        rows.extend(Row::of_selector(Selector::Oracle, &name, &label, pools, seed));
        Ok(())
    }
}

/// A label without what shows its place in the source's own rows.
fn plain(label: &str) -> &str {
    label.trim_start_matches(['+', ' '])
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
    let label = plain(label);
    let error = 100.0 * calibration_error(&calibration(&scores, &passed));
    let by_chance = 100.0 * calibration_error_by_chance(&scores, 0);
    let fact = |part: &str, words: &str, value: f64| {
        Fact::new(&format!("{part}/{name}"), &format!("{words} of the {label}"), value, "percent")
    };
    vec![
        fact("calibration_error", "calibration error", error),
        fact("calibration_error_by_chance", "calibration error by chance", by_chance),
    ]
}
