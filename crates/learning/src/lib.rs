//! How the generator and the critic learn.
//!
//! - [`supervised`]: next-token training on completions; makes the built-in model.
//! - [`grpo`]: reinforcement with verdicts as rewards, normalised within the group of one prompt.
//! - [`critic_training`]: the critic on labelled candidates, with and without pairs.
//!
//! Each is a loop over steps that hands a [`StepReport`] to its caller, who may break off; what
//! has been learned so far stays in a [`Trainer`], which can be saved and resumed exactly: the
//! data of a step depends on the seed and the step only.

pub mod advantage;
pub mod critic_training;
pub mod grpo;
pub mod metrics;
pub mod rewards;
mod rounds;
pub mod supervised;
mod surrogate;
mod trainer;

pub use trainer::{OptimizerSettings, Trainer};

use std::ops::ControlFlow;

/// What one step did.
#[derive(Clone, Debug)]
pub struct StepReport {
    /// Steps done, this one included.
    pub step: usize,
    /// All steps.
    pub total: usize,
    /// Names as TRL has them.
    pub metrics: Vec<(&'static str, f64)>,
}

/// Takes each step's report; may break off.
pub type OnStep<'a> = dyn FnMut(&StepReport) -> ControlFlow<()> + 'a;
