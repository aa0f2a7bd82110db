//! Which problems a step samples.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use records::Problem;

/// The step's problems, each of them once: every problem comes before any comes again.
pub(crate) fn step_problems(problems: &[Problem], per_step: usize, seed: u64, step: usize) -> Vec<Problem> {
    let count = problems.len();
    let first = step * per_step;
    let mut order = Vec::new();
    let mut chosen = Vec::with_capacity(per_step);
    for round in 0..=(first + per_step).saturating_sub(1) / count {
        let mut next: Vec<usize> = (0..count).collect();
        next.shuffle(&mut ChaCha8Rng::seed_from_u64(seed.wrapping_add(round as u64)));
        // The step that the round begins in has problems of the round before, which must not come again in it.
        let before = round * count % per_step;
        let tail = &order[order.len().saturating_sub(before)..];
        put_back(&mut next, per_step - before, tail);
        let range = first.max(round * count)..(first + per_step).min((round + 1) * count);
        chosen.extend(range.map(|at| problems[next[at - round * count]].clone()));
        order = next;
    }
    chosen
}

/// Exchanges what the beginning of an order has of others for what comes later in it.
fn put_back(order: &mut [usize], beginning: usize, others: &[usize]) {
    let mut later = beginning;
    for at in 0..beginning.min(order.len()) {
        while others.contains(&order[at]) && later < order.len() {
            order.swap(at, later);
            later += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpo::GrpoSettings;

    #[test]
    fn every_problem_comes_once_before_any_comes_again() {
        let problem = |n: usize| Problem { id: n.to_string(), ..Problem::default() };
        let problems: Vec<Problem> = (0..10).map(problem).collect();
        let settings = GrpoSettings { prompts_per_step: 4, oversampling: 1.25, ..GrpoSettings::default() };
        let per_step = settings.sampled_prompts(problems.len());
        assert_eq!(per_step, 5);
        let ids = |step| step_problems(&problems, per_step, 3, step).into_iter().map(|p| p.id);
        let mut first: Vec<String> = ids(0).chain(ids(1)).collect();
        first.sort();
        first.dedup();
        assert_eq!(first.len(), 10);
        // Seven do not divide ten: a step has problems of two rounds, and none twice.
        let per_step = 7;
        let ids = |step| step_problems(&problems, per_step, 3, step).into_iter().map(|p| p.id);
        for step in 0..30 {
            let mut once: Vec<String> = ids(step).collect();
            once.sort();
            once.dedup();
            assert_eq!(once.len(), 7, "step {step}");
        }
        let all: Vec<String> = (0..30).flat_map(ids).collect();
        for round in all.chunks(10) {
            assert_eq!(round.iter().collect::<std::collections::HashSet<_>>().len(), 10);
        }
    }
}
