//! Problems that a report shows with their candidates.

use super::Loop;
use crate::Result;
use crate::verdicts::{tests_of, word};
use records::{Candidate, Problem, Verdict, paired};
use report::html::{Example, ExampleCandidate};
use selection::{Pool, Selector};
use std::collections::HashMap;

/// Problems that the report shows with their candidates.
const EXAMPLES: usize = 6;
/// Programs shown of each.
const PROGRAMS: usize = 5;

impl Loop<'_> {
    /// Problems where choosing mattered: first those where the critic's pick is right and most
    /// candidates are not, then those where it is wrong although some pass.
    pub(super) fn examples(
        &self,
        pools: &[Pool],
        candidates: &[Candidate],
        verdicts: &[Verdict],
    ) -> Result<Vec<Example>> {
        let by_id: HashMap<&str, &Problem> =
            self.problems.test.iter().map(|problem| (problem.id.as_str(), problem)).collect();
        let verdicts: HashMap<(&str, usize), &Verdict> =
            verdicts.iter().map(|verdict| ((verdict.problem.as_str(), verdict.index), verdict)).collect();
        let share = |pool: &Pool| Selector::Random.accuracy(pool).unwrap_or(0.0);
        let picked = |pool: &Pool| Selector::Critic.accuracy(pool).unwrap_or(0.0);
        let mixed = || pools.iter().filter(|pool| (0.05..0.95).contains(&share(pool)));
        let mut right: Vec<&Pool> = mixed().filter(|pool| picked(pool) > 0.99).collect();
        right.sort_by(|a, b| share(a).total_cmp(&share(b)));
        let wrong = mixed().filter(|pool| picked(pool) < 0.01);
        let chosen = right
            .into_iter()
            .take(EXAMPLES - 2)
            .map(|pool| (pool, true))
            .chain(wrong.take(2).map(|pool| (pool, false)));
        let example = |(pool, right): (&Pool, bool)| {
            let problem = by_id.get(pool.problem.as_str())?;
            let percent = 100.0 * share(pool);
            let remark = match right {
                true => format!("{percent:.0} % of the candidates pass; the critic's pick does"),
                false => format!("{percent:.0} % of the candidates pass; the critic's pick does not"),
            };
            let candidates = match shown_candidates(pool, candidates, &verdicts) {
                Ok(candidates) => candidates,
                Err(error) => return Some(Err(error)),
            };
            Some(Ok(Example {
                problem: problem.id.clone(),
                text: problem.shown.statement.clone(),
                tests: tests_of(problem),
                remark,
                candidates,
            }))
        };
        chosen.filter_map(example).collect()
    }
}

fn shown_candidates(
    pool: &Pool,
    candidates: &[Candidate],
    verdicts: &HashMap<(&str, usize), &Verdict>,
) -> Result<Vec<ExampleCandidate>> {
    let mut indices: Vec<usize> =
        candidates.iter().filter(|c| c.problem == pool.problem).map(|c| c.index).collect();
    indices.sort_unstable();
    let mut programs: Vec<ExampleCandidate> = Vec::new();
    let pairs = paired(indices, &pool.codes, ["candidates", "programs"])?;
    for (at, (index, code)) in pairs.enumerate() {
        if let Some(known) = programs.iter_mut().find(|program| program.code == *code) {
            known.count += 1;
            continue;
        }
        let verdict = verdicts.get(&(pool.problem.as_str(), index));
        let failing = verdict.and_then(|verdict| verdict.first_failure());
        programs.push(ExampleCandidate {
            code: code.clone(),
            count: 1,
            critic: pool.critic.as_ref().map(|scores| scores[at]),
            outcome: verdict.map_or("none".to_owned(), |verdict| word(verdict.outcome, &verdict.reason)),
            detail: failing.map(|(_, test)| test.detail.clone()).unwrap_or_default(),
        });
    }
    programs.sort_by(|a, b| b.critic.unwrap_or(0.0).total_cmp(&a.critic.unwrap_or(0.0)));
    programs.truncate(PROGRAMS);
    Ok(programs)
}
