//! What a completion's reward is worth beside those of its group.

use serde::{Deserialize, Serialize};

/// What learning raises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// The mean reward: each completion should pass (Shao et al., 2024).
    #[default]
    Mean,
    /// The best reward of `best_of` completions: one of them should pass (Walder and Karkhanis, 2025).
    BestOf,
}

/// The advantage of each reward of a group; all zero where the group says nothing. A reward of none has
/// an advantage of none.
///
/// With [`Objective::Mean`] it is the distance to the group's mean in sample deviations, as in TRL. With
/// [`Objective::BestOf`] it is what a completion adds to the best of `best_of - 1` others, on average over
/// all choices of these, less the group's mean of that. The deviation does not divide it: that would
/// weigh a problem that all but always passes like one that is passed once.
pub fn advantages(rewards: &[Option<f64>], objective: Objective, best_of: usize) -> Vec<Option<f64>> {
    let known: Vec<f64> = rewards.iter().flatten().copied().collect();
    let (values, scale) = match objective {
        Objective::Mean => {
            let deviation = mean_and_deviation(&known).1;
            (known, if deviation < 1e-6 { 0.0 } else { 1.0 / (deviation + 1e-4) })
        }
        Objective::BestOf => (additions(&known, best_of), 1.0),
    };
    let mean = mean_and_deviation(&values).0;
    let mut values = values.into_iter();
    let mut of = |_| Some((values.next()? - mean) * scale);
    rewards.iter().map(|reward| reward.and_then(&mut of)).collect()
}

/// What each reward adds, on average, to the best of `count - 1` of the others; of a group that is not
/// larger than `count`, to the best of all others.
fn additions(rewards: &[f64], count: usize) -> Vec<f64> {
    let others = rewards.len().saturating_sub(1);
    let chosen = count.saturating_sub(1).clamp(1, others.max(1));
    let mut sorted: Vec<f64> = rewards.to_vec();
    sorted.sort_by(f64::total_cmp);
    let of = |reward: f64| {
        // Of equal rewards it does not matter which one is left out.
        let own = sorted.partition_point(|&other| other < reward);
        let others_sorted = sorted.iter().enumerate().filter(|(at, _)| *at != own).map(|(_, &other)| other);
        let weighted = others_sorted.enumerate().map(|(rank, other)| {
            // The choices whose best is this one: the rest of them comes from those below it.
            choices(rank, chosen - 1) * (reward - other).max(0.0)
        });
        weighted.sum::<f64>() / choices(others, chosen).max(1.0)
    };
    rewards.iter().map(|&reward| of(reward)).collect()
}

/// Binomial coefficient.
fn choices(from: usize, count: usize) -> f64 {
    if count > from {
        return 0.0;
    }
    (0..count).map(|at| (from - at) as f64 / (count - at) as f64).product()
}

/// Mean and sample deviation.
pub(crate) fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    let square = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    (mean, (square / (count - 1.0).max(1.0)).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(rewards: &[f64], objective: Objective, best_of: usize) -> Vec<f64> {
        let rewards: Vec<Option<f64>> = rewards.iter().copied().map(Some).collect();
        advantages(&rewards, objective, best_of).into_iter().flatten().collect()
    }

    /// Against the mean over all choices, made one by one.
    #[test]
    fn what_a_reward_adds_is_the_mean_over_all_choices() {
        let groups: [&[f64]; 4] =
            [&[1.0, 0.0, 0.0, 1.0, 0.0], &[0.2, 0.9, 0.9, 0.1, 0.5, 0.2], &[1.0; 4], &[0.0, 0.0, 1.0]];
        for rewards in groups {
            for count in 2..=rewards.len() {
                for (own, found) in additions(rewards, count).into_iter().enumerate() {
                    let (mut sum, mut choices) = (0.0, 0);
                    for choice in 0..1_u32 << rewards.len() {
                        let has = |at: usize| choice >> at & 1 == 1;
                        if has(own) || choice.count_ones() as usize != count - 1 {
                            continue;
                        }
                        let chosen = rewards.iter().enumerate().filter(|(at, _)| has(*at));
                        let best = chosen.map(|(_, &reward)| reward).fold(0.0, f64::max);
                        sum += (rewards[own] - best).max(0.0);
                        choices += 1;
                    }
                    let expected = sum / f64::from(choices);
                    assert!((found - expected).abs() < 1e-12, "{rewards:?} {count}: {found} {expected}");
                }
            }
        }
    }

    #[test]
    fn a_rare_success_weighs_more_for_the_best_of_many() {
        let best = |passing: usize| {
            let rewards: Vec<f64> = (0..8).map(|at| f64::from(u8::from(at < passing))).collect();
            known(&rewards, Objective::BestOf, 4)[0]
        };
        assert!(best(1) > best(2) && best(2) > best(4), "{} {} {}", best(1), best(2), best(4));
        // With so few failing, any four hold one that passes.
        assert_eq!(best(6), 0.0);
    }

    #[test]
    fn advantages_sum_to_zero_and_none_stays_none() {
        let rewards = [Some(1.0), None, Some(0.0), Some(0.0), Some(0.5)];
        for objective in [Objective::Mean, Objective::BestOf] {
            let found = advantages(&rewards, objective, 3);
            assert_eq!(found[1], None);
            assert!(found.iter().flatten().sum::<f64>().abs() < 1e-12, "{found:?}");
            assert!(found[0] > found[4] && found[4] > found[2], "{found:?}");
        }
        assert_eq!(known(&[1.0; 4], Objective::Mean, 2), [0.0; 4]);
        assert_eq!(known(&[0.0; 4], Objective::BestOf, 2), [0.0; 4]);
        assert!(advantages(&[], Objective::BestOf, 2).is_empty());
        assert_eq!(advantages(&[Some(1.0)], Objective::BestOf, 2), [Some(0.0)]);
    }

    /// torch: `x = torch.tensor([1., 0, 0, 1]); (x - x.mean()) / (x.std() + 1e-4)`
    #[test]
    fn the_mean_s_advantage_is_trl_s() {
        let found = known(&[1.0, 0.0, 0.0, 1.0], Objective::Mean, 0);
        assert!((found[0] - 0.86588).abs() < 1e-4, "{found:?}");
    }
}
