//! What a recipe must not say.

use super::{Recipe, Result, SelectionRecipe, wrong};
use crate::behaviour::MOST_OWN_INPUTS;
use learning::OptimizerSettings;
use learning::advantage::Objective;
use records::Split;
use selection::ranker::HIGHEST_LEVEL;

impl Recipe {
    pub(super) fn check(&self) -> Result<()> {
        self.check_learning()?;
        self.check_counts()?;
        self.check_numbers()?;
        if self.problems.report_on == Split::Train && (self.grpo.steps > 0 || self.critic.problems > 0) {
            let message = "expected `test` or `validation`: the run learns from the training problems";
            return Err(wrong("problems.report_on", message));
        }
        self.selection.check()?;
        self.executor.check().map_err(|(name, message)| wrong(format!("executor.{name}"), message))
    }

    fn check_learning(&self) -> Result<()> {
        let grpo = &self.grpo;
        if grpo.steps > 0 && grpo.group_size < 2 {
            let message = format!("expected at least 2, found {}", grpo.group_size);
            return Err(wrong("grpo.group_size", message));
        }
        within("grpo.oversampling", grpo.oversampling, 1.0, 16.0)?;
        if grpo.objective == Objective::BestOf && !(2..=grpo.group_size).contains(&grpo.best_of) {
            let message =
                format!("expected 2 to grpo.group_size ({}), found {}", grpo.group_size, grpo.best_of);
            return Err(wrong("grpo.best_of", message));
        }
        if grpo.critic_reward > 0.0 && self.critic.start.is_empty() {
            let message = "the critic has a share in the reward; expected its directory, found none";
            return Err(wrong("critic.start", message));
        }
        if grpo.execution_reward == 0.0 && grpo.critic_reward == 0.0 {
            let message = "expected a number above 0 here or in grpo.critic_reward: nothing is rewarded";
            return Err(wrong("grpo.execution_reward", message));
        }
        within("grpo.execution_reward", grpo.execution_reward, 0.0, 1000.0)?;
        within("grpo.critic_reward", grpo.critic_reward, 0.0, 1000.0)?;
        self.check_optimizer("grpo.optimizer", &grpo.optimizer)?;
        self.check_optimizer("critic.training.optimizer", &self.critic.training.optimizer)?;
        for (name, value) in [("clip_range", grpo.clip_range), ("clip_range_high", grpo.clip_range_high)] {
            if !(value > 0.0 && value < 10.0) {
                return Err(wrong(
                    format!("grpo.{name}"),
                    format!("expected a number above 0, found {value}"),
                ));
            }
        }
        Ok(())
    }

    /// Counts without which nothing is done.
    fn check_counts(&self) -> Result<()> {
        let (grpo, critic) = (&self.grpo, &self.critic.training);
        for (name, value) in [
            ("pool.samples", self.pool.samples),
            ("pool.max_new_tokens", self.pool.max_new_tokens),
            ("greedy.max_new_tokens", self.greedy.max_new_tokens),
            ("grpo.prompts_per_step", grpo.prompts_per_step),
            ("grpo.minibatches", grpo.minibatches),
            ("grpo.iterations", grpo.iterations),
            ("grpo.choose_samples", grpo.choose_samples),
            ("grpo.max_new_tokens", grpo.max_new_tokens),
            ("critic.seeds", self.critic.seeds),
            ("critic.training.problems_per_step", critic.problems_per_step),
            ("critic.training.epochs", critic.epochs),
            ("critic.training.head_width", critic.head_width),
            ("critic.training.max_tokens", critic.max_tokens),
        ] {
            if value == 0 {
                return Err(wrong(name, "expected at least 1, found 0"));
            }
        }
        Ok(())
    }

    /// Numbers outside of which nothing is learned, or everything is lost.
    fn check_numbers(&self) -> Result<()> {
        let (grpo, critic) = (&self.grpo, &self.critic.training);
        let ranges = [
            ("pool.top_p", self.pool.top_p, 0.0, 1.0),
            ("pool.temperature", self.pool.temperature, 0.0, 10.0),
            ("grpo.top_p", grpo.top_p, 0.01, 1.0),
            ("grpo.temperature", grpo.temperature, 0.01, 10.0),
            ("grpo.kl_coefficient", grpo.kl_coefficient, 0.0, 1000.0),
            ("grpo.entropy_coefficient", grpo.entropy_coefficient, 0.0, 10.0),
            ("critic.validation", self.critic.validation, 0.0, 0.9),
            ("critic.training.dropout", critic.dropout, 0.0, 0.99),
            ("critic.training.pairwise", critic.pairwise, 0.0, 1000.0),
            ("critic.training.details", critic.details, 0.0, 1000.0),
            ("critic.training.count_power", critic.count_power, 0.0, 4.0),
        ];
        ranges.into_iter().try_for_each(|(name, value, low, high)| within(name, value, low, high))
    }

    fn check_optimizer(&self, table: &str, settings: &OptimizerSettings) -> Result<()> {
        let OptimizerSettings { lora, .. } = settings;
        let ranges = [
            ("learning_rate", settings.learning_rate, 0.0, 1.0),
            ("warmup_ratio", settings.warmup_ratio, 0.0, 1.0),
            ("beta2", settings.beta2, 0.0, 0.999_999),
            ("weight_decay", settings.weight_decay, 0.0, 100.0),
            ("max_gradient_norm", settings.max_gradient_norm, 0.0, 1e9),
            ("lora.alpha", lora.alpha, 0.0, 1e6),
            ("lora.rank", lora.rank as f64, 0.0, 4096.0),
        ];
        for (name, value, low, high) in ranges {
            within(&format!("{table}.{name}"), value, low, high)?;
        }
        let modules = &lora.target_modules;
        match modules.iter().enumerate().find(|(at, module)| modules[..*at].contains(module)) {
            Some((_, twice)) => Err(wrong(
                format!("{table}.lora.target_modules"),
                format!("expected each once, found {twice} twice"),
            )),
            None => Ok(()),
        }
    }
}

/// Refuses a number outside of a range, and what is no number.
fn within(name: &str, value: f64, low: f64, high: f64) -> Result<()> {
    match (low..=high).contains(&value) {
        true => Ok(()),
        false => Err(wrong(name, format!("expected {low} to {high}, found {value}"))),
    }
}

impl SelectionRecipe {
    pub(super) fn check(&self) -> Result<()> {
        let message =
            |found: &dyn std::fmt::Display| format!("expected some of 0, 1, 2 and 3, found {found}");
        if self.levels.is_empty() {
            return Err(wrong("selection.levels", message(&"none")));
        }
        if self.own_inputs > MOST_OWN_INPUTS {
            let message = format!("expected 0 to {MOST_OWN_INPUTS}, found {}", self.own_inputs);
            return Err(wrong("selection.own_inputs", message));
        }
        for (at, level) in self.levels.iter().enumerate() {
            if *level > HIGHEST_LEVEL {
                return Err(wrong("selection.levels", message(level)));
            }
            if self.levels[..at].contains(level) {
                return Err(wrong("selection.levels", message(&format!("{level} twice"))));
            }
        }
        Ok(())
    }
}
