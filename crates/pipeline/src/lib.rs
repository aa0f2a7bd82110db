//! The loop of a recipe, as a library: typed stages, a run directory, resume.
//!
//! A [`Recipe`](recipe::Recipe) says what a run does; [`loop_run::run`] does it in a directory, stage by
//! stage, and gives the [`Report`](report::html::Report) back. What it works with is handed in as a
//! [`Context`]: the device, who hears of progress, and when to stop. A run that was stopped anywhere, or
//! failed, resumes with the same call; it is refused where its numbers would be of two models or two
//! verifiers.
//!
//! The library prints nothing, ends no process and reads no environment.

#![deny(clippy::print_stdout, clippy::print_stderr, clippy::exit)]
#![warn(unreachable_pub)]

mod context;
mod error;
mod model_files;
mod recorder;

pub mod behaviour;
pub mod critic_training;
pub mod loop_run;
pub mod models;
pub mod observations;
pub mod opinions;
pub mod pretrain;
pub mod problem_sets;
pub mod recipe;
pub mod run_directory;
pub mod run_view;
pub mod stages;
pub mod supervised;
pub mod verdicts;
pub mod verifier;

pub use context::{Context, Done, Note, Progress, Silence, Task, Watch};
pub use error::{Error, Result, Source};
