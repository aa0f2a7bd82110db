//! What a completion is worth: what execution says of it, and what a critic does.

use crate::advantage::mean_and_deviation;
use crate::grpo::{GrpoSettings, Metrics, RolloutContext};
use anyhow::Result;
use critic::Question;
use records::{Candidate, Outcome, Problem, Verdict, paired, same_length};
use serde::{Deserialize, Serialize};

/// Groups whose rewards the critic has a share in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CriticGroups {
    /// All of them.
    #[default]
    All,
    /// Those of which execution says the same of every completion, and which would teach nothing.
    Equal,
}

/// The reward of each candidate, and the mean of what each source gave; none where the verifier failed, which
/// says nothing of the candidate, unless execution does not count.
///
/// # Errors
/// Where the lists are of different lengths, a prompt cannot be made, or the critic fails.
pub(crate) fn rewards(
    context: &RolloutContext,
    batch: &[Problem],
    candidates: &[Candidate],
    verdicts: &[Verdict],
    settings: &GrpoSettings,
) -> Result<(Vec<Option<f64>>, Metrics)> {
    same_length("verdicts", verdicts.len(), "candidates", candidates.len())?;
    same_length("groups", candidates.len(), "completions", batch.len() * settings.group_size)?;
    let solved = verdicts.iter().map(|verdict| match verdict.outcome {
        Outcome::Infrastructure => None,
        outcome => Some(f64::from(u8::from(outcome == Outcome::Passed))),
    });
    let solved: Vec<Option<f64>> = solved.collect();
    let known: Vec<f64> = solved.iter().flatten().copied().collect();
    let mut metrics = vec![("rewards/execution/mean", mean_and_deviation(&known).0)];
    let weigh = |solved: &Option<f64>| match settings.execution_reward {
        0.0 => Some(0.0),
        weight => solved.map(|solved| weight * solved),
    };
    let mut rewards: Vec<Option<f64>> = solved.iter().map(weigh).collect();
    let Some(critic) = context.critic.filter(|_| settings.critic_reward > 0.0) else {
        return Ok((rewards, metrics));
    };
    let groups = paired(batch, candidates.chunks(settings.group_size), ["problems", "groups"])?;
    let questions = groups.map(|(problem, group)| {
        let prompt = context.generator.prompt(&problem.shown, settings.prompt_tests)?;
        Ok(Question { prompt, programs: group.iter().map(|candidate| candidate.code.clone()).collect() })
    });
    let questions: Vec<Question> = questions.collect::<Result<_>>()?;
    let scores = critic.score(&questions)?;
    let all: Vec<f64> = scores.iter().flatten().copied().collect();
    metrics.push(("rewards/critic/mean", mean_and_deviation(&all).0));
    let of_groups = rewards.chunks_mut(settings.group_size);
    for (rewards, scores) in paired(of_groups, scores, ["groups", "lists of scores"])? {
        shape(rewards, &scores, settings)?;
    }
    Ok((rewards, metrics))
}

/// Adds the critic's share to the rewards of one group.
fn shape(rewards: &mut [Option<f64>], scores: &[f64], settings: &GrpoSettings) -> Result<()> {
    let known: Vec<f64> = rewards.iter().flatten().copied().collect();
    let teaches = mean_and_deviation(&known).1 > 1e-6;
    if settings.critic_groups == CriticGroups::Equal && teaches {
        return Ok(());
    }
    for (reward, score) in paired(rewards, scores, ["candidates", "scores"])? {
        *reward = reward.map(|reward| reward + settings.critic_reward * score);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_critic_may_be_asked_only_where_execution_says_the_same_of_all() {
        let settings =
            |critic_groups| GrpoSettings { critic_reward: 0.5, critic_groups, ..GrpoSettings::default() };
        let scores = [0.2, 0.6, 0.4];
        for (critic_groups, rewards, expected) in [
            (CriticGroups::Equal, [Some(1.0), None, Some(0.0)], [Some(1.0), None, Some(0.0)]),
            (CriticGroups::Equal, [Some(0.0), None, Some(0.0)], [Some(0.1), None, Some(0.2)]),
            (CriticGroups::All, [Some(1.0), None, Some(0.0)], [Some(1.1), None, Some(0.2)]),
        ] {
            let mut found = rewards;
            shape(&mut found, &scores, &settings(critic_groups)).expect("as many scores");
            assert_eq!(found, expected);
        }
    }
}
